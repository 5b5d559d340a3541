package raftlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"o3/internal/errs"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// TestFormats: a log of every format ever released is opened by this program.
// The fixtures never change; see docs/formats/README.md. A format is
//
//	log/      the directory of a log, as a killed node left it
//	rows.txt  what it holds: on a line each, key and value of a row in hexadecimal
//	more.txt  rows that no one log holds together, each under its name
func TestFormats(t *testing.T) {
	if *makeFormat != "" {
		writeFormat(t, filepath.Join(formatsDir, *makeFormat))
	}
	dirs, err := os.ReadDir(formatsDir)
	if err != nil || len(dirs) != Version {
		t.Fatalf("%d formats have fixtures, want %d: %v", len(dirs), Version, err)
	}
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) {
			dir := filepath.Join(formatsDir, d.Name())
			rows, more := readText(t, dir, "rows.txt"), readText(t, dir, "more.txt")
			t.Run("Open", func(t *testing.T) { testOpenLog(t, dir, rows) })
			t.Run("Rows", func(t *testing.T) { testRows(t, more) })
			t.Run("Guard", func(t *testing.T) { testGuardFixture(t, dir) })
			t.Run("Refused", func(t *testing.T) { testRefused(t, dir) })
			if d.Name() != fmt.Sprintf("v%d", Version) {
				return
			}
			const why = "this program writes other rows: logs of released versions would be read wrongly.\n" +
				"Undo the change, or make a new format (docs/formats/README.md).\ngot\n%s\nwant\n%s"
			fs := vfs.NewMem()
			l := fixtureLog(t, fs)
			if got := dumpRows(t, l.db); got != rows {
				t.Errorf(why, got, rows)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if got := moreRows(); got != more {
				t.Errorf(why, got, more)
			}
		})
	}
}

