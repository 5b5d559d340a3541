package container

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/block"
	"o3/internal/block/blocktest"
	"o3/internal/errs"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// TestFormats: a directory of every format ever released is opened by this
// program. The fixtures never change; see docs/formats/README.md.
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
			x := fixture{dir: filepath.Join(formatsDir, d.Name())}
			x.read(t)
			t.Run("Open", x.open)
			t.Run("Newer", x.newer)
			t.Run("Garbled", x.garbled)
			if d.Name() == fmt.Sprintf("v%d", Version) {
				t.Run("Bytes", x.bytes)
			}
		})
	}
}

// fixture is a directory blocks, as a killed process left it, and a file
// blocks.txt that says what is in it.
type fixture struct {
	dir    string
	blocks []fixtureBlock
	next   uint64 // the id of the container that comes next
	scrub  ScrubReport
}

type fixtureBlock struct {
	id     block.ID
	length int
	sum    string // SHA-256 of its bytes
	dead   bool
}

func sumOf(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// fixtureOptions make a few kilobytes fill containers.
func fixtureOptions(fs vfs.FS, dir string) Options {
	return Options{FS: fs, Dir: dir, Node: 3, ContainerSize: 6 << 10, SmallSize: 1 << 10, chunk: 512,
		Streams: 2, Reserve: -1, ReclaimRate: -1, ScrubRate: -1}
}

// read reads blocks.txt: "block CONTAINER LOCAL LENGTH SHA256 live|dead", "next
// CONTAINER", "scrub STARTED FINISHED POSITION CONTAINERS BLOCKS BYTES".
func (x *fixture) read(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(x.dir, "blocks.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var b fixtureBlock
		var state, started, finished string
		r := &x.scrub
		switch what, rest, _ := strings.Cut(strings.TrimSpace(line), " "); what {
		case "block":
			_, err = fmt.Sscan(rest, &b.id.Container, &b.id.Local, &b.length, &b.sum, &state)
			b.dead = state == "dead"
			x.blocks = append(x.blocks, b)
		case "next":
			_, err = fmt.Sscan(rest, &x.next)
		case "scrub":
			if _, err = fmt.Sscan(rest, &started, &finished, &r.Position, &r.Containers, &r.Blocks, &r.Bytes); err == nil {
				err = errors.Join(r.Started.UnmarshalText([]byte(started)), r.Finished.UnmarshalText([]byte(finished)))
			}
		default:
			err = fmt.Errorf("%q", line)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(x.blocks) == 0 || x.next == 0 || x.scrub.Finished.IsZero() {
		t.Fatal("the fixture lacks a part")
	}
}

// copy returns the options of a copy of the directory, production's otherwise.
func (x *fixture) copy(t *testing.T) Options {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "blocks")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(x.dir, "blocks"))); err != nil {
		t.Fatal(err)
	}
	return Options{Dir: dir, Node: 3, Reserve: -1, ScrubInterval: -1}
}

// check compares what s serves with what was put in.
func (x *fixture) check(t *testing.T, s *Store) {
	t.Helper()
	want := map[block.ID]int{}
	for _, b := range x.blocks {
		got, err := readAll(s, block.Ref{ID: b.id, Length: int64(b.length)})
		switch {
		case b.dead && errs.KindOf(err) != errs.NoSuchKey:
			t.Errorf("block %v was deleted: %v", b.id, err)
		case !b.dead && (err != nil || sumOf(got) != b.sum):
			t.Errorf("block %v: %d bytes that differ from what was put in, %v", b.id, len(got), err)
		}
		if !b.dead {
			want[b.id] = b.length
		}
	}
	err := s.List(t.Context(), func(i block.Info) error {
		if n, ok := want[i.ID]; !ok || int64(n) != i.Length || i.Created.IsZero() {
			t.Errorf("listed: %+v, want a block of %d bytes (%v)", i, n, ok)
		}
		delete(want, i.ID)
		return nil
	})
	if err != nil || len(want) != 0 {
		t.Errorf("not listed: %v, %v", want, err)
	}
}

func mustVerify(t *testing.T, o Options) {
	t.Helper()
	if v, err := Verify(t.Context(), o, func(d Damage) error { return d }); err != nil || v.Blocks == 0 {
		t.Fatalf("%+v, %v", v, err)
	}
}

