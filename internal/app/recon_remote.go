package app

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/config"
	"o3/internal/durable"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/obs"
	"o3/internal/s3/sigv4"
	"o3/internal/tlsconf"
	"o3/internal/transfer"
)

// remoteOM is an OM elsewhere: its log comes over the OM API, its images by
// transfer, of which only what is not here already is sent.
type remoteOM struct {
	name   string
	peer   *client.Client
	fetch  transfer.Options // what it is fetched with; from where, to where and what is still to be set
	source transfer.Source
	pool   *http.Transport
	obs    *obs.Obs
	off    bool // ozone.om.bootstrap.enabled is false here

	mu    sync.Mutex
	lease *heldLease
}

// reconSilence is how long an OM that is followed may say nothing: it tells of
// itself each second.
const reconSilence = 15 * time.Second

// remoteOMs returns the OMs that the configuration names, in its order.
func (n *node) remoteOMs() (out []omSource, err error) {
	c := n.cfg.Recon
	var conf *tls.Config
	if c.OMTLS.Cert != "" || c.OMTLS.ClientCA != "" {
		src, err := tlsconf.Open(tlsconf.Options{Files: c.OMTLS.Files(), Listener: n.obs.TLS("recon-om")})
		if err != nil {
			return nil, err
		}
		conf = src.Client("")
	}
	fetch, err := FetchOptions(n.cfg)
	if err != nil {
		return nil, err
	}
	fetch.Receiver = "recon " + n.consoleID.ID
	for _, address := range c.OM {
		o, err := newRemoteOM(c, address, conf, fetch)
		if err != nil {
			return out, err
		}
		o.obs, o.off = n.obs, !n.cfg.Transfer.Enabled
		out = append(out, o)
	}
	return out, nil
}

func newRemoteOM(c config.Recon, address string, conf *tls.Config, fetch transfer.Options) (*remoteOM, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, "ozone.recon.om.address", err)
	}
	base := u.Scheme + "://" + u.Host
	peer, err := client.New(client.Options{
		Address: base, AccessKey: c.AccessKey, SecretKey: string(c.SecretKey), TLS: conf, RetryFor: -1, CallTimeout: reconSilence, UserAgent: "o3-recon/" + Version,
	})
	if err != nil {
		return nil, err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // a connection for each stream: HTTP/2's one would share its window among them
	pool := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second,
		Protocols: protocols, MaxIdleConnsPerHost: fetch.Streams + 1, IdleConnTimeout: time.Minute, DisableCompression: true, ReadBufferSize: 64 << 10,
	}
	if conf != nil {
		pool.TLSClientConfig = conf.Clone()
		pool.TLSClientConfig.NextProtos = nil
	}
	o := &remoteOM{name: u.Host, peer: peer, fetch: fetch, pool: pool, source: transfer.Source{
		Name: u.Host, URL: base + "/transfer",
		Client: &http.Client{Transport: pool, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}}
	if c.AccessKey != "" {
		signer := &sigv4.Signer{AccessKeyID: c.AccessKey, Secret: string(c.SecretKey), Region: client.DefaultRegion, Service: "o3", Keys: new(sigv4.KeyCache)}
		o.source.Sign = func(r *http.Request) error { signer.Sign(r, sigv4.EmptySHA256, time.Now()); return nil }
	}
	return o, nil
}

// Name implements recon.Source.
func (o *remoteOM) Name() string { return o.name }

