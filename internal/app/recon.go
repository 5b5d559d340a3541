package app

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"o3/internal/audit"
	"o3/internal/config"
	"o3/internal/errs"
	"o3/internal/obs"
	"o3/internal/recon"
	"o3/internal/recon/alert"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/tlsconf"
)

// console is Recon in a server: what follows the OM, and its listener. It never
// makes the OM beside it fail: what goes wrong in it is logged and tried again.
type console struct {
	n       *node
	service *recon.Service
	sources []omSource
	who     principals
	alerts  *alert.Alerts

	tls      *tlsconf.Source
	listener net.Listener
	handler  http.Handler
}

// omSource is an OM that Recon follows.
type omSource interface {
	recon.Source

	// release lets go what the source keeps for the generation being made.
	release()

	// images lists the OM's images.
	images(ctx context.Context) ([]listedImage, error)

	// close ends its connections.
	close()
}

// Memory of each of the two stores of a generation, in bytes; while a new one is
// made there are two of them.
const (
	reconCache    = 16 << 20
	reconMemtable = 4 << 20
)

// reconBackoff is the first wait before an OM that does not answer is asked again.
const reconBackoff = 500 * time.Millisecond

// openRecon makes Recon, if the server has the role. Nothing runs yet.
func (n *node) openRecon() (err error) {
	c := n.cfg.Recon
	if !n.cfg.Node.Has(config.RoleRecon) {
		return nil
	}
	r := &console{n: n}
	if n.cfg.Node.Has(config.RoleOM) {
		r.sources, r.who = []omSource{&ownOM{n: n}}, n.om
	} else if r.sources, err = n.remoteOMs(); err != nil {
		return err
	}
	n.closing(func() error {
		for _, s := range r.sources {
			s.close()
		}
		return nil
	})
	o := recon.Options{
		Dir: c.Dir, FlushInterval: c.FlushInterval, Backoff: min(reconBackoff, c.MaxRetry), MaxBackoff: c.MaxRetry,
		Rebuild:    task.RebuildOptions{Workers: c.Threads, Memory: int(c.Memory)},
		Generation: generation.Options{CacheBytes: reconCache, MemoryBytes: reconMemtable, Listener: n.obs.ReconStore(), Applied: n.obs.ReconTasks},
		Staging:    stagingOptions(n.cfg),
		Private:    []string{n.cfg.Node.DataDir, n.cfg.Block.Dir},
		Listener:   n.obs.Recon(c.Staging.Enhanced),
	}
	r.watchStaging(&o.Listener)
	for _, s := range r.sources {
		o.Sources = append(o.Sources, s)
	}
	built := o.Listener.Built
	o.Listener.Built = func(s recon.Synced, done task.Rebuilt) {
		r.release()
		built(s, done)
		r.noteSync(s)
	}
	if n.hooks.recon != nil {
		n.hooks.recon(&o)
	}
	r.service = recon.New(o)
	if r.who == nil {
		r.who = replicaPrincipals{r.service}
	}
	n.obs.SampleRecon(r.service.Status)
	r.showStaging()
	n.obs.Health.Register(obs.Check{Name: reconCheck, Needed: !n.cfg.Node.Has(config.RoleOM), Run: r.check})
	if r.tls, err = n.tls("recon", c.TLS); err != nil {
		return err
	}
	r.handler = r.routes()
	n.recon = r
	return nil
}

const reconCheck = "recon"

// check says whether there is something to answer from.
func (r *console) check(context.Context) (string, error) {
	st := r.service.Status()
	if st.Generation == "" {
		why := "it has not read the namespace yet"
		if st.Error != "" {
			why += ": " + st.Error
		}
		return "", errs.New(errs.Unavailable, "Recon", why)
	}
	detail := string(st.State) + " at index " + strconv.FormatUint(st.Index, 10)
	if st.Error != "" {
		detail += ": " + st.Error
	}
	return detail, nil
}

func (r *console) release() {
	for _, s := range r.sources {
		s.release()
	}
}

// noteSync records that a generation was made, or could not be.
func (r *console) noteSync(s recon.Synced) {
	line := audit.Record{Principal: "@recon", Action: "recon:FullSync", Resource: r.n.cfg.Recon.Dir, Result: errs.OK.String(),
		Params: map[string]string{"reason": string(s.Reason), "millis": strconv.FormatInt(s.Took.Milliseconds(), 10)}}
	if s.Detail != "" {
		line.Params["detail"] = s.Detail
	}
	if s.Error != "" {
		line.Result, line.Detail = errs.Unavailable.String(), s.Error // it is tried again
	}
	r.n.trail.record(context.Background(), line)
}

// reconAgain is the wait before a Recon that cannot use its directory tries it again.
const reconAgain = 30 * time.Second

// run follows the OM until ctx ends. Beside an OM it begins when the node serves,
// and a directory that cannot be used is tried again: the rest serves meanwhile.
func (r *console) run(ctx context.Context) error {
	defer r.release()
	watching, stop := context.WithCancel(ctx)
	var alerts sync.WaitGroup
	alerts.Go(func() { r.alerts.Run(watching) })
	defer alerts.Wait()
	defer stop()
	if !r.n.cfg.Node.Has(config.RoleOM) {
		return r.service.Run(ctx)
	}
	select {
	case <-r.n.takeover.served:
	case <-ctx.Done():
		return nil
	}
	for {
		err := r.service.Run(ctx)
		if ctx.Err() != nil {
			if err != nil {
				r.n.obs.ReconFailed("stop", err)
			}
			return nil
		}
		r.n.obs.ReconFailed("run in "+r.n.cfg.Recon.Dir, err)
		wait := time.NewTimer(reconAgain)
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
}

// serve answers until ctx ends, then lets requests in flight finish for the grace.
func (r *console) serve(ctx context.Context) error {
	n := r.n
	handler := n.obs.Observe(obs.HTTP{Listener: "recon", RequestID: requestIDHeader, Route: r.route(), Tracer: n.tracer("recon")}, r.handler)
	srv := &http.Server{
		Handler: n.requests.wrap(withRemote(handler)), ReadHeaderTimeout: n.cfg.S3.HeaderTimeout, IdleTimeout: n.cfg.S3.ConnectionIdle,
		WriteTimeout: reconWrite, MaxHeaderBytes: 64 << 10, ErrorLog: n.obs.HTTPErrors("recon"),
	}
	return n.serveHTTP(ctx, srv, r.listener, r.tls)
}

// reconWrite bounds an answer, so that one whom nobody reads does not keep its look
// at a generation.
const reconWrite = 2 * time.Minute

func (r *console) url() string { return r.n.url(r.listener, r.n.cfg.Recon.TLS.Enabled()) }

// runRecon is Recon's activity, if the server has the role.
func (n *node) runRecon(ctx context.Context) error {
	if n.recon == nil {
		return nil
	}
	return n.recon.run(ctx)
}
