package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"o3/internal/consensus"
	"o3/internal/errs"
	"o3/internal/pebblekv"
	"o3/internal/replica"
	"o3/internal/schema"
)

// state is a store that a log of empty entries moves on.
type state struct {
	t           testing.TB
	store       *pebblekv.Store
	replica     *replica.Replica
	checkpoints atomic.Int64
	gate        chan struct{} // nil: open
	at          chan struct{} // told when a checkpoint waits at the gate
}

func newState(t testing.TB, fs vfs.FS, dir string) *state {
	t.Helper()
	s := &state{t: t, store: openRaw(t, fs, dir)}
	var err error
	if s.replica, err = replica.Open(s.store); err != nil {
		t.Fatal(err)
	}
	if s.replica.Position().Index == 0 {
		s.move()
	}
	return s
}

// move applies one entry.
func (s *state) move() {
	s.t.Helper()
	e := consensus.Entry{Index: s.replica.Position().Index + 1, Term: 1}
	if e.Index == 1 {
		var err error
		if e.Conf, err = proto.Marshal(&pb.ConfState{Voters: []uint64{1}}); err != nil {
			s.t.Fatal(err)
		}
	}
	if _, err := s.replica.Apply([]consensus.Entry{e}); err != nil {
		s.t.Fatal(err)
	}
}

