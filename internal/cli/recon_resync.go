package cli

import (
	"context"
	"time"

	"o3/internal/errs"
	"o3/internal/recon/web"
)

type reconResync struct {
	reconFlags
	Rebuild bool          `help:"Only build the tables anew, from the replica that Recon has."`
	Wait    time.Duration `placeholder:"DURATION" help:"Wait at most so long until it is done."`
}

// Help says what goes on meanwhile.
func (c *reconResync) Help() string {
	return "What Recon has is served until the new state is complete; o3 admin recon status shows how far it is. Only what Recon does not have already is sent by the OM."
}

// Run triggers it.
func (c *reconResync) Run(ctx context.Context, s *Session) error {
	var before web.SyncStatus
	if c.Wait > 0 {
		if _, err := c.ask(ctx, s, "GET", "/sync/status", nil, &before); err != nil {
			return err
		}
	}
	if err := c.trigger(ctx, s); err != nil {
		return err
	}
	if c.Wait > 0 {
		return c.wait(ctx, s, before.Syncs+before.Failed)
	}
	type resynced struct {
		Status string `json:"status"`
	}
	if c.Rebuild {
		return s.doneAs(resynced{"ACCEPTED"}, "The tables are being built anew; o3 admin recon status shows how far that is.")
	}
	return s.doneAs(resynced{"ACCEPTED"}, "The namespace is being brought from the OM anew; o3 admin recon status shows how far that is.")
}

// trigger has Recon begin.
func (c *reconResync) trigger(ctx context.Context, s *Session) error {
	busy := errs.New(errs.Conflict, "Recon", "a new state is being made already: o3 admin recon status shows it")
	if c.Rebuild {
		var r web.Reinit
		_, err := c.ask(ctx, s, "POST", "/triggerdbsync/om/reinit", nil, &r)
		if err == nil && r.Status != "ACCEPTED" {
			err = busy
		}
		return err
	}
	begun := false
	_, err := c.ask(ctx, s, "GET", "/triggerdbsync/om", nil, &begun)
	if err == nil && !begun {
		err = busy
	}
	return err
}

// wait waits until one more state was made, or could not be.
func (c *reconResync) wait(ctx context.Context, s *Session, before uint64) error {
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	for {
		var st web.SyncStatus
		_, err := c.ask(ctx, s, "GET", "/sync/status", nil, &st)
		if err == nil && st.Syncs+st.Failed > before && st.LastSync != nil {
			if l := st.LastSync; l.Error != "" {
				return errs.New(errs.Unavailable, "Recon", "no new state was made: "+l.Error)
			}
			return s.doneAs(st.LastSync, "Done in %v: answers come from %s, at index %d.", time.Duration(st.LastSync.TookMs)*time.Millisecond, st.Generation, st.ReflectedIndex)
		}
		if err == nil {
			err = pause(ctx, 100*time.Millisecond)
		}
		if ctx.Err() != nil {
			return errs.New(errs.Unavailable, "Recon", "it is not done after "+c.Wait.String()+"; it goes on, and o3 admin recon status shows how far it is")
		}
		if err != nil {
			return err
		}
	}
}
