package recon_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/recon"
	"o3/internal/recon/staging"
)

// slow is an om whose images come in two parts, as from an OM elsewhere.
type slow struct {
	*om
	part chan struct{} // closed when the first part is here

	mu    sync.Mutex
	found []bool // of each call: the first part was here
	reuse [][]string
	fail  error // of the first call, after its first part; nil: it waits until it is stopped
}

// Image implements recon.Source.
func (s *slow) Image(ctx context.Context, dir string, reuse []string, progress func(done, total int64)) (*image.Manifest, error) {
	part := filepath.Join(dir+recon.FetchSuffix, "part")
	_, err := os.Stat(part)
	s.mu.Lock()
	s.found = append(s.found, err == nil)
	s.reuse = append(s.reuse, reuse)
	n, fail := len(s.found), s.fail
	s.mu.Unlock()
	if err == nil || n > 1 {
		return s.om.Image(ctx, dir, reuse, progress)
	}
	if err := os.MkdirAll(filepath.Dir(part), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(part, []byte("half of it"), 0o600); err != nil {
		return nil, err
	}
	close(s.part)
	if fail != nil {
		return nil, fail
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestImageSurvives: what has come in of an image is there at the next try: after a
// restart, and after a failure; not when the stage was cancelled, or is to be made
// from nothing.
func TestImageSurvives(t *testing.T) {
	for name, c := range map[string]struct {
		fail error
		do   func(r *rig, again func() *rig) *rig
		want bool
	}{
		"restart": {nil, func(r *rig, again func() *rig) *rig {
			if err := r.stop(); err != nil {
				r.t.Error(err)
			}
			return again()
		}, true},
		"failure": {errs.New(errs.Corrupt, "image", "a file is damaged"), func(r *rig, _ func() *rig) *rig { return r }, true},
		"cancel": {nil, func(r *rig, _ func() *rig) *rig {
			if !r.CancelStaging() {
				r.t.Error("there is nothing to cancel")
			}
			r.until("the end of it", func(recon.Status) bool { return r.StagingState() == staging.None })
			if err := r.RetryStaging(false); err != nil {
				r.t.Error(err)
			}
			return r
		}, false},
		"clean": {errs.New(errs.Corrupt, "image", "a file is damaged"), func(r *rig, _ func() *rig) *rig {
			r.until("a retry", func(recon.Status) bool { return r.Staging().RetryAt != nil })
			if err := r.RetryStaging(true); err != nil {
				r.t.Error(err)
			}
			return r
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOM(t, 1)
			o.work(50)
			s := &slow{om: o, part: make(chan struct{}), fail: c.fail}
			dir := filepath.Join(t.TempDir(), "recon")
			start := func() *rig {
				return o.follow(t, dir, func(opts *recon.Options) {
					opts.Sources = []recon.Source{s}
					if name == "clean" {
						opts.Staging.Clock = newClock() // its retries are not due
						opts.Staging.RetryDelay = 0
					}
				})
			}
			r := start()
			<-s.part
			r = c.do(r, start)
			r.until("a generation", func(st recon.Status) bool { return st.Syncs == 1 })
			r.current()
			r.check()
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.found) != 2 || s.found[0] || s.found[1] != c.want {
				t.Errorf("at each try the part was here: %v", s.found)
			}
			if _, err := os.Stat(filepath.Join(dir, "image")); err == nil {
				t.Error("what was left of the image is still there")
			}
		})
	}
}

// TestImageIsReused: an image that was whole when the server ended spares the next
// one its files.
func TestImageIsReused(t *testing.T) {
	o := newOM(t, 1)
	o.work(50)
	s := &slow{om: o, part: make(chan struct{})}
	close(s.part)
	s.found = []bool{false} // no call waits
	dir := filepath.Join(t.TempDir(), "recon")
	held, at := make(chan struct{}), make(chan struct{})
	var once sync.Once
	start := func() *rig {
		return o.follow(t, dir, func(opts *recon.Options) {
			opts.Sources = []recon.Source{s}
			opts.Rebuild.Progress = func(string, int64) { once.Do(func() { close(at) }); <-held }
		})
	}
	r := start()
	<-at
	r.cancel()
	close(held)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start()
	r.until("a generation", func(st recon.Status) bool { return st.Syncs == 1 })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reuse) != 2 || len(s.reuse[0]) != 0 || len(s.reuse[1]) != 1 || s.reuse[1][0] != filepath.Join(dir, "image", "replica") {
		t.Errorf("reused: %v", s.reuse)
	}
}

// TestTriggers: of 50 triggers at once one makes a stage, and one more may come
// after it.
func TestTriggers(t *testing.T) {
	o := newOM(t, 1)
	o.work(50)
	r := o.follow(t, filepath.Join(t.TempDir(), "recon"), nil)
	r.current()
	r.until("no stage", func(recon.Status) bool { return r.quiet() })
	before := r.Staging().Operations
	o.mu.Lock() // nothing gets far
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids, fresh := map[string]int{}, 0
	for i := range 50 {
		wg.Go(func() {
			kind := staging.Local
			if i%2 == 0 {
				kind = staging.Full
			}
			got, err := r.Trigger(recon.Trigger{Kind: kind})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			ids[got.StagingID]++
			if !got.Joined {
				fresh++
			}
		})
	}
	wg.Wait()
	o.mu.Unlock()
	r.until("no stage", func(recon.Status) bool { return r.quiet() })
	r.current()
	made := r.Staging().Operations - before
	if len(ids) > 2 || fresh != len(ids) || made != uint64(len(ids)) {
		t.Errorf("50 triggers at once: %v, %d of them new, %d made", ids, fresh, made)
	}
}
