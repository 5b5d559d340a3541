package container

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/block"
	"o3/internal/errs"
)

// fill stores n blocks and returns what is in them.
func fill(t testing.TB, s *Store, n int) map[block.ID][]byte {
	t.Helper()
	out := map[block.ID][]byte{}
	for i := range n {
		data := content(uint64(i)*0x9e3779b97f4a7c15 + uint64(i%5))
		info, err := s.Put(t.Context(), bytes.NewReader(data), -1)
		if err != nil {
			t.Fatal(err)
		}
		out[info.ID] = data
	}
	return out
}

// killed is the disk as a killed process leaves it: nothing is lost.
func killed(fs *vfs.MemFS) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
}

func flip(t testing.TB, fs vfs.FS, name string, at int64) {
	t.Helper()
	f, err := fs.OpenReadWrite("/d/blocks/"+name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (at % 8)
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

func fileSize(t testing.TB, fs vfs.FS, name string) int64 {
	t.Helper()
	st, err := fs.Stat("/d/blocks/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}

// used reports whether the byte of a sealed container means anything.
func used(at int64) bool {
	for _, from := range []int64{0, headCopyAt, sealAt, sealCopyAt} {
		if at >= from && at < from+fileHeadSize {
			return true
		}
	}
	return at >= headSize
}

// served reads every block: right, or kind Corrupt, never anything else.
func served(s *Store, want map[block.ID][]byte) (corrupt []block.ID, err error) {
	for id, data := range want {
		got, err := readAll(s, block.Ref{ID: id, Length: int64(len(data))})
		switch {
		case errs.KindOf(err) == errs.Corrupt:
			d, ok := errors.AsType[Damage](err)
			if !ok || d.ID.Container != id.Container || d.File == "" {
				return nil, fmt.Errorf("error names no place: %v", err)
			}
			corrupt = append(corrupt, id)
		case err != nil:
			return nil, fmt.Errorf("block %v: %w", id, err)
		case !bytes.Equal(got, data):
			return nil, fmt.Errorf("block %v: wrong bytes were served", id)
		}
	}
	return corrupt, nil
}

// stride keeps the tests of every byte short without the nightly flag.
func stride(r *rand.Rand) int64 { return 1 + r.Int64N(60) }

// TestFlippedByteSealed flips bytes of a sealed container, one at a time: each
// is found by Verify, named by its place, and never served.
func TestFlippedByteSealed(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, tiny(fs))
	want := fill(t, s, 12)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	parts := map[Part]int{}
	for id := range containers(want) {
		name := containerName(id, 1)
		for at := int64(0); at < fileSize(t, fs, name); at += stride(r) {
			if !used(at) {
				continue
			}
			broken := killed(fs)
			flip(t, broken, name, at)
			hit := false
			_, err := Verify(t.Context(), tiny(broken), func(d Damage) error {
				hit = hit || d.File == name && d.Offset <= at && at < d.Offset+d.Length
				parts[d.Part]++
				return nil
			})
			if err != nil || !hit {
				t.Fatalf("byte %d of %s: not reported, %v", at, name, err)
			}
			s := open(t, tiny(broken))
			corrupt, err := served(s, want)
			if err != nil {
				t.Fatalf("byte %d of %s: %v", at, name, err)
			}
			if at >= headSize && len(corrupt) > 1 {
				t.Fatalf("byte %d of %s took %d blocks", at, name, len(corrupt))
			}
			if at < headSize && len(corrupt) > 0 {
				t.Fatalf("byte %d of %s: there is a copy of the header", at, name)
			}
			s.Close()
		}
	}
	for _, p := range []Part{FileHeader, Seal, Index, BlockHeader, BlockData, BlockTrailer} {
		if parts[p] == 0 {
			t.Errorf("no damage of the %s was met", p)
		}
	}
}

func containers(blocks map[block.ID][]byte) map[uint64]bool {
	out := map[uint64]bool{}
	for id := range blocks {
		out[id.Container] = true
	}
	return out
}

// TestFlippedByteUnsealed does the same to containers of a killed process,
// which have no index yet.
func TestFlippedByteUnsealed(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, tiny(fs))
	want := fill(t, s, 8)
	s.markSmall() // Run does it every second
	dead := killed(fs)
	r := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for id := range containers(want) {
		name := containerName(id, 1)
		for at := int64(headSize); at < fileSize(t, dead, name); at += stride(r) {
			broken := killed(dead)
			flip(t, broken, name, at)
			var told []Damage
			o := tiny(broken)
			o.Listener.Damaged = func(d Damage) { told = append(told, d) }
			s := open(t, o)
			corrupt, err := served(s, want)
			if err != nil {
				t.Fatalf("byte %d of %s: %v (%v)", at, name, err, told)
			}
			if len(corrupt) == 1 && len(told) == 0 {
				t.Fatalf("byte %d of %s: the listener heard nothing", at, name)
			}
			if s, err := s.Scrub(t.Context()); err != nil || s.Damages == 0 && len(told) == 0 {
				t.Fatalf("byte %d of %s: scrub found nothing: %v", at, name, err)
			}
			s.Close()
		}
	}
}

// TestFlippedByteRunning damages a container while the store has it open.
func TestFlippedByteRunning(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, tiny(fs))
	want := fill(t, s, 6)
	for id, data := range want {
		v, e, err := s.find(s.box(id.Container), uint32(id.Local))
		if err != nil {
			t.Fatal(err)
		}
		s.handles.release(v.handle)
		at := e.offset + recordHead + int64(len(data))/2
		flip(t, fs, v.place.name, at)
		_, err = readAll(s, block.Ref{ID: id, Length: int64(len(data))})
		if errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), v.place.name) {
			t.Fatalf("block %v: %v", id, err)
		}
		flip(t, fs, v.place.name, at)
	}
	if corrupt, err := served(s, want); err != nil || len(corrupt) != 0 {
		t.Fatalf("repaired, but %v, %v", corrupt, err)
	}
}

