package app

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"o3/internal/admin/stages"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
)

// brake holds Recon's builder where a stage comes into a state.
type brake struct {
	mu      sync.Mutex
	at      staging.State
	held    chan struct{} // closed when it is held
	release chan struct{}
	seen    []staging.Transition
	fail    error // of every validation
}

// hook puts the brake into a server.
func (g *brake) hook(o *recon.Options) {
	told := o.Listener.Transition
	o.Listener.Transition = func(t staging.Transition) {
		told(t)
		g.pass(t)
	}
	o.Staging.Hooks.ValidateStagingData = func(string, string, *generation.View) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.fail
	}
}

func (g *brake) pass(t staging.Transition) {
	g.mu.Lock()
	g.seen = append(g.seen, t)
	held, release := g.held, g.release
	stop := held != nil && g.at == t.To
	if stop {
		g.held = nil
	}
	g.mu.Unlock()
	if stop {
		close(held)
		<-release
	}
}

// arm has the next stage that comes to a state held there. The returned functions
// wait until it is, and let it go.
func (g *brake) arm(t *testing.T, at staging.State) (held, release func()) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	h, r := make(chan struct{}), make(chan struct{})
	g.at, g.held, g.release = at, h, r
	var once sync.Once
	release = func() { once.Do(func() { close(r) }) }
	t.Cleanup(release)
	return func() {
		wait(t, "a stage is "+string(at), func() bool {
			select {
			case <-h:
				return true
			default:
				return false
			}
		})
	}, release
}

// failing has every validation fail from now on, or none.
func (g *brake) failing(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail = err
}

// count returns how many stages have come to a state.
func (g *brake) count(to staging.State) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.seen {
		if t.To == to {
			n++
		}
	}
	return n
}

var errPlanted = errors.New("planted")

// staged is a server with Recon, whose first generation serves, and its brake.
func staged(t *testing.T, set ...string) (*server, *brake) {
	t.Helper()
	return stagedWith(t, nil, settings{set: set})
}

func stagedWith(t *testing.T, change func(*recon.Options), o settings) (*server, *brake) {
	t.Helper()
	g := new(brake)
	o.set = append([]string{withRecon, "ozone.recon.staging.health.check.interval.seconds=50ms"}, o.set...)
	o.hooks = hooks{recon: func(o *recon.Options) {
		g.hook(o)
		if change != nil {
			change(o)
		}
	}}
	s := start(t, o)
	s.bucket("photos", "")
	if err := s.commit("photos", "a", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	s.follows(s)
	wait(t, "the first stage is over", func() bool { return s.stage().State == staging.None && s.sync().Syncs >= 1 })
	return s, g
}

// stage of Recon.
func (s *server) stage() recon.StagingStatus { return s.node.recon.service.Staging() }

// trigger begins a stage.
func (s *server) trigger(kind staging.Kind) recon.Triggered {
	s.t.Helper()
	got, err := s.node.recon.service.Trigger(recon.Trigger{Kind: kind})
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

// settled waits until no stage is made or due.
func (s *server) settled() recon.StagingStatus {
	s.t.Helper()
	wait(s.t, "the stage is over", func() bool {
		st := s.stage()
		return !st.State.Running() && st.Queued == "" && st.RetryAt == nil && s.sync().Building == nil
	})
	return s.stage()
}

// post asks for a change as root.
func (s *server) post(path string) answer {
	s.t.Helper()
	a, err := s.ask(s.root, "o3", "POST", s.Recon+stages.Prefix+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// told is the status as the API tells it.
func (s *server) told() (st recon.StagingStatus, raw string) {
	s.t.Helper()
	a, err := s.ask(s.root, "o3", "GET", s.Recon+stages.Prefix+"staging/status", nil)
	if err != nil || a.status != 200 {
		s.t.Fatal(a, err)
	}
	if err := json.Unmarshal(a.body, &st); err != nil {
		s.t.Fatalf("%v: %s", err, a.body)
	}
	return st, string(a.body)
}

// reconFile reports whether there is something in Recon's directory.
func (s *server) reconFile(parts ...string) bool {
	_, err := os.Stat(filepath.Join(append([]string{s.Data, "recon"}, parts...)...))
	return err == nil
}
