package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"

	"o3/internal/pebblekv"
)

// rawLoad is the store alone, with rows of the size that a key has.
type rawLoad struct {
	size    rowSizes
	full    *rawStore // without a log, as the namespace uses it; holds as many rows as there are keys
	scratch *rawStore // the same, to write to
	logged  *rawStore // with a synced log
}

type rawStore struct {
	*pebblekv.Store
	next atomic.Uint64 // rows that are there, or being written
}

func openRaw(dir string, size rowSizes) (r *rawLoad, err error) {
	r = &rawLoad{size: size}
	for _, one := range []struct {
		name   string
		store  **rawStore
		logged bool
	}{{"full", &r.full, false}, {"scratch", &r.scratch, false}, {"logged", &r.logged, true}} {
		store, err := pebblekv.Open(pebblekv.Options{Dir: filepath.Join(dir, one.name), DisableWAL: !one.logged, CacheBytes: 256 << 20, MemTableBytes: 64 << 20})
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		*one.store = &rawStore{Store: store}
	}
	return r, nil
}

func (r *rawLoad) close() (err error) {
	for _, store := range []*rawStore{r.full, r.scratch, r.logged} {
		if store != nil {
			err = errors.Join(err, store.Close())
		}
	}
	return err
}

// row makes row n; half of the value is random.
func (r *rawLoad) row(n uint64) (key, value []byte) {
	key = r.key(n)
	value = make([]byte, r.size.Value)
	rng := rand.NewPCG(n, 1)
	for i := 0; i+8 <= r.size.Value/2; i += 8 {
		binary.LittleEndian.PutUint64(value[i:], rng.Uint64())
	}
	return key, value
}

func (r *rawLoad) key(n uint64) []byte {
	name := coreKey(n)
	key := make([]byte, max(r.size.Key-len(name), 1), r.size.Key+len(name))
	key[0] = 0x20
	return append(key, name...)
}

// batch writes 100 rows at once to scratch; it belongs to one goroutine.
func (r *rawLoad) batch(context.Context, *rand.Rand) (int, error) { return r.fill(r.scratch) }

// load does the same to full.
func (r *rawLoad) load(context.Context, *rand.Rand) (int, error) { return r.fill(r.full) }

func (r *rawLoad) fill(s *rawStore) (int, error) {
	const rows = 100
	b := s.NewBatch()
	n := s.next.Load()
	var err error
	for i := range uint64(rows) {
		k, v := r.row(n + i)
		err = errors.Join(err, b.Set(k, v))
	}
	if err := errors.Join(err, b.Commit(false), b.Close()); err != nil {
		return 0, err
	}
	s.next.Add(rows)
	return rows, nil
}

// synced writes one row durably.
func (r *rawLoad) synced(context.Context, *rand.Rand) (int, error) {
	b := r.logged.NewBatch()
	k, v := r.row(r.logged.next.Add(1))
	return 1, errors.Join(b.Set(k, v), b.Commit(true), b.Close())
}

// get reads a row that is there.
func (r *rawLoad) get(_ context.Context, rng *rand.Rand) (int, error) {
	k := r.key(rng.Uint64N(r.full.next.Load()))
	_, ok, err := r.full.Get(k)
	if err == nil && !ok {
		err = fmt.Errorf("row %q is not there", k)
	}
	return 1, err
}

// scan reads up to 100,000 rows from a random one on, keys and values.
func (r *rawLoad) scan(_ context.Context, rng *rand.Rand) (rows int, err error) {
	it, err := r.full.Iter(nil, nil)
	if err != nil {
		return 0, err
	}
	bytes := 0
	for ok := it.SeekGE(r.key(rng.Uint64N(r.full.next.Load()))); ok && rows < 100_000; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			return rows, errors.Join(err, it.Close())
		}
		rows, bytes = rows+1, bytes+len(it.Key())+len(v)
	}
	if bytes == 0 {
		return rows, errors.Join(it.Err(), it.Close(), errors.New("nothing read"))
	}
	return rows, errors.Join(it.Err(), it.Close())
}
