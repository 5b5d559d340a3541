package container

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/block"
	"o3/internal/block/blocktest"
	"o3/internal/errs"
)

// TestRewriteKeepsIDs: a container that is mostly dead is rewritten; its
// blocks keep their ids, readers of the old file stay good, and the space is free.
func TestRewriteKeepsIDs(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, tiny(fs))
	want := fill(t, s, 60)
	var dead []block.ID
	var readers []io.ReadCloser
	var read [][]byte
	r := rand.New(rand.NewPCG(1, 1))
	for id, data := range want {
		if r.IntN(4) == 0 {
			continue
		}
		rd, err := s.Get(t.Context(), block.Ref{ID: id, Length: int64(len(data))})
		if err != nil {
			t.Fatal(err)
		}
		readers, read = append(readers, rd), append(read, data)
		dead = append(dead, id)
		delete(want, id)
	}
	if err := s.Delete(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	before := s.Stats()
	if before.DeadBlocks != int64(len(dead)) || before.LiveBlocks != int64(len(want)) {
		t.Fatalf("%+v", before)
	}
	got, err := s.Reclaim(t.Context())
	if err != nil || got.Rewritten == 0 || got.Failed > 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	after := s.Stats()
	if after.DiskBytes >= before.DiskBytes || after.LiveBlocks != before.LiveBlocks || after.LiveBytes != before.LiveBytes ||
		after.DeadBlocks >= before.DeadBlocks {
		t.Fatalf("before %+v\nafter  %+v", before, after)
	}
	for i, rd := range readers {
		b, err := io.ReadAll(rd)
		if err != nil || !bytes.Equal(b, read[i]) {
			t.Fatalf("a reader from before: %v", err)
		}
		rd.Close()
	}
	for range 2 {
		if corrupt, err := served(s, want); err != nil || len(corrupt) > 0 {
			t.Fatalf("%v, %v", corrupt, err)
		}
		if st := s.Stats(); st.LiveBlocks != after.LiveBlocks || st.DeadBlocks != after.DeadBlocks || st.LiveBytes != after.LiveBytes {
			t.Fatalf("%+v, want %+v", st, after)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		clean(t, fs)
		s = open(t, tiny(fs))
	}
	all := make([]block.ID, 0, len(want))
	for id := range want {
		all = append(all, id)
	}
	if err := s.Delete(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reclaim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Containers != 0 || st.DiskBytes != 0 || st.DeadBlocks != 0 {
		t.Fatalf("%+v", st)
	}
}

// TestRewriteCutAnywhere cuts the power at every operation of a rewriting in
// which blocks are deleted meanwhile, with all, some and none of what was not
// synced.
func TestRewriteCutAnywhere(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	prepare := func() (*vfs.MemFS, *history) {
		fs, h := vfs.NewCrashableMem(), newHistory()
		s := open(t, tiny(fs))
		var first uint64
		var dead []block.ID
		for i := range 40 {
			seed := r.Uint64()
			info, err := s.Put(t.Context(), bytes.NewReader(content(seed)), -1)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = info.ID.Container
			}
			if info.ID.Container == first || i%5 > 0 {
				dead = append(dead, info.ID) // one container wholly, the others mostly
				continue
			}
			h.acked[info.ID] = seed
		}
		if err := s.Delete(t.Context(), dead); err != nil {
			t.Fatal(err)
		}
		for _, id := range dead {
			h.acked[id], h.deleting[id], h.deleted[id] = 0, true, true
		}
		s.Close()
		return fs, h
	}
	for n := int64(1); ; n++ {
		fs, h := prepare()
		c := &cutter{fs: fs, h: h, percent: int(n%3) * 50, rng: rand.New(rand.NewPCG(uint64(n), 0))}
		var s *Store
		deleted := n%2 == 0
		inject := func(o errorfs.Op) error {
			if s != nil && !deleted && o.Kind == errorfs.OpFileWriteAt && strings.HasSuffix(o.Path, tmpSuffix) {
				deleted = true // while the copy is written
				if err := h.delete(s, r); err != nil {
					t.Error(err)
				}
			}
			return c.op(o)
		}
		s = open(t, tiny(errorfs.Wrap(fs, errorfs.InjectorFunc(inject))))
		c.left.Store(n)
		got, err := s.Reclaim(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done := c.after == nil
		if done {
			c.cut()
		}
		if err := inspect(c.after, c.before, h.deleting); err != nil {
			t.Fatalf("cut at operation %d: %v", n, err)
		}
		s.Close()
		if done {
			if got.Rewritten == 0 || got.Removed == 0 {
				t.Fatalf("%+v", got)
			}
			return
		}
	}
}

// TestDeleteDuringRewrite deletes copied blocks before the new file counts.
func TestDeleteDuringRewrite(t *testing.T) {
	fs := vfs.NewCrashableMem()
	var s *Store
	var victims []block.ID
	inject := func(o errorfs.Op) error {
		if s != nil && o.Kind == errorfs.OpFileSyncData && len(victims) > 0 && strings.HasSuffix(o.Path, tmpSuffix) {
			ids := victims
			victims = nil
			if err := s.Delete(context.Background(), ids); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	s = open(t, tiny(errorfs.Wrap(fs, errorfs.InjectorFunc(inject))))
	var ids []block.ID
	for i := range 9 {
		info, err := s.Put(t.Context(), bytes.NewReader(make([]byte, 800+i)), -1)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, info.ID)
	}
	if err := s.Delete(t.Context(), ids[:6]); err != nil {
		t.Fatal(err)
	}
	victims = ids[6:8]
	if r, err := s.Reclaim(t.Context()); err != nil || r.Rewritten != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, s := range []*Store{s, open(t, tiny(killed(fs)))} {
		for i, id := range ids {
			_, err := readAll(s, block.Ref{ID: id, Length: int64(800 + i)})
			if i < 8 && errs.KindOf(err) != errs.NoSuchKey || i == 8 && err != nil {
				t.Fatalf("block %d: %v", i, err)
			}
		}
		if st := s.Stats(); st.LiveBlocks != 1 || st.DeadBlocks != 2 {
			t.Fatalf("%+v", st)
		}
	}
}

// TestRun: Run seals, reclaims and scrubs on its own, by the clock.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := tiny(vfs.NewMem())
		scrubs, sealed, rewritten := 0, 0, 0
		o.ScrubInterval, o.ReclaimInterval = time.Hour, time.Minute
		o.Listener.Scrubbed = func(ScrubReport) { scrubs++ }
		o.Listener.Sealed = func(uint64, int, int64) { sealed++ }
		o.Listener.Rewritten = func(uint64, int64, int64) { rewritten++ }
		s := open(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		want := fill(t, s, 40)
		synctest.Wait()
		if sealed == 0 || scrubs != 1 {
			t.Fatalf("%d sealed, %d scrubs", sealed, scrubs)
		}
		for id := range want {
			if err := s.Delete(t.Context(), []block.ID{id}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if st := s.Stats(); rewritten == 0 || st.DiskBytes != 0 {
			t.Fatalf("%d rewritten, %+v", rewritten, st)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if scrubs != 4 {
			t.Fatalf("%d scrubs in three hours", scrubs)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

// TestNoScrub: a negative interval leaves scrubbing to Scrub.
func TestNoScrub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := tiny(vfs.NewMem())
		o.ScrubInterval = -1
		scrubs := 0
		o.Listener.Scrubbed = func(ScrubReport) { scrubs++ }
		s := open(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		time.Sleep(30 * 24 * time.Hour)
		if _, err := s.Scrub(t.Context()); err != nil || scrubs != 1 {
			t.Fatalf("%d scrubs, %v", scrubs, err)
		}
		cancel()
		<-ended
	})
}

// TestScrubResumes: a scrub that was interrupted goes on where it was, in the
// next process too, and reports what both saw.
func TestScrubResumes(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, tiny(fs))
	want := fill(t, s, 60)
	s.Close()
	first, last := ^uint64(0), uint64(0)
	for id := range containers(want) {
		first, last = min(first, id), max(last, id)
	}
	flip(t, fs, containerName(first, 1), headSize+5)
	flip(t, fs, containerName(last, 1), headSize+5)

	o := tiny(fs)
	ctx, cancel := context.WithCancel(t.Context())
	o.Listener.Damaged = func(Damage) { cancel() }
	s = open(t, o)
	part, err := s.Scrub(ctx)
	if errs.KindOf(err) != errs.Canceled || part.Damages != 1 || !part.Finished.IsZero() {
		t.Fatalf("%+v, %v", part, err)
	}
	s.Close()

	s = open(t, tiny(fs))
	full, err := s.Scrub(t.Context())
	if err != nil || full.Finished.IsZero() || !full.Started.Equal(part.Started) {
		t.Fatalf("%+v, %v", full, err)
	}
	seen := map[uint64]bool{}
	for _, d := range full.Damaged {
		seen[d.ID.Container] = true
	}
	if !seen[first] || !seen[last] || full.Blocks < int64(len(want))-2 {
		t.Fatalf("%d blocks of %d; %v", full.Blocks, len(want), full.Damaged)
	}
	s.Close()
	s = open(t, tiny(fs))
	if got := s.ScrubStatus(); !got.Finished.Equal(full.Finished) || len(got.Damaged) != len(full.Damaged) {
		t.Fatalf("after a restart: %+v", got)
	}
}

// TestRates: rewriting and scrubbing keep to their bounds.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{FS: vfs.NewMem(), Dir: "/d", ContainerSize: 8 << 20, ReclaimRate: 4 << 20, ScrubRate: 2 << 20}
		s := open(t, o)
		var ids []block.ID
		for i := range 16 {
			info, err := s.Put(t.Context(), bytes.NewReader(blocktest.Data(uint64(i), 1<<20)), -1)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, info.ID)
		}
		took := func(f func()) float64 {
			begin := time.Now()
			f()
			return time.Since(begin).Seconds()
		}
		scrub := took(func() {
			if _, err := s.Scrub(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if scrub < 6 || scrub > 9 {
			t.Errorf("scrub of 16 MiB at 2 MiB/s took %.1f s", scrub)
		}
		for i, id := range ids {
			if i%8 < 5 {
				if err := s.Delete(t.Context(), []block.ID{id}); err != nil {
					t.Fatal(err)
				}
			}
		}
		rewrite := took(func() {
			if r, err := s.Reclaim(t.Context()); err != nil || r.Rewritten != 2 {
				t.Errorf("%+v, %v", r, err)
			}
		})
		if rewrite < 0.4 || rewrite > 2 {
			t.Errorf("rewriting 6 MiB at 4 MiB/s took %.1f s", rewrite)
		}
	})
}

// TestTrim: containers of a peak of writers stay open while they are needed,
// and are sealed when they are not.
func TestTrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := tiny(vfs.NewMem())
		o.ContainerSize = 1 << 20
		s := open(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		peak := func(n int) {
			var writers []*io.PipeWriter
			done := make(chan error)
			for range n {
				r, w := io.Pipe()
				writers = append(writers, w)
				go func() { _, err := s.Put(t.Context(), r, -1); done <- err }()
				w.Write(make([]byte, 5000))
			}
			for _, w := range writers {
				w.Close()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 3 {
			peak(8)
			time.Sleep(4 * time.Second)
		}
		if st := s.Stats(); st.Containers != 8 || st.Unsealed != 8 {
			t.Fatalf("%+v", st)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if st := s.Stats(); st.Unsealed != o.Streams {
			t.Fatalf("%+v", st)
		}
		cancel()
		<-ended
	})
}

// TestUnreadable: a place that the disk cannot read is reported, and the rest
// is checked.
func TestUnreadable(t *testing.T) {
	mem := vfs.NewMem()
	f := &faults{}
	s := open(t, tiny(f.wrap(mem)))
	want := fill(t, s, 20)
	if err := s.sealPending(); err != nil {
		t.Fatal(err)
	}
	f.fail = func(o errorfs.Op) error {
		if o.Kind == errorfs.OpFileReadAt && o.Offset == headSize {
			return syscall.EIO
		}
		return nil
	}
	f.on.Store(true)
	r, err := s.Scrub(t.Context())
	if n := int64(len(containers(want))); err != nil || r.Damages != n || r.Containers != n || r.Blocks != int64(len(want)) {
		t.Fatalf("%d containers, %d blocks: %+v, %v", n, len(want), r, err)
	}
}
