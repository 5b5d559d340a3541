package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"o3/internal/leaktest"
	"o3/internal/recon"
	"o3/internal/recon/staging"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// world is a Recon that alerts look at, and a webhook without a network.
type world struct {
	t  *testing.T
	mu sync.Mutex

	status recon.Status
	stage  recon.StagingStatus
	free   uint64
	slow   time.Duration            // what hearing of a change takes
	answer func(n int) (int, error) // to the nth request, from 1 on

	requests int
	posts    []string // "12s O3ReconLag firing", of those that were taken
	heard    []string
	began    time.Time
	bodies   []message
}

// RoundTrip implements http.RoundTripper.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests++
	code, err := 200, error(nil)
	if w.answer != nil {
		code, err = w.answer(w.requests)
	}
	if err != nil {
		return nil, err
	}
	var m message
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		w.t.Error(err)
	}
	if code == 200 {
		w.posts = append(w.posts, fmt.Sprintf("%v %s %s", time.Since(w.began), m.Alerts[0].Labels["alertname"], m.Status))
		w.bodies = append(w.bodies, m)
	}
	rec := httptest.NewRecorder()
	rec.WriteHeader(code)
	return rec.Result(), nil
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) hear(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, fmt.Sprintf("%v ", time.Since(w.began))+fmt.Sprintf(format, args...))
}

// run runs alerts in a bubble of time.
func run(t *testing.T, f func(w *world, a *Alerts)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, free: 100, began: time.Now()}
		w.status = recon.Status{Index: 10, Commit: 10, Heard: time.Now().Add(1000 * time.Hour)}
		a := New(Options{
			Instance: "host:9888", Webhook: "http://hook/token", Client: &http.Client{Transport: w}, DiskFree: 100,
			Status:  func() recon.Status { w.mu.Lock(); defer w.mu.Unlock(); return w.status },
			Staging: func() recon.StagingStatus { w.mu.Lock(); defer w.mu.Unlock(); return w.stage },
			Free: func() (uint64, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				return w.free, nil
			},
			Listener: Listener{
				Changed: func(name, status, _ string) { <-time.After(w.slow); w.hear("%s %s", name, status) },
				Dropped: func(name string, err error) { w.hear("%s dropped: %v", name, err) },
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { a.Run(ctx) })
		synctest.Wait()
		f(w, a)
		cancel()
		wg.Wait()
	})
}

func (w *world) want(what string, got []string, want ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(got, want) {
		w.t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// pass lets time go by.
func pass(d time.Duration) { <-time.After(d); synctest.Wait() }

// TestStaging: a stage that failed is told of once, another one again; the end is
// told of when one is in force.
func TestStaging(t *testing.T) {
	run(t, func(w *world, a *Alerts) {
		failed := staging.Transition{StagingID: "generation-0000000007", To: staging.Failed, Detail: "planted"}
		a.Notice(failed)
		a.Notice(failed)
		pass(time.Minute)
		failed.StagingID = "generation-0000000008"
		a.Notice(failed)
		pass(time.Minute)
		a.Notice(staging.Transition{To: staging.Processing})
		a.Notice(staging.Transition{To: staging.Committed})
		a.Notice(staging.Transition{To: staging.Committed})
		pass(time.Minute)
		w.want("posts", w.posts, "0s O3ReconStagingFailed firing", "1m0s O3ReconStagingFailed firing", "2m0s O3ReconStagingFailed resolved")
		m := w.bodies[0]
		if m.Version != "4" || m.CommonLabels["instance"] != "host:9888" || m.CommonLabels["severity"] != "critical" || m.CommonLabels["stagingId"] != "generation-0000000007" ||
			m.CommonAnnotations["description"] != "planted" || !strings.Contains(m.CommonAnnotations["summary"], "generation-0000000007") || !m.Alerts[0].EndsAt.IsZero() {
			t.Errorf("%+v", m)
		}
		if w.bodies[2].Alerts[0].EndsAt.IsZero() {
			t.Errorf("%+v", w.bodies[2])
		}
	})
}

// TestKnown: what failed before the start is told of.
func TestKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, began: time.Now()}
		a := New(Options{
			Status:   func() recon.Status { return recon.Status{Heard: time.Now()} },
			Staging:  func() recon.StagingStatus { return recon.StagingStatus{State: staging.Failed, StagingID: "x"} },
			Free:     func() (uint64, error) { return 0, errors.New("planted") },
			Listener: Listener{Changed: func(name, status, _ string) { w.hear("%s %s", name, status) }},
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { a.Run(ctx) })
		pass(time.Hour)
		cancel()
		wg.Wait()
		w.want("heard", w.heard, "0s O3ReconStagingFailed firing")
	})
}

