package app

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/om"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/transfer"
)

// logHolds makes the node keep its log as the replicated leases say (RULES E5).
// It is safe for concurrent use.
type logHolds struct {
	n *node

	mu   sync.Mutex
	have map[string]bool // what the log was told to hold
}

// holdEvery is how often a leader looks for leases that have expired, or hold
// too much.
const holdEvery = 5 * time.Second

// holdName names the lease of a receiver.
func holdName(h transfer.Hold) string { return fmt.Sprintf("%s %q %s", h.Who, h.Receiver, h.Image) }

// follow makes the log hold what the rows say, as of what is applied. It is
// called at start, before anything can truncate the log, and after each command
// that changes a lease.
func (l *logHolds) follow() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.n.replica.Position().TimeMs
	rows := map[string]uint64{}
	err := l.rows(func(name string, row *schemapb.LogHold) {
		if row.UntilMs > now {
			rows[name] = row.Index
		}
	})
	if err != nil {
		return err
	}
	for name, index := range rows {
		if err := l.n.log.Hold(name, index); err != nil {
			l.n.obs.LogHoldLate(name, index, err) // another node may still have it
			continue
		}
		l.have[name] = true
	}
	for name := range l.have {
		if _, ok := rows[name]; !ok {
			l.n.log.Release(name)
			delete(l.have, name)
		}
	}
	return nil
}

// rows calls each for every lease that is applied.
func (l *logHolds) rows(each func(string, *schemapb.LogHold)) error {
	snap := l.n.store.Snapshot()
	defer snap.Close()
	lower, upper := schema.LogHolds.All()
	return schema.LogHolds.Scan(snap, lower, upper, func(name string, row *schemapb.LogHold) (bool, error) {
		each(name, row)
		return true, nil
	})
}

// take takes or renews a lease. A new one is on this node's disk when it is
// granted: a restart finds it before it can truncate the log.
func (l *logHolds) take(ctx context.Context, name string, index uint64, until time.Time) error {
	if kept, limit := l.n.log.LogBytesAfter(index), l.n.cfg.Transfer.HoldLimit; kept > limit {
		return errs.New(errs.TooMany, "lease on the log "+name,
			fmt.Sprintf("%d bytes of log follow its image, more than ozone.om.bootstrap.log.hold.limit = %d: take a newer image", kept, limit))
	}
	first := "taking " + name // so that what is there stays until the command is applied
	if err := l.n.log.Hold(first, index); err != nil {
		return err
	}
	defer l.n.log.Release(first)
	c := &commandpb.HoldLog{Name: name, Index: index, UntilMs: l.now() + time.Until(until).Milliseconds()}
	r, err := om.Propose[commandpb.HoldLogReply](ctx, l.n.om, command.HoldLog, 0, c)
	if err == nil && !r.Renewed {
		err = l.n.replica.Flush()
	}
	return err
}

// now is the time by which leases expire, in milliseconds: that of commands,
// which never goes back where a clock does.
func (l *logHolds) now() int64 { return max(time.Now().UnixMilli(), l.n.replica.Position().TimeMs) }

// release ends leases; what is not known here is passed over.
func (l *logHolds) release(ctx context.Context, c *commandpb.ReleaseLog) ([]string, error) {
	r, err := om.Execute[commandpb.ReleaseLogReply](ctx, l.n.om, command.ReleaseLog, c)
	return r.GetNames(), err
}

// run ends leases that have expired, and those that hold too much of the log,
// while this node leads.
func (l *logHolds) run(ctx context.Context) error {
	tick := time.NewTicker(l.n.hooks.holdEvery())
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if !l.n.leads() {
			continue
		}
		if err := l.look(ctx); err != nil && ctx.Err() == nil {
			l.n.obs.Log.Warn("transfer: leases on the log cannot be looked after", "error", err)
		}
	}
}

func (l *logHolds) look(ctx context.Context) error {
	now := l.now()
	c := &commandpb.ReleaseLog{}
	broken := map[string]int64{}
	err := l.rows(func(name string, row *schemapb.LogHold) {
		kept := l.n.log.LogBytesAfter(row.Index)
		switch {
		case row.UntilMs <= now:
			c.Expired = true
		case kept > l.n.cfg.Transfer.HoldLimit:
			c.Names = append(c.Names, name)
			broken[name] = kept
		}
	})
	if err != nil || !c.Expired && len(c.Names) == 0 {
		return err
	}
	names, err := l.release(ctx, c)
	for _, name := range names {
		if kept, ok := broken[name]; ok {
			l.n.obs.LogHoldBroken(name, kept, l.n.cfg.Transfer.HoldLimit)
		} else {
			l.n.obs.LogHoldExpired(name)
		}
	}
	return err
}

// held describes the leases for those who watch the node.
func (l *logHolds) held() (oldest time.Time, count int, entries uint64) {
	st := l.n.log.Status()
	for name, index := range st.Holds {
		if !strings.HasPrefix(name, "taking ") {
			count++
			entries = max(entries, st.Last-min(st.Last, index))
		}
	}
	_ = l.rows(func(_ string, row *schemapb.LogHold) { // a failing store tells by itself
		if at := time.UnixMilli(row.SinceMs); oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	})
	return oldest, count, entries
}

// hold keeps the log after an image for its receiver.
func (t *transfers) hold(ctx context.Context, h transfer.Hold) error {
	manifest, _ := image.CutFetchID(h.Image)
	var index uint64
	if _, err := fmt.Sscanf(manifest, "%d-", &index); err != nil {
		return errs.New(errs.Invalid, "image "+h.Image, "its id has no index")
	}
	return t.n.holds.take(ctx, holdName(h), index, h.Until)
}

// release lets the log go that was kept for a receiver. A node that stops keeps
// it: the receiver comes back, or its lease expires.
func (t *transfers) release(h transfer.Hold) {
	if t.stopping() {
		return
	}
	ctx, cancel := context.WithTimeout(access.NewContext(context.Background(), access.System), 10*time.Second)
	defer cancel()
	if _, err := t.n.holds.release(ctx, &commandpb.ReleaseLog{Names: []string{holdName(h)}}); err != nil {
		t.n.obs.Log.Warn("transfer: a lease on the log was not released, and will expire", "lease", holdName(h), "error", err)
	}
}
