package app

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/block"
	"o3/internal/block/container"
	"o3/internal/errs"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

var system = access.NewContext(context.Background(), access.System)

// fill puts n objects of size bytes each, which differ, as /photos/0 and so on.
func (s *server) fill(n, size int) {
	s.t.Helper()
	s.must("PUT", "/photos", nil)
	for i := range n {
		s.must("PUT", fmt.Sprintf("/photos/%d", i), bytes.Repeat([]byte{byte(i)}, size))
	}
}

// drop deletes the objects from to to-1, each by a request of its own.
func (s *server) drop(from, to int) {
	s.t.Helper()
	for i := from; i < to; i++ {
		s.must("DELETE", fmt.Sprintf("/photos/%d", i), nil)
	}
}

// flushed waits until a power cut would lose nothing.
func (s *server) flushed() {
	s.t.Helper()
	if err := s.node.replica.Flush(); err != nil {
		s.t.Fatal(err)
	}
}

// ops returns how many requests f has applied.
func (s *server) ops(f func() error) uint64 {
	s.t.Helper()
	before := s.node.replica.Position().Op
	if err := f(); err != nil {
		s.t.Fatal(err)
	}
	return uint64(s.node.replica.Position().Op - before)
}

func TestKeyStoreMemory(t *testing.T) {
	t.Parallel()
	rare := "ozone.om.db.flush.interval=1d"
	write := func(s *server, n int) {
		s.bucket("photos", "OBJECT_STORE")
		for i := range n {
			data := make([]byte, 60<<10)
			for j := range data {
				data[j] = byte(i*j>>3 ^ j) // not for a compressor
			}
			if err := s.commit("photos", fmt.Sprint(i), data); err != nil {
				t.Fatal(err)
			}
		}
	}
	for size, flushes := range map[string]bool{"256KB": true, "64MB": false} {
		s := start(t, settings{set: []string{rare, "ozone.om.db.memtable.size=" + size}})
		write(s, 20)
		if flushes {
			wait(t, "rows leave the memory", func() bool { return s.metric("o3_store_flush_seconds_count") > 0 })
		} else if n := s.metric("o3_store_flush_seconds_count"); n != 0 {
			t.Errorf("memtable %s: %v flushes", size, n)
		}
	}
	for size, small := range map[string]bool{"1MB": true, "64MB": false} {
		s := start(t, settings{set: []string{rare, "ozone.om.db.cache.size=" + size}})
		write(s, 100)
		s.flushed()
		for i := range 100 {
			_, err := s.om.GetKey(t.Context(), &o3v1.GetKeyRequest{Volume: "s3v", Bucket: "photos", Key: fmt.Sprint(i), WithData: true})
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := s.metric("o3_store_cache_bytes"); (n <= 5<<18) != small {
			t.Errorf("cache %s: %v bytes in use", size, n)
		}
	}
}

func TestKeyFlushInterval(t *testing.T) {
	t.Parallel()
	often := start(t, settings{set: []string{"ozone.om.db.flush.interval=100ms"}})
	rarely := start(t, settings{set: []string{"ozone.om.db.flush.interval=1d"}})
	for _, s := range []*server{often, rarely} {
		s.bucket("photos", "")
	}
	wait(t, "what is applied is durable", func() bool { st := often.status(); return st.DurableIndex == st.AppliedIndex })
	if d, err := rarely.node.replica.Durable(); err != nil || d.Index >= rarely.status().AppliedIndex {
		t.Errorf("flushed at index %d, %v", d.Index, err)
	}
}

func TestKeyBlockDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "elsewhere")
	s := start(t, settings{set: []string{"ozone.block.dir=" + dir}})
	s.fill(1, 8<<10)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Errorf("%v %v", files, err)
	}
	if _, err := os.Stat(filepath.Join(s.Data, "blocks")); err == nil {
		t.Error("there are blocks in the data directory too")
	}
}

