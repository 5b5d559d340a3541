package app

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"o3/internal/access"
	"o3/internal/audit"
	"o3/internal/config"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/rpc"
	"o3/internal/transfer"
)

// transferPrefix is where images are fetched from, at the OM listener.
const transferPrefix = "/transfer/"

// transfers serves images and the log to admins, who make another node of them.
// It is safe for concurrent use.
type transfers struct {
	n      *node
	server *transfer.Server

	readers atomic.Int64  // of the log
	stopped chan struct{} // the node is stopping: streams end
	stop    func()

	mu    sync.Mutex
	begun map[transfer.Hold]*session // by lease, without its end
}

// session is what a receiver was sent under a lease.
type session struct {
	began   time.Time
	streams int64
	sent    int64
}

// openTransfers makes the source. Nothing is served before the edges are.
func (n *node) openTransfers() error {
	c := n.cfg.Transfer
	t := &transfers{n: n, stopped: make(chan struct{}), begun: map[transfer.Hold]*session{}}
	t.stop = sync.OnceFunc(func() { close(t.stopped) })
	o := transfer.ServerOptions{
		Catalog: catalog{n}, Authorize: t.authorize, Insecure: c.Insecure,
		Streams: c.Streams, Rate: c.Rate, Chunk: int(c.Chunk), NoCompression: !c.Compress,
		Hold: t.hold, Release: t.release, Listener: t.listener(n.obs.Transfers()),
	}
	if n.hooks.transfers != nil {
		n.hooks.transfers(&o)
	}
	server, err := transfer.NewServer(o)
	if err != nil {
		return err
	}
	t.server = server
	n.transfers = t
	n.obs.SampleTransfers(server.Status)
	n.closing(func() error { t.close(); return nil })
	return nil
}

// close ends what is being sent, before the images and the log are closed. The
// leases stay: those who have them go on when the node is back.
func (t *transfers) close() {
	t.stop()
	_ = t.server.Close() // it always succeeds
}

// stopping reports whether the node is stopping.
func (t *transfers) stopping() bool {
	select {
	case <-t.stopped:
		return true
	default:
		return false
	}
}

func (t *transfers) handler() http.Handler { return http.StripPrefix("/transfer", t.server) }

// enabled refuses where nothing is served.
func (t *transfers) enabled() error {
	if t.n.cfg.Transfer.Enabled {
		return nil
	}
	return errs.New(errs.Denied, "this node", "it serves neither images nor its log: ozone.om.bootstrap.enabled is false")
}

// authorize admits admins.
func (t *transfers) authorize(r *http.Request) (who string, err error) {
	p, err := rpc.Caller(r.Context())
	if err != nil {
		return "", err
	}
	if !p.Admin() {
		return p.User, errs.New(errs.Denied, "images", "user "+p.User+": needs the role admin")
	}
	if err := t.enabled(); err != nil {
		return p.User, err
	}
	return p.User, t.n.trail.guard(r.Context())
}

// secure refuses callers at other machines without TLS: images and the log hold
// the secrets of access keys.
func (t *transfers) secure(ctx context.Context) error {
	peer, _ := ctx.Value(remoteKey{}).(remotePeer)
	host, _, _ := net.SplitHostPort(peer.addr)
	if ip := net.ParseIP(host); peer.tls || t.n.cfg.Transfer.Insecure || ip != nil && ip.IsLoopback() {
		return nil
	}
	return errs.New(errs.Denied, "the log", "it travels over TLS or on loopback only")
}

// listener audits leases and refusals, and counts.
func (t *transfers) listener(l transfer.ServerListener) transfer.ServerListener {
	out := l
	out.Refused = func(who, what string, err error) {
		l.Refused(who, what, err)
		if t.stopping() {
			return
		}
		t.note(audit.Record{Principal: who, Action: "om:Transfer", Resource: what}, err)
	}
	out.StreamEnd = func(s transfer.Stream, err error) {
		l.StreamEnd(s, err)
		t.mu.Lock()
		defer t.mu.Unlock()
		for h, of := range t.begun { // receivers of one user that fetch one image share what is sent
			if h.Who == s.Who && h.Image == s.Image {
				of.streams++
				of.sent += s.Sent
			}
		}
	}
	out.HoldBegin = func(h transfer.Hold) {
		l.HoldBegin(h)
		t.mu.Lock()
		t.begun[lease(h)] = &session{began: time.Now()}
		t.mu.Unlock()
		t.note(audit.Record{Principal: h.Who, Action: "om:TransferBegin", Resource: h.Image, Params: map[string]string{"receiver": h.Receiver}}, nil)
	}
	out.HoldEnd = func(h transfer.Hold, expired bool) {
		l.HoldEnd(h, expired)
		t.mu.Lock()
		s := t.begun[lease(h)]
		delete(t.begun, lease(h))
		t.mu.Unlock()
		if s == nil {
			return
		}
		why := "released"
		switch {
		case t.stopping():
			why = "the node stops"
		case expired:
			why = "expired"
		}
		t.note(audit.Record{Principal: h.Who, Action: "om:TransferEnd", Resource: h.Image, Params: map[string]string{
			"receiver": h.Receiver, "ended": why, "streams": strconv.FormatInt(s.streams, 10),
			"sentBytes": strconv.FormatInt(s.sent, 10), "millis": strconv.FormatInt(time.Since(s.began).Milliseconds(), 10),
		}}, nil)
	}
	return out
}

