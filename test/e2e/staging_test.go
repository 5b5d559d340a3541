//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// stageOf is what o3 admin staging status says.
type stageOf struct {
	State, StagingID, LastError string
	RetryAt                     *time.Time
	Previous                    *struct{ Generation string }
}

func (s *server) stage(args ...string) (st stageOf) {
	s.t.Helper()
	out := s.must(append([]string{"--json", "admin", "staging", "status"}, args...)...)
	ok(s.t, json.Unmarshal([]byte(out), &st))
	return st
}

// settled waits until no stage is made or due.
func (s *server) settled() stageOf {
	s.t.Helper()
	return s.stage("--wait", "2m")
}

// reprocess begins a stage and returns its id.
func (s *server) reprocess(kind string) string {
	s.t.Helper()
	var got struct{ StagingID string }
	ok(s.t, json.Unmarshal([]byte(s.must("--json", "admin", "staging", "reprocess", "--kind", kind)), &got))
	return got.StagingID
}

// obstruct puts files where the stages after one would have their directories, and
// returns what takes away those that are left.
func (s *server) obstruct(id string) (clear func()) {
	s.t.Helper()
	var n int
	_, err := fmt.Sscanf(id, "generation-%d", &n)
	ok(s.t, err)
	var files []string
	for i := range 20 {
		files = append(files, filepath.Join(s.data, "recon", fmt.Sprintf("generation-%010d", n+1+i)))
		ok(s.t, os.WriteFile(files[i], []byte("in the way"), 0o600))
	}
	return func() {
		for _, f := range files {
			if err := os.Remove(f); err != nil && !os.IsNotExist(err) {
				s.t.Error(err)
			}
		}
	}
}

// stager has stages made while somebody writes.
type stager struct {
	*server
	rng *rand.Rand
	w   *worker
	id  string // of the last stage
}

func (s *stager) writing(f func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.w.work(ctx) })
	await(s.t, s.rng, []*worker{s.w})
	f()
	cancel()
	wg.Wait()
}

// answers checks that Recon answers with what is there.
func (s *stager) answers() {
	s.t.Helper()
	s.w.check()
	s.must("--json", "admin", "recon", "status", "--wait", "2m")
	s.agrees(s.recon, "staged")
}

// fail has a stage begun that fails, and whose retry is due later.
func (s *stager) fail() {
	s.t.Helper()
	clear := s.obstruct(s.id)
	defer clear()
	s.id = s.reprocess("local")
	eventually(s.t, func() error {
		if st := s.stage(); st.StagingID != s.id || st.RetryAt == nil || st.LastError == "" {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}

// rollBack goes back to a generation.
func (s *stager) rollBack(to string) {
	s.t.Helper()
	if out := s.must("admin", "staging", "rollback"); !strings.Contains(out, "Answers come from "+to+" again") {
		s.t.Error(out)
	}
}

// TestStaging: stages through the command line, while somebody writes: one that
// comes into force, the way back, one that fails and is cancelled, one that fails
// and is tried again, and some that are killed in the middle.
func TestStaging(t *testing.T) {
	seed := newSeed(t)
	s := &stager{server: startServer(t, busy...), rng: rand.New(rand.NewPCG(seed, 0))}
	c := s.sdk()
	makeBucket(t, c, "staged", fso)
	s.w = &worker{t: t, c: c, rng: rand.New(rand.NewPCG(seed, 1)), bucket: "staged", keys: map[string]*fate{}}
	s.must("--json", "admin", "recon", "status", "--wait", "2m")
	first := s.settled()
	s.writing(func() {
		s.id = s.reprocess("full")
		if st := s.settled(); st.StagingID != s.id || st.State != "NONE" || st.LastError != "" || st.Previous == nil || st.Previous.Generation != first.StagingID {
			t.Errorf("%+v", st)
		}
		s.rollBack(first.StagingID)
	})
	s.answers()
	s.rollBack(s.id)
	s.answers()
	s.cancelAndRetry()
	s.dieInTheMiddle()
	s.stop()
	s.verify()
}

func (s *stager) cancelAndRetry() {
	s.fail()
	if out := s.must("admin", "staging", "cancel"); out != "Staging operation cancelled.\n" {
		s.t.Errorf("%q", out)
	}
	if out, code := s.o3("admin", "staging", "cancel"); code == 0 || !strings.Contains(out, "No staging operation to cancel") {
		s.t.Errorf("%d %q", code, out)
	}
	if st := s.settled(); st.State != "NONE" || st.RetryAt != nil {
		s.t.Errorf("%+v", st)
	}
	s.answers()
	s.fail()
	if out := s.must("admin", "staging", "retry"); out != "Staging retry initiated.\n" {
		s.t.Errorf("%q", out)
	}
	if st := s.settled(); st.State != "NONE" || st.LastError != "" {
		s.t.Errorf("%+v", st)
	}
	s.answers()
}

func (s *stager) dieInTheMiddle() {
	rounds := 3
	if nightly {
		rounds = 60
	}
	for round := range rounds {
		s.writing(func() {
			s.reprocess([]string{"full", "local", "incremental"}[round%3])
			pause := time.NewTimer(time.Duration(s.rng.IntN(60)) * time.Millisecond)
			<-pause.C
			s.kill()
		})
		s.start()
		if st := s.settled(); st.State != "NONE" {
			s.t.Errorf("round %d: %+v", round, st)
		}
		s.answers()
		if s.t.Failed() {
			s.t.Fatalf("round %d", round)
		}
	}
}