// TestHeaderLost loses the whole header page: the store opens, the rest is
// served, the container's blocks are Corrupt, List says that it is not whole,
// and the blocks can be deleted.
func TestHeaderLost(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, tiny(fs))
	want := fill(t, s, 12)
	s.Close()
	var victim uint64
	for id := range containers(want) {
		victim = max(victim, id)
	}
	flip(t, fs, containerName(victim, 1), 5)
	flip(t, fs, containerName(victim, 1), headCopyAt+5)
	s = open(t, tiny(fs))
	corrupt, err := served(s, want)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for id := range want {
		if id.Container == victim {
			n++
		}
	}
	if len(corrupt) != n || s.Stats().Broken != 1 {
		t.Fatalf("%d blocks of %d are corrupt, %d containers broken", len(corrupt), n, s.Stats().Broken)
	}
	listed := 0
	err = s.List(t.Context(), func(block.Info) error { listed++; return nil })
	if errs.KindOf(err) != errs.Corrupt || listed != len(want)-n {
		t.Fatalf("listed %d, %v", listed, err)
	}
	if err := s.Delete(t.Context(), corrupt); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), block.Ref{ID: corrupt[0]}); errs.KindOf(err) != errs.NoSuchKey {
		t.Fatalf("deleted: %v", err)
	}
}

// TestDamagedIndexHeals: blocks are found without the index, and the container
// is rewritten with a new one.
func TestDamagedIndexHeals(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, tiny(fs))
	want := fill(t, s, 12)
	s.Close()
	for id := range containers(want) {
		flip(t, fs, containerName(id, 1), fileSize(t, fs, containerName(id, 1))-1)
	}
	s = open(t, tiny(fs))
	if corrupt, err := served(s, want); err != nil || len(corrupt) != 0 {
		t.Fatalf("%v, %v", corrupt, err)
	}
	if r, err := s.Reclaim(t.Context()); err != nil || r.Rewritten != len(containers(want)) {
		t.Fatalf("%+v, %v", r, err)
	}
	s.Close()
	clean(t, fs)
	s = open(t, tiny(fs))
	if corrupt, err := served(s, want); err != nil || len(corrupt) != 0 {
		t.Fatalf("%v, %v", corrupt, err)
	}
}

// clean fails where Verify finds anything.
func clean(t testing.TB, fs vfs.FS) {
	t.Helper()
	if _, err := Verify(t.Context(), tiny(fs), func(d Damage) error { return d }); err != nil {
		t.Fatal(err)
	}
}

// TestDamageIsNotThrownAway: a container with a damaged live block is not
// rewritten, until the block is deleted.
func TestDamageIsNotThrownAway(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, tiny(fs))
	var ids []block.ID
	for i := range 8 {
		info, err := s.Put(t.Context(), bytes.NewReader(make([]byte, 900+i)), -1)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, info.ID)
	}
	s.Close()
	name := containerName(ids[0].Container, 1)
	flip(t, fs, name, headSize+recordHead+10)
	s = open(t, tiny(fs))
	if err := s.Delete(t.Context(), ids[2:]); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r, err := s.Reclaim(t.Context()); err != nil || r.Rewritten+r.Removed != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if err := s.Delete(t.Context(), ids[:1]); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Reclaim(t.Context()); err != nil || r.Rewritten != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := readAll(s, block.Ref{ID: ids[1], Length: 901}); err != nil {
		t.Fatal(err)
	}
}

