package container

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/block"
	"o3/internal/block/blocktest"
	"o3/internal/errs"
)

// tiny are options under which a few kilobytes exercise everything.
func tiny(fs vfs.FS) Options {
	return Options{FS: fs, Dir: "/d/blocks", Node: 3, ContainerSize: 12 << 10, SmallSize: 1 << 10, chunk: 256,
		Streams: 2, Handles: 4, ReclaimRate: -1, ScrubRate: -1, logGrowth: 600}
}

// content is a block that says in its first bytes which one it is.
func content(seed uint64) []byte {
	n := int(seed % 5 * (seed >> 8 % 700))
	b := make([]byte, 8, 8+n)
	binary.LittleEndian.PutUint64(b, seed)
	return append(b, blocktest.Data(seed, n)...)
}

// history is what was asked of a store and what it answered.
type history struct {
	mu       sync.Mutex
	acked    map[block.ID]uint64 // seed of each acknowledged block
	deleting map[block.ID]bool   // deletes begun
	deleted  map[block.ID]bool   // deletes acknowledged
	ever     map[block.ID]bool   // ids that may never be given again
}

func newHistory() *history {
	return &history{acked: map[block.ID]uint64{}, deleting: map[block.ID]bool{},
		deleted: map[block.ID]bool{}, ever: map[block.ID]bool{}}
}

func (h *history) clone() *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &history{acked: maps.Clone(h.acked), deleting: maps.Clone(h.deleting),
		deleted: maps.Clone(h.deleted), ever: maps.Clone(h.ever)}
}

// act performs one random operation.
func (h *history) act(s *Store, r *rand.Rand) error {
	ctx := context.Background()
	switch n := r.IntN(20); {
	case n < 11:
		seed := r.Uint64()
		info, err := s.Put(ctx, bytes.NewReader(content(seed)), -1)
		if err != nil {
			return err
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.ever[info.ID] {
			return fmt.Errorf("id %v was given again", info.ID)
		}
		h.ever[info.ID] = true
		h.acked[info.ID] = seed
	case n < 12:
		seed := r.Uint64()
		cut := io.MultiReader(bytes.NewReader(content(seed)), iotest.ErrReader(io.ErrClosedPipe))
		if _, err := s.Put(ctx, cut, -1); err != io.ErrClosedPipe {
			return fmt.Errorf("a failing reader: %w", err)
		}
	case n < 18:
		return h.delete(s, r)
	case n < 19:
		_, err := s.Reclaim(ctx)
		if errs.KindOf(err) == errs.Conflict {
			return nil
		}
		return err
	default:
		_, err := s.Scrub(ctx)
		if errs.KindOf(err) == errs.Conflict {
			return nil
		}
		return err
	}
	return nil
}

func (h *history) delete(s *Store, r *rand.Rand) error {
	var ids []block.ID
	h.mu.Lock()
	for id := range h.acked {
		if !h.deleting[id] && r.IntN(3) == 0 {
			ids = append(ids, id)
			h.deleting[id] = true
		}
		if len(ids) == 4 {
			break
		}
	}
	h.mu.Unlock()
	if err := s.Delete(context.Background(), ids); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		h.deleted[id] = true
	}
	return nil
}

// check compares a store opened after the power cut with the history h before
// it; deleting are the deletes that had begun by then or soon after. It makes
// h what is true now.
func (h *history) check(s *Store, deleting map[block.ID]bool) error {
	ctx := context.Background()
	listed := map[block.ID]uint64{}
	err := s.List(ctx, func(i block.Info) error {
		got, err := readAll(s, block.Ref{ID: i.ID, Length: i.Length})
		if err != nil {
			return err
		}
		seed := binary.LittleEndian.Uint64(got)
		if !bytes.Equal(got, content(seed)) {
			return fmt.Errorf("block %v is torn", i.ID)
		}
		listed[i.ID] = seed
		return nil
	})
	if err != nil {
		return err
	}
	for id, seed := range h.acked {
		got, there := listed[id]
		switch {
		case h.deleted[id] && there:
			return fmt.Errorf("deleted block %v is back", id)
		case h.deleted[id] || deleting[id] && !there:
			_, err := s.Get(ctx, block.Ref{ID: id})
			if errs.KindOf(err) != errs.NoSuchKey {
				return fmt.Errorf("get of deleted %v: %v", id, err)
			}
		case !there:
			return fmt.Errorf("acknowledged block %v is lost", id)
		case got != seed:
			return fmt.Errorf("block %v is another one", id)
		}
	}
	h.acked, h.deleting, h.deleted = listed, map[block.ID]bool{}, map[block.ID]bool{}
	for id := range listed {
		h.ever[id] = true
	}
	return nil
}

