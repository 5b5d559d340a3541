package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// docs puts the results into docs/performance.md, between the lines
// <!-- bench:NAME begin --> and <!-- bench:NAME end -->.
func (s *settings) docs() error {
	path := filepath.Join(s.root, "docs", "performance.md")
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text := string(raw)
	for _, name := range []string{"s3", "namespace", "snapshots", "bootstrap", "recon", "staging", "lifecycle"} {
		section, err := os.ReadFile(filepath.Join(s.out, name+".md"))
		if errors.Is(err, fs.ErrNotExist) {
			say("no results of %s: its section stays as it is", name)
			continue
		}
		if err != nil {
			return err
		}
		if text, err = replace(text, name, string(section)); err != nil {
			return err
		}
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// replace puts section between the markers of name.
func replace(text, name, section string) (string, error) {
	begin, end := "<!-- bench:"+name+" begin -->\n", "<!-- bench:"+name+" end -->"
	before, rest, ok1 := strings.Cut(text, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return "", fmt.Errorf("docs/performance.md has no markers of %s", name)
	}
	return before + begin + "\n" + strings.TrimSpace(section) + "\n\n" + end + after, nil
}
