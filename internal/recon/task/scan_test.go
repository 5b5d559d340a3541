package task

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"o3/internal/kv/memkv"
)

func TestBetween(t *testing.T) {
	rng := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for range 20_000 {
		a, b := make([]byte, rng.IntN(12)), make([]byte, rng.IntN(12))
		for _, k := range [][]byte{a, b} {
			for i := range k {
				k[i] = []byte{0, 0, 1, 2, 0xff}[rng.IntN(5)]
			}
		}
		mid, ok := between(a, b)
		if ok && (bytes.Compare(mid, a) <= 0 || bytes.Compare(mid, b) > 0) {
			t.Fatalf("between %x and %x: %x", a, b, mid)
		}
	}
}

// TestPieces: however a table is cut up among workers, each row is read once,
// rows with a higher order come later, and all workers end.
func TestPieces(t *testing.T) {
	for name, key := range map[string]func(i int) []byte{
		"numbers": func(i int) []byte { return binary.BigEndian.AppendUint64([]byte{0x20}, uint64(i)) },
		"names":   func(i int) []byte { return fmt.Appendf([]byte{0x20}, "projects/2026/part-%08d.parquet", i) },
		"skewed": func(i int) []byte {
			return binary.BigEndian.AppendUint64([]byte{0x20}, uint64(i)<<(56*min(1, i/59_990))) // all but a few are close together
		},
		"extended": func(i int) []byte {
			return append(binary.BigEndian.AppendUint64([]byte{0x20}, uint64(i/3)), make([]byte, i%3)...)
		},
		"long": func(i int) []byte { return append(bytes.Repeat([]byte{0x20}, 1+i/8), byte(i%8)) },
	} {
		t.Run(name, func(t *testing.T) {
			const workers = 4
			rows, most := 60_000, 0
			if name == "long" {
				rows = 5000
			}
			store := new(memkv.Store)
			b := store.NewBatch()
			for i := range rows {
				if err := b.Set(key(i), nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Commit(false); err != nil {
				t.Fatal(err)
			}
			q := newPieces(workers, []piece{{space: 0x20, lower: []byte{0x20}, upper: []byte{0x21}, order: 7, width: 1 << 40}})
			type found struct {
				order uint64
				key   string
			}
			var mu sync.Mutex
			var all []found
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					var mine []found
					order, pieces, read, batch := uint64(0), 0, 0, batchRows
					for {
						p, ok := q.next()
						if !ok {
							break
						}
						flush := func(_ piece, n int) error { read += n; return nil }
						begin := func(p piece) {
							for p.width == 1<<40 && int(q.hungry.Load()) < workers-1 { // who comes when all is read gets none
								runtime.Gosched()
							}
							order = p.order
							pieces++
						}
						err := q.read(context.Background(), store, p, &batch, begin, func(k, _ []byte) error {
							mine = append(mine, found{order, string(k)})
							return nil
						}, flush)
						if err != nil {
							t.Error(err)
						}
					}
					if read != len(mine) {
						t.Errorf("%d rows, %d told", len(mine), read)
					}
					mu.Lock()
					defer mu.Unlock()
					all, most = append(all, mine...), most+pieces
				})
			}
			wg.Wait()
			slices.SortStableFunc(all, func(a, b found) int { return int(int64(a.order) - int64(b.order)) })
			if len(all) != rows || !slices.IsSortedFunc(all, func(a, b found) int { return bytes.Compare([]byte(a.key), []byte(b.key)) }) {
				t.Errorf("%d of %d rows, or not in order", len(all), rows)
			}
			if name != "long" && most < workers {
				t.Errorf("it was read in %d pieces", most)
			}
		})
	}
}

// TestPiecesEnd: an error of one worker ends the others.
func TestPiecesEnd(t *testing.T) {
	q := newPieces(2, []piece{{}})
	if _, ok := q.next(); !ok {
		t.Fatal("there is no piece")
	}
	done := make(chan bool)
	go func() {
		_, ok := q.next()
		done <- ok
	}()
	q.end()
	if <-done {
		t.Error("there was a piece")
	}
}
