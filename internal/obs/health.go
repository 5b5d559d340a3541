package obs

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Check asks one component how it is.
type Check struct {
	Name string
	// Needed: while the check fails, the node is not ready for requests. One
	// that is not needed is only shown.
	Needed bool
	// Run returns a detail worth showing, or why the component is down. It
	// must return soon after ctx ends, at the latest after CheckTimeout.
	Run func(ctx context.Context) (detail string, err error)
	// Look is in place of Run for a component that has more to tell; Needed is
	// filled in.
	Look func(ctx context.Context) Component
}

// run asks it.
func (c Check) run(ctx context.Context) Component {
	if c.Look != nil {
		one := c.Look(ctx)
		one.Needed = c.Needed
		return one
	}
	detail, err := c.Run(ctx)
	one := Component{Status: Up, Needed: c.Needed, Detail: detail}
	if err != nil {
		one.Status, one.Error = Down, err.Error()
	}
	return one
}

// CheckTimeout is how long all checks of one question may take together.
const CheckTimeout = 5 * time.Second

// Health answers whether the process is alive and whether the node is ready.
// It is safe for concurrent use.
type Health struct {
	version string
	started time.Time
	mu      struct {
		sync.Mutex
		checks   []Check
		stopping bool
	}
}

// Register adds a check. Names are unique: a second check of a name replaces
// the first.
func (h *Health) Register(c Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.checks = slices.DeleteFunc(h.mu.checks, func(old Check) bool { return old.Name == c.Name })
	h.mu.checks = append(h.mu.checks, c)
}

// Stop makes the node not ready for good, so that balancers send nobody
// while it finishes what is in flight.
func (h *Health) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.stopping = true
}

// State is the answer as JSON.
type State struct {
	Status     string               `json:"status"` // up, down, stopping
	Version    string               `json:"version"`
	Uptime     int64                `json:"uptimeSeconds"`
	Components map[string]Component `json:"components"`
}

// The statuses of components.
const (
	Up      = "up"
	Down    = "down"
	Unknown = "unknown" // between two of the others
)

// Component is one check's answer.
type Component struct {
	Status  string         `json:"status"` // Up, Down, Unknown
	Needed  bool           `json:"needed"`
	Detail  string         `json:"detail,omitempty"`
	Details map[string]any `json:"details,omitempty"` // for programs
	Error   string         `json:"error,omitempty"`
}

// Ask runs every check. Status is down when a needed one fails.
func (h *Health) Ask(ctx context.Context) State {
	h.mu.Lock()
	checks, stopping := slices.Clone(h.mu.checks), h.mu.stopping
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, CheckTimeout)
	defer cancel()
	s := State{Status: "up", Version: h.version, Uptime: int64(time.Since(h.started).Seconds()), Components: map[string]Component{}}
	for _, c := range checks {
		one := c.run(ctx)
		if c.Needed && one.Status == Down {
			s.Status = "down"
		}
		s.Components[c.Name] = one
	}
	if stopping {
		s.Status = "stopping"
	}
	return s
}

// Alive is /healthz: 200 as long as the process answers, whatever the checks say.
func (h *Health) Alive() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { writeState(w, http.StatusOK, h.Ask(r.Context())) })
}

// Ready is /readyz: 200 when requests will be served, else 503. The body says why.
func (h *Health) Ready() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, code := h.Ask(r.Context()), http.StatusOK
		if s.Status != "up" {
			code = http.StatusServiceUnavailable
		}
		writeState(w, code, s)
	})
}

// Part is like Ready for one component: 200 when it is up, whatever the others
// are.
func (h *Health) Part(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, code := h.Ask(r.Context()), http.StatusOK
		part := s.Components[name]
		s.Components = map[string]Component{name: part}
		if s.Status != "stopping" {
			s.Status = "up"
			if part.Status != "up" {
				s.Status = "down"
			}
		}
		if s.Status != "up" {
			code = http.StatusServiceUnavailable
		}
		writeState(w, code, s)
	})
}

func writeState(w http.ResponseWriter, code int, s State) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(s) // the client went away
}
