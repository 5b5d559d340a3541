package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"o3/internal/errs"
	"o3/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func open(t testing.TB, fs vfs.FS) *Log {
	t.Helper()
	l, err := Open(Options{FS: fs, Dir: "a/log", NodeID: 7, CacheBytes: 400, MemTableBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func entry(index, term uint64, data string) *pb.Entry {
	e := &pb.Entry{Index: &index, Term: &term, Type: pb.EntryNormal.Enum()}
	if data != "" {
		e.Data = []byte(data)
	}
	return e
}

func hard(term, vote, commit uint64) *pb.HardState {
	return &pb.HardState{Term: &term, Vote: &vote, Commit: &commit}
}

// same fails unless the log holds exactly es, after first-1.
func same(t testing.TB, l *Log, first uint64, es []*pb.Entry) {
	t.Helper()
	lo, _ := l.FirstIndex()
	hi, _ := l.LastIndex()
	if lo != first || hi != first+uint64(len(es))-1 {
		t.Fatalf("the log is [%d, %d], want [%d, %d]", lo, hi, first, first+uint64(len(es))-1)
	}
	if len(es) == 0 {
		return
	}
	got, err := l.Entries(lo, hi+1, 1<<40)
	for err == nil && len(got) < len(es) { // the cache may hold but the end
		var more []*pb.Entry
		more, err = l.Entries(lo+uint64(len(got)), hi+1, 1<<40)
		got = append(got, more...)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range es {
		if !proto.Equal(got[i], es[i]) {
			t.Fatalf("entry %v, want %v", got[i], es[i])
		}
		if term, err := l.Term(es[i].GetIndex()); err != nil || term != es[i].GetTerm() {
			t.Fatalf("term of %d: %d, %v", es[i].GetIndex(), term, err)
		}
	}
}

// TestModel makes random changes, power cuts among them, and compares with a
// slice. What was synced is always there.
func TestModel(t *testing.T) {
	for range rounds(20, 2000) {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { model(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func model(t *testing.T, rng *rand.Rand) {
	fs := vfs.NewCrashableMem()
	l := open(t, fs)
	defer func() { l.Close() }()
	if err := l.Bootstrap([]byte("conf")); err != nil {
		t.Fatal(err)
	}
	first, term, incarnation := uint64(2), uint64(1), l.Incarnation()
	var es []*pb.Entry
	for range 60 {
		next := first + uint64(len(es))
		switch rng.IntN(10) {
		default: // append, perhaps over a tail of an older term
			cut := uint64(0)
			if rng.IntN(4) == 0 && len(es) > 0 {
				cut = uint64(rng.IntN(len(es) + 1))
				term++
			}
			es = es[:uint64(len(es))-cut]
			var add []*pb.Entry
			for i := range 1 + rng.IntN(5) {
				add = append(add, entry(next-cut+uint64(i), term, strings.Repeat("x", rng.IntN(200))))
			}
			if err := l.Write(Write{Entries: add, Hard: hard(term, 7, first-1), Sync: true}); err != nil {
				t.Fatal(err)
			}
			es = append(es[:len(es):len(es)], add...)
		case 0: // truncate
			if n := uint64(rng.IntN(len(es) + 1)); n > 0 {
				if err := l.TruncateTo(first + n - 1); err != nil {
					t.Fatal(err)
				}
				first, es = first+n, es[n:]
				// A crash may undo it: make it last.
				if err := l.Write(Write{Hard: hard(term, 7, first-1), Sync: true}); err != nil {
					t.Fatal(err)
				}
			}
		case 1: // an image
			term++
			first, es = next+uint64(rng.IntN(5))+1, nil
			b := &Base{Index: first - 1, Term: term, Conf: []byte("conf"), Image: []byte("img")}
			if err := l.Write(Write{Base: b, Hard: hard(term, 0, first-1), Sync: true}); err != nil {
				t.Fatal(err)
			}
		case 2: // power cut
			after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			l.Close()
			fs = after
			l = open(t, fs)
		case 3:
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = open(t, fs)
		}
		same(t, l, first, es)
		if l.HardState().GetTerm() != term {
			t.Fatalf("term %d, want %d", l.HardState().GetTerm(), term)
		}
		if l.Incarnation() < incarnation {
			t.Fatalf("incarnation %d after %d", l.Incarnation(), incarnation)
		}
		incarnation = l.Incarnation()
	}
	if _, err := l.Entries(first-1, first, 0); !errors.Is(err, raft.ErrCompacted) {
		t.Errorf("below the first: %v", err)
	}
	if _, err := l.Term(first + uint64(len(es))); !errors.Is(err, raft.ErrUnavailable) {
		t.Errorf("above the last: %v", err)
	}
}

// TestFlippedByte kills the process (what it wrote stays, nothing is closed),
// flips bytes of the files one at a time, and opens the log: either all of it is
// there, or an error says what is damaged. Never is an entry changed, missing
// or made up.
func TestFlippedByte(t *testing.T) {
	for _, flushed := range []bool{false, true} {
		t.Run(fmt.Sprintf("flushed=%v", flushed), func(t *testing.T) { flip(t, flushed) })
	}
}

func rounds(short, nightly int) int {
	if os.Getenv("O3_NIGHTLY") == "1" {
		return nightly
	}
	return short
}

func flip(t *testing.T, flushed bool) {
	fs := vfs.NewCrashableMem()
	l := open(t, fs)
	if err := l.Bootstrap([]byte("conf")); err != nil {
		t.Fatal(err)
	}
	var es []*pb.Entry
	for i := range uint64(20) {
		e := entry(2+i, 1, fmt.Sprintf("request number %d", i))
		es = append(es, e)
		if err := l.Write(Write{Entries: []*pb.Entry{e}, Hard: hard(1, 7, 1+i), Sync: true}); err != nil {
			t.Fatal(err)
		}
		if flushed && i == 9 {
			if err := l.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	defer l.Close()
	killed := func() *vfs.MemFS {
		return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	}
	fs = killed() // Pebble goes on removing files from the other one
	names, err := fs.List("a/log/pebble")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, name := range names {
		path := "a/log/pebble/" + name
		buf, err := fs.UnsafeGetFileDataBuffer(path)
		if err != nil || len(buf) == 0 {
			continue
		}
		used := len(bytes.TrimRight(buf, "\x00"))
		for at := 0; at < used; at += 1 + used/rounds(30, 5000) {
			c := killed()
			b, err := c.UnsafeGetFileDataBuffer(path)
			if err != nil {
				t.Fatal(err)
			}
			b[at] ^= 0x40
			if kind := damaged(t, c, es, fmt.Sprintf("%s at %d", name, at)); kind != errs.OK {
				found[name[strings.LastIndexByte(name, '.')+1:]+" "+kind.String()]++
			}
		}
	}
	t.Logf("%v", found)
	if found["log corrupt"] == 0 || flushed && found["sst corrupt"] == 0 {
		t.Errorf("damage of the log was never noticed: %v", found)
	}
}

// damaged opens and reads a log, and fails if it is not the one expected.
func damaged(t *testing.T, fs *vfs.MemFS, want []*pb.Entry, what string) errs.Kind {
	t.Helper()
	l, err := Open(Options{FS: fs, Dir: "a/log", NodeID: 7})
	if err != nil {
		if errs.KindOf(err) == errs.Internal && !strings.Contains(what, "OPTIONS") && !strings.Contains(what, "marker") {
			t.Logf("%s: %v", what, err)
		}
		return errs.KindOf(err)
	}
	defer l.Close()
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	if first != 2 || last != 21 {
		t.Fatalf("%s: opened as [%d, %d]", what, first, last)
	}
	for i := first; i <= last; i++ {
		es, err := l.scan(i, i+1, 1<<30)
		if err != nil {
			if errs.KindOf(err) != errs.Corrupt {
				t.Errorf("%s: %v", what, err)
			}
			return errs.KindOf(err)
		}
		if !proto.Equal(es[0], want[i-2]) {
			t.Fatalf("%s: entry %d came back as %v", what, i, es[0])
		}
	}
	return errs.OK
}

// TestDamagedEntry: bytes that are wrong before they reach Pebble's checksums.
func TestDamagedEntry(t *testing.T) {
	l := open(t, vfs.NewMem())
	defer l.Close()
	if err := l.Bootstrap(nil); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) {
		if err := l.Write(Write{Entries: []*pb.Entry{entry(2+i, 1, "data")}, Hard: hard(1, 0, 1), Sync: true}); err != nil {
			t.Fatal(err)
		}
	}
	v, c, err := l.db.Get(entryKey(3))
	if err != nil {
		t.Fatal(err)
	}
	good := append([]byte(nil), v...)
	c.Close()
	set := func(key, v []byte) {
		if err := l.db.Set(key, v, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		set(entryKey(3), bad)
		if _, err := l.scan(2, 5, 1<<20); errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), "entry 3") {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	set(entryKey(3), good)
	set(entryKey(4), good) // another entry's bytes
	if _, err := l.scan(2, 5, 1<<20); errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), "entry 4") {
		t.Fatalf("misplaced: %v", err)
	}
	b := l.db.NewBatch()
	if err := setEntry(b, entry(4, 1, "data")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Delete(entryKey(3), nil), b.Commit(pebble.Sync)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.scan(2, 5, 1<<20); errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), "entry 3") {
		t.Fatalf("missing: %v", err)
	}
}

// TestRefused: logs that must not be opened, and by which name.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, l *Log)
		kind  errs.Kind
		says  string
	}{
		{"a later format", func(t *testing.T, l *Log) {
			put(t, l, keyFormat, seal(keyFormat, binary.BigEndian.AppendUint32([]byte(magic), Version+1)))
		}, errs.FormatTooNew, "format 2"},
		{"another store", func(t *testing.T, l *Log) {
			put(t, l, keyFormat, seal(keyFormat, []byte("something else entirely")))
		}, errs.FormatUnknown, "not a raft log"},
		{"no marker", func(t *testing.T, l *Log) {
			if err := l.db.Delete([]byte(keyFormat), pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}, errs.FormatUnknown, "without the marker"},
		{"another node", func(t *testing.T, l *Log) {
			put(t, l, keyNode, seal(keyNode, appendUint64s(nil, 8)))
		}, errs.Invalid, "node 7"},
		{"a lost vote", func(t *testing.T, l *Log) {
			put(t, l, keyHard, encodeHard(hard(5, 2, 1)))
		}, errs.Corrupt, "vote"},
		{"a commit beyond the end", func(t *testing.T, l *Log) {
			put(t, l, keyHard, encodeHard(hard(5, 3, 99)))
		}, errs.Corrupt, "committed"},
		{"a lost tail", func(t *testing.T, l *Log) {
			if err := l.db.Delete(entryKey(3), pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}, errs.Corrupt, "synced"},
		{"a lost head", func(t *testing.T, l *Log) {
			if err := l.db.Delete(entryKey(2), pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}, errs.Corrupt, "entry 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			l := open(t, fs)
			if err := l.Bootstrap([]byte("conf")); err != nil {
				t.Fatal(err)
			}
			w := Write{Entries: []*pb.Entry{entry(2, 5, "a"), entry(3, 5, "b")}, Hard: hard(5, 3, 2), Sync: true}
			if err := l.Write(w); err != nil {
				t.Fatal(err)
			}
			c.spoil(t, l)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			_, err := Open(Options{FS: fs, Dir: "a/log", NodeID: 7})
			if errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func put(t *testing.T, l *Log, key string, value []byte) {
	t.Helper()
	if err := l.db.Set([]byte(key), value, pebble.Sync); err != nil {
		t.Fatal(err)
	}
}

// TestMisuse: writes that would break the log are refused, and after one the
// log takes no more.
func TestMisuse(t *testing.T) {
	for name, w := range map[string]Write{
		"gap":       {Entries: []*pb.Entry{entry(4, 1, "")}, Sync: true},
		"too early": {Entries: []*pb.Entry{entry(1, 1, "")}, Sync: true},
		"disorder":  {Entries: []*pb.Entry{entry(2, 1, ""), entry(4, 1, "")}, Sync: true},
	} {
		l := open(t, vfs.NewMem())
		if err := l.Bootstrap(nil); err != nil {
			t.Fatal(err)
		}
		if err := l.Write(w); errs.KindOf(err) != errs.Internal {
			t.Errorf("%s: %v", name, err)
		}
		if err := l.Write(Write{Entries: []*pb.Entry{entry(2, 1, "")}, Sync: true}); err == nil {
			t.Errorf("%s: written after a failure", name)
		}
		if err := l.Bootstrap(nil); errs.KindOf(err) != errs.Invalid {
			t.Errorf("bootstrapped twice: %v", err)
		}
		l.Close()
	}
}

// TestSizes: the estimate follows appends, overwrites and truncation.
func TestSizes(t *testing.T) {
	l := open(t, vfs.NewMem())
	defer l.Close()
	if err := l.Bootstrap(nil); err != nil {
		t.Fatal(err)
	}
	data := strings.Repeat("x", 100<<10)
	for i := range uint64(100) {
		if err := l.Write(Write{Entries: []*pb.Entry{entry(2+i, 1, data)}, Hard: hard(1, 0, 1), Sync: true}); err != nil {
			t.Fatal(err)
		}
	}
	near := func(what string, got, want int64) {
		if got < want-2<<20 || got > want+2<<20 {
			t.Errorf("%s: %d bytes, want about %d", what, got, want)
		}
	}
	near("all", l.BytesAfter(1), 100*int64(len(data)))
	near("half", l.BytesAfter(51), 50*int64(len(data)))
	if err := l.TruncateTo(51); err != nil {
		t.Fatal(err)
	}
	near("after truncation", l.BytesAfter(51), 50*int64(len(data)))
}
