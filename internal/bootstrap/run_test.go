package bootstrap

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/audit"
	"o3/internal/errs"
	"o3/internal/fileplan"
	"o3/internal/image"
	"o3/internal/transfer"
)

// TestRun: from a running node comes another one, at the source's state now and not
// at that of the image, phase by phase; all of it is written down.
func TestRun(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 300)
	m := s.image()
	s.put(300, 120) // after the image
	o := options(t, s.asSource("om1", ""))
	o.Strict = true
	h := new(heard)
	o.Listener = h.listener()
	got := must(t, o)
	s.same(o.DataDir)
	pos := s.replica.Position()
	if got.Image != m.ID || got.Index != pos.Index || got.Digest != pos.Digest.String() || got.Entries != pos.Index-m.Index || got.Bytes != m.Bytes || got.Sent < m.Bytes {
		t.Errorf("%+v, the image is %s", got, m.ID)
	}
	if !slices.Equal(h.phases, Phases()) {
		t.Errorf("the phases were %v", h.phases)
	}
	if n, ok, err := o.withDefaults(t).place.nodeAt(o.DataDir); err != nil || !ok || n.ID != "om1" || n.Store != storeName {
		t.Errorf("%+v, %v, %v", n, ok, err)
	}
	rec, err := ReadRecord(o.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	a := rec.Last()
	if a.Result != Succeeded || a.Reason != ReasonNone || a.Image != m.ID || a.Index != pos.Index || a.Bytes != m.Bytes || a.Sent != got.Sent || len(a.Phases) != len(Phases()) || !a.Strict {
		t.Errorf("%+v", a)
	}
	if len(rec.Totals) != 1 || rec.Totals[0] != (Total{Succeeded, ReasonNone, 1}) || rec.Validations[0] != (ValidationTotal{"strict", Succeeded, 1}) {
		t.Errorf("%+v", rec)
	}
	var lines []string
	_, err = audit.Read(filepath.Join(o.DataDir, "audit", "audit.log"), audit.Query{}, func(r audit.Record) error {
		lines = append(lines, fmt.Sprint(r.Principal, r.Action, r.Params["operator"], r.Params["phase"], r.Result))
		return nil
	})
	var want []string
	for _, p := range Phases() {
		want = append(want, "SYSTEMom:Bootstrapann"+string(p)+"ok")
	}
	if err != nil || !slices.Equal(lines, want) {
		t.Errorf("the audit log has %v, %v", lines, err)
	}
	if len(s.srv.Status().Holds) > 0 {
		t.Errorf("the lease is still held: %v", s.srv.Status().Holds)
	}
}

// TestMakesAnImage: where a source has none, or a new one is asked for, it makes
// one.
func TestMakesAnImage(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 50)
	must(t, options(t, s.asSource("om1", "")))
	if s.made != 1 {
		t.Errorf("%d images were made", s.made)
	}
	s.put(50, 50)
	if got := must(t, options(t, s.asSource("om1", ""))); s.made != 1 || got.Entries == 0 {
		t.Errorf("%d images were made, %+v", s.made, got)
	}
	o := options(t, s.asSource("om1", ""))
	o.Fresh = true
	if got := must(t, o); s.made != 2 || got.Entries != 0 {
		t.Errorf("%d images were made, %+v", s.made, got)
	}
}

// TestNewestWins: of several sources the image with the highest index is taken;
// of equal ones that of the first source.
func TestNewestWins(t *testing.T) {
	t.Parallel()
	all := []candidate{
		{source: 0, index: 5, info: transfer.Info{ID: "a5"}}, {source: 1, index: 9, info: transfer.Info{ID: "b9"}},
		{source: 2, index: 9, info: transfer.Info{ID: "c9"}}, {source: 0, index: 12, format: 1 << 20, info: transfer.Info{ID: "later"}},
		{source: 0, index: 20, blocks: true, info: transfer.Info{ID: "blocks"}}, {source: 0, index: 11, first: 13, info: transfer.Info{ID: "log gone"}},
		{source: 0, index: 3, first: 4, info: transfer.Info{ID: "log there"}},
	}
	var ids []string
	for _, c := range suitable(&Options{}, all) {
		ids = append(ids, c.info.ID)
	}
	if !slices.Equal(ids, []string{"b9", "c9", "a5", "log there"}) {
		t.Errorf("%v", ids)
	}
	if got := suitable(&Options{WithBlocks: true}, all); len(got) != 1 || got[0].info.ID != "blocks" {
		t.Errorf("%v", got)
	}
}

