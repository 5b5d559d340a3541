// Package blocktest is the contract of block.Store: laws that every engine
// passes, a comparison with a model over random operations, and benchmarks. A
// new engine is one line of test:
//
//	blocktest.Run(t, func(t testing.TB) block.Store { return New(t.TempDir()) })
package blocktest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"o3/internal/block"
	"o3/internal/errs"
)

// Factory makes an empty store; the suite closes it.
type Factory func(t testing.TB) block.Store

// law is one sentence of the contract.
type law struct {
	name  string
	check func(t *testing.T, s block.Store)
}

var laws = []law{
	{"a block reads back as it was written", sizes},
	{"every range of a block reads right", ranges},
	{"a range that leaves the block is refused", badRanges},
	{"the size given to Put is only a hint", hints},
	{"a reader may give its bytes in any portions", portions},
	{"what is not there is NoSuchKey", absent},
	{"a failing reader stores nothing", failing},
	{"a block above the limit is refused and stores nothing", tooLarge},
	{"Delete is final and may be repeated", deletes},
	{"a reader survives the Delete of its block", survives},
	{"List gives every block once, container by container", lists},
	{"List stops at its callee's error", listStops},
	{"a context that has ended ends the operation", cancellation},
	{"a client that stalls holds up nobody", stalled},
	{"operations may be concurrent", concurrent},
	{"a closed store is Unavailable", closed},
}

// Run checks the laws and compares the store with a model.
func Run(t *testing.T, make Factory) {
	for _, l := range laws {
		t.Run(l.name, func(t *testing.T) {
			s := make(t)
			defer s.Close()
			l.check(t, s)
		})
	}
	t.Run("the store agrees with a model", func(t *testing.T) { model(t, make) })
}

// Data returns n bytes that only seed decides.
func Data(seed uint64, n int) []byte {
	b := make([]byte, n+8)
	r := rand.NewPCG(seed, 1)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n:n]
}

