package blocktest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"o3/internal/block"
	"o3/internal/errs"
)

// model performs random operations on a store and on a map.
func model(t *testing.T, make Factory) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := make(t)
	defer s.Close()
	m := &modelRun{t: t, s: s, r: rand.New(rand.NewPCG(seed, 0)), live: map[block.ID][]byte{}}
	for range 400 {
		m.step()
	}
	m.compare()
}

type modelRun struct {
	t    *testing.T
	s    block.Store
	r    *rand.Rand
	live map[block.ID][]byte
	ids  []block.ID // ever given
}

func (m *modelRun) size() int {
	switch m.r.IntN(10) {
	case 0:
		return 0
	case 1:
		return 64<<10*(1+m.r.IntN(6)) + m.r.IntN(3) - 1
	case 2, 3:
		return m.r.IntN(1 << 20)
	default:
		return m.r.IntN(10_000)
	}
}

func (m *modelRun) step() {
	switch n := m.r.IntN(20); {
	case n < 8:
		data := Data(m.r.Uint64(), m.size())
		info := put(m.t, m.s, data)
		if slices.Contains(m.ids, info.ID) {
			m.t.Fatalf("id %v given twice", info.ID)
		}
		m.live[info.ID] = data
		m.ids = append(m.ids, info.ID)
	case n < 9:
		data := Data(m.r.Uint64(), m.size())
		if _, err := m.s.Put(m.t.Context(), io.MultiReader(bytes.NewReader(data), iotest.ErrReader(errClient)), -1); err == nil {
			m.t.Fatal("a failing reader was stored")
		}
	case n < 15:
		m.get()
	case n < 19:
		var ids []block.ID
		for range m.r.IntN(4) {
			if len(m.ids) > 0 {
				ids = append(ids, m.ids[m.r.IntN(len(m.ids))])
			}
		}
		if err := m.s.Delete(m.t.Context(), ids); err != nil {
			m.t.Fatal(err)
		}
		for _, id := range ids {
			delete(m.live, id)
		}
	default:
		m.compare()
	}
}

func (m *modelRun) get() {
	if len(m.ids) == 0 {
		return
	}
	id := m.ids[m.r.IntN(len(m.ids))]
	data, ok := m.live[id]
	from := m.r.IntN(len(data) + 1)
	n := m.r.IntN(len(data) - from + 1)
	got, err := read(m.t.Context(), m.s, block.Ref{ID: id, Offset: int64(from), Length: int64(n)})
	switch {
	case !ok:
		wantKind(m.t, err, errs.NoSuchKey)
	case err != nil || !bytes.Equal(got, data[from:from+n]):
		m.t.Fatalf("block %v, %d bytes from %d of %d: differ, %v", id, n, from, len(data), err)
	}
}

func (m *modelRun) compare() {
	got := list(m.t, m.s)
	if len(got) != len(m.live) {
		m.t.Fatalf("%d blocks listed, the model has %d", len(got), len(m.live))
	}
	for id, data := range m.live {
		if got[id].Length != int64(len(data)) {
			m.t.Fatalf("block %v listed as %+v, the model has %d bytes", id, got[id], len(data))
		}
	}
}

// Bench measures puts and gets of a store by several sizes and writers.
func Bench(b *testing.B, make Factory) {
	s := make(b)
	defer s.Close()
	for _, c := range []struct {
		size    int
		writers int
	}{{4 << 10, 1}, {4 << 10, 32}, {4 << 10, 128}, {64 << 10, 32}, {1 << 20, 1}, {1 << 20, 32}} {
		data := Data(1, c.size)
		b.Run(fmt.Sprintf("put/%dKiB/%dw", c.size>>10, c.writers), func(b *testing.B) {
			b.SetBytes(int64(c.size))
			parallel(b, c.writers, func(int) error {
				_, err := s.Put(b.Context(), bytes.NewReader(data), int64(c.size))
				return err
			})
		})
	}
	for _, size := range []int{4 << 10, 1 << 20, 64 << 20} {
		infos := []block.Info{put(b, s, Data(1, size)), put(b, s, Data(2, size))}
		for _, readers := range []int{1, 32} {
			b.Run(fmt.Sprintf("get/%dKiB/%dr", size>>10, readers), func(b *testing.B) {
				b.SetBytes(int64(size))
				parallel(b, readers, func(i int) error {
					r, err := s.Get(b.Context(), whole(infos[i%2]))
					if err != nil {
						return err
					}
					_, err = io.Copy(discard{}, r)
					r.Close()
					return err
				})
			})
		}
	}
}

// discard is an io.Writer that offers nothing else.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