func TestKeyReserve(t *testing.T) {
	t.Parallel()
	free, total, err := diskSpace(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	plain := start(t, settings{})
	changed := start(t, settings{set: []string{fmt.Sprintf("ozone.block.reserve=%d", free+(total-free)/2)}})
	plain.fill(1, 8<<10)
	changed.must("PUT", "/photos", nil) // it takes no space worth the name
	for _, size := range []int{0, 10, 8 << 10} {
		if a := changed.s3("PUT", "/photos/a", make([]byte, size)); a.status/100 != 5 || a.code == "InternalError" {
			t.Errorf("%d bytes: %v", size, a)
		}
	}
	kind(t, changed.commit("photos", "a", []byte("1")), errs.ReadOnly, "ozone.block.reserve")
	changed.must("DELETE", "/photos/a", nil)
	if a, b := plain.status(), changed.status(); a.ReadOnly || !b.ReadOnly || len(b.Problems) == 0 {
		t.Errorf("read-only: %v and %v, %v", a.ReadOnly, b.ReadOnly, b.Problems)
	}
	if a := changed.page("/readyz"); a.status != 200 {
		t.Errorf("it still reads: %v", a)
	}
}

func TestKeyContainerSize(t *testing.T) {
	plain, changed := pair(t, "ozone.block.container.size=1MB")
	for _, s := range []*server{plain, changed} {
		s.fill(4, 700<<10)
	}
	if a, b := plain.status().Blocks.Containers, changed.status().Blocks.Containers; a != 1 || b != 2 {
		t.Errorf("%d and %d containers", a, b)
	}
}

// scrubbed asks for a scrub and returns once it has begun.
func (s *server) scrub() {
	s.t.Helper()
	before := s.status().Blocks.ScrubStartedMs
	if _, err := s.om.StartScrub(s.t.Context(), &o3v1.StartScrubRequest{}); err != nil {
		s.t.Fatal(err)
	}
	wait(s.t, "a scrub begins", func() bool { return s.status().Blocks.ScrubStartedMs > before })
}

func TestKeyScrub(t *testing.T) {
	t.Parallel()
	plain := start(t, settings{})
	often := start(t, settings{set: []string{"ozone.block.scrub.interval=100ms"}})
	slow := start(t, settings{set: []string{"ozone.block.scrub.interval=0s", "ozone.block.scrub.bytes.per.second=64KB"}})
	wait(t, "the first scrub", func() bool { return plain.status().Blocks.ScrubFinishedMs > 0 })
	first := plain.status().Blocks.ScrubStartedMs
	at := often.status().Blocks.ScrubStartedMs
	for range 2 {
		wait(t, "another scrub", func() bool { n := often.status().Blocks.ScrubStartedMs; defer func() { at = n }(); return n > at })
	}
	if n := plain.status().Blocks.ScrubStartedMs; n != first {
		t.Error("by default a second scrub has begun")
	}
	if n := slow.status().Blocks.ScrubStartedMs; n != 0 {
		t.Error("it is turned off and has begun")
	}
	slow.fill(8, 1<<20) // two minutes
	plain.fill(3, 1<<20)
	for _, s := range []*server{slow, plain} {
		s.scrub()
	}
	for range 3 { // as a clock
		wait(t, "the scrub ends", func() bool { b := plain.status().Blocks; return !b.ScrubRunning && b.ScrubBlocks == 3 })
		plain.scrub()
	}
	if b := slow.status().Blocks; !b.ScrubRunning {
		t.Errorf("at 64 KB a second it is done already: %v", b)
	}
}

func TestKeyRewrite(t *testing.T) {
	t.Parallel()
	at := func(set ...string) *server {
		set = append(set, "ozone.block.free.grace=0s", "ozone.block.deleting.service.interval=50ms", "ozone.om.db.flush.interval=100ms")
		return start(t, settings{set: set})
	}
	const often = "ozone.block.rewrite.interval=50ms"
	plain := at(often)
	slow := at(often, "ozone.block.rewrite.bytes.per.second=64KB")
	whole := at(often, "ozone.block.rewrite.threshold=1")
	seldom := at("ozone.block.rewrite.interval=1d")
	for _, s := range []*server{plain, whole, seldom, slow} {
		s.fill(10, 1<<20)
		s.drop(0, 7)
	}
	wait(t, "dead space is given back", func() bool { return plain.metric("o3_block_rewritten_bytes_total") > 6<<20 })
	for what, s := range map[string]*server{"slow": slow, "whole": whole, "seldom": seldom} {
		wait(t, "blocks are freed", func() bool { return s.metric("o3_block_dead_bytes") == 7<<20 })
		if s == whole {
			wait(t, "a pass over the containers", func() bool { _, err := s.node.blocks.Reclaim(t.Context()); return err == nil })
		}
		if n := s.metric("o3_block_rewritten_bytes_total"); n != 0 {
			t.Errorf("%s: %v bytes", what, n)
		}
	}
	whole.drop(7, 10)
	wait(t, "a container without a live block goes", func() bool { return whole.metric("o3_block_disk_bytes") == 0 })
}

// stray leaves a block that no row names and that was written age ago in a
// data directory.
func stray(t *testing.T, dir string, age time.Duration) (info block.Info) {
	t.Helper()
	then := time.Now().Add(-age)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(then)) // in the bubble, where it is the year 2000
		s, err := container.Open(container.Options{Dir: filepath.Join(dir, "blocks"), Node: 1, Reserve: -1})
		if err != nil {
			t.Fatal(err)
		}
		if info, err = s.Put(context.Background(), bytes.NewReader(make([]byte, 1000)), 1000); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
	return info
}