// open reads everything, goes on writing, rewrites, and reads everything again.
func (x *fixture) open(t *testing.T) {
	o := x.copy(t)
	o.Listener.Damaged = func(d Damage) { t.Error(d) }
	mustVerify(t, o)
	s := open(t, o)
	x.check(t, s)
	if got := s.ScrubStatus(); !got.Started.Equal(x.scrub.Started) || !got.Finished.Equal(x.scrub.Finished) ||
		got.Position != x.scrub.Position || got.Containers != x.scrub.Containers || got.Blocks != x.scrub.Blocks || got.Bytes != x.scrub.Bytes {
		t.Errorf("the report of the scrub is %+v, was %+v", got, x.scrub)
	}
	data := blocktest.Data(99, 3*defaultChunk)
	info, err := s.Put(t.Context(), bytes.NewReader(data), -1)
	if err != nil || info.ID.Container != x.next {
		t.Fatalf("the next block is %v, want it in container %d: a number may be given twice; %v", info.ID, x.next, err)
	}
	y := *x
	y.blocks = append(slices.Clone(x.blocks), fixtureBlock{id: info.ID, length: len(data), sum: sumOf(data)})
	for i, b := range y.blocks { // leave each third live
		if !b.dead && i%3 != 0 {
			if err := s.Delete(t.Context(), []block.ID{b.id}); err != nil {
				t.Fatal(err)
			}
			y.blocks[i].dead = true
		}
	}
	if r, err := s.Reclaim(t.Context()); err != nil || r.Rewritten == 0 || r.Failed > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	y.check(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, o)
	s = open(t, o)
	y.check(t, s)
}

// files returns the names in the fixture that begin with prefix.
func (x *fixture) files(t *testing.T, prefix string) (out []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(x.dir, "blocks", prefix+"*"))
	if err != nil || len(found) == 0 {
		t.Fatal(prefix, err)
	}
	for _, f := range found {
		out = append(out, filepath.Base(f))
	}
	return out
}

