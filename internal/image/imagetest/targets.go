// Package imagetest holds the tests that every image.Target must pass.
package imagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"o3/internal/errs"
	"o3/internal/image"
)

// locker is a target at which one export works at a time.
type locker interface {
	Lock(ctx context.Context) (io.Closer, error)
}

// Targets tests a kind of target: of makes a place that belongs to t and returns
// how it is opened. large is a size in bytes that such a target does not store in
// one piece.
func Targets(t *testing.T, large int, of func(t *testing.T) (open func() image.Target)) {
	for name, f := range map[string]func(t *testing.T, p *place){
		"empty": empty, "files": files, "replace": replace, "readers that fail": failing, "at once": atOnce,
		"canceled": canceled, "lock": locked, "export": export,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, &place{open: of(t), large: large})
		})
	}
}

type place struct {
	open  func() image.Target
	large int
}

// Content returns n bytes that do not compress, the same for the same seed.
func Content(seed uint64, n int) []byte {
	out := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(out) // it never fails
	return out
}

func put(t *testing.T, at image.Target, name string, data []byte) {
	t.Helper()
	if err := at.Put(t.Context(), name, int64(len(data)), bytes.NewReader(data)); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

func get(t *testing.T, at image.Target, name string) []byte {
	t.Helper()
	from, err := at.Open(t.Context(), name)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	data, err := io.ReadAll(from)
	if err = errors.Join(err, from.Close()); err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return data
}

func list(t *testing.T, at image.Target, prefix string) []string {
	t.Helper()
	var out []string
	err := at.List(t.Context(), prefix, func(name string, size int64) error {
		out = append(out, fmt.Sprint(name, " ", size))
		return nil
	})
	if err != nil {
		t.Fatalf("list %q: %v", prefix, err)
	}
	slices.Sort(out)
	return out
}

func holds(t *testing.T, at image.Target, prefix string, want ...string) {
	t.Helper()
	if got := list(t, at, prefix); !slices.Equal(got, want) {
		t.Errorf("below %q: got %q, want %q", prefix, got, want)
	}
}

// empty: nothing is there before something is put.
func empty(t *testing.T, p *place) {
	at := p.open()
	holds(t, at, "")
	holds(t, at, "files/")
	if _, err := at.Open(t.Context(), "files/store/none@0-0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of a file that is absent: %v", err)
	}
	if err := at.Remove(t.Context(), "files/store/none@0-0"); err != nil {
		t.Errorf("remove of a file that is absent: %v", err)
	}
	if at.String() == "" {
		t.Error("the target has no name")
	}
}

