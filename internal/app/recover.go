package app

import (
	"context"
	"path/filepath"

	"o3/internal/audit"
	"o3/internal/durable"
	"o3/internal/errs"
	"o3/internal/fileplan"
	"o3/internal/image"
)

// takeover is what a start has to do with the state that a bootstrap or an
// import put into the place of another one.
type takeover struct {
	root    *fileplan.Root
	found   fileplan.Outcome // of the recovery
	plan    fileplan.Plan
	pending bool          // the state was switched to, and has not served yet
	served  chan struct{} // closed when the node is about to serve
}

// takeData holds the data directory, and brings a switch that was cut off to its
// end: nothing is read before.
func (n *node) takeData() (err error) {
	dir := n.cfg.Node.DataDir
	if err := durable.MakeDir(dir); err != nil {
		return errs.Wrap(errs.Invalid, "ozone.metadata.dirs = "+dir, err)
	}
	t := &n.takeover
	t.served = make(chan struct{})
	if t.root, err = fileplan.Open(nil, dir); err != nil {
		return err
	}
	n.closing(t.root.Close)
	if t.found, err = t.root.Recover(); err != nil {
		return err
	}
	switch t.found.Did {
	case fileplan.Completed:
		n.obs.Log.Warn("data directory: a switch that was cut off is complete now", "plan", t.found.Plan.ID, "why", t.found.Plan.Why)
	case fileplan.RolledBack:
		n.obs.Log.Warn("data directory: a switch that was cut off is undone, the previous state is in force", "plan", t.found.Plan.ID, "why", t.found.Plan.Why, "cause", t.found.Cause)
	}
	st, err := t.root.Status()
	t.plan, t.pending = st.Plan, st.State == fileplan.Applied
	if t.pending {
		n.obs.Log.Warn("data directory: the first start since a switch; the previous state is kept until the node serves", "plan", st.Plan.ID, "why", st.Plan.Why, "kept", filepath.Join(dir, st.Plan.Keep))
	}
	return err
}

// serves notes that the node is about to serve: what it acknowledges from now on
// is in the new state only, which is not rolled back any more.
func (n *node) serves() error {
	if n.takeover.pending {
		if err := n.takeover.root.Confirm(); err != nil {
			return err
		}
	}
	close(n.takeover.served)
	return nil
}

// forget removes what a switch has kept, once the node serves. It is no reason to
// stop when that fails: the next start tries again.
func (n *node) forget(ctx context.Context) error {
	t := &n.takeover
	switch t.found.Did {
	case fileplan.Completed, fileplan.RolledBack:
		n.noteSwitch("node:RecoverSwitch", t.found.Plan, string(t.found.Did), t.found.Cause)
	}
	select {
	case <-t.served:
	case <-ctx.Done():
		return nil
	}
	if t.pending {
		n.noteSwitch("node:Switch", t.plan, "serves", nil)
	}
	st, err := t.root.Status()
	if err == nil && st.State != fileplan.Forgetting {
		return nil
	}
	if err == nil {
		err = t.root.Forget(ctx)
	}
	switch {
	case err == nil:
		n.obs.Log.Info("data directory: the previous state is removed", "plan", st.Plan.ID)
	case ctx.Err() == nil:
		n.obs.Log.Error("data directory: the previous state could not be removed; the next start tries again", "plan", st.Plan.ID, "error", err)
	}
	return nil
}

func (n *node) noteSwitch(action string, p fileplan.Plan, outcome string, cause error) {
	r := audit.Record{
		Action: action, Resource: n.cfg.Node.DataDir, Result: errs.OK.String(),
		Params: map[string]string{"plan": p.ID, "why": p.Why, "outcome": outcome},
	}
	if cause != nil {
		r.Result, r.Detail = errs.KindOf(cause).String(), cause.Error()
	}
	n.trail.record(context.Background(), r)
}

// afterwards makes of an activity one that waits until the node serves where the
// state was switched to: what it frees the previous state may need.
func (n *node) afterwards(run func(context.Context) error) func(context.Context) error {
	if !n.takeover.pending {
		return run
	}
	return func(ctx context.Context) error {
		select {
		case <-n.takeover.served:
			return run(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// staged refuses to begin a new node beside a state that somebody was making for
// the directory.
func (n *node) staged() error {
	path := n.dir(image.StagedDir)
	if there, err := exists(path); err != nil || !there {
		return err
	}
	return errs.New(errs.Corrupt, path, "a bootstrap or an import into this directory was begun and not finished: run it again, or remove "+path+" to begin an empty node")
}