func put(t testing.TB, s block.Store, data []byte) block.Info {
	t.Helper()
	before := time.Now().Add(-time.Minute)
	info, err := s.Put(t.Context(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatalf("put of %d bytes: %v", len(data), err)
	}
	if info.Length != int64(len(data)) || info.ID.Container == 0 || info.Created.Before(before) {
		t.Fatalf("put of %d bytes: %+v", len(data), info)
	}
	return info
}

func get(t testing.TB, s block.Store, ref block.Ref) []byte {
	t.Helper()
	b, err := read(t.Context(), s, ref)
	if err != nil {
		t.Fatalf("get %+v: %v", ref, err)
	}
	return b
}

func read(ctx context.Context, s block.Store, ref block.Ref) ([]byte, error) {
	r, err := s.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func whole(info block.Info) block.Ref { return block.Ref{ID: info.ID, Length: info.Length} }

func wantKind(t testing.TB, err error, k errs.Kind) {
	t.Helper()
	if errs.KindOf(err) != k {
		t.Fatalf("error %v: kind %q, want %q", err, errs.KindOf(err), k)
	}
}

func list(t testing.TB, s block.Store) map[block.ID]block.Info {
	t.Helper()
	out := map[block.ID]block.Info{}
	err := s.List(t.Context(), func(i block.Info) error {
		if _, twice := out[i.ID]; twice {
			t.Errorf("block %v listed twice", i.ID)
		}
		out[i.ID] = i
		return nil
	})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return out
}

// lengths lie around every border an engine is likely to have.
func lengths() []int {
	out := []int{0, 1, 2, 7, 8, 9, 4095, 4096, 4097}
	for _, n := range []int{64 << 10, 128 << 10, 256 << 10, 1 << 20} {
		out = append(out, n-1, n, n+1)
	}
	return append(out, 3<<20+17)
}

func sizes(t *testing.T, s block.Store) {
	infos := map[int]block.Info{}
	for i, n := range lengths() {
		infos[n] = put(t, s, Data(uint64(i), n))
	}
	seen := map[block.ID]bool{}
	for i, n := range lengths() {
		info := infos[n]
		if seen[info.ID] {
			t.Fatalf("id %v given twice", info.ID)
		}
		seen[info.ID] = true
		if got := get(t, s, whole(info)); !bytes.Equal(got, Data(uint64(i), n)) {
			t.Fatalf("block of %d bytes reads back differently", n)
		}
		var w bytes.Buffer
		r, err := s.Get(t.Context(), whole(info))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&w, r); err != nil || !bytes.Equal(w.Bytes(), Data(uint64(i), n)) {
			t.Fatalf("copy of a block of %d bytes: differs, %v", n, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func ranges(t *testing.T, s block.Store) {
	for _, n := range []int{0, 1, 5000, 64 << 10, 200_001, 700_003} {
		data := Data(uint64(n), n)
		info := put(t, s, data)
		edges := []int{0, 1, 100, 4096, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 256 << 10, 400_000, n - 1, n}
		for _, from := range edges {
			for _, to := range edges {
				if from < 0 || to < from || to > n {
					continue
				}
				got := get(t, s, block.Ref{ID: info.ID, Offset: int64(from), Length: int64(to - from)})
				if !bytes.Equal(got, data[from:to]) {
					t.Fatalf("bytes %d to %d of %d differ", from, to, n)
				}
			}
		}
	}
}

func badRanges(t *testing.T, s block.Store) {
	for _, n := range []int64{0, 10, 300_000} {
		info := put(t, s, Data(1, int(n)))
		for _, r := range [][2]int64{{0, n + 1}, {n, 1}, {n + 1, 0}, {-1, 1}, {0, -1}, {1, 1<<63 - 1}, {1<<63 - 1, 1}} {
			_, err := s.Get(t.Context(), block.Ref{ID: info.ID, Offset: r[0], Length: r[1]})
			wantKind(t, err, errs.InvalidRange)
		}
	}
}

func hints(t *testing.T, s block.Store) {
	for _, n := range []int{0, 1, 4096, 300_000} {
		for _, hint := range []int64{-1, 0, 1, 4096, 100_000, 1 << 20} {
			data := Data(uint64(n), n)
			info, err := s.Put(t.Context(), bytes.NewReader(data), hint)
			if err != nil || info.Length != int64(n) {
				t.Fatalf("%d bytes with hint %d: %+v, %v", n, hint, info, err)
			}
			if !bytes.Equal(get(t, s, whole(info)), data) {
				t.Fatalf("%d bytes with hint %d differ", n, hint)
			}
		}
	}
}

func portions(t *testing.T, s block.Store) {
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"half": iotest.HalfReader, "data with error": iotest.DataErrReader, "one byte": iotest.OneByteReader,
	} {
		for _, n := range []int{0, 5, 70_000, 300_000} {
			data := Data(uint64(n), n)
			info, err := s.Put(t.Context(), wrap(bytes.NewReader(data)), -1)
			if err != nil {
				t.Fatalf("%s, %d bytes: %v", name, n, err)
			}
			if !bytes.Equal(get(t, s, whole(info)), data) {
				t.Fatalf("%s: %d bytes differ", name, n)
			}
		}
	}
}

func absent(t *testing.T, s block.Store) {
	info := put(t, s, Data(1, 10))
	for _, id := range []block.ID{
		{}, {Container: info.ID.Container, Local: info.ID.Local + 1}, {Container: info.ID.Container},
		{Container: info.ID.Container + 1, Local: info.ID.Local}, {Container: 1<<64 - 1, Local: 1<<64 - 1},
		{Container: info.ID.Container, Local: info.ID.Local + 1<<32},
	} {
		_, err := s.Get(t.Context(), block.Ref{ID: id})
		wantKind(t, err, errs.NoSuchKey)
		if err := s.Delete(t.Context(), []block.ID{id}); err != nil {
			t.Fatalf("delete of absent %v: %v", id, err)
		}
	}
	get(t, s, whole(info))
}

// errClient is what a client's failing body says.
var errClient = errors.New("the client went away")

func failing(t *testing.T, s block.Store) {
	for _, n := range []int{0, 1, 4096, 300_000, 2 << 20} {
		r := io.MultiReader(bytes.NewReader(Data(1, n)), iotest.ErrReader(errClient))
		if _, err := s.Put(t.Context(), r, int64(n)+1); !errors.Is(err, errClient) {
			t.Fatalf("failing after %d bytes: %v", n, err)
		}
	}
	if l := list(t, s); len(l) != 0 {
		t.Fatalf("stored %v", l)
	}
	// What comes after an aborted block is whole.
	for i := range 4 {
		data := Data(uint64(i), 300_000+i)
		if !bytes.Equal(get(t, s, whole(put(t, s, data))), data) {
			t.Fatal("a block written after an aborted one differs")
		}
	}
}

// endless gives zeros, and counts them.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) { e.n += int64(len(p)); return len(p), nil }

func tooLarge(t *testing.T, s block.Store) {
	if testing.Short() {
		t.Skip("256 MiB")
	}
	if _, err := s.Put(t.Context(), new(endless), block.MaxSize+1); errs.KindOf(err) != errs.TooLarge {
		t.Fatalf("declared too large: %v", err)
	}
	e := new(endless)
	if _, err := s.Put(t.Context(), e, -1); errs.KindOf(err) != errs.TooLarge {
		t.Fatalf("too large: %v", err)
	}
	if e.n > block.MaxSize+64<<20 {
		t.Fatalf("read %d bytes of a block that is too large", e.n)
	}
	if l := list(t, s); len(l) != 0 {
		t.Fatalf("stored %v", l)
	}
	info, err := s.Put(t.Context(), io.LimitReader(new(endless), block.MaxSize), -1)
	if err != nil || info.Length != block.MaxSize {
		t.Fatalf("the largest block: %+v, %v", info, err)
	}
}

func deletes(t *testing.T, s block.Store) {
	a, b, c := put(t, s, Data(1, 10)), put(t, s, Data(2, 300_000)), put(t, s, Data(3, 5000))
	if err := s.Delete(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.Delete(t.Context(), []block.ID{a.ID, b.ID, a.ID}); err != nil {
			t.Fatal(err)
		}
		for _, gone := range []block.Info{a, b} {
			_, err := s.Get(t.Context(), whole(gone))
			wantKind(t, err, errs.NoSuchKey)
		}
		if l := list(t, s); len(l) != 1 {
			t.Fatalf("listed %v", l)
		}
	}
	if !bytes.Equal(get(t, s, whole(c)), Data(3, 5000)) {
		t.Fatal("the other block differs")
	}
	if next := put(t, s, Data(4, 10)); next.ID == a.ID || next.ID == b.ID {
		t.Fatalf("id %v was given again", next.ID)
	}
}

func survives(t *testing.T, s block.Store) {
	data := Data(1, 2<<20)
	info := put(t, s, data)
	r, err := s.Get(t.Context(), whole(info))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, 1000)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), []block.ID{info.ID}); err != nil {
		t.Fatal(err)
	}
	put(t, s, Data(2, 2<<20))
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(got, rest...), data) {
		t.Fatalf("the reader gave %d bytes, %v", len(got)+len(rest), err)
	}
}

