package transfer

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"o3/internal/errs"
)

// TestTenReceivers: ten at once get what they want, within the source's limits.
func TestTenReceivers(t *testing.T) {
	t.Parallel()
	const receivers, streams, rate, chunk = 10, 3, 6 << 20, 16 << 10
	files := random(20, 1<<20)
	cat := newCatalog(image("1-1-a", files))
	var now, most, big atomic.Int64
	cat.hook = func(_, _ string, _ int64, b []byte) error {
		raise(&big, int64(len(b)))
		return nil
	}
	var sent atomic.Int64
	srv, h := serve(t, cat, func(o *ServerOptions) {
		o.Streams, o.Rate, o.Chunk = streams, rate, chunk
		o.Listener.StreamBegin = func(Stream) { raise(&most, now.Add(1)) }
		o.Listener.StreamEnd = func(s Stream, err error) {
			now.Add(-1)
			sent.Add(s.Sent)
			if err != nil {
				t.Error(err)
			}
		}
	})
	begun := time.Now()
	var wg sync.WaitGroup
	for range receivers {
		wg.Go(func() {
			o := options(t, h.URL)
			o.Chunk = 1 << 20 // more than the source gives
			r, err := Fetch(t.Context(), o)
			if err != nil {
				t.Error(err)
				return
			}
			same(t, o.Dir, "1-1-a", files)
			if err := r.Lease.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	if most.Load() > streams || most.Load() < 2 {
		t.Errorf("%d streams at once, at most %d are allowed", most.Load(), streams)
	}
	if big.Load() > chunk {
		t.Errorf("a chunk of %d bytes was read, at most %d are allowed", big.Load(), chunk)
	}
	per := float64(sent.Load()) / took.Seconds()
	t.Logf("%d bytes in %v: %.2f of the rate", sent.Load(), took, per/rate)
	if allowed := rate * (took.Seconds() + 0.25); float64(sent.Load()) > allowed || sent.Load() < receivers*files.size()*9/10 {
		t.Errorf("%d bytes in %v are %.0f/s, at most %d/s and a fifth of a second's are allowed", sent.Load(), took, per, rate)
	}
	if st := srv.Status(); st.Streams != 0 || st.Waiting != 0 || len(st.Pinned) != 0 {
		t.Errorf("at the end: %+v", st)
	}
}

func raise(top *atomic.Int64, v int64) {
	for {
		old := top.Load()
		if v <= old || top.CompareAndSwap(old, v) {
			return
		}
	}
}

// TestBusySource: requests beyond what may wait are told to slow down, and come
// again without the source being taken for a broken one.
func TestBusySource(t *testing.T) {
	t.Parallel()
	files := random(21, 1<<20)
	cat := newCatalog(image("1-1-a", files))
	_, h := serve(t, cat, func(o *ServerOptions) { o.Streams, o.Waiting, o.QueueWait = 1, 1, time.Millisecond })
	o := options(t, h.URL)
	o.Retries, o.Streams, o.Batch = 3, 4, 64<<10
	slow := make(chan struct{})
	var once sync.Once
	cat.hook = func(string, string, int64, []byte) error { <-slow; return nil } // the only stream is taken until then
	o.Listener.Retry = func(_ string, err error) {
		if errs.KindOf(err) == errs.SlowDown {
			once.Do(func() { close(slow) })
		}
	}
	fetchAll(t, o)
	same(t, o.Dir, "1-1-a", files)
}

// TestThrottle: each of the four bounds holds, and is used.
func TestThrottle(t *testing.T) {
	t.Parallel()
	const rate, size = 3 << 20, 3 << 20
	files := random(22, size)
	for name, set := range map[string]func(*Options, *ServerOptions){
		"source network": func(_ *Options, s *ServerOptions) { s.Rate = rate },
		"source disk":    func(_ *Options, s *ServerOptions) { s.ReadRate = rate },
		"target network": func(o *Options, _ *ServerOptions) { o.Rate = rate },
		"target disk":    func(o *Options, _ *ServerOptions) { o.DiskRate = rate },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var o Options
				_, source := serveHere(t, newCatalog(image("1-1-a", files)), 0, func(s *ServerOptions) { set(&o, s) })
				n := optionsHere(t, source)
				n.Rate, n.DiskRate = o.Rate, o.DiskRate
				r := fetchAll(t, n)
				share := float64(size) / r.Took.Seconds() / rate
				t.Logf("%.2f of the rate", share)
				if size > rate*(r.Took.Seconds()+0.25) || share < 0.9 { // a fifth of a second's bytes may go at once
					t.Errorf("%v for %d bytes is %.2f of the rate", r.Took, size, share)
				}
			})
		})
	}
}

