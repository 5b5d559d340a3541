// Package memblock is a block store in memory: what tests and dry runs use
// where durability does not matter. It passes the contract of package
// blocktest, keeps one copy of every byte, owns no goroutine, and forgets
// everything at Close.
package memblock

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"o3/internal/block"
	"o3/internal/errs"
)

// perContainer is how many blocks get the same container id.
const perContainer = 1000

// Store is a block.Store in memory. The zero value is ready to use.
type Store struct {
	mu     sync.RWMutex
	blocks map[block.ID]stored
	given  uint64
	closed bool
}

type stored struct {
	info block.Info
	data []byte
}

var _ block.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return new(Store) }

func canceled(ctx context.Context) error {
	err := ctx.Err()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return errs.Wrap(errs.DeadlineExceeded, "", err)
	default:
		return errs.Wrap(errs.Canceled, "", err)
	}
}

func (s *Store) usable() error {
	if s.closed {
		return errs.New(errs.Unavailable, "block store", "closed")
	}
	return nil
}

// Put implements block.Store.
func (s *Store) Put(ctx context.Context, r io.Reader, size int64) (block.Info, error) {
	if size > block.MaxSize {
		return block.Info{}, errs.New(errs.TooLarge, "block", "longer than 256 MiB")
	}
	data, err := read(ctx, r, size)
	if err != nil {
		return block.Info{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return block.Info{}, err
	}
	id := block.ID{Container: 1 + s.given/perContainer, Local: 1 + s.given%perContainer}
	s.given++
	info := block.Info{ID: id, Length: int64(len(data)), Created: time.Now()}
	if s.blocks == nil {
		s.blocks = map[block.ID]stored{}
	}
	s.blocks[id] = stored{info, data}
	return info, nil
}

// read reads r to its end, looking at ctx between reads.
func read(ctx context.Context, r io.Reader, size int64) ([]byte, error) {
	data := make([]byte, 0, min(max(size, 0)+1, 1<<20))
	for empty := 0; ; {
		if err := canceled(ctx); err != nil {
			return nil, err
		}
		data = slices.Grow(data, 1)
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if len(data) > block.MaxSize {
			return nil, errs.New(errs.TooLarge, "block", "longer than 256 MiB")
		}
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		if n > 0 {
			empty = 0
		} else if empty++; empty > 100 {
			return nil, io.ErrNoProgress
		}
	}
}

// Get implements block.Store.
func (s *Store) Get(ctx context.Context, ref block.Ref) (io.ReadCloser, error) {
	if err := canceled(ctx); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	b, ok := s.blocks[ref.ID]
	if !ok {
		return nil, errs.New(errs.NoSuchKey, "block "+ref.ID.String(), "there is no such block")
	}
	if ref.Offset < 0 || ref.Length < 0 || ref.Offset > b.info.Length || ref.Length > b.info.Length-ref.Offset {
		return nil, errs.New(errs.InvalidRange, "block "+ref.ID.String(),
			fmt.Sprintf("range %d+%d of a block of %d bytes", ref.Offset, ref.Length, b.info.Length))
	}
	return io.NopCloser(bytes.NewReader(b.data[ref.Offset : ref.Offset+ref.Length])), nil
}

// Delete implements block.Store.
func (s *Store) Delete(ctx context.Context, ids []block.ID) error {
	if err := canceled(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	for _, id := range ids {
		delete(s.blocks, id)
	}
	return nil
}

// List implements block.Store.
func (s *Store) List(ctx context.Context, f func(block.Info) error) error {
	s.mu.RLock()
	if err := s.usable(); err != nil {
		s.mu.RUnlock()
		return err
	}
	infos := make([]block.Info, 0, len(s.blocks))
	for _, b := range s.blocks {
		infos = append(infos, b.info)
	}
	s.mu.RUnlock()
	slices.SortFunc(infos, func(a, b block.Info) int {
		return cmp.Or(cmp.Compare(a.ID.Container, b.ID.Container), cmp.Compare(a.ID.Local, b.ID.Local))
	})
	for _, info := range infos {
		if err := canceled(ctx); err != nil {
			return err
		}
		if err := f(info); err != nil {
			return err
		}
	}
	return nil
}

// Close implements block.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.blocks = true, nil
	return nil
}