// edit changes a file of a copy of the directory.
func edit(t *testing.T, o Options, name string, f func(b []byte)) {
	t.Helper()
	path := filepath.Join(o.Dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f(b)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// heads are the places of a file's header and its copy.
func heads(name string) []int {
	if strings.HasPrefix(name, "c-") {
		return []int{0, headCopyAt}
	}
	return []int{0, logHead / 2}
}

// newer: a file of a later version is refused by name, and nothing is changed.
func (x *fixture) newer(t *testing.T) {
	for _, name := range slices.Concat(x.files(t, "c-"), x.files(t, "deletes-"), x.files(t, scrubName)) {
		o := x.copy(t)
		edit(t, o, name, func(b []byte) {
			if name == scrubName {
				le.PutUint32(b[8:], Version+1)
				return
			}
			for _, at := range heads(name) {
				le.PutUint32(b[at+8:], Version+1)
				le.PutUint32(b[at+60:], crc(b[at:at+60]))
			}
		})
		_, err := Open(o)
		if errs.KindOf(err) != errs.FormatTooNew || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// garbled: without its magic a container is damage, and its blocks are Corrupt;
// a delete log is damage; a scrub begins anew.
func (x *fixture) garbled(t *testing.T) {
	for _, name := range slices.Concat(x.files(t, "c-"), x.files(t, "deletes-"), x.files(t, scrubName)) {
		o := x.copy(t)
		var found []Damage
		o.Listener.Damaged = func(d Damage) { found = append(found, d) }
		edit(t, o, name, func(b []byte) {
			b[0] ^= 1
			if name != scrubName {
				b[heads(name)[1]] ^= 1
			}
		})
		s := open(t, o)
		switch {
		case name == scrubName:
			if !s.ScrubStatus().Started.IsZero() || len(found) > 0 {
				t.Errorf("scrub: %+v, %v", s.ScrubStatus(), found)
			}
		case len(found) == 0 || found[0].File != name:
			t.Errorf("%s: nobody was told of the damage: %v", name, found)
		case strings.HasPrefix(name, "c-"):
			for _, b := range x.blocks {
				mine := strings.HasPrefix(name, fmt.Sprintf("c-%016x.", b.id.Container))
				_, err := readAll(s, block.Ref{ID: b.id, Length: int64(b.length)})
				if mine && !b.dead && errs.KindOf(err) != errs.Corrupt || !mine && !b.dead && err != nil {
					t.Errorf("%s: block %v: %v", name, b.id, err)
				}
			}
		case found[0].Part != DeleteLog:
			t.Errorf("%s: %v", name, found)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// bytes: this program writes what it reads, byte for byte: each file is made
// anew of what can be read in it.
func (x *fixture) bytes(t *testing.T) {
	seals, logs := map[bool]int{}, map[uint32]int{}
	marks, generations := 0, map[uint32]int{}
	for _, name := range slices.Concat(x.files(t, "c-"), x.files(t, "deletes-"), x.files(t, scrubName)) {
		raw, err := os.ReadFile(filepath.Join(x.dir, "blocks", name))
		if err != nil {
			t.Fatal(err)
		}
		var again []byte
		switch {
		case strings.HasPrefix(name, "c-"):
			var is rebuilt
			again, is = rebuild(t, name, raw)
			seals[is.sealed]++
			generations[is.gen]++
			if is.marked {
				marks++
			}
		case name == scrubName:
			continue // by scrubBytes
		default:
			again = rebuildLog(t, name, raw, logs)
		}
		if !bytes.Equal(again, raw) {
			t.Errorf("%s: this program would write other bytes: stores of released versions would be read wrongly.\n"+
				"Undo the change, or make a new format (docs/formats/README.md).", name)
		}
	}
	if seals[true] == 0 || seals[false] == 0 || logs[frameTombs] == 0 || logs[frameSnapshot] == 0 || marks == 0 || generations[2] == 0 {
		t.Errorf("the fixture lacks a part: sealed or not %v, frames %v, marks %d, generations %v", seals, logs, marks, generations)
	}
	x.scrubBytes(t)
}

// scrubBytes has the report of the fixture written anew.
func (x *fixture) scrubBytes(t *testing.T) {
	want, err := os.ReadFile(filepath.Join(x.dir, "blocks", scrubName))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, fixtureOptions(vfs.NewMem(), "blocks"))
	s.scrub.report = x.scrub
	s.scrub.report.Damaged = nil
	if err := s.saveScrub(); err != nil {
		t.Fatal(err)
	}
	f, err := s.o.FS.Open(s.path(scrubName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(want)+1)
	n, _ := f.ReadAt(got, 0)
	if !bytes.Equal(got[:n], want) {
		t.Errorf("scrub: got\n%q, want\n%q", got[:n], want)
	}
}

type rebuilt struct {
	sealed, marked bool
	gen            uint32
}

// rebuild encodes what it decodes of a container file.
func rebuild(t *testing.T, name string, raw []byte) (out []byte, is rebuilt) {
	t.Helper()
	h, err := decodeFileHead(name, raw[:fileHeadSize])
	if err != nil {
		t.Fatal(name, err)
	}
	is.gen = h.gen
	out = headPage(h)
	if at := decodeMark(h.salt, raw[markAt:markAt+markSize]); at != headSize {
		copy(out[markAt:], encodeMark(h.salt, at))
		is.marked = true
	}
	end := int64(len(raw))
	sl, err := decodeSeal(h.salt, raw[sealAt:sealAt+sealSize])
	if is.sealed = err == nil; is.sealed {
		end = sl.tail
	}
	var entries []entry
	sh := shape{int64(h.chunk)}
	for at := int64(headSize); at < end; at = int64(len(out)) {
		m, err := decodeRecordHead(raw[at:], h.salt, at)
		if err != nil || m.container != h.container {
			t.Fatal(name, at, m, err)
		}
		data := raw[at+recordHead:][:m.length]
		head := make([]byte, recordHead)
		m.encode(head, h.salt, at)
		out = append(append(out, head...), data...)
		out = sh.appendTail(out, h.salt, m.local, m.length, sh.appendSums(nil, data))
		entries = append(entries, entry{uint32(m.local), uint32(m.length), at, m.created})
	}
	if is.sealed {
		again := seal{tail: end, sealed: sl.sealed}
		out = append(out, encodeIndex(&again, h.salt, entries, end)...)
		copy(out[sealAt:], again.encode(h.salt))
		copy(out[sealCopyAt:], again.encode(h.salt))
	}
	return out, is
}

// rebuildLog encodes what it decodes of a delete log, and counts the frames.
func rebuildLog(t *testing.T, name string, raw []byte, frames map[uint32]int) []byte {
	t.Helper()
	salt, err := decodeLogHeader(name, raw)
	if err != nil {
		t.Fatal(name, err)
	}
	out := logHeader(salt)
	for at := int64(logHead); at < int64(len(raw)); at = int64(len(out)) {
		kind, p, durable, ok := decodeFrame(raw, salt, at)
		if !ok {
			t.Fatal(name, at)
		}
		frames[kind]++
		var payload []byte
		switch kind {
		case frameSnapshot:
			b := &box{id: le.Uint64(p), gen: le.Uint32(p[8:])}
			b.applySnapshot(p)
			payload = appendSnapshot(nil, b)
		case frameTombs:
			for ; len(p) >= tombSize; p = p[tombSize:] {
				payload = appendTomb(payload, decodeTomb(p))
			}
		}
		out = appendFrame(out, salt, kind, payload, at, durable)
	}
	return out
}

// writeFormat writes the fixtures of the newest format into a new directory.
func writeFormat(t *testing.T, dir string) {
	t.Helper()
	fs := vfs.NewMem()
	x := fixture{dir: dir}
	s := open(t, fixtureOptions(fs, "blocks"))
	x.put(t, s, 0, 1, 511, 512, 513, 1000, 3000, 700, 900, 800, 650, 600)
	x.drop(t, s, 3, 4, 5, 7, 9)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, fixtureOptions(fs, "blocks"))
	if r, err := s.Reclaim(t.Context()); err != nil || r.Rewritten == 0 {
		t.Fatal(r, err)
	}
	var err error
	if x.scrub, err = s.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.drop(t, s, 8)
	if err := s.Close(); err != nil { // its delete is in the snapshot of the next delete log
		t.Fatal(err)
	}
	s = open(t, fixtureOptions(fs, "blocks"))
	x.put(t, s, 10, 200, 600)
	s.current.mark()
	x.put(t, s, 20)
	x.drop(t, s, 1, 13) // of a sealed container and of the open one
	x.next = 3<<48 | s.seq.limit

	var text strings.Builder
	for _, b := range x.blocks {
		fmt.Fprintf(&text, "block %d %d %d %s %s\n", b.id.Container, b.id.Local, b.length, b.sum, map[bool]string{true: "dead", false: "live"}[b.dead])
	}
	r := x.scrub
	fmt.Fprintf(&text, "next %d\nscrub %s %s %d %d %d %d\n", x.next, r.Started.Format(time.RFC3339Nano), r.Finished.Format(time.RFC3339Nano),
		r.Position, r.Containers, r.Blocks, r.Bytes)
	if err := errors.Join(os.Mkdir(dir, 0o755), // fails when it is there
		os.WriteFile(filepath.Join(dir, "blocks.txt"), []byte(text.String()), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Clone(fs, vfs.Default, "blocks", filepath.Join(dir, "blocks")); err != nil { // as if it were killed now
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "blocks", lockName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// put stores blocks of these lengths.
func (x *fixture) put(t *testing.T, s *Store, lengths ...int) {
	t.Helper()
	for _, n := range lengths {
		data := blocktest.Data(uint64(len(x.blocks)+1), n)
		info, err := s.Put(t.Context(), bytes.NewReader(data), -1)
		if err != nil {
			t.Fatal(err)
		}
		x.blocks = append(x.blocks, fixtureBlock{id: info.ID, length: n, sum: sumOf(data)})
	}
}

// drop deletes the blocks at these places of the list.
func (x *fixture) drop(t *testing.T, s *Store, at ...int) {
	t.Helper()
	for _, i := range at {
		x.blocks[i].dead = true
		if err := s.Delete(t.Context(), []block.ID{x.blocks[i].id}); err != nil {
			t.Fatal(err)
		}
	}
}