func TestKeySweep(t *testing.T) {
	t.Parallel()
	at := func(set ...string) (*server, block.Info) {
		dir := filepath.Join(t.TempDir(), "data")
		if err := start(t, settings{dir: dir}).shut(); err != nil { // the directory is a node's now
			t.Fatal(err)
		}
		info := stray(t, dir, time.Hour)
		return start(t, settings{dir: dir, set: set}), info
	}
	const often, short = "ozone.block.sweep.interval=50ms", "ozone.block.sweep.grace=1m"
	swept, _ := at(often, short)
	young, info := at(often)
	off, _ := at("ozone.block.sweep.interval=0s", short)
	wait(t, "the block is swept", func() bool { return swept.metric("o3_block_live_blocks") == 0 })
	wait(t, "sweeps", func() bool { return young.metric("o3_reclaim_sweeps_total") > 2 })
	if n := young.metric("o3_block_live_blocks"); n != 1 {
		t.Error("a block younger than the grace was swept")
	}
	if n := off.metric("o3_reclaim_sweeps_total"); n != 0 {
		t.Errorf("it is turned off: %v sweeps", n)
	}
	for want, s := range map[errs.Kind]*server{errs.OK: young, errs.Conflict: swept} {
		s.bucket("photos", "")
		_, err := s.node.om.CommitKey(system, &o3v1.CommitKeyRequest{
			Volume: "s3v", Bucket: "photos", Key: "late", Size: 1000, DataMs: time.Now().Add(-10 * time.Minute).UnixMilli(),
			Extents: []*o3v1.Extent{{Container: info.ID.Container, Local: info.ID.Local, Length: 1000}},
		})
		if got := errs.KindOf(err); got != want {
			t.Errorf("bytes ten minutes old: %v, want %v", err, want)
		}
	}
}