// TestSourceDies: a source that dies at 10, 50 or 99 % of the transfer is replaced
// by another one that has the image.
func TestSourceDies(t *testing.T) {
	t.Parallel()
	for _, percent := range []int64{10, 50, 99} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			t.Parallel()
			s := startSource(t)
			s.put(0, 400)
			m := s.image()
			other := s.second()
			s.server.Chunk = 4 << 10 // what it has sent when it dies is not the rest
			s.serve()
			s.dieAt = m.Bytes * percent / 100
			o := options(t, s.asSource("first", ""), other.asSource("second", ""))
			o.Retries, o.Streams = 1, 1
			h := &heard{}
			o.Listener = h.listener()
			got := must(t, o)
			if got.Source != "second" || got.Image != m.ID {
				t.Errorf("%+v", got)
			}
			if !h.noted("source first is given up") {
				t.Errorf("%v", h.notes)
			}
			if got.Sent > m.Bytes*3/2 {
				t.Errorf("%d bytes came for %d: what the first source sent was thrown away", got.Sent, m.Bytes)
			}
			other.same(o.DataDir)
		})
	}
}

// second is the same node at another address.
func (s *source) second() *source {
	other := &source{t: s.t, dir: s.dir, store: s.store, replica: s.replica, log: s.log, om: s.om, keeper: s.keeper}
	other.serve()
	return other
}

// TestCuts: a bootstrap that is cut off at random, in whatever phase, goes on when
// it is run again, and ends with the node it would have made at once.
func TestCuts(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := startSource(t)
	s.put(0, 300)
	s.image()
	s.put(300, 100)
	rounds := 6
	if os.Getenv("O3_NIGHTLY") == "1" {
		rounds = 100
	}
	cuts := 0
	for range rounds {
		o := options(t, s.asSource("om1", ""))
		o.Strict = r.IntN(2) == 0
		o.progressEvery = time.Millisecond
		for tries := 0; ; tries++ {
			ctx, cancel := context.WithCancel(t.Context())
			at, begin, share := Phases()[r.IntN(len(Phases()))], tries == 0 || r.IntN(2) == 0, int64(r.IntN(100))
			o.Listener = Listener{
				Begin: func(p Phase) {
					if p == at && begin {
						cancel()
					}
				},
				Progress: func(p Progress) {
					if p.Phase == at && !begin && p.Total > 0 && p.Done*100 >= p.Total*share {
						cancel()
					}
				},
			}
			if tries > 12 {
				o.Listener = Listener{}
			}
			_, err := Run(ctx, o)
			cancel()
			if err == nil {
				break
			}
			if ReasonOf(Transfer, err) != ReasonCancelled {
				t.Fatalf("cut in %s: %v", at, err)
			}
			cuts++
		}
		s.same(o.DataDir)
		rec, err := ReadRecord(o.DataDir)
		if err != nil || rec.Last().Result != Succeeded {
			t.Errorf("%+v, %v", rec.Last(), err)
		}
	}
	if cuts < rounds {
		t.Errorf("only %d cuts", cuts)
	}
	t.Logf("%d bootstraps, cut %d times", rounds, cuts)
}

// TestResumesWithoutSending: what came over the network before a cut is not sent
// again.
func TestResumesWithoutSending(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 400)
	m := s.image()
	s.haltAt.Store(m.Bytes * 3 / 4)
	o := options(t, s.asSource("om1", ""))
	o.Streams, o.progressEvery = 1, time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.Listener = Listener{Progress: func(p Progress) {
		if p.Phase == Transfer && p.Done > p.Total/2 {
			cancel()
		}
	}}
	if _, err := Run(ctx, o); ReasonOf(Transfer, err) != ReasonCancelled {
		t.Fatal(err)
	}
	s.haltAt.Store(0)
	o.Listener = Listener{}
	got := must(t, o)
	if got.Resumed < m.Bytes/3 || got.Sent > m.Bytes*3/4 {
		t.Errorf("%+v of %d bytes", got, m.Bytes)
	}
	s.same(o.DataDir)
}

