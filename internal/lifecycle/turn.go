package lifecycle

import (
	"context"
	"errors"
	"strings"
	"time"

	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/lifecycle/rule"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// cursor is how far a scan has come beyond what is stored, in the memory of the
// node that scans: there it found nothing, so that nothing is lost with it.
type cursor struct {
	scan, sequence uint64 // of what is stored
	phase          schemapb.LifecyclePhase
	key            string
	parent         ns.ObjectID
	mpu            string
	rows           uint64 // that no command has counted
	saved          time.Time
}

// turn is the work on a bucket for a slice of time.
type turn struct {
	s     *Service
	t     *task
	ctx   context.Context
	b     view.Bucket
	rules *schemapb.LifecycleConfiguration
	state *schemapb.LifecycleScanState // as it is stored
	w     *walk
	phase schemapb.LifecyclePhase // that the walk is in
	end   time.Time
	saved time.Time

	victims []*commandpb.LifecycleVictim
	size    command.StepSize
	parts   uint64 // of the uploads among the victims
	counted uint64 // rows of the walk that are saved
	told    walk   // what the listener knows
	failure error  // of a command
}

// turn scans a bucket for a slice and returns when its next turn is due.
func (s *Service) turn(ctx context.Context, t *task) (next time.Time, err error) {
	if !s.may(ctx, t) {
		return time.Now().Add(s.o.LeadInterval), nil
	}
	err = s.o.Namespace.Read(ctx, func(v view.View) error {
		next, err = s.turnOn(ctx, t, v)
		return err
	})
	return next, err
}

func (s *Service) turnOn(ctx context.Context, t *task, v view.View) (next time.Time, err error) {
	r := &turn{s: s, t: t, ctx: ctx, end: time.Now().Add(s.o.Slice)}
	if r.b, err = v.Bucket(t.volume, t.bucket); err != nil {
		return next, err
	}
	if r.b.ID() != t.id {
		return next, errs.New(errs.Conflict, t.volume+"/"+t.bucket, "the bucket was made anew")
	}
	var ok bool
	if r.rules, ok, err = v.Lifecycle(t.id); err != nil || !ok {
		return next, errors.Join(err, errs.New(errs.NoSuchConfiguration, t.volume+"/"+t.bucket, "the bucket has no lifecycle rules"))
	}
	if r.state, ok, err = v.LifecycleScan(t.id); err != nil {
		return next, err
	}
	due := s.dueAt(r.rules, r.state, ok)
	if due.After(time.Now()) {
		return due, nil
	}
	if !ok || r.state.LifecycleConfigurationUpdateID != r.rules.UpdateId || r.state.Phase == phaseDone {
		// What it scans must have been there when it began, which is after what v shows.
		return time.Now(), r.start()
	}
	r.resume()
	defer r.show()
	end, err := r.scan(v)
	if err == nil {
		err = r.finish(end)
	}
	if err != nil {
		r.note(err)
		return next, err
	}
	if end {
		return time.UnixMilli(int64(r.state.ScanEndTime)).Add(s.o.Interval), nil
	}
	return time.Now(), nil
}

// start begins a scan of a bucket whose row is state.
func (s *Service) start(ctx context.Context, b view.Bucket, rules *schemapb.LifecycleConfiguration, state *schemapb.LifecycleScanState) (*schemapb.LifecycleScanState, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.StepTimeout)
	defer cancel()
	reply, err := om.Execute[commandpb.StartLifecycleScanReply](ctx, s.o.Namespace, command.StartLifecycleScan, &commandpb.StartLifecycleScan{
		Scan: scanOf(rules, b, state), EstimatedRows: estimate(s.compile(rules), b, state),
	})
	if err != nil {
		return nil, err
	}
	if s.o.Listener.Began != nil {
		s.o.Listener.Began(Scan{rules.Volume, rules.Bucket, reply.State})
	}
	return reply.State, nil
}

