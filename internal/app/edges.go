package app

import (
	"net"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"

	"o3/internal/config"
	"o3/internal/errs"
	"o3/internal/obs"
	"o3/internal/rpc"
	"o3/internal/s3"
	"o3/internal/tlsconf"
)

// makeEdges makes the S3 gateway and the OM API.
func (n *node) makeEdges() (err error) {
	c := n.cfg.S3
	n.gateway, err = s3.New(n.om, n.blocks, n.om, s3.Options{
		Region: c.Region, Domains: c.Domains, Layout: c.DefaultLayout, InlineMax: n.cfg.OM.InlineMaxSize,
		MinPartSize: c.MultipartMinPart, MaxParts: c.MultipartMaxNumber, ListMax: c.ListMaxKeys,
		MaxInFlight: c.MaxInFlight, IdleTimeout: c.BodyIdleTimeout, ClockSkew: c.ClockSkew,
		Reading:  n.reads.begin,
		Listener: s3.Listener{RequestDone: n.trail.s3, BlocksLeft: n.obs.BlocksLeft},
	})
	if err != nil {
		return err
	}
	if n.s3TLS, err = n.tls("s3", c.TLS); err != nil {
		return err
	}
	if n.omTLS, err = n.tls("om", n.cfg.OM.TLS); err != nil {
		return err
	}
	o := rpc.Options{
		Backend: remote{n.om, n.diffs, n.cycles, n.images}, Principals: n.om, S3: n.gateway.VolumeHandler(),
		Alive: n.obs.Health.Alive(), Ready: n.obs.Health.Ready(),
		Skew: c.ClockSkew, MaxInFlight: c.MaxInFlight, Grace: max(n.cfg.Node.ShutdownGrace, time.Nanosecond), // 0 is its default
		Wrap: func(h http.Handler) http.Handler {
			return n.requests.wrap(withRemote(n.obs.Observe(obs.HTTP{Listener: "om", RequestID: rpc.RequestIDHeader, Tracer: n.tracer("om"), Stream: "ReadLog"}, h)))
		},
		Log: n.transfers, Own: map[string]http.Handler{transferPrefix: n.transfers.handler()},
		Listener: rpc.Listener{End: n.trail.rpc, Panic: n.obs.RPCPanic},
	}
	if n.cfg.Metrics.Enabled {
		o.Metrics = n.obs.MetricsHandler()
	}
	if n.cfg.Metrics.Profiler {
		o.Admin = map[string]http.Handler{"/debug/pprof/": obs.Profiler()}
	}
	if n.omTLS != nil {
		o.TLS = n.omTLS.Server()
	}
	n.api, err = rpc.New(o)
	return err
}

func (n *node) tracer(component string) trace.Tracer {
	if !n.tracing.Enabled() {
		return nil
	}
	return n.tracing.Tracer(component)
}

// tls opens a listener's certificates; nil without any.
func (n *node) tls(listener string, t config.TLS) (*tlsconf.Source, error) {
	if !t.Enabled() {
		return nil, nil
	}
	src, err := tlsconf.Open(tlsconf.Options{Files: t.Files(), Listener: n.obs.TLS(listener)})
	if err != nil {
		return nil, err
	}
	n.obs.SampleTLS(listener, src)
	return src, nil
}

// listen binds the addresses, so that a port in use is told before anything runs.
func (n *node) listen() (err error) {
	if n.cfg.Node.Has(config.RoleS3) {
		if n.s3Listener, err = n.bind("ozone.s3g.http-address", n.cfg.S3.Address); err != nil {
			return err
		}
	}
	if n.cfg.Node.Has(config.RoleOM) {
		if n.omListener, err = n.bind("ozone.om.address", n.cfg.OM.Address); err != nil {
			return err
		}
	}
	if n.recon != nil {
		n.recon.listener, err = n.bind("ozone.recon.http-address", n.cfg.Recon.Address)
	}
	return err
}

func (n *node) bind(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &errs.Error{Kind: errs.Unavailable, Subject: key + " = " + address, Detail: "cannot listen: " + err.Error(), Err: err}
	}
	n.closing(func() error { l.Close(); return nil }) // its server closes it first
	return l, nil
}