// TestIncremental: a node that makes way is the source of what has not changed; it
// is kept.
func TestIncremental(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 1000)
	s.settle()
	s.image()
	o := options(t, s.asSource("om1", ""))
	must(t, o)
	served(t, o.DataDir)
	fails(t, o, ReasonTarget, "--replace")
	s.put(1000, 10)
	o.Replace, o.Fresh = true, true
	got := must(t, o)
	if got.Reused < got.Bytes/2 || got.Sent > got.Bytes/2 || got.Previous == "" {
		t.Errorf("%+v", got)
	}
	s.same(o.DataDir)
	if _, ok, err := o.withDefaults(t).place.nodeAt(got.Previous); err != nil || !ok {
		t.Errorf("the old node is not kept: %v", err)
	}
	if _, err := Run(t.Context(), o); errs.KindOf(err) != errs.Conflict || !strings.Contains(err.Error(), "rollback") {
		t.Errorf("a second switch before the first has served: %v", err)
	}
}

// TestDiskFull: without space it says so and waits; when space returns it goes on.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 400)
	m := s.image()
	o := options(t, s.asSource("om1", ""))
	d := &disk{}
	d.free.Store(m.Bytes / 4)
	o.Disk = d
	fails(t, o, ReasonDiskFull, "must stay free")
	d.free.Store(m.Bytes * 4)
	var waited atomic.Bool
	o.progressEvery = time.Millisecond
	var shrink sync.Once
	o.Listener = Listener{Progress: func(p Progress) {
		if p.Phase != Transfer {
			return
		}
		if p.Need > 0 {
			waited.Store(true)
			d.free.Store(m.Bytes * 4)
			return
		}
		if p.Done > 0 {
			shrink.Do(func() { d.free.Store(1) })
		}
	}}
	o.Rate, o.Streams = 1<<20, 1
	must(t, o)
	if !waited.Load() {
		t.Error("it did not wait for space")
	}
	s.same(o.DataDir)
}

// disk is a disk that says what is free.
type disk struct {
	transfer.OSDisk
	free atomic.Int64
}

func (d *disk) Free(string) (int64, error) { return d.free.Load(), nil }

// TestTenAtOnce: ten nodes are made of one at the same time.
func TestTenAtOnce(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 200)
	s.image()
	s.put(200, 20)
	var wg sync.WaitGroup
	dirs := make(chan string, 10)
	for range 10 {
		o := options(t, s.asSource("om1", ""))
		wg.Go(func() {
			if _, err := Run(t.Context(), o); err != nil {
				t.Error(err)
			}
			dirs <- o.DataDir
		})
	}
	wg.Wait()
	close(dirs)
	for dir := range dirs {
		s.same(dir)
	}
}

// TestLease: while an image is fetched it is not removed, and the log after it
// stays; the lease ends when it is over.
func TestLease(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 300)
	m := s.image()
	o := options(t, s.asSource("om1", ""))
	o.progressEvery, o.Rate, o.Streams = time.Millisecond, 2<<20, 1
	var refused error
	var once sync.Once
	o.Listener = Listener{Progress: func(p Progress) {
		if p.Phase == Transfer && p.Done > 0 {
			once.Do(func() { refused = s.keeper.Delete(context.Background(), m.ID) })
		}
	}}
	must(t, o)
	if errs.KindOf(refused) != errs.Conflict {
		t.Errorf("deleting the image that is fetched: %v", refused)
	}
	if s.held == 0 || len(s.srv.Status().Holds) > 0 {
		t.Errorf("%d leases, %v are left", s.held, s.srv.Status().Holds)
	}
	s.check(s.keeper.Delete(t.Context(), m.ID))
}

// TestLogGone: when the log after the image is gone nevertheless (a lease that
// expired), a newer image is fetched, with the files of the old one.
func TestLogGone(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 500)
	s.image()
	s.put(500, 20)
	s.truncate = true
	h := new(heard)
	o := options(t, s.asSource("om1", ""))
	o.Listener = h.listener()
	got := must(t, o)
	if s.made != 1 || !h.noted("a newer one is fetched") || got.Reused == 0 {
		t.Errorf("%d images made, %v, %+v", s.made, h.notes, got)
	}
	s.same(o.DataDir)
}