// TestFlippedByteDeleteLog: damage is reported, and what it cannot say comes
// back as blocks that nobody names; deletes behind it stay deleted.
func TestFlippedByteDeleteLog(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := tiny(fs)
	o.logGrowth = 1 << 20
	s := open(t, o)
	want := fill(t, s, 10)
	var ids []block.ID
	for id := range want {
		ids = append(ids, id)
		if err := s.Delete(t.Context(), []block.ID{id}); err != nil {
			t.Fatal(err)
		}
	}
	dead := killed(fs)
	size := fileSize(t, dead, deletesName(1))
	last := size - frameHead - tombSize
	for at := int64(0); at < last; at += 13 {
		broken := killed(dead)
		flip(t, broken, deletesName(1), at)
		var told []Damage
		o := tiny(broken)
		o.Listener.Damaged = func(d Damage) { told = append(told, d) }
		s := open(t, o)
		back := s.Stats().LiveBlocks
		header := at < logHead
		switch {
		case header && (len(told) != 0 || back != 0): // there is a copy
			t.Fatalf("byte %d: %v, %d blocks are back", at, told, back)
		case !header && (len(told) != 1 || told[0].Part != DeleteLog || back != 1):
			t.Fatalf("byte %d: %v, %d blocks are back", at, told, back)
		}
		if _, err := readAll(s, block.Ref{ID: ids[len(ids)-1]}); errs.KindOf(err) != errs.NoSuchKey {
			t.Fatalf("byte %d: the last delete is gone: %v", at, err)
		}
		s.Close()
	}
}

// TestTruncated cuts the end off a sealed container.
func TestTruncated(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, Reserve: -1, ReclaimRate: -1}
	s := open(t, o)
	info, err := s.Put(t.Context(), bytes.NewReader(make([]byte, 300_000)), -1)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	f, err := vfs.Default.OpenReadWrite(dir+"/"+containerName(info.ID.Container, 1), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	cut(f, 200_000)
	f.Close()
	found := 0
	if _, err := Verify(t.Context(), o, func(Damage) error { found++; return nil }); err != nil || found == 0 {
		t.Fatalf("%d damages, %v", found, err)
	}
	s = open(t, o)
	_, err = readAll(s, block.Ref{ID: info.ID, Length: info.Length})
	if errs.KindOf(err) != errs.Corrupt {
		t.Fatal(err)
	}
}

// TestNewerFormats are refused by name.
func TestNewerFormats(t *testing.T) {
	for _, file := range []string{containerName(3<<48|1, 1), deletesName(2), scrubName} {
		fs := vfs.NewCrashableMem()
		s := open(t, tiny(fs))
		fill(t, s, 3)
		if _, err := s.Scrub(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Close()
		open(t, tiny(fs)).Close() // so that the log is deletes-2
		f, err := fs.OpenReadWrite("/d/blocks/"+file, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 64)
		if _, err := f.ReadAt(head, 0); err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint32(head[8:], Version+1)
		if file != scrubName {
			binary.LittleEndian.PutUint32(head[60:], crc(head[:60]))
		}
		if _, err := f.WriteAt(head, 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
		_, err = Open(tiny(fs))
		if errs.KindOf(err) != errs.FormatTooNew || !strings.Contains(err.Error(), file) {
			t.Fatalf("%s: %v", file, err)
		}
	}
}

// TestDamagesAreDistinct: a damaged range is one, however often reads, scrubs
// and restarts meet it, until nobody misses it or a whole scrub does not meet it.
func TestDamagesAreDistinct(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, tiny(fs))
	data := content(3)
	var ids []block.ID
	for range 3 {
		info, err := s.Put(t.Context(), bytes.NewReader(data), -1)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, info.ID)
	}
	name := containerName(ids[0].Container, 1)
	want := map[block.ID][]byte{ids[0]: data, ids[1]: data, ids[2]: data}
	s.Close()
	flip(t, fs, name, headSize+recordHead+3)

	s = open(t, tiny(fs))
	scrub := func() ScrubReport {
		r, err := s.Scrub(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	check := func(when string, n int) {
		t.Helper()
		if got := s.Damages(); len(got) != n {
			t.Errorf("%s: %d damaged ranges, want %d: %v", when, len(got), n, got)
		}
	}
	for range 2 {
		if corrupt, err := served(s, want); err != nil || len(corrupt) != 1 {
			t.Fatalf("%v, %v", corrupt, err)
		}
	}
	check("after two reads", 1)
	for range 2 {
		if r := scrub(); r.Damages != 1 {
			t.Errorf("the scrub counts %d", r.Damages)
		}
		check("after a scrub", 1)
	}
	s.Close()
	s = open(t, tiny(fs))
	check("after a restart", 1)
	if _, err := served(s, want); err != nil {
		t.Fatal(err)
	}
	check("after a restart and a read", 1)
	s.Close()
	flip(t, fs, name, headSize+recordHead+3) // as it was
	s = open(t, tiny(fs))
	check("healed, and no scrub yet", 1)
	if scrub(); len(s.Damages()) != 0 {
		t.Errorf("a whole scrub met nothing, but there are %v", s.Damages())
	}
	s.Close()
	flip(t, fs, name, headSize+recordHead+3)
	s = open(t, tiny(fs))
	scrub()
	check("damaged again", 1)
	if err := s.Delete(t.Context(), ids[:1]); err != nil {
		t.Fatal(err)
	}
	check("the block is deleted", 0)
}
