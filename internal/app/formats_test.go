package app

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/cli"
	"o3/internal/errs"
	"o3/internal/schema"
)

// stopped returns the data directory of a node that has ended, with objects of
// each kind in it.
func stopped(t *testing.T) string {
	t.Helper()
	s := start(t, settings{})
	s.fill(3, 8<<10)
	s.bucket("tree", "FILE_SYSTEM_OPTIMIZED")
	for _, key := range []string{"a/b/c", "a/d"} {
		if err := s.commit("tree", key, []byte("small bytes")); err != nil {
			t.Fatal(err)
		}
	}
	s.drop(2, 3)
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	return s.Data
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// edit rewrites a file.
func edit(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, f(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func replace(old, new string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
}

// one returns the only file that a pattern matches.
func one(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %v %v", pattern, found, err)
	}
	return found[0]
}

// TestNewerFormats: whatever a later version wrote is refused by name, and
// stays.
func TestNewerFormats(t *testing.T) {
	t.Parallel()
	marker := func(line, to string) func(*testing.T, string) string {
		return func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "om", "store", "FORMAT")
			edit(t, path, func(b []byte) []byte {
				b = replace(line, to)(b)
				body := b[:bytes.LastIndex(b, []byte("crc32c "))]
				return fmt.Appendf(body, "crc32c %08x\n", checksum(body))
			})
			return filepath.Join(dir, "om", "store")
		}
	}
	for name, plant := range map[string]func(t *testing.T, dir string) (subject string){
		"node": func(t *testing.T, dir string) string {
			edit(t, filepath.Join(dir, "node"), replace(`"format":1`, `"format":2`))
			return filepath.Join(dir, "node")
		},
		"credentials": func(t *testing.T, dir string) string {
			edit(t, filepath.Join(dir, "root-credentials"), replace(`"version": 1`, `"version": 2`))
			return filepath.Join(dir, "root-credentials")
		},
		"store rows":   marker(fmt.Sprintf("\nversion %d\n", schema.Format), "\nversion 99\n"),
		"store engine": marker("\nengine pebble 1\n", "\nengine pebble 99\n"),
		"raft log": func(t *testing.T, dir string) string {
			db, err := pebble.Open(filepath.Join(dir, "om", "raft", "pebble"), &pebble.Options{FormatMajorVersion: pebble.FormatTableFormatV6})
			if err != nil {
				t.Fatal(err)
			}
			value := binary.BigEndian.AppendUint32([]byte("o3 raft log\x00"), 99)
			value = binary.BigEndian.AppendUint32(value, checksum(append([]byte("mformat"), value...)))
			if err := db.Set([]byte("mformat"), value, pebble.Sync); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "om", "raft")
		},
		"container": func(t *testing.T, dir string) string {
			path := one(t, filepath.Join(dir, "blocks", "c-*"))
			edit(t, path, func(b []byte) []byte {
				for _, at := range []int{0, 1024} {
					binary.LittleEndian.PutUint32(b[at+8:], 99)
					binary.LittleEndian.PutUint32(b[at+60:], checksum(b[at:at+60]))
				}
				return b
			})
			return filepath.Base(path)
		},
		"audit log": func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "audit", "audit.log")
			edit(t, path, func(b []byte) []byte {
				return append(b, `{"v":99,"time":"2026-01-01T00:00:00Z","action":"x","result":"ok"}`+"\n"...)
			})
			return path
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			dir := stopped(t)
			subject := plant(t, dir)
			for range 2 { // the second time it is still as it was
				_, err := try(t, settings{dir: dir})
				kind(t, err, errs.FormatTooNew, subject)
			}
		})
	}
}

// TestDump prints the rows of a stopped node.
func TestDump(t *testing.T) {
	t.Parallel()
	dir := stopped(t)
	lines := func(o cli.DumpOptions) (out []map[string]any) {
		t.Helper()
		var b bytes.Buffer
		if err := dump(t.Context(), dir, o, &b); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			row := map[string]any{}
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			out = append(out, row)
		}
		return out
	}
	all := lines(cli.DumpOptions{})
	tables := map[any]int{}
	last := ""
	for _, row := range all {
		tables[row["table"]]++
		if at := row["at"].(string); at <= last {
			t.Errorf("%s follows %s", at, last)
		} else {
			last = at
		}
	}
	if tables["entries"] != 6 || tables["users"] != 1 || tables["deleted"] != 1 || tables["dirs"] != 2 {
		t.Errorf("rows %v", tables)
	}
	entries := lines(cli.DumpOptions{Table: "entries"})
	if len(entries) != 6 {
		t.Errorf("%d entries", len(entries))
	}
	if rest := lines(cli.DumpOptions{Table: "entries", From: entries[2]["at"].(string), Limit: 2}); len(rest) != 2 || rest[0]["at"] != entries[2]["at"] {
		t.Errorf("from the third on: %v", rest)
	}
	kind(t, dump(t.Context(), dir, cli.DumpOptions{Table: "nothing"}, new(bytes.Buffer)), errs.Invalid, "entries")
	kind(t, dump(t.Context(), dir, cli.DumpOptions{From: "xyz"}, new(bytes.Buffer)), errs.Invalid, "hexadecimal")
	root, err := client.ReadCredentials(filepath.Join(dir, client.CredentialsFile))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := dump(t.Context(), dir, cli.DumpOptions{}, &b); err != nil || strings.Contains(b.String(), root.SecretKey) || !strings.Contains(b.String(), root.AccessKey) {
		t.Errorf("a secret is shown, or no key: %v", err)
	}
}