// TestLag: not what is there for a moment, but what lasts, also while everything
// moves on; and silence.
func TestLag(t *testing.T) {
	run(t, func(w *world, _ *Alerts) {
		for i := range 120 { // always something is behind, never the same
			w.set(func() { w.status.Index, w.status.Commit = uint64(10+i), uint64(20+i) })
			pass(10 * time.Second)
		}
		w.want("heard", w.heard)
		w.set(func() { w.status.Commit = 1000 })
		pass(3 * time.Minute) // entry 130 is known of since 18m40s
		w.want("heard", w.heard)
		pass(3 * time.Minute)
		w.want("heard", w.heard, "23m40s O3ReconLag firing")
		w.set(func() { w.status.Index = 1000 })
		pass(time.Minute)
		w.set(func() { w.status.Heard = time.Now() }) // the last time
		pass(6 * time.Minute)
		w.want("heard", w.heard, "23m40s O3ReconLag firing", "26m10s O3ReconLag resolved", "32m10s O3ReconLag firing")
		w.want("posts", w.posts, "23m40s O3ReconLag firing", "26m10s O3ReconLag resolved", "32m10s O3ReconLag firing")
	})
}

// TestDisk: it does not come and go with every file.
func TestDisk(t *testing.T) {
	run(t, func(w *world, _ *Alerts) {
		for _, free := range []uint64{99, 100, 105, 99, 109, 110, 100, 99} {
			w.set(func() { w.free = free })
			pass(10 * time.Second)
		}
		w.want("posts", w.posts, "10s O3ReconLowDisk firing", "1m0s O3ReconLowDisk resolved", "1m20s O3ReconLowDisk firing")
	})
}

// TestRepeat: what goes on is posted again every four hours.
func TestRepeat(t *testing.T) {
	run(t, func(w *world, _ *Alerts) {
		w.set(func() { w.free = 0 })
		pass(9 * time.Hour)
		w.want("heard", w.heard, "10s O3ReconLowDisk firing")
		w.want("posts", w.posts, "10s O3ReconLowDisk firing", "4h0m10s O3ReconLowDisk firing", "8h0m10s O3ReconLowDisk firing")
	})
}

// TestTriedAgain: a webhook that fails is asked again with growing waits; what is
// posted at last is the newest, each alert once.
func TestTriedAgain(t *testing.T) {
	run(t, func(w *world, a *Alerts) {
		w.answer = func(n int) (int, error) {
			switch {
			case n <= 3:
				return 0, errors.New("planted")
			case n <= 5:
				return 503, nil
			}
			return 200, nil
		}
		a.Notice(staging.Transition{StagingID: "x", To: staging.Failed}) // tried at 0s 1s 3s 7s 15s 31s
		w.set(func() { w.free = 0 })
		pass(time.Hour)
		w.want("posts", w.posts, "31s O3ReconLowDisk firing", "31s O3ReconStagingFailed firing")
		if w.requests != 7 {
			t.Errorf("%d requests", w.requests)
		}
	})
	run(t, func(w *world, a *Alerts) {
		down := true
		w.answer = func(int) (int, error) {
			if down {
				return 500, nil
			}
			return 200, nil
		}
		a.Notice(staging.Transition{StagingID: "x", To: staging.Failed})
		pass(10 * time.Second)
		a.Notice(staging.Transition{StagingID: "x", To: staging.Committed})
		w.set(func() { down = false })
		pass(time.Hour)
		w.want("posts", w.posts, "15s O3ReconStagingFailed resolved") // that it began is no news any more
	})
}