func TestKeyFreeGrace(t *testing.T) {
	t.Parallel()
	set := []string{"ozone.block.deleting.service.interval=50ms"}
	plain, changed := start(t, settings{set: set}), start(t, settings{set: append(set, "ozone.block.free.grace=0s")})
	for _, s := range []*server{plain, changed} {
		s.fill(1, 8<<10)
		s.drop(0, 1)
		s.flushed()
	}
	wait(t, "the block is freed", func() bool { return changed.metric("o3_reclaim_freed_blocks_total") == 1 })
	if err := plain.node.reclaim.Free(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := plain.status().PendingBlockDeletes; n != 1 {
		t.Errorf("by default: %d blocks wait for the grace", n)
	}
}

func TestKeyBlockDeleting(t *testing.T) {
	t.Parallel()
	const now, seldom = "ozone.block.free.grace=0s", "ozone.block.deleting.service.interval=1h"
	plain := start(t, settings{set: []string{now, seldom}})
	often := start(t, settings{set: []string{now, "ozone.block.deleting.service.interval=50ms"}})
	few := start(t, settings{set: []string{now, seldom, "ozone.key.deleting.limit.per.task=2"}})
	for _, s := range []*server{plain, few, often} {
		s.fill(6, 8<<10)
		s.drop(0, 6)
		s.flushed()
	}
	wait(t, "the blocks are freed", func() bool { return often.metric("o3_block_live_blocks") == 0 })
	for want, s := range map[uint64]*server{1: plain, 3: few} {
		if n := s.metric("o3_block_live_blocks"); n != 6 {
			t.Errorf("every hour: %v blocks are left", n)
		}
		if n := s.ops(func() error { return s.node.reclaim.Free(t.Context()) }); n != want {
			t.Errorf("freed with %d commands, want %d", n, want)
		}
	}
}

func TestKeyDirectoryDeleting(t *testing.T) {
	t.Parallel()
	const seldom = "ozone.directory.deleting.service.interval=1h"
	plain := start(t, settings{set: []string{seldom}})
	often := start(t, settings{set: []string{"ozone.directory.deleting.service.interval=50ms"}})
	few := start(t, settings{set: []string{seldom, "ozone.path.deleting.limit.per.task=2"}})
	for _, s := range []*server{plain, often, few} {
		s.bucket("photos", "FILE_SYSTEM_OPTIMIZED")
		for i := range 7 {
			if err := s.commit("photos", fmt.Sprintf("dir/%d", i), nil); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.om.DeleteKeys(t.Context(), &o3v1.DeleteKeysRequest{
			Volume: "s3v", Bucket: "photos", Recursive: true, Keys: []*o3v1.DeleteKey{{Key: "dir/"}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wait(t, "the directory is purged", func() bool { return often.status().PendingDirectories == 0 })
	for want, s := range map[uint64]*server{1: plain, 4: few} {
		if n := s.status().PendingDirectories; n != 1 {
			t.Errorf("every hour: %d directories wait", n)
		}
		if n := s.ops(func() error { return s.node.reclaim.Purge(t.Context()) }); n != want {
			t.Errorf("purged with %d commands, want %d", n, want)
		}
	}
}

func TestKeyOpenKeys(t *testing.T) {
	t.Parallel()
	const often, soon = "ozone.om.open.key.cleanup.service.interval=100ms", "ozone.om.open.key.expire.threshold=1s"
	both := start(t, settings{set: []string{often, soon}})
	old := start(t, settings{set: []string{often}})
	rare := start(t, settings{set: []string{soon, "ozone.om.open.key.cleanup.limit.per.task=2"}})
	for _, s := range []*server{both, old, rare} {
		s.bucket("photos", "")
		for i := range 5 {
			_, err := s.om.OpenKey(t.Context(), &o3v1.OpenKeyRequest{Volume: "s3v", Bucket: "photos", Key: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	open := func(s *server) (n int) {
		lower, upper := schema.OpenKeys.All()
		err := schema.OpenKeys.Scan(s.node.store, lower, upper, func(schema.OpenKeyKey, *schemapb.OpenKey) (bool, error) {
			n++
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	wait(t, "open keys expire", func() bool { return open(both) == 0 })
	if n := open(old); n != 5 {
		t.Errorf("younger than a week: %d left", n)
	}
	if n := open(rare); n != 5 {
		t.Errorf("looked for once a day: %d left", n)
	}
	commands := uint64(0)
	wait(t, "they are old enough", func() bool {
		commands += rare.ops(func() error { return rare.node.reclaim.Expire(t.Context()) })
		return open(rare) == 0
	})
	if commands < 3 {
		t.Errorf("five were dropped with %d commands of at most two", commands)
	}
}
