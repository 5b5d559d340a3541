package command

import (
	"fmt"
	"time"
	"unicode/utf8"

	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// The bounds of leases on the log.
const (
	MaxLogHolds    = 256       // at once
	MaxLogHoldName = 512       // bytes
	MaxLogHold     = time.Hour // from a command that takes or renews one to its end
)

// holdLog takes a lease or renews it. A lease moves forward only: what it let go
// of may be gone.
func holdLog(t *Tx, c *commandpb.HoldLog) (*commandpb.HoldLogReply, error) {
	if c.Name == "" || len(c.Name) > MaxLogHoldName || !utf8.ValidString(c.Name) {
		return nil, errs.New(errs.Invalid, "name of a lease on the log", fmt.Sprintf("%d bytes; 1 to %d of UTF-8 are allowed", len(c.Name), MaxLogHoldName))
	}
	subject := "lease on the log " + c.Name
	until := min(c.UntilMs, t.now+MaxLogHold.Milliseconds())
	switch {
	case c.Index == 0:
		return nil, errs.New(errs.Invalid, subject, "an index is needed")
	case until <= t.now:
		return nil, errs.New(errs.Invalid, subject, "it would have expired already")
	}
	row, ok, err := schema.LogHolds.Get(t.w, c.Name)
	if err != nil {
		return nil, err
	}
	switch {
	case ok && c.Index < row.Index:
		return nil, errs.New(errs.Conflict, subject, fmt.Sprintf("it keeps the entries after %d, and cannot go back to %d", row.Index, c.Index))
	case !ok:
		held, err := t.logHolds(MaxLogHolds, func(*schemapb.LogHold) bool { return true })
		if err != nil {
			return nil, err
		}
		if len(held) >= MaxLogHolds {
			return nil, errs.New(errs.TooMany, subject, fmt.Sprintf("there are %d leases, more are not allowed", len(held)))
		}
		row = &schemapb.LogHold{SinceMs: t.now, Owner: t.principal, Op: uint64(t.op)}
	}
	row.Index, row.UntilMs = c.Index, until
	t.wrote()
	return &commandpb.HoldLogReply{UntilMs: until, Renewed: ok}, schema.LogHolds.Put(t.w, c.Name, row)
}

// releaseLog ends leases.
func releaseLog(t *Tx, c *commandpb.ReleaseLog) (*commandpb.ReleaseLogReply, error) {
	if len(c.Names) > MaxLogHolds {
		return nil, errs.New(errs.Invalid, "leases on the log", fmt.Sprintf("%d names, at most %d are allowed", len(c.Names), MaxLogHolds))
	}
	named := map[string]bool{}
	var over []string
	for _, name := range c.Names {
		_, ok, err := schema.LogHolds.Get(t.w, name)
		if err != nil {
			return nil, err
		}
		if ok && !named[name] {
			named[name], over = true, append(over, name)
		}
	}
	if c.Expired {
		expired, err := t.logHolds(2*MaxLogHolds, func(h *schemapb.LogHold) bool { return h.UntilMs <= t.now })
		if err != nil {
			return nil, err
		}
		for _, name := range expired {
			if !named[name] {
				over = append(over, name)
			}
		}
	}
	for _, name := range over {
		t.wrote()
		if err := schema.LogHolds.Delete(t.w, name); err != nil {
			return nil, err
		}
	}
	return &commandpb.ReleaseLogReply{Names: over}, nil
}

// logHolds returns the names of at most limit leases that are as asked for.
func (t *Tx) logHolds(limit int, is func(*schemapb.LogHold) bool) (names []string, err error) {
	lower, upper := schema.LogHolds.All()
	err = schema.LogHolds.Scan(t.w, lower, upper, func(name string, row *schemapb.LogHold) (bool, error) {
		if is(row) {
			names = append(names, name)
		}
		return len(names) < limit, nil
	})
	return names, err
}
