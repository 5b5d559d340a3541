package app

import (
	"context"
	"path/filepath"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/audit"
	"o3/internal/errs"
	"o3/internal/image"
)

// exportRetry is how long after an export that failed the node tries again.
const exportRetry = 10 * time.Minute

// schedule makes the exports that the configuration asks for, until ctx ends. The
// interval counts from the last good export to the target, over restarts, whoever
// began it.
func (i *images) schedule(ctx context.Context) error {
	if i.exports.Target == "" {
		return nil
	}
	failed := time.Time{}
	for i.pause(ctx, i.next(failed)) {
		if e := i.latest(); e != nil && e.running() { // an admin's
			select {
			case <-e.over:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		failed = time.Time{}
		if !i.backup(ctx) {
			failed = time.Now()
		}
	}
	return nil
}

// next returns when the next export is due.
func (i *images) next(failed time.Time) time.Time {
	to := targetName(i.exports.Target)
	if filepath.IsAbs(to) {
		to = filepath.Clean(to)
	}
	due := i.history.good(to).Add(i.exports.Interval)
	if again := failed.Add(min(i.retry, i.exports.Interval)); !failed.IsZero() && again.After(due) {
		return again
	}
	return due
}

// pause waits until then, and until the node serves; false: ctx has ended.
func (i *images) pause(ctx context.Context, then time.Time) bool {
	for {
		wait := time.Until(then)
		if wait <= 0 {
			if i.ready(ctx) == nil && ctx.Err() == nil {
				return true
			}
			wait = 100 * time.Millisecond
		}
		t := time.NewTimer(min(wait, time.Minute)) // the clock may be set meanwhile
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
	}
}

// backup makes one export, and removes what is too old.
func (i *images) backup(ctx context.Context) (good bool) {
	to := i.exports.Target
	line := audit.Record{Principal: access.System.User, Action: "om:ExportImage",
		Params: map[string]string{"directory": targetName(to), "withBlocks": "true", "scheduled": "true"}}
	err := i.trail.guard(ctx)
	var e *export
	if err == nil {
		i.starting.Lock()
		e, err = i.startExport(ctx, &o3v1.ExportImageRequest{Directory: to, WithBlocks: true}, line, true)
		i.starting.Unlock()
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return false
	case err != nil:
		i.note(ctx, line, err)
		if errs.KindOf(err) != errs.Conflict { // an admin was faster
			i.couldNot(to, line, err)
		}
		return false
	}
	<-e.over
	if e.info().State != o3v1.ExportState_EXPORT_STATE_DONE {
		return false
	}
	if i.exports.Keep > 0 {
		i.prune(ctx, to)
	}
	return true
}

// couldNot remembers an export that could not begin: nobody else hears of it.
func (i *images) couldNot(to string, line audit.Record, err error) {
	e := &export{id: "refused-" + time.Now().UTC().Format("20060102T150405.000"), dir: targetName(to), blocks: true, scheduled: true, started: time.Now(), line: line,
		cancel: func(error) {}, over: make(chan struct{}), state: o3v1.ExportState_EXPORT_STATE_FAILED, finished: time.Now(), err: err}
	close(e.over)
	i.history.add(e)
	i.keep()
	i.ended(e, o3v1.ExportState_EXPORT_STATE_FAILED)
}

// prune removes the oldest images at the target. No export of this node runs
// meanwhile: another one's lock keeps it away, its own does not.
func (i *images) prune(ctx context.Context, name string) {
	i.starting.Lock()
	last := i.latest()
	i.pruning = last == nil || !last.running()
	free := i.pruning
	i.starting.Unlock()
	if !free {
		return // after the next one
	}
	defer func() {
		i.starting.Lock()
		i.pruning = false
		i.starting.Unlock()
	}()
	var out image.Pruned
	to, err := i.target(ctx, name)
	if err == nil {
		out, err = image.Prune(ctx, watched{destination: to}, i.exports.Keep)
		to.Close()
	}
	if err != nil && ctx.Err() != nil {
		return
	}
	i.pruned(targetName(name), out, err)
	if len(out.Images) > 0 || err != nil {
		i.note(ctx, audit.Record{Principal: access.System.User, Action: "om:PruneImages", Params: map[string]string{"directory": targetName(name)}}, err)
	}
}