func lists(t *testing.T, s block.Store) {
	want := map[block.ID]block.Info{}
	for i := range 300 {
		info := put(t, s, Data(uint64(i), i*7%1000))
		want[info.ID] = info
	}
	got := list(t, s)
	if len(got) != len(want) {
		t.Fatalf("%d blocks listed of %d", len(got), len(want))
	}
	for id, w := range want {
		if g := got[id]; g.Length != w.Length || !g.Created.Equal(w.Created) {
			t.Fatalf("listed %+v, put said %+v", g, w)
		}
	}
	done := map[uint64]bool{}
	var now uint64
	err := s.List(t.Context(), func(i block.Info) error {
		if i.ID.Container != now {
			if done[i.ID.Container] {
				return fmt.Errorf("container %d again", i.ID.Container)
			}
			done[now] = true
			now = i.ID.Container
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func listStops(t *testing.T, s block.Store) {
	for i := range 5 {
		put(t, s, Data(uint64(i), 10))
	}
	enough, n := errors.New("enough"), 0
	err := s.List(t.Context(), func(block.Info) error {
		if n++; n == 3 {
			return enough
		}
		return nil
	})
	if err != enough || n != 3 {
		t.Fatalf("%v after %d blocks", err, n)
	}
}

// ending gives bytes and ends its context on the way.
type ending struct {
	left   int
	at     int
	cancel func()
}

func (e *ending) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.left, 1000)
	if e.left -= n; e.left <= e.at {
		e.cancel()
	}
	return n, nil
}

func cancellation(t *testing.T, s block.Store) {
	info := put(t, s, Data(1, 10))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Put(ctx, bytes.NewReader(Data(1, 10)), 10)
	wantKind(t, err, errs.Canceled)
	_, err = s.Get(ctx, whole(info))
	wantKind(t, err, errs.Canceled)
	wantKind(t, s.Delete(ctx, []block.ID{info.ID}), errs.Canceled)
	wantKind(t, s.List(ctx, func(block.Info) error { return nil }), errs.Canceled)
	past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err = s.Put(past, bytes.NewReader(Data(1, 10)), 10)
	wantKind(t, err, errs.DeadlineExceeded)
	for _, n := range []int{20_000, 2 << 20} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Put(ctx, &ending{left: n, at: n / 2, cancel: cancel}, int64(n))
		wantKind(t, err, errs.Canceled)
	}
	if l := list(t, s); len(l) != 1 {
		t.Fatalf("listed %v", l)
	}
}

func stalled(t *testing.T, s block.Store) {
	const n = 8
	var writers []*io.PipeWriter
	results := make(chan error, n)
	for i := range n {
		r, w := io.Pipe()
		writers = append(writers, w)
		go func() {
			_, err := s.Put(t.Context(), r, -1)
			results <- err
		}()
		if _, err := w.Write(Data(1, []int{10, 1 << 20}[i%2])); err != nil { // returns when it was read
			t.Fatal(err)
		}
	}
	for i := range 8 { // while all of them wait
		data := Data(uint64(i), 400_000*i)
		info := put(t, s, data)
		if !bytes.Equal(get(t, s, whole(info)), data) {
			t.Fatal("differs")
		}
		if err := s.Delete(t.Context(), []block.ID{info.ID}); err != nil {
			t.Fatal(err)
		}
	}
	for i, w := range writers {
		if i < n/2 {
			w.CloseWithError(errClient)
		} else {
			w.Close()
		}
	}
	var failed int
	for range n {
		if err := <-results; errors.Is(err, errClient) {
			failed++
		} else if err != nil {
			t.Error(err)
		}
	}
	if l := list(t, s); failed != n/2 || len(l) != n/2 {
		t.Fatalf("%d failed, %d listed", failed, len(l))
	}
}

func concurrent(t *testing.T, s block.Store) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 7))
			mine := map[block.ID]uint64{}
			lens := map[block.ID]int{}
			for i := range 60 {
				seed := uint64(g*1000 + i)
				n := []int{r.IntN(100), r.IntN(20_000), r.IntN(400_000)}[r.IntN(3)]
				info, err := s.Put(t.Context(), bytes.NewReader(Data(seed, n)), int64(n))
				if err != nil {
					t.Error(err)
					return
				}
				mine[info.ID], lens[info.ID] = seed, n
				for id, seed := range mine { // any of them
					got, err := read(t.Context(), s, block.Ref{ID: id, Length: int64(lens[id])})
					if err != nil || !bytes.Equal(got, Data(seed, lens[id])) {
						t.Errorf("block %v: %v", id, err)
						return
					}
					if r.IntN(3) == 0 {
						if err := s.Delete(t.Context(), []block.ID{id}); err != nil {
							t.Error(err)
						}
						delete(mine, id)
					}
					break
				}
			}
		})
	}
	wg.Wait()
}

func closed(t *testing.T, s block.Store) {
	info := put(t, s, Data(1, 10))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Put(t.Context(), bytes.NewReader(nil), 0)
	wantKind(t, err, errs.Unavailable)
	_, err = s.Get(t.Context(), whole(info))
	wantKind(t, err, errs.Unavailable)
	wantKind(t, s.Delete(t.Context(), []block.ID{info.ID}), errs.Unavailable)
	wantKind(t, s.List(t.Context(), func(block.Info) error { return nil }), errs.Unavailable)
	if err := s.Close(); err != nil {
		t.Fatalf("second close: %v", err)
	}
}