// files of all sizes come back as they were put, in another Target too, and are
// listed by prefixes that need not end at a slash.
func files(t *testing.T, p *place) {
	at := p.open()
	sizes := []int{0, 1, 1000, p.large - 1, p.large, p.large + 1, 2 * p.large, 5*p.large + 17}
	want := []string{}
	for i, n := range sizes {
		name := fmt.Sprintf("files/store/%06d.sst@00-%d", i, n)
		put(t, at, name, Content(uint64(i), n))
		want = append(want, fmt.Sprint(name, " ", n))
	}
	put(t, at, "images/1-1-00000000.json", []byte("{}"))
	at = p.open()
	for i, n := range sizes {
		if got := get(t, at, fmt.Sprintf("files/store/%06d.sst@00-%d", i, n)); !bytes.Equal(got, Content(uint64(i), n)) {
			t.Errorf("file %d of %d bytes came back with %d, or others", i, n, len(got))
		}
	}
	holds(t, at, "files/", want...)
	holds(t, at, "files/store/00000", want...)
	holds(t, at, "images/", "images/1-1-00000000.json 2")
	holds(t, at, "", append(slices.Clone(want), "images/1-1-00000000.json 2")...)
	if err := at.Remove(t.Context(), "files/store/000003.sst@00-"+fmt.Sprint(sizes[3])); err != nil {
		t.Error(err)
	}
	holds(t, at, "files/", slices.Delete(slices.Clone(want), 3, 4)...)
	stop := errors.New("stop")
	if err := at.List(t.Context(), "files/", func(string, int64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the error of each: %v", err)
	}
}

// replace: what was put again is what is there.
func replace(t *testing.T, p *place) {
	at := p.open()
	for i, n := range []int{10, p.large * 3, 20} {
		put(t, at, "files/blocks/c-0@00-1", Content(uint64(i), n))
		if got := get(t, at, "files/blocks/c-0@00-1"); !bytes.Equal(got, Content(uint64(i), n)) {
			t.Errorf("the content number %d is not there", i)
		}
	}
	holds(t, at, "", "files/blocks/c-0@00-1 20")
}

// broken gives n bytes and then an error.
type broken struct {
	n   int
	err error
}

func (b *broken) Read(p []byte) (int, error) {
	if b.n == 0 {
		return 0, b.err
	}
	n := min(b.n, len(p))
	b.n -= n
	return n, nil
}

// failing: what a reader does not give to its end is not there, and what was
// there before stays.
func failing(t *testing.T, p *place) {
	at := p.open()
	bad := errors.New("the reader's error")
	for _, n := range []int{0, 100, p.large, 3*p.large + 5} {
		for _, size := range []int{n, n + 1, n + p.large} { // also when all bytes came
			if err := at.Put(t.Context(), "files/store/x@00-1", int64(size), &broken{n, bad}); !errors.Is(err, bad) {
				t.Errorf("after %d of %d bytes: %v", n, size, err)
			}
			holds(t, at, "")
		}
	}
	put(t, at, "files/store/x@00-1", []byte("good"))
	for _, n := range []int{100, 3 * p.large} {
		if err := at.Put(t.Context(), "files/store/x@00-1", int64(n), &broken{n, bad}); !errors.Is(err, bad) {
			t.Error(err)
		}
		if got := get(t, at, "files/store/x@00-1"); string(got) != "good" {
			t.Errorf("a put that failed left %d bytes", len(got))
		}
	}
}

// atOnce: several use it.
func atOnce(t *testing.T, p *place) {
	at := p.open()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			name, data := fmt.Sprintf("files/store/%d@00-1", i), Content(uint64(i), p.large*i/2)
			if err := at.Put(t.Context(), name, int64(len(data)), bytes.NewReader(data)); err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			from, err := at.Open(t.Context(), name)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			defer from.Close()
			if got, err := io.ReadAll(from); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		})
	}
	all.Wait()
	if got := list(t, at, "files/"); len(got) != 8 {
		t.Errorf("there is %q", got)
	}
}

// canceled: a reader that says so ends a Put with nothing there.
func canceled(t *testing.T, p *place) {
	at := p.open()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errs.New(errs.Canceled, "test", "stopped")
	r := io.MultiReader(bytes.NewReader(Content(1, 2*p.large)), readerFunc(func([]byte) (int, error) {
		cancel(stop)
		return 0, stop
	}))
	if err := at.Put(ctx, "files/store/x@00-1", int64(4*p.large), r); errs.KindOf(err) != errs.Canceled {
		t.Errorf("%v", err)
	}
	holds(t, at, "")
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// locked: one at a time, and the lock is no file of an image.
func locked(t *testing.T, p *place) {
	one, ok := p.open().(locker)
	two := p.open()
	if !ok {
		t.Fatal("it has no lock")
	}
	held, err := one.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, one.(image.Target), "files/store/x@00-1", []byte("x"))
	if _, err := two.(locker).Lock(t.Context()); errs.KindOf(err) != errs.Conflict || !strings.Contains(err.Error(), two.String()) {
		t.Errorf("a second lock: %v", err)
	}
	if _, err := image.Prune(t.Context(), two, 1); errs.KindOf(err) != errs.Conflict {
		t.Errorf("prune beside an export: %v", err)
	}
	holds(t, two, "files/", "files/store/x@00-1 1")
	holds(t, two, "images/")
	if err := held.Close(); err != nil {
		t.Error(err)
	}
	again, err := two.(locker).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