func readText(t *testing.T, dir, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// fixtureOptions are those of node 7.
func fixtureOptions(fs vfs.FS, dir string) Options {
	return Options{FS: fs, Dir: dir, NodeID: 7, MemTableBytes: 64 << 10}
}

// fixtureConf is a membership.
func fixtureConf() []byte {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(&pb.ConfState{Voters: []uint64{7, 8}, Learners: []uint64{9}})
	if err != nil {
		panic(err)
	}
	return raw
}

// fixtureEntries are what the log holds when the script has run.
func fixtureEntries() []*pb.Entry {
	change := entry(5, 1, "membership")
	change.Type = pb.EntryConfChangeV2.Enum()
	old := entry(6, 2, "membership of old")
	old.Type = pb.EntryConfChange.Enum()
	return []*pb.Entry{entry(4, 1, "two"), change, old, entry(7, 2, ""), entry(8, 2, strings.Repeat("long ", 300))}
}

var fixtureHard = hard(2, 7, 6)

// fixtureLog runs a script: some entries in tables, some in the log of Pebble;
// a tail that was replaced; a beginning that was truncated.
func fixtureLog(t *testing.T, fs vfs.FS) *Log {
	t.Helper()
	l, err := Open(fixtureOptions(fs, "log"))
	if err != nil {
		t.Fatal(err)
	}
	es := fixtureEntries()
	err = errors.Join(l.Bootstrap(fixtureConf()),
		l.Write(Write{Entries: []*pb.Entry{entry(2, 1, ""), entry(3, 1, "one"), es[0], es[1], entry(6, 1, "replaced"), entry(7, 1, "too")},
			Hard: hard(1, 7, 4), Sync: true}),
		l.Close()) // the next Open puts it into tables
	if err != nil {
		t.Fatal(err)
	}
	if l, err = Open(fixtureOptions(fs, "log")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		l.Write(Write{Entries: es[2:3], Hard: hard(2, 8, 4), Sync: true}),
		l.TruncateTo(3),
		l.Write(Write{Entries: es[3:], Hard: fixtureHard, Sync: true})); err != nil {
		t.Fatal(err)
	}
	return l
}

// dumpRows prints every row.
func dumpRows(t *testing.T, db *pebble.DB) string {
	t.Helper()
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	var out strings.Builder
	for ok := it.First(); ok; ok = it.Next() {
		fmt.Fprintf(&out, "%x %x\n", it.Key(), it.Value())
	}
	return out.String()
}

// copyLog returns the options of a copy of the fixture's log.
func copyLog(t *testing.T, dir string) Options {
	t.Helper()
	to := filepath.Join(t.TempDir(), "log")
	if err := os.CopyFS(to, os.DirFS(filepath.Join(dir, "log"))); err != nil {
		t.Fatal(err)
	}
	return Options{Dir: to, NodeID: 7}
}

// testOpenLog reads the directory, opens it and goes on.
func testOpenLog(t *testing.T, dir, rows string) {
	o := copyLog(t, dir)
	if v, err := Verify(t.Context(), o); err != nil || v.First != 4 || v.Last != 8 {
		t.Fatalf("%+v, %v", v, err)
	}
	db, err := openPebble(Options{FS: vfs.Default, Dir: o.Dir, MemTableBytes: 1 << 20, readOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := dumpRows(t, db); got != rows {
		t.Errorf("got\n%s\nwant\n%s", got, rows)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	es := fixtureEntries()
	for i := range uint64(2) {
		l, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		b := l.Base()
		if b.Index != 1 || b.Term != 1 || !bytes.Equal(b.Conf, fixtureConf()) || len(b.Image) > 0 {
			t.Errorf("base %+v", b)
		}
		if l.Incarnation() != 3+i {
			t.Errorf("incarnation %d", l.Incarnation())
		}
		if i == 0 && !proto.Equal(l.HardState(), fixtureHard) {
			t.Errorf("hard state %v", l.HardState())
		}
		same(t, l, 4, es)
		next := entry(9+i, 3, "more")
		if err := l.Write(Write{Entries: []*pb.Entry{next}, Hard: hard(3, 7, 8), Sync: true}); err != nil {
			t.Fatal(err)
		}
		es = append(es, next)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// fixtureBase is one that an image gave.
var fixtureBase = Base{Index: 100, Term: 5, Conf: []byte("conf"), Image: []byte("manifest")}

var fixtureMark = guardMark{last: position{8, 2}, term: 3, vote: 7, count: 1 << 40}

// moreRows prints what no one log holds together.
func moreRows() string {
	var out strings.Builder
	fmt.Fprintf(&out, "base %x\n", encodeBase(fixtureBase))
	fmt.Fprintf(&out, "trunc %x\n", encodePosition(position{1<<64 - 1, 1 << 32}))
	fmt.Fprintf(&out, "hard %x\n", encodeHard(hard(1, 1<<63, 1<<16)))
	fmt.Fprintf(&out, "guard %x\n", encodeGuard(fixtureMark))
	return out.String()
}

// testRows decodes them.
func testRows(t *testing.T, text string) {
	n := 0
	for line := range strings.Lines(text) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		raw, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		n++
		if name == "guard" {
			if m, ok := decodeGuard(raw); !ok || m != fixtureMark {
				t.Errorf("guard: %+v", m)
			}
			continue
		}
		p, err := unseal("m"+name, raw)
		if err != nil {
			t.Fatal(name, err)
		}
		switch name {
		case "base":
			if b, err := decodeBase(p); err != nil || fmt.Sprint(b) != fmt.Sprint(fixtureBase) {
				t.Errorf("base: %+v, %v", b, err)
			}
		case "trunc":
			if !bytes.Equal(p, appendUint64s(nil, 1<<64-1, 1<<32)) {
				t.Errorf("trunc: %x", p)
			}
		case "hard":
			if !bytes.Equal(p, appendUint64s(nil, 1, 1<<63, 1<<16)) {
				t.Errorf("hard: %x", p)
			}
		}
		raw[0] ^= 1
		if _, err := unseal("m"+name, raw); errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), "row "+name) {
			t.Errorf("%s, garbled: %v", name, err)
		}
	}
	if n < 4 {
		t.Errorf("%d rows", n)
	}
}

// testGuardFixture: TAIL says what was synced, in both slots; a log behind it is
// refused; without its magic a slot says nothing.
func testGuardFixture(t *testing.T, dir string) {
	o := copyLog(t, dir)
	path := filepath.Join(o.Dir, guardFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var marks []guardMark
	for slot := range 2 {
		p := raw[slot*guardSlot:][:guardBytes]
		m, ok := decodeGuard(p)
		if !ok || !bytes.Equal(encodeGuard(m), p) {
			t.Fatalf("slot %d: %+v, %x", slot, m, p)
		}
		marks = append(marks, m)
	}
	newest := marks[0]
	if marks[1].count > newest.count {
		newest = marks[1]
	}
	if newest.last != (position{8, 2}) || newest.term != 2 || newest.vote != 7 || marks[0].count+marks[1].count != 2*newest.count-1 {
		t.Errorf("%+v", marks)
	}
	ahead := newest
	ahead.last.index, ahead.count = 9, newest.count+1
	if err := os.WriteFile(path, encodeGuard(ahead), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), path) {
		t.Errorf("a log behind its guard: %v", err)
	}
	garbled := encodeGuard(ahead)
	garbled[7]++ // its version
	if err := os.WriteFile(path, garbled, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(o)
	if err != nil {
		t.Fatalf("a guard that says nothing: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// testRefused: a log of a later format, and one that is none, by name.
func testRefused(t *testing.T, dir string) {
	for _, c := range []struct {
		what  string
		value []byte
		kind  errs.Kind
		says  string
	}{
		{"newer", seal(keyFormat, binary.BigEndian.AppendUint32([]byte(magic), Version+1)), errs.FormatTooNew, "raft log format"},
		{"magic", seal(keyFormat, binary.BigEndian.AppendUint32([]byte("o3 raft lug\x00"), Version)), errs.FormatUnknown, "not a raft log"},
		{"garbled", binary.BigEndian.AppendUint32([]byte(magic), Version), errs.Corrupt, "row format"},
	} {
		o := copyLog(t, dir)
		db, err := openPebble(Options{FS: vfs.Default, Dir: o.Dir, MemTableBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Set([]byte(keyFormat), c.value, pebble.Sync), db.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(o); errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// writeFormat writes the fixtures of the newest format into a new directory.
func writeFormat(t *testing.T, dir string) {
	t.Helper()
	fs := vfs.NewMem()
	l := fixtureLog(t, fs)
	defer l.Close()
	if err := errors.Join(os.Mkdir(dir, 0o755), // fails when it is there
		os.WriteFile(filepath.Join(dir, "rows.txt"), []byte(dumpRows(t, l.db)), 0o644),
		os.WriteFile(filepath.Join(dir, "more.txt"), []byte(moreRows()), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Clone(fs, vfs.Default, "log", filepath.Join(dir, "log")); err != nil { // as if it were killed now
		t.Fatal(err)
	}
}