// lease is h without its end, which each renewal moves.
func lease(h transfer.Hold) transfer.Hold {
	h.Until = time.Time{}
	return h
}

func (t *transfers) note(r audit.Record, err error) {
	r.Result, r.Detail = errs.KindOf(err).String(), errorDetail(err)
	t.n.trail.record(access.NewContext(context.Background(), access.Principal{User: r.Principal}), r)
}

// catalog is what others may fetch: the images of the node, and those on its
// shelf, which have the bytes of objects.
type catalog struct{ n *node }

// Images implements transfer.Catalog: the newest first, of the same moment the
// one without bytes first.
func (c catalog) Images(context.Context) ([]transfer.Info, error) {
	first := c.n.log.Status().First
	var out []transfer.Info
	for _, i := range c.n.images.list() {
		m := i.Manifest
		out = append(out, transfer.Info{ID: image.FetchID(m), Created: m.CreatedMs, Files: len(m.Files), Bytes: m.Bytes, Attributes: map[string]string{
			"index": decimal(m.Index), "term": decimal(m.Term), "op": decimal(m.Op), "digest": m.Digest,
			"blocks": map[bool]string{true: "yes", false: "no"}[m.Blocks],
			"node":   m.Node.ID, "number": decimal(uint64(m.Node.Number)), "store": m.Node.Store,
			"format": decimal(uint64(m.Format)), "first_index": decimal(first),
		}})
	}
	return out, nil
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// Open implements transfer.Catalog.
func (c catalog) Open(_ context.Context, id string) (transfer.Image, error) {
	manifest, blocks := image.CutFetchID(id)
	if blocks {
		i, err := c.n.images.shelf.Get(manifest)
		if err != nil {
			return nil, err
		}
		return newServed(i.Manifest, i.Raw, func(p string) (transfer.Content, error) { return i.Open(p) }, i.Close)
	}
	if manifest == "" {
		return nil, errs.New(errs.NoSuchSnapshot, "image", "an id is needed")
	}
	i, err := c.n.images.keeper.Get(manifest)
	if err != nil {
		return nil, err
	}
	return newServed(i.Manifest, i.Raw, func(p string) (transfer.Content, error) { return i.Open(p) }, i.Close)
}

// served is an image that is open for receivers.
type served struct {
	spec  transfer.Spec
	open  func(path string) (transfer.Content, error)
	close func()
}

func newServed(m *image.Manifest, raw []byte, open func(string) (transfer.Content, error), close func()) (transfer.Image, error) {
	spec, err := image.NewSpec(m, raw)
	if err != nil {
		close()
		return nil, err
	}
	return &served{spec, open, close}, nil
}

// Spec implements transfer.Image.
func (s *served) Spec() *transfer.Spec { return &s.spec }

// OpenFile implements transfer.Image.
func (s *served) OpenFile(path string) (transfer.Content, error) { return s.open(path) }

// Close implements transfer.Image.
func (s *served) Close() error {
	s.close()
	return nil
}

// FetchOptions returns how a target fetches images, as it is configured; what to
// fetch from where, and to where, is still to be set.
func FetchOptions(c *config.Config) (transfer.Options, error) {
	t := c.Transfer
	how, err := transfer.ParseCompression(t.Compression)
	if err != nil {
		return transfer.Options{}, err
	}
	return transfer.Options{
		Parse: image.ParseSpec, Manifest: image.ManifestFile,
		Chunk: int(t.Chunk), Streams: max(1, t.Streams/2), Rate: t.Rate, Compression: how, Insecure: t.Insecure,
	}, nil
}