// TestLongLine: over a line with a round trip of 100 ms, four fifths of the
// throttle are reached, from the first question to the end.
func TestLongLine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const rate, size = 4 << 20, 20 << 20
		files := random(23, size)
		_, source := serveHere(t, newCatalog(image("1-1-a", files)), 50*time.Millisecond, nil)
		o := optionsHere(t, source)
		o.Rate = rate
		r := fetchAll(t, o)
		same(t, o.Dir, "1-1-a", files)
		share := float64(size) / r.Took.Seconds() / rate
		t.Logf("%d bytes in %v: %.2f of the throttle", size, r.Took, share)
		if share < 0.8 || share > 1.1 {
			t.Errorf("%.2f of the throttle was reached", share)
		}
	})
}

// quota is a disk with a bound that it may hide.
type quota struct {
	OSDisk
	left atomic.Int64
	lies bool
}

func (q *quota) Free(string) (int64, error) {
	if q.lies {
		return 1 << 50, nil
	}
	return max(q.left.Load(), 0), nil
}

func (q *quota) OpenFile(name string, flag int, perm os.FileMode) (DiskFile, error) {
	f, err := q.OSDisk.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return quotaFile{f, q}, nil
}

type quotaFile struct {
	DiskFile
	q *quota
}

func (f quotaFile) WriteAt(b []byte, off int64) (int, error) {
	if f.q.left.Add(-int64(len(b))) < 0 {
		f.q.left.Add(int64(len(b)))
		half := len(b) / 2 // a full disk takes some of it
		n, _ := f.DiskFile.WriteAt(b[:half], off)
		return n, &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	}
	return f.DiskFile.WriteAt(b, off)
}

// TestDiskFull: the transfer waits, says so, and goes on when there is space.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	files := random(24, 3<<20)
	files["twice/CURRENT"] = files["store/000001.sst"]
	for name, lies := range map[string]bool{"seen before": false, "hit by writes": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, h := serve(t, newCatalog(image("1-1-a", files)), nil)
			o := options(t, h.URL)
			q := &quota{lies: lies}
			q.left.Store(files.size() / 10)
			o.Disk, o.Reserve = q, 4<<10
			var waits atomic.Int64
			o.Listener.Progress = func(p Progress) {
				if p.Phase != PhaseWaiting {
					return
				}
				waits.Add(1)
				if p.Need <= 0 || p.Need > files.size() || !lies && p.Need <= p.Free {
					t.Errorf("waiting for space with %+v", p)
				}
				q.left.Add(200 << 10)
			}
			fetchAll(t, o)
			same(t, o.Dir, "1-1-a", files)
			if waits.Load() < 3 {
				t.Errorf("%d waits for space", waits.Load())
			}
		})
	}
	t.Run("reserve", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			_, source := serveHere(t, newCatalog(image("1-1-a", files)), 0, nil)
			o := optionsHere(t, source)
			q := &quota{}
			q.left.Store(2*files.size() + 1<<20)
			o.Disk, o.Reserve, o.Timeout = q, 8<<20, 200*time.Millisecond
			o.Streams = 1 // others would wait behind it, for a mutex
			_, err := Fetch(t.Context(), o)
			kindIs(t, err, errs.DeadlineExceeded, string(PhaseWaiting), "0 of")
		})
	})
}