// TestGivenUp: after an hour, and at once when the webhook says that it never will.
func TestGivenUp(t *testing.T) {
	run(t, func(w *world, a *Alerts) {
		w.answer = func(int) (int, error) { return 500, nil }
		a.Notice(staging.Transition{StagingID: "x", To: staging.Failed})
		pass(3 * time.Hour)
		w.mu.Lock()
		n := w.requests
		w.mu.Unlock()
		w.want("heard", w.heard, "0s O3ReconStagingFailed firing", "1h0m3s O3ReconStagingFailed dropped: the webhook answers 500 Internal Server Error")
		if n < 50 || n > 70 {
			t.Errorf("%d requests", n)
		}
	})
	for _, code := range []int{301, 404} {
		run(t, func(w *world, a *Alerts) {
			w.answer = func(int) (int, error) { return code, nil }
			a.Notice(staging.Transition{StagingID: "x", To: staging.Failed})
			pass(time.Minute)
			w.want("heard", w.heard, "0s O3ReconStagingFailed firing", fmt.Sprintf("0s O3ReconStagingFailed dropped: the webhook refuses it: %d %s", code, http.StatusText(code)))
			if w.requests != 1 {
				t.Errorf("%d requests", w.requests)
			}
		})
	}
}

// TestToldInOrder: that an alert begins or ends is heard before what becomes of its
// post, however long hearing takes.
func TestToldInOrder(t *testing.T) {
	run(t, func(w *world, a *Alerts) {
		w.slow = time.Second
		w.answer = func(int) (int, error) { return 404, nil }
		a.Notice(staging.Transition{StagingID: "x", To: staging.Failed})
		a.Notice(staging.Transition{To: staging.Committed})
		pass(time.Minute)
		const refused = "s O3ReconStagingFailed dropped: the webhook refuses it: 404 Not Found"
		w.want("heard", w.heard, "1s O3ReconStagingFailed firing", "1"+refused, "2s O3ReconStagingFailed resolved", "2"+refused)
	})
}

// TestLoopback: a server that hangs, breaks off and refuses before it takes the
// alert. No error shows the URL.
func TestLoopback(t *testing.T) {
	var mu sync.Mutex
	n := 0
	taken := make(chan string, 1)
	done := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		at := n
		mu.Unlock()
		switch at {
		case 1:
			<-done // until the client has given up
		case 2:
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		case 3:
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			var m message
			if err := json.NewDecoder(r.Body).Decode(&m); err != nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
				t.Error(err, r.Method, r.Header)
			}
			select {
			case taken <- m.Alerts[0].Labels["alertname"]:
			default: // the client was impatient
			}
		}
	}))
	defer srv.Close()
	defer close(done)
	var errs []error
	a := New(Options{
		Webhook: srv.URL + "/token-of-mine", Timeout: 50 * time.Millisecond, Backoff: time.Millisecond,
		Status:  func() recon.Status { return recon.Status{Heard: time.Now()} },
		Staging: func() recon.StagingStatus { return recon.StagingStatus{State: staging.Failed} },
		Free:    func() (uint64, error) { return 0, nil },
		Listener: Listener{Posted: func(_ string, err error) {
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		}},
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { a.Run(ctx) })
	if got := <-taken; got != StagingFailed {
		t.Error(got)
	}
	cancel()
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(errs) < 3 {
		t.Fatal(errs)
	}
	if e, ok := errors.AsType[net.Error](errs[0]); !ok || !e.Timeout() {
		t.Errorf("%v", errs[0])
	}
	for _, err := range errs[:3] {
		if err == nil || strings.Contains(err.Error(), "token-of-mine") {
			t.Errorf("%v", err)
		}
	}
}
