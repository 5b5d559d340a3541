package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"o3/internal/errs"
)

// ServerOptions configures a Server. Catalog and Authorize are required; a zero
// field means its default.
type ServerOptions struct {
	Catalog Catalog

	// Authorize returns who asks, or an error of kind errs.Unauthenticated or
	// errs.Denied. It is asked at each request.
	Authorize func(*http.Request) (who string, err error)

	// Insecure also serves other machines without TLS. Else only loopback is.
	Insecure bool

	Streams   int           // of files, at once, for all receivers; 8
	Waiting   int           // requests for a stream that may wait; 256. Further ones are told to slow down
	QueueWait time.Duration // the longest such wait; 20 s
	Rate      int64         // bytes/s sent by all streams together; 0: no bound
	ReadRate  int64         // bytes/s read from the disk by all streams together; 0: no bound
	Chunk     int           // the most bytes in a chunk, MinChunk to MaxChunk; MaxChunk
	Stall     time.Duration // a receiver that takes nothing for so long is cut; 1 min

	// NoCompression sends everything as it is, whatever receivers ask for.
	NoCompression bool

	// Hold is called when a receiver takes a lease, and each time it renews it:
	// what the receiver will need after the image (the log from its index on) must
	// be kept until h.Until. An error refuses the lease. Release is called when
	// the lease ends, by the receiver or by expiry. They may be nil.
	Hold    func(ctx context.Context, h Hold) error
	Release func(h Hold)

	LeaseTTL  time.Duration // from a renewal to expiry; 1 min
	MaxHold   time.Duration // from the first to the last renewal; 24 h
	MaxLeases int           // at once; 64

	Listener ServerListener
}

// Hold is a lease of a receiver.
type Hold struct {
	Who      string // as Authorize said
	Receiver string // as the receiver calls itself
	Image    string
	Until    time.Time
}

// ServerListener hears what a Server does. Nil fields are silent. Calls are
// synchronous and must not block.
type ServerListener struct {
	Refused     func(who, what string, err error) // a request that got an error for an answer
	StreamBegin func(s Stream)
	StreamEnd   func(s Stream, err error) // err is nil when all was sent
	HoldBegin   func(h Hold)
	HoldEnd     func(h Hold, expired bool)
}

// Stream is one answer with parts of files.
type Stream struct {
	Who   string
	Image string
	Bytes int64 // of files
	Sent  int64 // on the wire, with frames and after compression
	Took  time.Duration
}

func (o *ServerOptions) setDefaults() error {
	if o.Catalog == nil || o.Authorize == nil {
		return errs.New(errs.Invalid, "transfer.ServerOptions", "Catalog and Authorize are required")
	}
	if o.Chunk == 0 {
		o.Chunk = MaxChunk
	}
	if o.Chunk < MinChunk || o.Chunk > MaxChunk {
		return errs.New(errs.Invalid, "transfer.ServerOptions.Chunk", fmt.Sprintf("%d, allowed are %d to %d", o.Chunk, MinChunk, MaxChunk))
	}
	def(&o.Streams, 8)
	def(&o.Waiting, 256)
	def(&o.QueueWait, 20*time.Second)
	def(&o.Stall, time.Minute)
	def(&o.LeaseTTL, time.Minute)
	def(&o.MaxHold, 24*time.Hour)
	def(&o.MaxLeases, 64)
	return nil
}

