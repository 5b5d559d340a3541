package transfer

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs f on fake time, in parallel with other tests: what waits for the
// clock takes as long as it says, and what the machine does takes no time, however
// busy it is.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// pipes is a listener whose connections are in memory: who waits for these is
// known to wait, and time goes on.
type pipes struct {
	conns chan net.Conn
	end   chan struct{}
	close sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), end: make(chan struct{})} }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) Close() error {
	p.close.Do(func() { close(p.end) })
	return nil
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.end:
		return nil, net.ErrClosed
	}
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.end:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serveHere starts a source in the bubble and returns how it is asked, over a
// line with a delay in each direction.
func serveHere(t *testing.T, c Catalog, delay time.Duration, change func(*ServerOptions)) (*Server, Source) {
	t.Helper()
	o := ServerOptions{Catalog: c, Authorize: func(*http.Request) (string, error) { return "om1", nil }, Insecure: true} // a pipe has no address
	if change != nil {
		change(&o)
	}
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	far := newPipes()
	h := &http.Server{Handler: http.StripPrefix("/transfer", s)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = h.Serve(far) })
	near, p := far, (*line)(nil)
	if delay > 0 {
		near = newPipes()
		p = &line{l: near, dial: func() (net.Conn, error) { return far.dial(context.Background(), "", "") }, delay: delay, end: make(chan struct{})}
		p.wg.Go(p.accept)
	}
	transport := &http.Transport{DialContext: near.dial, MaxIdleConnsPerHost: 16}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if p != nil {
			p.stop()
		}
		_ = h.Close()
		serving.Wait()
		_ = s.Close()
	})
	return s, Source{URL: "http://127.0.0.1:1/transfer", Client: &http.Client{Transport: transport}}
}

// optionsHere are options with these sources, which are called source0 and so on.
func optionsHere(t *testing.T, sources ...Source) Options {
	o := options(t)
	for i, s := range sources {
		s.Name = "source" + strconv.Itoa(i)
		o.Sources = append(o.Sources, s)
	}
	return o
}

// TestProgressInOrder: whoever hears of progress hears the newest last, though
// several goroutines make it.
func TestProgressInOrder(t *testing.T) {
	t.Parallel()
	var heard []int
	m := meter{listener: &Listener{Progress: func(p Progress) {
		runtime.Gosched()
		heard = append(heard, p.Files)
	}}}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				m.update(func(p *Progress) { p.Files++ })
			}
		})
	}
	all.Wait()
	if len(heard) != 1600 || !slices.IsSorted(heard) {
		t.Errorf("%d calls, in order: %v", len(heard), slices.IsSorted(heard))
	}
}