// TestLongTransfer: when a transfer with the bytes of objects took long, a second
// image brings what changed meanwhile.
func TestLongTransfer(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{time.Minute, longTransfer + time.Minute} { // between looks at the clock
		s := startSource(t)
		s.saysBytes = true
		s.put(0, 1000)
		m := s.image()
		s.put(1000, 10)
		o := options(t, s.asSource("om1", ""))
		o.WithBlocks, o.Replace = true, true
		var looks atomic.Int64
		begun := time.Now()
		o.now = func() time.Time { return begun.Add(time.Duration(looks.Add(1)) * step) }
		got := must(t, o)
		if long := step > longTransfer; long != (got.Image != m.ID) || long != (s.made == 1) {
			t.Errorf("%v: %d images made, %+v of %d bytes", step, s.made, got, m.Bytes)
		}
		s.same(o.DataDir)
	}
}

// TestDigestDiffers: a state that is not the source's is not put in place.
func TestDigestDiffers(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 50)
	s.image()
	s.put(50, 5)
	s.alter = func(st *o3v1.LogState) { st.Digest = strings.Repeat("0", 32) }
	o := options(t, s.asSource("om1", ""))
	fails(t, o, ReasonDigest, "digest")
	if exists(filepath.Join(o.DataDir, "node")) {
		t.Error("a node is in place")
	}
	s.alter = nil
	must(t, o)
	s.same(o.DataDir)
}

// TestStrict: what was wrong before the image was made passes the checksums of its
// files: strict recomputes the digest of the state, and finds it.
func TestStrict(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 200)
	s.lose("k000100")
	s.image()
	o := options(t, s.asSource("om1", ""))
	o.Strict = true
	fails(t, o, ReasonCorrupt, "digest")
	if exists(filepath.Join(o.DataDir, "node")) || exists(o.staged(fetchDir)) {
		t.Error("what is damaged was kept")
	}
	o.Strict = false
	must(t, o)
	rec, err := ReadRecord(o.DataDir)
	want := []ValidationTotal{{"strict", Failed, 1}, {"normal", Succeeded, 1}}
	if err != nil || !slices.Equal(rec.Validations, want) {
		t.Errorf("%+v, %v", rec.Validations, err)
	}
}

// lose takes the row of a key away behind the state machine's back.
func (s *source) lose(key string) {
	s.t.Helper()
	it, err := s.store.Iter(nil, nil)
	s.check(err)
	var row []byte
	for ok := it.First(); ok; ok = it.Next() {
		if bytes.Contains(it.Key(), []byte(key)) {
			row = bytes.Clone(it.Key())
		}
	}
	s.check(it.Close())
	b := s.store.NewBatch()
	defer b.Close()
	s.check(b.Delete(row))
	s.check(b.Commit(false))
}

// TestDamagedTable: a table with a block that was damaged before the image was made
// passes the checksum of the file; strict reads every block.
func TestDamagedTable(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 200)
	s.damage(s.image())
	o := options(t, s.asSource("om1", ""))
	o.Strict = true
	fails(t, o, ReasonCorrupt, ".sst")
	if exists(filepath.Join(o.DataDir, "node")) || exists(o.staged(fetchDir)) {
		t.Error("what is damaged was kept")
	}
}

// damage makes a table of a kept image bad, and its manifest agree.
func (s *source) damage(m *image.Manifest) {
	s.t.Helper()
	dir := filepath.Join(s.dir, "om", "images", m.ID)
	changed := *m
	changed.Files = slices.Clone(m.Files)
	for i := range changed.Files {
		f := &changed.Files[i]
		if f.Kind != image.Table || f.Size < 20_000 {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		raw, err := os.ReadFile(path)
		s.check(err)
		s.check(os.Remove(path)) // it is a link to the store's
		raw[len(raw)/2] ^= 1
		s.check(os.WriteFile(path, raw, 0o600))
		f.XXH3 = transfer.SumOf(raw).String()
		break
	}
	raw, err := changed.Encode()
	s.check(err)
	s.check(os.WriteFile(filepath.Join(dir, image.ManifestFile), raw, 0o600))
	s.keeper, err = image.Open(image.Options{
		Dir: filepath.Join(s.dir, "om", "images"), Store: s.store, Node: image.Node{ID: "om1", Number: 1, Store: storeName}, Rate: -1, Reserve: -1,
	})
	s.check(err)
}

// served does what a server does when it has started on a new node.
func served(t testing.TB, dir string) {
	t.Helper()
	root, err := fileplan.Open(nil, dir)
	if err == nil {
		err = root.Confirm()
	}
	if err == nil {
		err = root.Forget(t.Context())
	}
	if err == nil {
		err = root.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
