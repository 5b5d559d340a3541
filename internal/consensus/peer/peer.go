// Package peer is the network between the nodes of a consensus group: one
// stream of messages from each node to each other, over HTTP/2.
//
// Peers keeps a bounded queue and one stream per receiver. It never blocks a
// sender: what does not fit, or was queued when a stream broke, is dropped and
// the node is told that the receiver is unreachable; Raft repeats what matters.
//
// Only members speak it. With TLS both sides show certificates, each naming its
// node by a URI, o3://<cluster>/om/<id>, and a frame must come from the node
// its certificate names. Without TLS only loopback addresses are served and
// dialed.
//
// New starts no goroutine; Run owns one per receiver. The handler's goroutines
// are those of the http.Server it is mounted on, which must set no read or
// write timeout on it and must speak HTTP/2 (over plain text, if there is no
// TLS).
package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"o3/api/o3/raft/v1/raftv1connect"
	"o3/internal/consensus"
	"o3/internal/errs"
)

// Options configures Peers.
type Options struct {
	ID      uint64 // this node
	Cluster string // streams of another cluster are refused; required

	// Address returns host:port of a node. It is asked each time a stream is
	// opened, so that addresses may change.
	Address func(id uint64) (string, bool)

	// Member says whether a node belongs to the group now. It is asked for
	// every frame received. Nil: every node that Address knows does.
	Member func(id uint64) bool

	// TLS is this node's configuration as a client: its certificate, and the
	// authorities that sign the others'. Nil: plain text on loopback only. The
	// server's own must require and verify client certificates.
	TLS *tls.Config

	QueueBytes int           // per receiver; 0 means 64 MiB
	FrameBytes int           // 0 means 1 MiB; a larger message is a frame of its own
	MaxBackoff time.Duration // between attempts to connect; 0 means 2 s
	PingAfter  time.Duration // a silent connection is probed, and closed when silent for as long again; 0 means 5 s

	Listener Listener
}

// Listener hears what happens. Nil fields are silent; calls must not block.
type Listener struct {
	Connected    func(id uint64)
	Disconnected func(id uint64, err error)
	Dropped      func(id uint64, messages int)
	Refused      func(from uint64, why string) // a stream from another node
}

// Target is the node that messages are for: a consensus.Node.
type Target interface {
	Deliver([]consensus.Message)
	Unreachable(id uint64)
}

// maxFrame bounds what is read as one frame: an entry of the largest size.
const maxFrame = 320 << 20

// Peers is the transport of one node.
type Peers struct {
	opt    Options
	target Target
	bound  chan struct{} // closed by Bind

	mu     sync.Mutex
	queues map[uint64]*queue
	fresh  chan *queue
	ended  bool
}

// New returns the transport of node o.ID. Bind must follow before Run or the
// handler is used.
func New(o Options) (*Peers, error) {
	switch {
	case o.ID == 0:
		return nil, errs.New(errs.Invalid, "peer ID", "a node id is at least 1")
	case o.Cluster == "" || strings.ContainsAny(o.Cluster, "/ "):
		return nil, errs.New(errs.Invalid, "peer Cluster", fmt.Sprintf("%q is not a cluster's name", o.Cluster))
	case o.Address == nil:
		return nil, errs.New(errs.Invalid, "peer Address", "is missing")
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 64 << 20
	}
	if o.FrameBytes == 0 {
		o.FrameBytes = 1 << 20
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 2 * time.Second
	}
	if o.PingAfter == 0 {
		o.PingAfter = 5 * time.Second
	}
	if o.Member == nil {
		o.Member = func(id uint64) bool { _, ok := o.Address(id); return ok }
	}
	return &Peers{
		opt: o, bound: make(chan struct{}), queues: map[uint64]*queue{}, fresh: make(chan *queue, 64),
	}, nil
}

// transport returns an HTTP client's transport to one node: beyond what TLS
// verifies, the other end's certificate must be that node's.
func transport(o Options, id uint64) *http.Transport {
	t := &http.Transport{
		Protocols:   &http.Protocols{},
		HTTP2:       &http.HTTP2Config{SendPingTimeout: o.PingAfter, PingTimeout: o.PingAfter},
		DialContext: (&net.Dialer{Timeout: o.PingAfter}).DialContext,
	}
	if o.TLS != nil {
		t.TLSClientConfig = o.TLS.Clone()
		t.TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error {
			got, err := identify(o.Cluster, s.PeerCertificates[0])
			if err == nil && got != id {
				err = errs.New(errs.Denied, fmt.Sprintf("node %d", id), fmt.Sprintf("the certificate is node %d's", got))
			}
			return err
		}
	}
	t.Protocols.SetHTTP2(o.TLS != nil)
	t.Protocols.SetUnencryptedHTTP2(o.TLS == nil)
	return t
}

// Bind names the node that messages are for. It must be called once.
func (p *Peers) Bind(t Target) {
	p.target = t
	close(p.bound)
}

// Send implements consensus.Transport.
func (p *Peers) Send(ms []consensus.Message) {
	for _, m := range ms {
		q := p.queue(m.To)
		if q == nil || !q.put(m, p.opt.QueueBytes) {
			if l := p.opt.Listener.Dropped; l != nil {
				l(m.To, 1)
			}
		}
	}
}

func (p *Peers) queue(id uint64) *queue {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queues[id]
	if q == nil && !p.ended {
		q = &queue{id: id, wake: make(chan struct{}, 1)}
		select {
		case p.fresh <- q:
			p.queues[id] = q
		default:
			return nil // Run has not started yet, and many nodes are waited for
		}
	}
	return q
}

// Run sends until ctx ends, and returns nil.
func (p *Peers) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for {
		select {
		case q := <-p.fresh:
			g.Go(func() error { p.serve(ctx, q); return nil })
		case <-ctx.Done():
			p.mu.Lock()
			p.ended = true
			p.mu.Unlock()
			return g.Wait()
		}
	}
}

// client returns a client for the node's present address.
func (p *Peers) client(h *http.Client, id uint64) (raftv1connect.RaftServiceClient, error) {
	addr, ok := p.opt.Address(id)
	if !ok {
		return nil, errs.New(errs.Unavailable, fmt.Sprintf("node %d", id), "has no address")
	}
	scheme := "https://"
	if p.opt.TLS == nil {
		if !loopback(addr) {
			return nil, errs.New(errs.Denied, addr, "is not a loopback address: it needs TLS")
		}
		scheme = "http://"
	}
	return raftv1connect.NewRaftServiceClient(h, scheme+addr), nil
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Name returns the URI that a node's certificate carries.
func Name(cluster string, id uint64) string {
	return fmt.Sprintf("o3://%s/om/%d", cluster, id)
}

// identify returns the node a verified certificate names.
func identify(cluster string, c *x509.Certificate) (uint64, error) {
	prefix := "o3://" + cluster + "/om/"
	for _, u := range c.URIs {
		if s, ok := strings.CutPrefix(u.String(), prefix); ok {
			if id, err := strconv.ParseUint(s, 10, 64); err == nil && id != 0 {
				return id, nil
			}
		}
	}
	return 0, errs.New(errs.Denied, c.Subject.String(), "the certificate names no node of cluster "+cluster)
}