// Follow implements recon.Source.
func (o *remoteOM) Follow(ctx context.Context, after, term uint64, f func(*o3v1.ReadLogResponse) error) error {
	for m, err := range o.peer.ReadLog(ctx, &o3v1.ReadLogRequest{AfterIndex: after, AfterTerm: term, Follow: true}) {
		if err != nil {
			return err
		}
		if err := f(m); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errs.New(errs.Unavailable, o.name, "it has ended the log's stream")
}

// Image implements recon.Source: the OM makes an image and keeps the log after
// it; what an earlier generation has of its files is linked.
func (o *remoteOM) Image(ctx context.Context, dir string, reuse []string, progress func(done, total int64)) (m *image.Manifest, err error) {
	began, sent := time.Now(), int64(0)
	defer func() {
		id, bytes := "", int64(0)
		if err == nil {
			id, bytes = m.ID, m.Bytes
		}
		o.obs.ReconImage(o.name, id, bytes, sent, time.Since(began), err)
	}()
	o.release()
	if o.off {
		return nil, errs.New(errs.Denied, "this server", "it fetches no images: ozone.om.bootstrap.enabled is false")
	}
	want, err := o.make(ctx)
	if err != nil {
		return nil, err
	}
	t := o.fetch
	t.Dir, t.Sources = dir+".fetch", []transfer.Source{o.source}
	t.Choose = func(_ string, listed []transfer.Info, _ string) string {
		for _, i := range listed {
			if i.ID == want {
				return want
			}
		}
		return "" // it was removed already: the next try asks for another
	}
	for _, old := range reuse {
		t.Reuse = append(t.Reuse, transfer.Reuse{Dir: old, Immutable: func(path string) bool { return strings.HasSuffix(path, ".sst") }})
	}
	t.Listener.Progress = func(p transfer.Progress) { progress(p.Done, p.Bytes) }
	got, err := transfer.Fetch(ctx, t)
	if err != nil {
		return nil, err
	}
	o.hold(got.Lease)
	sent = got.Progress.Sent
	if m, err = image.Decode(got.Spec.Manifest); err != nil {
		return nil, err
	}
	return m, moveStore(t.Dir, dir)
}

// make has the OM make an image, and returns its id.
func (o *remoteOM) make(ctx context.Context) (string, error) {
	q := new(o3v1.CreateImageRequest)
	for {
		r, err := o.peer.CreateImage(ctx, q)
		if err != nil {
			return "", err
		}
		if r.Image != nil {
			return r.Image.Id, nil
		}
		q.Ticket = r.Ticket // the OM waits a while before it gives one
	}
}

// moveStore makes the store of a fetched image the directory dir, durably, and
// removes the rest.
func moveStore(fetched, dir string) error {
	if err := os.RemoveAll(dir); err != nil { // of a try that failed
		return errs.Wrap(errs.Internal, dir, err)
	}
	if err := os.Rename(filepath.Join(fetched, "store"), dir); err != nil {
		return errs.Wrap(errs.Internal, dir, err)
	}
	if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.RemoveAll(fetched); err != nil {
		return errs.Wrap(errs.Internal, fetched, err)
	}
	return nil
}

// heldLease is a lease that is renewed until it is let go.
type heldLease struct {
	lease *transfer.Lease
	stop  context.CancelFunc
	done  chan struct{}
}

func (o *remoteOM) hold(l *transfer.Lease) {
	ctx, stop := context.WithCancel(context.Background())
	h := &heldLease{l, stop, make(chan struct{})}
	go func() {
		defer close(h.done)
		_ = l.Run(ctx) // a lost lease shows when the log does not reach back
	}()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lease = h
}

// release gives the lease back, if there is one.
func (o *remoteOM) release() {
	o.mu.Lock()
	h := o.lease
	o.lease = nil
	o.mu.Unlock()
	if h == nil {
		return
	}
	h.stop()
	<-h.done
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = h.lease.Release(ctx) // else it expires
}

func (o *remoteOM) close() {
	o.release()
	_ = o.peer.Close() // it only drops idle connections
	o.pool.CloseIdleConnections()
}

func (o *remoteOM) images(ctx context.Context) (out []listedImage, err error) {
	r, err := o.peer.ListImages(ctx, new(o3v1.ListImagesRequest))
	if err != nil {
		return nil, err
	}
	for _, i := range r.Images {
		out = append(out, listImage(i))
	}
	return out, nil
}
