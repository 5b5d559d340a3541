// Command disturb makes Go's scheduler unkind, to find tests, and code, that rest on an
// order which nothing promises. It writes changed copies of a few of Go's own files
// and an overlay for `go build` and `go test`:
//
//	go run ./test/disturb DIR
//	go test -overlay DIR/overlay.json ./...
//
// In what is built so, a goroutine that unlocks (but for reading), sends, receives, closes, selects or
// starts another one lets others go first: often for a few turns, at times for up to
// 5 ms, and a few dozen times in a process for up to 250 ms. Of goroutines that may
// run any is taken, as under the race detector. It belongs to the version of Go it
// was written for and refuses one whose files have other text in their place.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./test/disturb DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "disturb:", err)
		os.Exit(1)
	}
}

// write makes dir hold the overlay for the Go that is on the path.
func write(dir string) error {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	replace := map[string]string{}
	for _, f := range files {
		from := filepath.Join(strings.TrimSpace(string(root)), "src", filepath.FromSlash(f.path))
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		changed, err := f.apply(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		to := filepath.Join(dir, strings.ReplaceAll(f.path, "/", "_"))
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(to, []byte(changed), 0o644)); err != nil {
			return err
		}
		replace[from] = to
	}
	overlay, err := json.MarshalIndent(map[string]any{"Replace": replace}, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "overlay.json"), append(overlay, '\n'), 0o644)
}

// file is one of Go's files and what becomes of it.
type file struct {
	path  string // below src
	edits []edit
	tail  string // what is added
}

// edit replaces a text that is there once.
type edit struct{ old, new string }

func (f file) apply(text string) (string, error) {
	for _, e := range f.edits {
		if n := strings.Count(text, e.old); n != 1 {
			return "", fmt.Errorf("%d times %q, not once: this was written for another version of Go", n, e.old)
		}
		text = strings.Replace(text, e.old, e.new, 1)
	}
	return text + f.tail, nil
}