// def sets what is not positive to its default.
func def[T ~int | ~int64](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Server is a source of images: an http.Handler, to be mounted where its
// receivers' Source.URL points. It holds at most Streams × 2 chunks in memory,
// and what the compression takes. It is safe for concurrent use.
type Server struct {
	o       ServerOptions
	mux     *http.ServeMux
	base    context.Context // ends with Close
	end     context.CancelFunc
	rate    *throttle
	disk    *throttle
	streams *semaphore.Weighted
	active  atomic.Int64
	waiting atomic.Int64
	pins    pins
	leases  leases

	mu      sync.Mutex
	closed  bool
	serving sync.WaitGroup
}

// NewServer returns a server. The caller must Close it.
func NewServer(o ServerOptions) (*Server, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{o: o, mux: http.NewServeMux(), rate: newThrottle(o.Rate), disk: newThrottle(o.ReadRate), streams: semaphore.NewWeighted(int64(o.Streams))}
	s.base, s.end = context.WithCancel(context.Background())
	s.pins.catalog = o.Catalog
	s.leases.s = s
	for pattern, h := range map[string]handler{
		"GET /images":               s.list,
		"GET /images/{id}/manifest": s.manifest,
		"GET /images/{id}/data":     s.data,
		"POST /images/{id}/hold":    s.hold,
		"DELETE /images/{id}/hold":  s.release,
	} {
		s.mux.HandleFunc(pattern, s.serve(h))
	}
	s.mux.HandleFunc("/", s.serve(func(w http.ResponseWriter, r *http.Request, who string) error {
		return errs.New(errs.NotImplemented, shorten(r.Method+" "+r.URL.Path), "no such call of the transfer protocol")
	}))
	return s, nil
}

// ServerStatus is what a server does at a moment.
type ServerStatus struct {
	Streams int            // being sent
	Waiting int            // requests that wait for a stream
	Pinned  map[string]int // by image: how many requests and leases use it
	Holds   []Hold         // leases in force
}

// Status returns what the server does now.
func (s *Server) Status() ServerStatus {
	return ServerStatus{
		Streams: int(s.active.Load()), Waiting: int(s.waiting.Load()),
		Pinned: s.pins.counts(), Holds: s.leases.list(),
	}
}

// Close cuts what is being sent, ends all leases and waits until no image is
// open any more. Further requests are refused.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.serving.Wait()
	s.leases.close()
	return nil
}

// ServeHTTP answers a request of a receiver.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		answer(w, errs.New(errs.Unavailable, "image source", "it is stopping"))
		return
	}
	s.serving.Add(1)
	s.mu.Unlock()
	defer s.serving.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.base, cancel)()
	s.mux.ServeHTTP(w, r.WithContext(ctx))
}

type handler func(w http.ResponseWriter, r *http.Request, who string) error

// serve wraps a handler: authorisation before, the answer to an error after.
func (s *Server) serve(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := s.admit(r)
		if err == nil {
			err = h(w, r, who)
		}
		if err == nil {
			return
		}
		if l := s.o.Listener.Refused; l != nil {
			l(who, shorten(r.Method+" "+r.URL.Path), err)
		}
		answer(w, err)
	}
}

// admit tells whether the request may be answered at all.
func (s *Server) admit(r *http.Request) (who string, err error) {
	if r.TLS == nil && !s.o.Insecure {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			return "", errs.New(errs.Denied, "images", "they travel over TLS or on loopback only")
		}
	}
	if v := r.Header.Get(versionHeader); v != "" && v != strconv.Itoa(wireVersion) {
		return "", errs.New(errs.FormatTooNew, "transfer protocol", fmt.Sprintf("version %s, this program speaks %d", shorten(v), wireVersion))
	}
	return s.o.Authorize(r)
}

// versionHeader names the version of the protocol that a receiver speaks.
const versionHeader = "O3-Transfer-Version"

// answer sends an error.
func answer(w http.ResponseWriter, err error) {
	p := problemOf(err)
	status := http.StatusInternalServerError
	switch p.Kind {
	case errs.Invalid, errs.InvalidRange, errs.FormatTooNew:
		status = http.StatusBadRequest
	case errs.Unauthenticated:
		status = http.StatusUnauthorized
	case errs.Denied:
		status = http.StatusForbidden
	case errs.NoSuchSnapshot:
		status = http.StatusNotFound
	case errs.Conflict:
		status = http.StatusConflict
	case errs.NotImplemented:
		status = http.StatusNotImplemented
	case errs.SlowDown, errs.TooMany, errs.Unavailable:
		w.Header().Set("Retry-After", "1")
		status = http.StatusServiceUnavailable
	}
	body, _ := json.Marshal(p) // numbers and strings only
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever asked may be gone
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, _ string) error {
	images, err := s.o.Catalog.Images(r.Context())
	if err != nil {
		return err
	}
	body, err := json.Marshal(append([]Info{}, images...))
	if err != nil {
		return errs.Wrap(errs.Internal, "list of images", err)
	}
	return s.whole(w, r, body)
}

func (s *Server) manifest(w http.ResponseWriter, r *http.Request, _ string) error {
	img, err := s.pins.get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	defer s.pins.put(img)
	return s.whole(w, r, img.spec.Manifest)
}

// whole sends what fits in memory.
func (s *Server) whole(w http.ResponseWriter, r *http.Request, content []byte) error {
	out := s.writer(r.Context(), w)
	defer out.close()
	body := appendFrames(content, 64<<10)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_ = out.write(body) // whoever asked may be gone
	return nil
}