// grow adds rows outside of the namespace.
func (s *state) grow(n int) {
	s.t.Helper()
	b := s.store.NewBatch()
	defer b.Close()
	for i := range n {
		if err := b.Set(fmt.Appendf([]byte{schema.NodeLocal}, "%06d", i), content(uint64(i), 1000)); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := b.Commit(false); err != nil {
		s.t.Fatal(err)
	}
}

// Checkpoint counts, and waits at the gate.
func (s *state) Checkpoint(dir string) error {
	s.checkpoints.Add(1)
	if s.gate != nil {
		s.at <- struct{}{}
		<-s.gate
	}
	return s.store.Checkpoint(dir)
}

func keep(t testing.TB, fs vfs.FS, s Checkpointer, o Options) *Keeper {
	t.Helper()
	o.FS, o.Store, o.Node = fs, s, om1
	if o.Dir == "" {
		o.Dir = "/images"
	}
	if o.Rate == 0 {
		o.Rate = -1
	}
	if o.Reserve == 0 {
		o.Reserve = -1
	}
	k, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func create(t testing.TB, k *Keeper) *Image {
	t.Helper()
	img, err := k.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func indexes(k *Keeper) (out []uint64) {
	for _, i := range k.List() {
		out = append(out, i.Manifest.Index)
	}
	return out
}

// TestRetention: of the images nobody reads the newest few stay, one that is read
// stays until it is closed, and what is listed is there again after a restart.
func TestRetention(t *testing.T) {
	mem := vfs.NewMem()
	s := newState(t, mem, "/store")
	defer s.store.Close()
	var removed []string
	k := keep(t, mem, s, Options{Retain: 2, Listener: Listener{Removed: func(id string, _ int64) { removed = append(removed, id[:1]) }}})
	if _, _, ok := k.Latest(); ok {
		t.Error("there is an image")
	}
	if _, err := k.Get(""); errs.KindOf(err) != errs.NoSuchSnapshot {
		t.Error(err)
	}
	first := create(t, k)
	for range 3 {
		s.move()
		create(t, k).Close()
	}
	if got := fmt.Sprint(indexes(k), removed); got != "[4 3 1] [2]" {
		t.Errorf("with the first one read: %s", got)
	}
	if err := k.Delete(t.Context(), first.Manifest.ID); errs.KindOf(err) != errs.Conflict {
		t.Errorf("an image that is read: %v", err)
	}
	second, err := k.Get(first.Manifest.ID)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	first.Close()
	if _, err := Verify(t.Context(), second.Dir, second.Manifest, VerifyOptions{FS: mem, Mode: Strict}); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(indexes(k)); got != "[4 3 1]" {
		t.Errorf("with the first one read by another: %s", got)
	}
	second.Close()
	if got := fmt.Sprint(indexes(k), removed); got != "[4 3] [2 1]" {
		t.Errorf("with none read: %s", got)
	}
	same := create(t, k) // nothing has changed
	if same.Manifest.Index != 4 || len(k.List()) != 2 {
		t.Errorf("%+v", same.Manifest)
	}
	same.Close()
	k = keep(t, mem, s, Options{Retain: 2})
	if got := fmt.Sprint(indexes(k)); got != "[4 3]" {
		t.Errorf("opened again: %s", got)
	}
	id := k.List()[1].Manifest.ID
	if err := k.Delete(t.Context(), id); err != nil {
		t.Error(err)
	}
	if err := k.Delete(t.Context(), id); errs.KindOf(err) != errs.NoSuchSnapshot {
		t.Error(err)
	}
	names, err := mem.List("/images")
	m, raw, ok := k.Latest()
	if err != nil || !ok || len(names) != 1 || names[0] != m.ID || m.Index != 4 {
		t.Errorf("%v, %v, %v", names, m, err)
	}
	if again, err := Decode(raw); err != nil || again.ID != m.ID {
		t.Error(err)
	}
}

// TestCreatesCoalesce: calls that wait share one image, which is made after the
// last of them came; one whose context ends goes away alone.
func TestCreatesCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		s := newState(t, mem, "/store")
		defer s.store.Close()
		s.gate, s.at = make(chan struct{}), make(chan struct{}, 10)
		k := keep(t, mem, s, Options{})
		got := make(chan uint64, 10)
		call := func() {
			img, err := k.Create(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			got <- img.Manifest.Index
			img.Close()
		}
		var wg sync.WaitGroup
		wg.Go(call)
		<-s.at // the first one is at work
		s.move()
		for range 5 {
			wg.Go(call)
		}
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := k.Create(ctx); errs.KindOf(err) != errs.Canceled {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		s.move()
		close(s.gate)
		wg.Wait()
		close(got)
		var all []uint64
		for i := range got {
			all = append(all, i)
		}
		if len(all) != 6 || s.checkpoints.Load() != 2 || len(k.List()) > 2 {
			t.Errorf("images at %v in %d checkpoints", all, s.checkpoints.Load())
		}
		for _, i := range all {
			if i != 3 { // both were flushed after the last move
				t.Errorf("an image at %d", i)
			}
		}
	})
}

// TestSchedule: Run makes an image each interval, counted from the last one also
// over a restart, one when it is wanted, and tries again after a failure.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		s := newState(t, mem, "/store")
		defer s.store.Close()
		start := time.Now()
		var made, failed []string
		o := Options{Interval: time.Hour, Listener: Listener{
			Created: func(c Created) { made = append(made, time.Since(start).Round(time.Second).String()); s.move() },
			Failed:  func(reason string, err error) { failed = append(failed, reason) },
		}}
		run := func(d time.Duration, between func(*Keeper)) {
			k := keep(t, mem, s, o)
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { _ = k.Run(ctx) })
			time.Sleep(d)
			if between != nil {
				between(k)
				time.Sleep(time.Second)
			}
			cancel()
			wg.Wait()
		}
		run(90*time.Minute, nil)
		run(60*time.Minute, func(k *Keeper) { k.Want() })
		if got := fmt.Sprint(made); got != "[0s 1h0m0s 2h0m0s 2h30m0s]" {
			t.Errorf("made at %s", got)
		}
		made = nil
		bad := vfs.FS(failing{mem, func(path string) bool { return strings.HasSuffix(path, ManifestFile) }})
		k := keep(t, bad, s, o)
		ctx, cancel := context.WithTimeout(t.Context(), 62*time.Minute)
		defer cancel()
		if err := k.Run(ctx); err != nil || len(failed) < 2 || failed[0] != "read-only" || len(made) > 0 {
			t.Errorf("%v, %v, %v", failed, made, err)
		}
	})
}

