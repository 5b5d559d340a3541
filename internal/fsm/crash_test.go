package fsm_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/fsm"
	"o3/internal/kv"
	"o3/internal/kv/kvtest"
	"o3/internal/kv/memkv"
	"o3/internal/pebblekv"
)

// TestCrash is laws 1 and 8 for the state: a machine over Pebble without a
// write-ahead log applies entries, loses power with unsynced data lost at
// random, opens again and goes on from the log. What it finds is the state of
// one index, at least the flushed one; in the end every answer and the digest
// are those of a machine that never stopped.
func TestCrash(t *testing.T) {
	seed := kvtest.Seed(t)
	rounds := 400
	if os.Getenv("O3_NIGHTLY") != "" {
		rounds = 20_000
	}
	lost, kept := 0, 0
	for done := 0; done < rounds && !t.Failed(); {
		rng := rand.New(rand.NewPCG(seed+uint64(done), 2))
		h := newHistory(t, rng.Uint64(), newCoverage())
		h.run(60, often)
		r := &crashRun{t: t, rng: rng, log: h.d.Log}
		r.remember()
		for range 40 {
			r.round()
			done++
		}
		lost, kept = lost+r.lost, kept+r.kept
	}
	t.Logf("%d entries were applied again, %d were found after a crash", lost, kept)
	if lost == 0 || kept == 0 {
		t.Error("the crashes lost nothing, or everything")
	}
}

// flusher flushes after a commit now and then, as a full memtable would: so a
// crash can fall between any two commits.
type flusher struct {
	kv.Store
	r *crashRun
}

type flusherBatch struct {
	kv.Batch
	f flusher
}

func (f flusher) NewBatch() kv.Batch { return flusherBatch{f.Store.NewBatch(), f} }

func (b flusherBatch) Commit(sync bool) error {
	err := b.Batch.Commit(sync)
	if err != nil || b.f.r.rng.IntN(8) > 0 {
		return err
	}
	if err := b.f.Store.Flush(); err != nil {
		return err
	}
	p, _, err := fsm.ReadPosition(b.f.Store)
	b.f.r.flushed = p.Index
	return err
}

// crashRun replays one log again and again.
type crashRun struct {
	t          *testing.T
	rng        *rand.Rand
	log        []fsm.Entry
	positions  []fsm.Position // at each index
	answers    [][][]byte     // of each entry
	flushed    uint64         // index that a crash must not lose
	lost, kept int
}

// remember applies the log to a store in memory and keeps every position.
func (r *crashRun) remember() {
	m, err := fsm.Open(new(memkv.Store), fsm.Position{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.positions = append(r.positions, m.Position())
	for i := range r.log {
		r.log[i].Conf = nil
		if i%7 == 3 {
			r.log[i].Conf = []byte{byte(i)}
		}
		a, err := m.Apply(r.log[i : i+1])
		if err != nil {
			r.t.Fatal(err)
		}
		r.answers = append(r.answers, a[0])
		r.positions = append(r.positions, m.Position())
	}
}

func same(a, b fsm.Position) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Op == b.Op && a.TimeMs == b.TimeMs && a.Digest == b.Digest &&
		bytes.Equal(a.Conf, b.Conf)
}

// round runs the log over one disk with a few power cuts.
func (r *crashRun) round() {
	disk := vfs.NewCrashableMem()
	r.flushed = 0
	for cuts := r.rng.IntN(3); ; cuts-- {
		store, m := r.open(disk)
		applied := m.Position().Index
		if applied < r.flushed {
			r.t.Fatalf("index %d was flushed, but %d is found", r.flushed, applied)
		}
		r.kept += int(applied)
		stop := uint64(len(r.log))
		if cuts > 0 {
			stop = r.rng.Uint64N(stop + 1)
		}
		for m.Position().Index < stop {
			r.apply(m, stop)
		}
		next := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.rng.IntN(101), RNG: rand.New(rand.NewPCG(r.rng.Uint64(), 3))})
		end := m.Position()
		r.compare(m, store)
		if err := store.Close(); err != nil {
			r.t.Fatal(err)
		}
		if cuts <= 0 {
			if want := r.positions[len(r.log)]; !same(end, want) {
				r.t.Errorf("ends at %+v, want %+v", end, want)
			}
			return
		}
		disk = next
	}
}

func (r *crashRun) open(disk vfs.FS) (*pebblekv.Store, *fsm.Machine) {
	store, err := pebblekv.Open(pebblekv.Options{
		Dir: "/db", FS: disk, DisableWAL: true, MemTableBytes: 64 << 10, CacheBytes: 1 << 20, DiskSlowAfter: -1,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := fsm.Open(flusher{store, r}, fsm.Position{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.compare(m, store)
	return store, m
}

// compare checks that the store is the state of one index.
func (r *crashRun) compare(m *fsm.Machine, store *pebblekv.Store) {
	p := m.Position()
	if !same(p, r.positions[p.Index]) {
		r.t.Fatalf("found %+v, want %+v", p, r.positions[p.Index])
	}
	d, err := fsm.Scan(store)
	if err != nil || d != p.Digest {
		r.t.Fatalf("index %d has digest %v, its rows %v, %v", p.Index, p.Digest, d, err)
	}
}

// apply applies some entries, often with some that were applied before.
func (r *crashRun) apply(m *fsm.Machine, stop uint64) {
	at := m.Position().Index
	from := at - min(at, r.rng.Uint64N(4))
	to := min(stop, at+1+r.rng.Uint64N(9))
	r.lost += int(to - from)
	answers, err := m.Apply(r.log[from:to])
	if err != nil {
		r.t.Fatal(err)
	}
	for i, got := range answers {
		index := from + uint64(i) + 1
		if index <= at {
			if got != nil {
				r.t.Fatalf("entry %d was answered twice", index)
			}
			continue
		}
		for j := range got {
			if !bytes.Equal(got[j], r.answers[index-1][j]) {
				r.t.Fatalf("entry %d, request %d: another answer than before", index, j)
			}
		}
	}
}
