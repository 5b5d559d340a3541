package cli

import (
	"context"
	"fmt"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/recon/web"
)

// reconCmd looks after Recon.
type reconCmd struct {
	Status reconStatus `cmd:"" help:"How Recon follows the OM, and how fresh its answers are."`
	Resync reconResync `cmd:"" help:"Have the namespace brought from the OM anew, or the tables built anew."`

	Backup  reconBackup  `cmd:"" help:"Make a directory a copy of what Recon has, through the running server."`
	Restore reconRestore `cmd:"" help:"Make a backup what Recon has, while no server runs."`
}

type reconStatus struct {
	reconFlags
	Wait time.Duration `placeholder:"DURATION" help:"Wait at most so long until everything that the OM has now is reflected; asks the OM too."`
}

// Run shows the state.
func (c *reconStatus) Run(ctx context.Context, s *Session) error {
	least, err := c.least(ctx, s)
	if err != nil {
		return err
	}
	end := time.Now().Add(c.Wait)
	for {
		var st web.SyncStatus
		raw, err := c.ask(ctx, s, "GET", "/sync/status", nil, &st)
		late := !time.Now().Before(end)
		if err == nil && (st.ReflectedIndex >= least && st.State != "STARTING" || late && c.Wait == 0) {
			return c.show(s, raw, &st)
		}
		if err != nil && (late || errs.KindOf(err) != errs.Unavailable) {
			return err
		}
		if late {
			return errs.New(errs.Unavailable, "Recon", fmt.Sprintf("after %v it reflects index %d, the OM was at %d; it is %s %s", c.Wait, st.ReflectedIndex, least, st.State, st.Error))
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// least returns the index that is waited for; 0 without --wait.
func (c *reconStatus) least(ctx context.Context, s *Session) (uint64, error) {
	if c.Wait <= 0 {
		return 0, nil
	}
	o3, err := s.Client()
	if err != nil {
		return 0, err
	}
	r, err := o3.Status(ctx, &o3v1.StatusRequest{})
	return r.GetAppliedIndex(), err
}

func (c *reconStatus) show(s *Session, raw []byte, st *web.SyncStatus) error {
	fields := []field{
		{"State", st.State}, {"OM", st.Source}, {"Index", fmt.Sprintf("%d of %d (%d behind)", st.ReflectedIndex, st.CommitIndex, st.Lag)},
		{"Age", (time.Duration(st.AgeMs) * time.Millisecond).String()}, {"Digest", fmt.Sprintf("%s, compared at index %d", st.Digest, st.ComparedIndex)},
		{"Generation", st.Generation}, {"Made", fmt.Sprintf("%d since the start, %d tries failed", st.Syncs, st.Failed)},
	}
	if b := st.Building; b != nil {
		fields = append(fields, field{"Building", fmt.Sprintf("%s, %s, %d of %s since %s", b.Reason, b.Phase, b.Done, total(b.Total), when(b.Since))})
	}
	if l := st.LastSync; l != nil {
		text := fmt.Sprintf("%s, %s, took %v", l.Reason, when(l.Finished), time.Duration(l.TookMs)*time.Millisecond)
		if l.Error != "" {
			text += ", failed: " + l.Error
		}
		fields = append(fields, field{"Last", text}, field{"Why", l.Detail})
	}
	return s.describeRaw(raw, append(fields, field{"Error", st.Error})...)
}

func total(n int64) string {
	if n == 0 {
		return "?"
	}
	return fmt.Sprint(n)
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return errs.Wrap(errs.Canceled, "", ctx.Err())
	}
}
