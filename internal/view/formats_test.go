package view

import (
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"o3/internal/errs"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// TestFormats: a listing token of every format ever released goes on where it
// said: a client may hold one while its server is replaced. The fixtures never
// change; see docs/formats/README.md.
func TestFormats(t *testing.T) {
	if *makeFormat != "" {
		dir := filepath.Join(formatsDir, *makeFormat)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "tokens.txt"), []byte(tokenText()), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	dirs, err := os.ReadDir(formatsDir)
	if err != nil || len(dirs) != tokenVersion {
		t.Fatalf("%d formats have fixtures, want %d: %v", len(dirs), tokenVersion, err)
	}
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join(formatsDir, d.Name(), "tokens.txt"))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for line := range strings.Lines(string(raw)) {
				token, quoted, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
				want, err := strconv.Unquote(quoted)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := decodeToken(token); err != nil || got != want {
					t.Errorf("%s: %q, %v", line, got, err)
				}
				refuseToken(t, token)
				n++
			}
			if n < len(tokenPaths()) {
				t.Errorf("%d tokens", n)
			}
			if d.Name() == fmt.Sprintf("v%d", tokenVersion) && tokenText() != string(raw) {
				t.Errorf("this program gives other tokens: older servers, and those beside it, would not know them.\n"+
					"Undo the change, or make a new format (docs/formats/README.md).\ngot\n%s\nwant\n%s", tokenText(), raw)
			}
		})
	}
}

// tokenPaths are where the pages of the fixture begin.
func tokenPaths() []string {
	return []string{"a", "dir/key", "dir/\x00\xff/é", " ", strings.Repeat("long/", 200) + "key"}
}

// tokenText is the fixture: on a line each, a token and where its page begins.
func tokenText() string {
	var out strings.Builder
	for _, p := range tokenPaths() {
		fmt.Fprintf(&out, "%s %q\n", encodeToken(p), p)
	}
	return out.String()
}

// refuseToken: a token comes from a client, so one of a later version is the
// client's mistake, as is any other that no listing of ours returned.
func refuseToken(t *testing.T, token string) {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(b []byte) []byte{
		"a later version": func(b []byte) []byte { b[0] = tokenVersion + 1; return b },
		"a wrong sum":     func(b []byte) []byte { b[1] ^= 1; return b },
		"cut":             func(b []byte) []byte { return b[:4] },
	} {
		bad := base64.RawURLEncoding.EncodeToString(change([]byte(string(raw))))
		_, err := decodeToken(bad)
		if errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), "continuation token") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