// TestVerifyStopped: a healthy node has no problem; damage to a table, to a
// container and to the log is told with what it hits.
func TestVerifyStopped(t *testing.T) {
	t.Parallel()
	text := cli.VerifyOptions{Step: func(int64, int64) {}}
	type verify = func(context.Context, string, cli.VerifyOptions, io.Writer) error
	store, blocks := verifyStore, verifyBlocks
	healthy := stopped(t)
	for i, v := range []verify{store, blocks} {
		var b bytes.Buffer
		if err := v(t.Context(), healthy, text, &b); err != nil || b.Len() == 0 {
			t.Errorf("%d: %v\n%s", i, err, b.String())
		}
	}
	flip := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte {
			if !bytes.Contains(b, []byte(old)) {
				t.Errorf("nothing to flip: %q", old)
			}
			return replace(old, new)(b)
		}
	}
	for name, c := range map[string]struct {
		plant func(dir string) string
		verify
		kind errs.Kind
	}{
		"a container's byte": {func(dir string) string {
			path := one(t, filepath.Join(dir, "blocks", "c-*"))
			edit(t, path, flip("\x01\x01\x01\x01", "\x01\x07\x01\x01"))
			return filepath.Base(path)
		}, blocks, errs.Corrupt},
		"a lost container": {func(dir string) string {
			if err := os.Remove(one(t, filepath.Join(dir, "blocks", "c-*"))); err != nil {
				t.Fatal(err)
			}
			return "missing"
		}, blocks, errs.Corrupt},
		"a table's byte": {func(dir string) string {
			path := one(t, filepath.Join(dir, "om", "store", "*.sst"))
			edit(t, path, func(b []byte) []byte { b[len(b)/3] ^= 1; return b })
			return filepath.Base(path)
		}, store, errs.Corrupt},
	} {
		dir := stopped(t)
		subject := c.plant(dir)
		var b bytes.Buffer
		err := c.verify(t.Context(), dir, text, &b)
		if errs.KindOf(err) != c.kind || !strings.Contains(b.String()+err.Error(), subject) {
			t.Errorf("%s: %v\n%s", name, err, b.String())
		}
	}
	kind(t, verifyBlocks(t.Context(), t.TempDir(), text, new(bytes.Buffer)), errs.FormatUnknown, "does not hold a node's data")
}

// TestDamagedObject: a flipped byte in a container is never served, and status
// shows it.
func TestDamagedObject(t *testing.T) {
	t.Parallel()
	dir := stopped(t)
	edit(t, one(t, filepath.Join(dir, "blocks", "c-*")), replace("\x01\x01\x01\x01", "\x01\x07\x01\x01"))
	s := start(t, settings{dir: dir})
	if a, err := s.ask(s.root, "", "GET", "/photos/1", nil); err == nil && a.status == 200 {
		t.Errorf("it was served: %v", a.status)
	}
	if a := s.must("GET", "/photos/0", nil); !bytes.Equal(a.body, make([]byte, 8<<10)) {
		t.Error("the object beside it has changed")
	}
	s.scrub()
	wait(t, "the scrub reports it", func() bool { b := s.status().Blocks; return b.ScrubFinishedMs > 0 && !b.ScrubRunning })
	if b := s.status().Blocks; b.Damaged != 1 || len(b.Damage) != 1 { // the read met it too
		t.Errorf("%d damaged ranges: %q", b.Damaged, b.Damage)
	}
	found := false
	for _, p := range s.status().Problems {
		found = found || p.Name == "damage"
	}
	if !found {
		t.Errorf("problems: %v", s.status().Problems)
	}
	if s.metric("o3_block_damages_total") == 0 || !strings.Contains(s.log.String(), "blocks: damage") {
		t.Error("neither a metric nor the log tells")
	}
	if _, err := s.om.BlockStatus(t.Context(), &o3v1.BlockStatusRequest{}); err != nil {
		t.Error(err)
	}
}

// TestLostDirectories: a node does not start as if it had always been empty
// where a part of its data is gone, and starts when the part is back.
func TestLostDirectories(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, settings{dir: dir})
	s.fill(1, 10) // a small one: no container tells of it
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	for part, says := range map[string]string{
		"blocks": "Is the disk mounted?", "blocks/node": "Is the disk mounted?", "om": "the Raft log is missing",
		"om/raft": "the Raft log is missing", "node": "the identity file is missing",
	} {
		path := filepath.Join(dir, part)
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		_, err := try(t, settings{dir: dir})
		if errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), says) {
			t.Errorf("without %s: %v, want it to say %q", part, err, says)
		}
		if err := errors.Join(os.RemoveAll(path), os.Rename(path+".away", path)); err != nil {
			t.Fatal(err)
		}
	}
	other := start(t, settings{dir: filepath.Join(t.TempDir(), "other")})
	if err := other.shut(); err != nil {
		t.Fatal(err)
	}
	_, err := try(t, settings{dir: dir, set: []string{"ozone.block.dir=" + other.node.cfg.Block.Dir}})
	if errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), "another node") {
		t.Errorf("with the blocks of another node: %v", err)
	}
	again := start(t, settings{dir: dir})
	if _, err := again.node.om.GetKey(system, &o3v1.GetKeyRequest{Volume: "s3v", Bucket: "photos", Key: "0"}); err != nil {
		t.Errorf("with everything back: %v", err)
	}
}
