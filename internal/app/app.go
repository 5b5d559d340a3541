// Package app puts a node together and runs it: it is the one place that knows
// every component. Run owns the node's goroutines: when it returns, all of them
// have ended and everything that was acknowledged is on disk. Several nodes can
// run in one process.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"o3/internal/block/container"
	"o3/internal/config"
	"o3/internal/consensus"
	"o3/internal/lifecycle"
	"o3/internal/obs"
	"o3/internal/pebblekv"
	"o3/internal/recon"
	"o3/internal/snapdiff"
	"o3/internal/transfer"
)

// Version is the version of the program.
const Version = "0.1.0"

// Options is what a node needs beside its configuration.
type Options struct {
	Config *config.Config
	Out    io.Writer // where the endpoints, and a new root key, are printed; nil: nowhere
	Log    io.Writer // where log lines go; nil: nowhere

	// Ready is called once, when the node serves.
	Ready func(Endpoints)

	hooks hooks
}

// hooks let the package's tests change what no key sets. Nil fields do nothing.
type hooks struct {
	store  func(*pebblekv.Options)
	blocks func(*container.Options)
	log    func(*consensus.Options)
	diffs  func(*snapdiff.Options)

	lifecycle func(*lifecycle.Options)

	transfers func(*transfer.ServerOptions)
	holds     time.Duration // between looks at the leases on the log; 0: holdEvery

	recon func(*recon.Options)

	made func(*node) // every component is there, none runs
}

func (h hooks) holdEvery() time.Duration { return cmp.Or(h.holds, holdEvery) }

// Endpoints are the addresses a node listens at, as URLs.
type Endpoints struct {
	S3    string // "": it has not this role
	OM    string // likewise
	Recon string // likewise
	Data  string // its data directory
}

// Run runs a node until ctx ends or a part of it fails for good. It returns nil
// after an orderly shutdown.
func Run(ctx context.Context, o Options) (err error) {
	if o.Out == nil {
		o.Out = io.Discard
	}
	cfg := o.Config
	level, err := obs.ParseLevel(cfg.Log.Level)
	if err != nil {
		return err
	}
	n := &node{cfg: cfg, started: time.Now(), halted: make(chan error, 1), hooks: o.hooks}
	n.obs = obs.New(obs.Options{
		Log: o.Log, Format: cfg.Log.Format, Level: level, Node: cfg.OM.NodeID,
		SlowRequest: cfg.Log.SlowRequest, Version: Version,
	})
	defer func() {
		err = errors.Join(err, n.close())
		if err != nil {
			n.obs.Log.Error("the node stopped", "error", err)
		} else {
			n.obs.Log.Info("the node stopped")
		}
	}()
	for _, step := range n.opening() {
		if err := step(); err != nil {
			return err
		}
	}
	if o.hooks.made != nil {
		o.hooks.made(n)
	}
	return n.run(ctx, o)
}

// run starts the node's activities: the core first, then the edges. They stop
// in the opposite order: the edges finish what is in flight while the core
// still serves them.
func (n *node) run(ctx context.Context, o Options) error {
	core, stopCore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCore()
	cores, core := errgroup.WithContext(core)
	for name, f := range n.cores() {
		cores.Go(func() error { return named(name, f(core)) })
	}
	edge, stopEdges := context.WithCancel(ctx)
	defer stopEdges()
	edges, edge := errgroup.WithContext(edge)
	edges.Go(func() error { // a core that fails takes the edges along
		select {
		case <-core.Done():
			return errors.New("the node's core has stopped")
		case <-edge.Done():
			return nil
		}
	})
	err := n.begin(edge, o.Out)
	if err == nil {
		for name, f := range n.edges() {
			edges.Go(func() error { return named(name, f(edge)) })
		}
		n.announce(o)
	} else {
		stopEdges()
	}
	edgeErr := edges.Wait()
	n.requests.close() // what was cut off may still run
	stopCore()
	coreErr := cores.Wait()
	if coreErr != nil {
		return coreErr // it is why the edges ended
	}
	if ctx.Err() != nil {
		err = nil // the start was interrupted, not refused
	}
	return errors.Join(err, edgeErr)
}

func named(name string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// announce tells where the node serves.
func (n *node) announce(o Options) {
	e := n.endpoints()
	fmt.Fprintf(o.Out, "o3 %s is ready\n", Version)
	for _, at := range []struct{ what, url string }{{"S3", e.S3}, {"OM API", e.OM}, {"Recon", e.Recon}} {
		if at.url != "" {
			fmt.Fprintf(o.Out, "  %-6s  %s\n", at.what, at.url)
		}
	}
	fmt.Fprintf(o.Out, "  data    %s\n", e.Data)
	n.obs.Log.Info("ready", "s3", e.S3, "om", e.OM, "recon", e.Recon, "data", e.Data, "took", time.Since(n.started))
	if o.Ready != nil {
		o.Ready(e)
	}
}

// endpoints returns where the node listens.
func (n *node) endpoints() Endpoints {
	e := Endpoints{Data: n.cfg.Node.DataDir}
	if n.s3Listener != nil {
		e.S3 = n.url(n.s3Listener, n.cfg.S3.TLS.Enabled())
	}
	if n.omListener != nil {
		e.OM = n.url(n.omListener, n.cfg.OM.TLS.Enabled())
	}
	if n.recon != nil {
		e.Recon = n.recon.url()
	}
	return e
}

// url returns how a client on this machine reaches a listener.
func (n *node) url(l net.Listener, tls bool) string {
	scheme := "http"
	if tls {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return scheme + "://" + l.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