func (s *Service) compile(rules *schemapb.LifecycleConfiguration) *rule.Set {
	return rule.Compile(rules.Rules, rule.Options{Day: s.o.Day})
}

// estimate returns how many rows a scan will look at: all there are, if some rule
// is about the whole bucket; else as many as the last one did; 0: unknown.
func estimate(set *rule.Set, b view.Bucket, state *schemapb.LifecycleScanState) (n uint64) {
	whole := func(prefixes []string) bool { return len(prefixes) == 1 && prefixes[0] == "" }
	if prefixes := set.Prefixes(); whole(prefixes) {
		n += b.Row.UsedKeys + b.Row.UsedDirectories
	} else if len(prefixes) > 0 {
		if state.GetPhase() == phaseDone {
			return max(state.ScannedRows, 1)
		}
		return state.GetPrevious().GetScannedRows()
	}
	if len(set.UploadPrefixes()) > 0 {
		n += b.Row.Uploads
	}
	return n
}

// scanOf names the scan whose state is stored.
func scanOf(rules *schemapb.LifecycleConfiguration, b view.Bucket, state *schemapb.LifecycleScanState) *commandpb.LifecycleScan {
	return &commandpb.LifecycleScan{
		Volume: rules.Volume, Bucket: rules.Bucket, BucketId: uint64(b.ID()), ConfigurationId: rules.UpdateId,
		ScanId: state.GetScanID(), Sequence: state.GetSequence(),
	}
}

func (r *turn) start() (err error) {
	r.state, err = r.s.start(r.ctx, r.b, r.rules, r.state)
	return err
}

// resume makes the walk go on where the scan stands: at what is stored or, if that
// is what this node has stored, further on.
func (r *turn) resume() {
	c := r.t.cursor
	if c.scan != r.state.ScanID || c.sequence != r.state.Sequence {
		c = cursor{
			scan: r.state.ScanID, sequence: r.state.Sequence, phase: r.state.Phase, key: r.state.LastScannedKey, mpu: r.state.LastScannedMpuKey,
			saved: time.Now(),
		}
	}
	r.w = newWalk(r.s.compile(r.rules), r.b, int64(r.state.CutoffTime), r.s.o.Trash)
	r.w.acts = true
	r.w.every = max(1, min(tickRows, r.s.o.SaveRows))
	r.w.key, r.w.parent, r.w.mpu, r.w.rows = c.key, c.parent, c.mpu, c.rows
	r.phase, r.saved = c.phase, c.saved
	r.told.rows = c.rows
	r.show()
}

// scan walks what is left. end tells that nothing is.
func (r *turn) scan(v view.View) (end bool, err error) {
	if r.phase == phaseKeys {
		if end, err = r.w.keys(v, r.b, r); err != nil || !end {
			return false, r.why(err)
		}
		r.phase = phaseUploads
	}
	end, err = r.w.uploads(v, r.b, r)
	return end && err == nil, r.why(err)
}

// why returns the error that ended a walk.
func (r *turn) why(err error) error {
	if r.failure != nil {
		return r.failure
	}
	return err
}

// found implements visitor.
func (r *turn) found(f found) (bool, error) {
	if len(r.victims) > 0 && (len(r.victims) >= r.s.most || r.parts+f.parts > uint64(r.s.o.AbortParts) || !r.size.Add(r.w.layout, f.victim)) {
		if err := r.step(r.phase, ""); err != nil {
			return false, err
		}
		if !r.goesOn() {
			return false, nil
		}
	}
	if len(r.victims) == 0 {
		r.size = command.StepSize{}
		r.size.Add(r.w.layout, f.victim)
	}
	r.parts += f.parts
	r.victims = append(r.victims, f.victim)
	return true, nil
}

