package report

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"
	"google.golang.org/protobuf/proto"

	"o3/internal/errs"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// fixtureEntries are the entries of the fixture: two blocks and a bit.
const fixtureEntries = 2*blockEntries + 5

// TestFormats: a report and page tokens of every format ever released are read
// by this program: a report outlives the server that wrote it, and a client may
// hold a token meanwhile. The fixtures never change; see
// docs/formats/README.md.
func TestFormats(t *testing.T) {
	if *makeFormat != "" {
		dir := filepath.Join(formatsDir, *makeFormat)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "report"), fixtureEntries)
		if err := os.WriteFile(filepath.Join(dir, "tokens.txt"), []byte(tokenText()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dirs, err := os.ReadDir(formatsDir)
	if err != nil || len(dirs) != Version {
		t.Fatalf("%d formats have fixtures, want %d: %v", len(dirs), Version, err)
	}
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) {
			path := filepath.Join(formatsDir, d.Name(), "report")
			readFixture(t, path)
			refuseFixture(t, path)
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			tokens, err := os.ReadFile(filepath.Join(formatsDir, d.Name(), "tokens.txt"))
			if err != nil {
				t.Fatal(err)
			}
			readTokens(t, string(tokens))
			if d.Name() != fmt.Sprintf("v%d", Version) {
				return
			}
			ours := filepath.Join(t.TempDir(), "report")
			write(t, ours, fixtureEntries)
			if now, err := os.ReadFile(ours); err != nil || !bytes.Equal(now, raw) || tokenText() != string(tokens) {
				t.Errorf("this program writes another report or other tokens: %v\n"+
					"Undo the change, or make a new format (docs/formats/README.md).", err)
			}
		})
	}
}

func readFixture(t *testing.T, path string) {
	t.Helper()
	r := open(t, path)
	page, err := r.Page(0, fixtureEntries+1)
	if err := errors.Join(err, r.Verify()); err != nil || len(page) != fixtureEntries || r.Meta() != meta {
		t.Fatalf("%d entries of %+v: %v", len(page), r.Meta(), err)
	}
	for i, e := range page {
		if !proto.Equal(e, entry(i)) {
			t.Errorf("entry %d is %v", i, e)
		}
	}
}

// refuseFixture: a later version is refused by name, another file as unknown.
func refuseFixture(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(t.TempDir(), "changed")
	for _, c := range []struct {
		what   string
		change func(b []byte)
		kind   errs.Kind
		says   string
	}{
		{"a later version", func(b []byte) {
			binary.BigEndian.PutUint32(b[8:], Version+1)
			binary.BigEndian.PutUint64(b[56:], xxh3.Hash(b[:56]))
		}, errs.FormatTooNew, "snapshot diff report"},
		{"another magic", func(b []byte) { b[0] = 'x' }, errs.FormatUnknown, "not the report of a snapshot diff"},
		{"a wrong checksum", func(b []byte) { b[20] ^= 1 }, errs.Corrupt, "header"},
	} {
		b := bytes.Clone(raw)
		c.change(b)
		if err := os.WriteFile(changed, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(changed); errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// tokenText is the fixture: on a line each, a token, its job and its entry.
func tokenText() string {
	var out strings.Builder
	for _, c := range [][2]uint64{{77, 1}, {77, 5000}, {1 << 63, 1<<64 - 1}} {
		fmt.Fprintf(&out, "%s %d %d\n", EncodeToken(c[0], c[1]), c[0], c[1])
	}
	return out.String()
}

func readTokens(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		job, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := DecodeToken(f[0], job); err != nil || strconv.FormatUint(n, 10) != f[2] {
			t.Errorf("%s: %d, %v", line, n, err)
		}
	}
}
