package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"o3/internal/admin/stages"
	"o3/internal/errs"
	"o3/internal/recon"
	"o3/internal/recon/staging"
)

// stagingCmd is what administrators do about stages.
type stagingCmd struct {
	Status    stagingStatus    `cmd:"" help:"How the stage is, or how the last one ended."`
	Reprocess stagingReprocess `cmd:"" help:"Have a new state made; what there is serves meanwhile."`
	Cancel    stagingCancel    `cmd:"" help:"Cancel the stage that is made, the one that comes next, and a retry that is due."`
	Retry     stagingRetry     `cmd:"" help:"Have the last stage, which failed, made again now."`
	Rollback  stagingRollback  `cmd:"" help:"Answer from the state before the present one again, brought up to date by the log."`
}

// change asks for a change and returns the answer, if it is a good one.
func (f reconFlags) change(ctx context.Context, s *Session, path string, query url.Values, patience time.Duration) ([]byte, error) {
	at, status, raw, err := f.send(ctx, s, http.MethodPost, stages.Prefix+path, query, patience)
	if err == nil && status/100 != 2 {
		err = changeError(at, status, raw)
	}
	return raw, err
}

// changeError makes an error of an answer that is one: a text of the design's, or
// an object.
func changeError(at string, status int, raw []byte) error {
	text := string(raw)
	if why, ok := strings.CutPrefix(text, stages.RetryRefused); ok {
		return errs.New(errs.Conflict, "staging", why)
	}
	if text == stages.NothingThere {
		return errs.New(errs.Conflict, "staging", text)
	}
	return reconError(at, status, raw)
}

type stagingStatus struct {
	reconFlags
	Wait time.Duration `placeholder:"DURATION" help:"Wait at most so long until no stage is made, comes next, or is due again."`
}