// tick implements visitor: it saves where the scan stands when that is due.
func (r *turn) tick() (bool, error) {
	r.show()
	if r.w.rows-r.counted >= r.s.o.SaveRows || time.Since(r.saved) >= r.s.o.SaveInterval {
		if err := r.step(r.phase, ""); err != nil {
			return false, err
		}
	}
	return r.goesOn(), nil
}

func (r *turn) goesOn() bool { return time.Now().Before(r.end) && r.s.may(r.ctx, r.t) }

// finish ends the slice: with the scan's last command at its end; else with what
// was found and not dealt with yet.
func (r *turn) finish(end bool) error {
	switch {
	case end:
		if err := r.step(phaseDone, ""); err != nil {
			return err
		}
		if r.s.o.Listener.Ended != nil {
			r.s.o.Listener.Ended(r.who())
		}
		r.t.cursor = cursor{}
		return nil
	case len(r.victims) > 0 || r.t.unsaved != "":
		if err := r.step(r.phase, ""); err != nil {
			return err
		}
	}
	r.t.cursor = cursor{
		scan: r.state.ScanID, sequence: r.state.Sequence, phase: r.phase, key: r.w.key, parent: r.w.parent, mpu: r.w.mpu,
		rows: r.w.rows - r.counted, saved: r.saved,
	}
	return nil
}

func (r *turn) who() Scan { return Scan{r.rules.Volume, r.rules.Bucket, r.state} }

// note has an error of reading saved with the scan, which stays where it is. That
// of a command is saved by the next that goes well.
func (r *turn) note(err error) {
	if stale(err) || errs.KindOf(err) == errs.NotLeader || r.ctx.Err() != nil {
		return
	}
	text := strings.ToValidUTF8(err.Error(), "?")
	if len(text) > command.MaxStepError {
		text = strings.ToValidUTF8(text[:command.MaxStepError], "")
	}
	r.t.unsaved = text
	if r.failure != nil {
		return
	}
	r.victims, r.w.key, r.w.mpu = nil, "", ""
	r.phase = r.state.Phase
	r.w.rows = r.counted
	_ = r.step(r.phase, text)
}

// step has what was found dealt with, and where the walk stands saved.
func (r *turn) step(phase schemapb.LifecyclePhase, failure string) error {
	waiting := time.Now()
	if n := len(r.victims); n > 0 {
		if err := r.s.limit.WaitN(r.ctx, n); err != nil {
			r.failure = errs.Wrap(errs.Canceled, "lifecycle", err)
			return r.failure
		}
	}
	began := time.Now()
	if failure == "" {
		failure = r.t.unsaved
	}
	c := &commandpb.LifecycleStep{
		Scan: scanOf(r.rules, r.b, r.state), Phase: phase, Victims: r.victims, ScannedRows: r.w.rows - r.counted, Error: failure,
	}
	if r.state.Phase == phaseKeys {
		c.LastScannedKey, c.LastScannedParent = r.w.key, uint64(r.w.parent)
		if r.w.key == r.state.LastScannedKey { // its directory is known from then
			c.LastScannedKey, c.LastScannedParent = "", 0
		}
	}
	if phase >= phaseUploads && r.w.mpu != r.state.LastScannedMpuKey {
		c.LastScannedMpuKey = r.w.mpu
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.s.o.StepTimeout)
	defer cancel()
	reply, err := om.Execute[commandpb.LifecycleStepReply](ctx, r.s.o.Namespace, command.LifecycleStep, c)
	if err != nil {
		r.failure = err
		return err
	}
	done := Step{Victims: r.victims, Reply: reply, Rules: r.rules, Before: r.state.Rules, Took: time.Since(began), Waited: began.Sub(waiting)}
	r.state, r.counted, r.saved = reply.State, r.w.rows, time.Now()
	r.victims, r.parts, r.size = nil, 0, command.StepSize{}
	r.t.unsaved = ""
	r.show()
	if r.s.o.Listener.Stepped != nil {
		done.Scan = r.who()
		r.s.o.Listener.Stepped(done)
	}
	return nil
}