func readAll(s *Store, ref block.Ref) ([]byte, error) {
	r, err := s.Get(context.Background(), ref)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// cutter makes a file system cut the power at its nth operation, and keeps
// what the disk held then, and what had been acknowledged.
type cutter struct {
	fs      *vfs.MemFS
	h       *history
	left    atomic.Int64
	percent int
	rng     *rand.Rand

	after  *vfs.MemFS
	before *history
}

func (c *cutter) op(o errorfs.Op) error {
	if o.Kind.ReadOrWrite() == errorfs.OpIsWrite && c.left.Add(-1) == 0 {
		c.cut()
	}
	return nil
}

func (c *cutter) cut() {
	c.before = c.h.clone()
	c.after = c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.percent, RNG: c.rng})
}

// round runs random operations until the power is cut, and returns the disk
// and the history to go on with.
func round(fs *vfs.MemFS, h *history, seed uint64) (*vfs.MemFS, *history, error) {
	r := rand.New(rand.NewPCG(seed, 0))
	c := &cutter{fs: fs, h: h, percent: []int{0, 20, 50, 80, 100}[r.IntN(5)], rng: rand.New(rand.NewPCG(seed, 1))}
	c.left.Store(1 + r.Int64N(300))
	var hurt atomic.Pointer[Damage]
	o := tiny(errorfs.Wrap(fs, errorfs.InjectorFunc(c.op)))
	o.Listener.Damaged = func(d Damage) { hurt.Store(&d) }
	s, err := Open(o)
	if err != nil {
		return nil, nil, fmt.Errorf("open: %w", err)
	}
	writers := []int{1, 4}[r.IntN(2)]
	failures := make(chan error, writers)
	for w := range writers {
		go func() {
			r := rand.New(rand.NewPCG(seed, uint64(2+w)))
			for range 60 / writers {
				if err := h.act(s, r); err != nil {
					failures <- err
					return
				}
			}
			failures <- nil
		}()
	}
	for range writers {
		if ferr := <-failures; ferr != nil {
			err = ferr
		}
	}
	if err == nil && r.IntN(2) == 0 {
		err = s.Close()
	}
	if c.after == nil {
		c.left.Store(0)
		c.cut()
	}
	s.Close()
	if err != nil {
		return nil, nil, err
	}
	if err := inspect(c.after, c.before, h.deleting); err != nil {
		return nil, nil, err
	}
	if d := hurt.Load(); d != nil {
		return nil, nil, fmt.Errorf("a healthy store found damage: %v", d)
	}
	return c.after, c.before, nil
}

// inspect verifies the disk after a power cut, opens it, compares, closes it
// well, and compares again.
func inspect(fs *vfs.MemFS, h *history, deleting map[block.ID]bool) error {
	found := func(d Damage) error { return fmt.Errorf("a power cut is taken for damage: %v", d) }
	if _, err := fs.Stat("/d/blocks"); err == nil { // else the cut came before there was a directory
		if _, err := Verify(context.Background(), tiny(fs), found); err != nil {
			return err
		}
	}
	for range 2 {
		var hurt *Damage
		o := tiny(fs)
		o.Listener.Damaged = func(d Damage) { hurt = &d }
		s, err := Open(o)
		if err != nil {
			return fmt.Errorf("open after the cut: %w", err)
		}
		if err := h.check(s, deleting); err != nil {
			s.Close()
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
		if hurt != nil {
			return fmt.Errorf("a power cut is taken for damage: %v", hurt)
		}
		deleting = nil
	}
	return nil
}

func TestPowerCuts(t *testing.T) {
	rounds := 300
	if os.Getenv("O3_NIGHTLY") != "" {
		rounds = 20_000
	}
	seed := rand.Uint64()
	if v := os.Getenv("O3_SEED"); v != "" {
		seed, _ = strconv.ParseUint(v, 10, 64)
		rounds = 20
	}
	if v := os.Getenv("O3_ROUNDS"); v != "" {
		rounds, _ = strconv.Atoi(v)
	}
	t.Logf("seed %d", seed)
	fs, h := vfs.NewCrashableMem(), newHistory()
	for i := range rounds {
		if i%20 == 0 {
			fs, h = vfs.NewCrashableMem(), newHistory()
		}
		var err error
		if fs, h, err = round(fs, h, seed+uint64(i)); err != nil {
			t.Fatalf("round %d: %v (O3_SEED=%d)", i, err, seed+uint64(i/20*20))
		}
	}
}