// Run shows the state.
func (c *stagingStatus) Run(ctx context.Context, s *Session) error {
	end := time.Now().Add(c.Wait)
	for {
		at, status, raw, err := c.send(ctx, s, http.MethodGet, stages.Prefix+"staging/status", nil, time.Minute)
		if err == nil && status != http.StatusOK {
			err = reconError(at, status, raw)
		}
		var st recon.StagingStatus
		if err == nil {
			err = json.Unmarshal(raw, &st)
		}
		late := !time.Now().Before(end)
		switch idle := !st.State.Running() && st.Queued == "" && st.RetryAt == nil; {
		case err != nil && (late || errs.KindOf(err) != errs.Unavailable):
			return err
		case err == nil && (idle || c.Wait == 0):
			return c.show(s, raw, &st)
		case late:
			return errs.New(errs.Unavailable, "staging", fmt.Sprintf("after %v stage %s is %s; it goes on", c.Wait, st.StagingID, st.State))
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (c *stagingStatus) show(s *Session, raw []byte, st *recon.StagingStatus) error {
	fields := []field{{"State", st.State}, {"Stage", st.StagingID}}
	if st.StagingID != "" {
		fields = append(fields, field{"Kind", st.Kind}, field{"Reason", st.Reason}, field{"Try", fmt.Sprintf("%d of %d", st.Attempt, st.MaxAttempts)}, field{"Started", at(st.StartTime)})
	}
	if st.State.Running() {
		fields = append(fields, field{"Phase", st.Phase}, field{"Progress", fmt.Sprintf("%.1f%%", st.Progress)}, field{"Done about", at(st.EstimatedCompletion)},
			field{"Takes", fmt.Sprintf("%s of disk; %s of up to %s of memory, %d threads, batches of %d rows", size(uint64(st.DiskBytes)), size(uint64(st.MemoryUsed)), size(uint64(st.MemoryBytes)), st.Threads, st.BatchRows)})
		if st.Breaker != staging.StepNone.String() {
			fields = append(fields, field{"Cut down", st.Breaker + ": " + st.BreakerWhy})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(st.TaskProgress)) {
		t := st.TaskProgress[name]
		fields = append(fields, field{name, strings.TrimSpace(fmt.Sprintf("%s %.1f%% %s", t.State, t.Progress, t.Error))})
	}
	if st.InPlace {
		fields = append(fields, field{"In place", "yes: questions about the tables are refused meanwhile"})
	}
	fields = append(fields, field{"Next", st.Queued}, field{"Tried again", at(st.RetryAt)})
	if p := st.Previous; p != nil {
		fields = append(fields, field{"Before it", fmt.Sprintf("%s is kept until %s at most", p.Generation, p.Until.UTC().Format(time.RFC3339))})
	}
	for _, k := range st.Kept {
		fields = append(fields, field{"Kept", fmt.Sprintf("%s (%s)", k.Path, k.Reason)})
	}
	if st.State == staging.Failed {
		s.code = ExitUnavailable
	}
	return s.describeRaw(raw, append(fields, field{"Last error", st.LastError}, field{"Needed", st.Needed})...)
}

func at(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

type stagingReprocess struct {
	reconFlags
	Kind  string `enum:"full,local,incremental" default:"full" help:"full: of a new image of the OM. local: the tables anew, of the replica that is here. incremental: a copy of what is here, and the log since."`
	Clean bool   `help:"Use nothing that earlier tries have left."`
	From  uint64 `placeholder:"INDEX" help:"With --kind incremental: an entry of the OM's log that must be in what it begins with."`
}

// Help says what goes on meanwhile.
func (c *stagingReprocess) Help() string {
	return "A stage that is made already and does the same is joined; else this one comes after it. o3 admin staging status shows how far it is."
}

// Run triggers it.
func (c *stagingReprocess) Run(ctx context.Context, s *Session) error {
	q := url.Values{"kind": {strings.ToUpper(c.Kind)}, "clean": {strconv.FormatBool(c.Clean)}}
	if c.From > 0 {
		q.Set("from", strconv.FormatUint(c.From, 10))
	}
	raw, err := c.change(ctx, s, "staging/reprocess", q, time.Minute)
	if err != nil {
		return err
	}
	var got stages.Begun
	if err := json.Unmarshal(raw, &got); err != nil {
		return errs.Wrap(errs.Unavailable, "Recon", err)
	}
	switch {
	case got.Joined && got.Queued:
		return s.doneAs(got, "Stage %s, which comes next, does it already.", got.StagingID)
	case got.Joined:
		return s.doneAs(got, "Stage %s, which is being made, does it already.", got.StagingID)
	case got.Queued:
		return s.doneAs(got, "Stage %s comes after the one that is being made.", got.StagingID)
	}
	return s.doneAs(got, "Stage %s begins.", got.StagingID)
}

// told is what a change says under --json.
type told struct {
	Message string `json:"message"`
}

type stagingCancel struct{ reconFlags }

// Run cancels.
func (c *stagingCancel) Run(ctx context.Context, s *Session) error {
	raw, err := c.change(ctx, s, "staging/cancel", nil, time.Minute)
	if err != nil {
		return err
	}
	return s.doneAs(told{string(raw)}, "%s.", raw)
}

type stagingRetry struct {
	reconFlags
	Clean bool `help:"Use nothing that the failed stage has left."`
}

// Run tries again.
func (c *stagingRetry) Run(ctx context.Context, s *Session) error {
	raw, err := c.change(ctx, s, "staging/retry", url.Values{"clean": {strconv.FormatBool(c.Clean)}}, time.Minute)
	if err != nil {
		return err
	}
	return s.doneAs(told{string(raw)}, "%s.", raw)
}

type stagingRollback struct{ reconFlags }

// Help says for how long it is possible.
func (c *stagingRollback) Help() string {
	return "The state before is kept for ozone.recon.staging.cleanup.retention.hours, less if the disk is needed. The present one is kept in its stead, so that a second rollback undoes the first."
}

// Run goes back.
func (c *stagingRollback) Run(ctx context.Context, s *Session) error {
	raw, err := c.change(ctx, s, "staging/rollback", nil, time.Minute)
	if err != nil {
		return err
	}
	var got stages.Rolled
	if err := json.Unmarshal(raw, &got); err != nil {
		return errs.Wrap(errs.Unavailable, "Recon", err)
	}
	return s.doneAs(got, "Answers come from %s again; they came from %s.", got.To, got.From)
}