// failing is a disk without space for chosen files.
type failing struct {
	vfs.FS
	chosen func(path string) bool
}

func (f failing) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.chosen(name) {
		return nil, &os.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
	}
	return f.FS.Create(name, c)
}

// still is a file system on which a store rewrites no tables until the end: those
// of one image are there for the next one, whenever that is made.
type still struct {
	vfs.FS
	end chan struct{}
}

func (s still) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if c == "pebble-compaction" {
		<-s.end
	}
	return s.FS.Create(name, c)
}

// TestIncremental: the second image reads only what is new; a table of the same
// name that is another file is read.
func TestIncremental(t *testing.T) {
	top, end := t.TempDir(), make(chan struct{})
	s := newState(t, still{vfs.Default, end}, filepath.Join(top, "store"))
	defer s.store.Close()
	defer close(end)
	s.grow(4000)
	var made []Created
	k := keep(t, vfs.Default, s, Options{Dir: filepath.Join(top, "images"), Listener: Listener{Created: func(c Created) { made = append(made, c) }}})
	next := func() *Image {
		t.Helper()
		img := create(t, k)
		t.Cleanup(img.Close)
		if _, err := Verify(t.Context(), img.Dir, img.Manifest, VerifyOptions{}); err != nil {
			t.Error(err)
		}
		s.move()
		return img
	}
	first := next()
	second := next()
	if made[0].Hashed != made[0].Manifest.Bytes || made[1].Hashed > made[0].Hashed/10 {
		t.Errorf("hashed %d of %d, then %d", made[0].Hashed, made[0].Manifest.Bytes, made[1].Hashed)
	}
	for _, img := range []*Image{first, second} { // the biggest table becomes a copy
		big := File{}
		for _, f := range img.Manifest.Files {
			if f.Size > big.Size {
				big = f
			}
		}
		path := inImage(img.FS, img.Dir).of(big.Path)
		raw, err := os.ReadFile(path)
		if err := errors.Join(err, os.Remove(path), os.WriteFile(path, raw, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	next()
	if made[2].Hashed < made[0].Hashed/2 {
		t.Errorf("another file of the same name was taken for the same: hashed %d", made[2].Hashed)
	}
}

// TestOpenClearsUp: what was being made or removed goes, what is damaged or of a
// later version stays, is told and not listed, and does not keep its id.
func TestOpenClearsUp(t *testing.T) {
	mem := vfs.NewMem()
	s := newState(t, mem, "/store")
	defer s.store.Close()
	k := keep(t, mem, s, Options{})
	img := create(t, k)
	img.Close()
	raw := bytes.Clone(img.Raw)
	raw[len(raw)/2] ^= 1
	put := func(path, text string) {
		t.Helper()
		if err := errors.Join(makeDir(mem, mem.PathDir(path)), replaceFile(mem, path, strings.NewReader(text))); err != nil {
			t.Fatal(err)
		}
	}
	put(img.Dir+"/"+ManifestFile, string(raw))
	put("/images/9-1-00000000/"+ManifestFile, string(reseal(strings.Replace(string(img.Raw), `"version": 1`, `"version": 2`, 1))))
	put("/images/tmp-create/store/FORMAT", "x")
	put("/images/tmp-remove-1-1-00000000/store/FORMAT", "x")
	put("/images/mine", "x")
	damaged := map[string]errs.Kind{}
	k = keep(t, mem, s, Options{Listener: Listener{Damaged: func(name string, err error) { damaged[name] = errs.KindOf(err) }}})
	if len(k.List()) != 0 || len(damaged) != 2 || damaged[img.Manifest.ID] != errs.Corrupt || damaged["9-1-00000000"] != errs.FormatTooNew {
		t.Errorf("%v, %v", k.List(), damaged)
	}
	again := create(t, k)
	again.Close()
	names, err := mem.List("/images")
	if got, want := strings.Join(sorted(names), " "), "1-1-00000000 9-1-00000000 damaged-1-1-00000000.1 mine"; err != nil || got != want {
		t.Errorf("got %s, want %s, %v", got, want, err)
	}
	if err := mem.Remove(again.Dir + "/store/FORMAT"); err != nil {
		t.Fatal(err)
	}
	if k = keep(t, mem, s, Options{}); len(k.List()) != 0 {
		t.Error("an image that lacks a file is listed")
	}
}

// tight is a disk with little space.
type tight struct {
	vfs.FS
	free uint64
}

func (d tight) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free}, nil
}

// TestSpaceIsCheckedFirst: below the reserve nothing is begun.
func TestSpaceIsCheckedFirst(t *testing.T) {
	mem := vfs.NewMem()
	s := newState(t, mem, "/store")
	defer s.store.Close()
	var failed []string
	o := Options{Reserve: 1 << 30, Listener: Listener{Failed: func(reason string, _ error) { failed = append(failed, reason) }}}
	k := keep(t, tight{mem, 1<<30 + checkpointNeeds - 1}, s, o)
	if _, err := k.Create(t.Context()); errs.KindOf(err) != errs.ReadOnly || s.checkpoints.Load() != 0 || fmt.Sprint(failed) != "[read-only]" {
		t.Errorf("%v, %d checkpoints, %v", err, s.checkpoints.Load(), failed)
	}
	k = keep(t, tight{mem, 1<<30 + checkpointNeeds}, s, o)
	img := create(t, k)
	img.Close()
	room := func(free uint64) Directory { return Directory{FS: tight{mem, free}, Dir: "/backup", Reserve: 1 << 20} }
	need := uint64(img.Manifest.Bytes)
	if _, err := Export(t.Context(), img, room(need+1<<20-1), ExportOptions{}); errs.KindOf(err) != errs.ReadOnly {
		t.Errorf("export: %v", err)
	}
	if _, err := Export(t.Context(), img, room(need+1<<20), ExportOptions{}); err != nil {
		t.Errorf("export: %v", err)
	}
	if _, err := Export(t.Context(), img, room(1<<20), ExportOptions{}); err != nil {
		t.Errorf("export of what is there: %v", err)
	}
	in := func(free uint64) error {
		_, err := Import(t.Context(), room(0), img.Manifest.ID, ImportOptions{FS: tight{mem, free}, DataDir: "/new", Reserve: 1 << 20})
		return err
	}
	if err := in(need + 1<<20 - 1); errs.KindOf(err) != errs.ReadOnly {
		t.Errorf("import: %v", err)
	}
	if _, err := mem.Stat("/new/om/store/FORMAT"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("files were written on a disk that is too small")
	}
	if err := in(need + 1<<20); err != nil { // there is space again
		t.Errorf("import: %v", err)
	}
}

// TestNothingApplied: an empty store has no image.
func TestNothingApplied(t *testing.T) {
	mem := vfs.NewMem()
	s := openRaw(t, mem, "/store")
	defer s.Close()
	k := keep(t, mem, s, Options{})
	if _, err := k.Create(t.Context()); errs.KindOf(err) != errs.Unavailable {
		t.Error(err)
	}
	if names, err := mem.List("/images"); err != nil || len(names) != 0 {
		t.Error(names, err)
	}
}

// TestRateIsKept: checksums are read at the rate.
func TestRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		s := newState(t, mem, "/store")
		defer s.store.Close()
		s.grow(3000) // 3 MB
		k := keep(t, mem, s, Options{Rate: 1 << 20})
		start := time.Now()
		img := create(t, k)
		defer img.Close()
		want := time.Duration(float64(img.Manifest.Bytes) / (1 << 20) * float64(time.Second))
		if took := time.Since(start); took < want*8/10 || took > want*11/10+time.Second {
			t.Errorf("%d bytes took %v, want %v", img.Manifest.Bytes, took, want)
		}
	})
}