func TestCompression(t *testing.T) {
	t.Parallel()
	noise := random(25, 1<<20)
	text := content{"a": bytes.Repeat([]byte("all work and no play makes jack a dull boy\n"), 1<<15), "b": noise["store/000000.sst"]}
	var off atomic.Bool
	sent := func(how string) int64 {
		t.Helper()
		_, h := serve(t, newCatalog(image("1-1-a", text)), func(o *ServerOptions) { o.NoCompression = off.Load() })
		o := options(t, h.URL)
		var err error
		if o.Compression, err = ParseCompression(how); err != nil {
			t.Fatal(err)
		}
		if how != "none" && o.Compression.String() != how {
			t.Errorf("%s is read as %s", how, o.Compression)
		}
		r := fetchAll(t, o)
		same(t, o.Dir, "1-1-a", text)
		return r.Progress.Sent
	}
	size, b := text.size(), int64(len(text["b"]))
	if n := sent("none"); n < size || n > size*105/100 {
		t.Errorf("none: %d bytes were sent for %d", n, size)
	}
	for _, how := range []string{"s2:1", "s2:2", "s2:3", "zstd:1", "zstd:3", "zstd:19"} {
		if n := sent(how); n < b || n > b+(size-b)/5+16<<10 {
			t.Errorf("%s: %d bytes were sent for %d that compress well and %d that do not", how, n, size-b, b)
		}
	}
	off.Store(true)
	if n := sent("zstd:3"); n < size {
		t.Errorf("a source that may not compress sent %d bytes for %d", n, size)
	}
	for _, bad := range []string{"gzip", "zstd:0", "zstd:23", "s2:4", "none:1", "zstd:x"} {
		if _, err := ParseCompression(bad); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestCompressionThatDoesNotPay is seldom tried.
func TestCompressionThatDoesNotPay(t *testing.T) {
	t.Parallel()
	how, err := ParseCompression("zstd:3")
	if err != nil {
		t.Fatal(err)
	}
	e := encoder{how: how}
	defer e.close()
	noise := random(26, 64<<10)["store/000000.sst"][:1000]
	text := bytes.Repeat([]byte("x"), 1000)
	tried := 0
	for range 1000 {
		before := e.skip
		if _, c, err := e.encode(1, nil, noise); c != codecNone || err != nil {
			t.Fatal(c, err)
		}
		if before == 0 {
			tried++
		}
	}
	if tried > 30 {
		t.Errorf("%d of 1000 chunks were tried", tried)
	}
	if _, c, err := e.encode(2, nil, text); c != codecZstd || err != nil {
		t.Errorf("the next file is not compressed: %d, %v", c, err)
	}
}

// TestLease: the source keeps the image and the log while a lease is renewed.
func TestLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		files := random(27, 1<<20)
		cat := newCatalog(image("1-1-a", files))
		holds, ends := make(chan Hold, 1000), make(chan Hold, 10)
		_, source := serveHere(t, cat, 0, func(o *ServerOptions) {
			o.LeaseTTL = 300 * time.Millisecond
			o.Hold = func(_ context.Context, h Hold) error { holds <- h; return nil }
			o.Release = func(h Hold) { ends <- h }
		})
		o := optionsHere(t, source)
		o.Receiver, o.Rate = "om7", 4<<20
		r, err := Fetch(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		first := <-holds
		if first.Receiver != "om7" || first.Image != "1-1-a" || first.Who != "om1" || time.Until(first.Until) > time.Second {
			t.Errorf("the hold is %+v", first)
		}
		// The caller goes on until it has caught up.
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() {
			if err := r.Lease.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		last := first.Until
		for range 5 {
			n := <-holds
			if n.Until.Before(last) {
				t.Errorf("a renewal until %v after one until %v", n.Until, last)
			}
			last = n.Until
		}
		if cat.open("1-1-a") != 1 {
			t.Errorf("the image is open %d times", cat.open("1-1-a"))
		}
		cancel()
		run.Wait()
		if e := <-ends; e.Receiver != "om7" || time.Until(e.Until) != 0 || cat.open("1-1-a") != 0 {
			t.Errorf("what expired is %+v", e)
		}
	})
}

// TestHoldRefused: a source that cannot keep the log is not used.
func TestHoldRefused(t *testing.T) {
	t.Parallel()
	files := content{"a": []byte("hello")}
	cat := newCatalog(image("1-1-a", files))
	_, h1 := serve(t, cat, func(o *ServerOptions) {
		o.Hold = func(context.Context, Hold) error { return errs.New(errs.TooMany, "log", "it is held too long already") }
	})
	_, h2 := serve(t, newCatalog(image("1-1-a", files)), nil)
	o := options(t, h1.URL, h2.URL)
	r := fetchAll(t, o)
	if r.Source != "source1" || cat.read.Load() != 0 || cat.open("1-1-a") != 0 {
		t.Errorf("fetched from %s; %d bytes were read of the first, %d open", r.Source, cat.read.Load(), cat.open("1-1-a"))
	}
}

// TestTLS: over TLS the source serves whoever may; without, only loopback.
func TestTLS(t *testing.T) {
	t.Parallel()
	files := random(28, 100<<10)
	srv, _ := serve(t, newCatalog(image("1-1-a", files)), nil)
	h := httptest.NewTLSServer(http.StripPrefix("/transfer", srv))
	defer h.Close()
	o := options(t, h.URL)
	o.Sources[0].Client = h.Client()
	fetchAll(t, o)
	same(t, o.Dir, "1-1-a", files)

	for remote, want := range map[string]int{"127.0.0.1:5": http.StatusOK, "[::1]:5": http.StatusOK, "192.0.2.7:5": http.StatusForbidden, "": http.StatusForbidden} {
		r := httptest.NewRequest(http.MethodGet, "/images", nil)
		r.RemoteAddr = remote
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("without TLS, %q gets %d, expected %d", remote, w.Code, want)
		}
		r.TLS = &tls.ConnectionState{}
		w = httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Errorf("with TLS, %q gets %d", remote, w.Code)
		}
	}
}

// TestClose: a server that stops cuts its streams, and lets go of its images.
func TestClose(t *testing.T) {
	t.Parallel()
	files := random(29, 1<<20)
	cat := newCatalog(image("1-1-a", files))
	srv, h := serve(t, cat, func(o *ServerOptions) { o.Rate = 64 << 10 })
	o := options(t, h.URL)
	o.Retries, o.Chunk, o.ProgressEvery = 1, MinChunk, time.Millisecond
	came := make(chan struct{})
	var once sync.Once
	o.Listener.Progress = func(p Progress) {
		if p.Done > 0 {
			once.Do(func() { close(came) })
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := Fetch(t.Context(), o)
		kindIs(t, err, errs.Unavailable, "source0")
	})
	<-came
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if cat.open("1-1-a") != 0 {
		t.Error("an image is open after Close")
	}
	wg.Wait()
	if n, _ := filepath.Glob(filepath.Join(o.Dir, stateDir, "parts", "*")); len(n) == 0 {
		t.Error("nothing of what came is kept")
	}
}
