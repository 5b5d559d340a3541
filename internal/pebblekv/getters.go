package pebblekv

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// getters reads single keys through iterators that it keeps. Why not the
// engine's own Get: that never reads the filters of the last level, where
// nearly all rows are, so a miss costs a block read; and a kept iterator saves
// its construction.
//
// A kept iterator shows the state of its making, and holds the files of that
// state on disk. So each is tagged with the era it was made in and is used in
// that era only: for the latest state an era ends with each commit, for a
// snapshot when the set of files changes.
type getters struct {
	s    *Store
	make func(*pebble.IterOptions) (*pebble.Iterator, error)
	// era returns the present era, and whether an iterator made now, after the
	// call, may be kept.
	era func() (era uint64, keep bool)

	mu   sync.Mutex
	free []getter
}

type getter struct {
	it   *pebble.Iterator
	era  uint64
	keep bool
}

// keepGetters bounds the iterators kept: about as many as goroutines that read
// at the same instant.
const keepGetters = 8

// get appends the value of key to dst.
func (g *getters) get(dst, key []byte) (value []byte, ok bool, err error) {
	const op = "pebblekv.Get"
	if len(key) == 0 {
		return dst, false, nil
	}
	it, err := g.take()
	if err != nil {
		return dst, false, g.s.readError(op, err)
	}
	if ok = it.it.SeekPrefixGE(key); ok {
		var v []byte
		if v, err = it.it.ValueAndErr(); err == nil {
			if dst == nil {
				dst = make([]byte, 0, len(v))
			}
			dst = append(dst, v...)
		}
	} else {
		err = it.it.Error()
	}
	if err != nil {
		_ = it.it.Close() // says the same error again
		return dst, false, g.s.readError(op, err)
	}
	return dst, ok, g.give(it)
}

func (g *getters) take() (getter, error) {
	era, keep := g.era()
	for {
		g.mu.Lock()
		n := len(g.free)
		if n == 0 {
			g.mu.Unlock()
			break
		}
		it := g.free[n-1]
		g.free = g.free[:n-1]
		g.mu.Unlock()
		if it.era == era {
			return it, nil
		}
		if err := it.it.Close(); err != nil {
			return getter{}, err
		}
	}
	it, err := g.make(&pebble.IterOptions{UseL6Filters: true})
	return getter{it, era, keep}, err
}

func (g *getters) give(it getter) error {
	if it.keep {
		g.mu.Lock()
		if len(g.free) < keepGetters {
			g.free = append(g.free, it)
			it.it = nil
		}
		g.mu.Unlock()
	}
	if it.it == nil {
		return nil
	}
	if err := it.it.Close(); err != nil {
		return g.s.readError("pebblekv.Get", err)
	}
	return nil
}

// drop closes the kept iterators. Errors of reading were given to the reader.
func (g *getters) drop() {
	g.mu.Lock()
	free := g.free
	g.free = nil
	g.mu.Unlock()
	for _, it := range free {
		_ = it.it.Close()
	}
}

// latestEra is the era of the store's own getters. An iterator made while a
// commit is under way may or may not show it, and is not kept: a later read
// must not go back.
func (s *Store) latestEra() (uint64, bool) {
	era := s.latest.Load()
	return era, s.writing.Load() == 0
}

// filesEra is the era of a snapshot's getters.
func (s *Store) filesEra() (uint64, bool) { return s.filesets.Load(), true }
