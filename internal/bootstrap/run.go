package bootstrap

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/transfer"
)

// run is one Run.
type run struct {
	o     *Options
	held  held
	trail trail
	see   *inspection

	rec  *Record
	att  Attempt
	done Result

	choice candidate       // what SELECTION chose
	want   string          // its id
	m      *image.Manifest // of the image that is here
	lease  *leaseHolder
	adopt  bool // the files are fetched and validated: only APPLICATION and what follows are left
	rounds int  // of SELECTION to SYNCHRONIZATION

	mu     sync.Mutex
	detail string // of the phase that runs
	retry  int
}

// maxRounds bounds how often a run begins with a newer image because the log
// after the one before was gone.
const maxRounds = 3

// Run makes a node in Options.DataDir, or goes on where an earlier Run was cut
// off. On an error the directory is as it was before, but for what is staged
// below it: the next Run begins with that. Errors are of errs kinds; ReasonOf
// says in a word why.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	r := &run{o: &o}
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	err := r.run(ctx)
	if err != nil {
		return nil, err
	}
	return &r.done, nil
}

// begin takes the directory and opens what is written down of the run. What is
// refused before leaves no trace: the directory is somebody else's.
func (r *run) begin() (err error) {
	if r.o.Disabled {
		c := newInspection(r.o)
		c.enabled()
		return c.verdict()
	}
	if r.held, err = r.o.place.take(r.o.DataDir); err != nil {
		return because(ReasonTarget, err)
	}
	if r.rec, err = ReadRecord(r.o.DataDir); err != nil {
		return errors.Join(err, r.held.Close())
	}
	if err = r.trail.open(r.o); err != nil {
		return errors.Join(err, r.held.Close())
	}
	r.att = Attempt{StartedMs: ms(r.o.now()), Result: Running, Blocks: r.o.WithBlocks, Strict: r.o.Strict, Phase: Prerequisites}
	return nil
}

func (r *run) run(ctx context.Context) (err error) {
	if err := r.begin(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.trail.close(), r.held.Close()) }()
	if over, err := r.finished(ctx); over || err != nil {
		return err
	}
	r.rec.begin(r.att)
	if err := r.rec.write(r.o.DataDir); err != nil {
		return err
	}
	phase, err := r.phases(ctx)
	if l := r.lease; l != nil {
		l.end(ctx)
	}
	err = outcome(ctx, r.o, phase, err)
	return errors.Join(err, r.conclude(phase, err))
}

// outcome says why it ended when the reason was the time or the caller.
func outcome(ctx context.Context, o *Options, p Phase, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if k := errs.KindOf(err); k == errs.Canceled || k == errs.DeadlineExceeded {
		return err
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &errs.Error{Kind: errs.DeadlineExceeded, Op: "bootstrap", Subject: string(p), Detail: "after " + o.Timeout.String() + "; what is here is kept", Err: err}
	}
	return &errs.Error{Kind: errs.Canceled, Op: "bootstrap", Subject: string(p), Detail: "interrupted; what is here is kept", Err: err}
}

// finished sees whether a run that was killed had put its node in place already.
func (r *run) finished(ctx context.Context) (bool, error) {
	state, id, err := r.held.state()
	if err != nil || state != planApplied {
		return false, because(ReasonApply, err)
	}
	last := r.rec.Last()
	if last == nil || last.Result != Running || id != planID(last.Image) {
		return false, notServed(r.o.DataDir, id)
	}
	r.done = Result{Source: last.Source, Image: last.Image, Index: last.Index, Digest: last.Digest, Blocks: last.Blocks, Bytes: last.Bytes,
		Sent: last.Sent, Reused: last.Reused, Previous: previous(r.o)}
	last.Result, last.Phase, last.EndedMs = Succeeded, Done, ms(r.o.now())
	last.Reason = ReasonNone
	r.rec.count(last)
	if f := r.o.Listener.Note; f != nil {
		f("the bootstrap that was cut off had put its node in place", nil)
	}
	return true, errors.Join(
		r.trail.phase(ctx, End{Phase: Done, Detail: "completed after it was cut off"}, last.Image, nil),
		r.rec.write(r.o.DataDir))
}

// phases runs the phases and returns the last one.
func (r *run) phases(ctx context.Context) (Phase, error) {
	if err := r.phase(ctx, Prerequisites, r.prerequisites); err != nil {
		return Prerequisites, err
	}
	for {
		p, err := r.round(ctx)
		r.rounds++
		if p != Synchronization || errs.KindOf(err) != errs.Conflict || r.rounds >= maxRounds || ctx.Err() != nil {
			return p, err
		}
		r.note("the source's log does not reach back to the image: a newer one is fetched", err)
		if err := r.startOver(ctx); err != nil {
			return p, err
		}
	}
}

// round runs the phases from SELECTION on.
func (r *run) round(ctx context.Context) (Phase, error) {
	steps := []struct {
		phase Phase
		run   func(context.Context) error
		skip  bool
	}{
		{Selection, r.selection, r.adopt}, {Transfer, r.transfer, r.adopt}, {Validation, r.validate, r.adopt},
		{Application, r.apply, false}, {Synchronization, r.synchronize, false}, {Done, r.putInPlace, false},
	}
	for _, s := range steps {
		if s.skip {
			continue
		}
		if err := r.phase(ctx, s.phase, s.run); err != nil {
			return s.phase, err
		}
	}
	return Done, nil
}

// phase runs one phase and tells everybody who wants to know.
func (r *run) phase(ctx context.Context, p Phase, do func(context.Context) error) error {
	l := &r.o.Listener
	if l.Begin != nil {
		l.Begin(p)
	}
	r.mu.Lock()
	r.detail = ""
	r.mu.Unlock()
	begun := r.o.now()
	err := ctx.Err()
	if err == nil {
		err = do(ctx)
	}
	err = outcome(ctx, r.o, p, err)
	e := End{Phase: p, Took: r.o.now().Sub(begun), Detail: r.detail, Err: err}
	r.att.Phase = p
	r.att.Phases = append(r.att.Phases, PhaseTime{p, e.Took.Milliseconds()})
	if l.End != nil {
		l.End(e)
	}
	recorded := r.trail.phase(ctx, e, r.att.Image, map[string]string{"source": r.att.Source, "directory": r.o.DataDir})
	if recorded != nil && err == nil {
		err = because(ReasonOther, recorded) // a strict audit log allows nothing that it does not hold
	}
	if err == nil && p != Done { // what a kill leaves is then known
		*r.rec.Last() = r.att
		err = r.rec.write(r.o.DataDir)
	}
	return err
}

// conclude writes the record.
func (r *run) conclude(p Phase, err error) error {
	r.att.EndedMs, r.att.Phase, r.att.Result, r.att.Reason = ms(r.o.now()), p, Succeeded, ReasonNone
	r.mu.Lock()
	r.att.Retries = r.retry
	r.mu.Unlock()
	if err != nil {
		r.att.Result, r.att.Reason, r.att.Detail = Failed, ReasonOf(p, err), text(err)
	}
	*r.rec.Last() = r.att
	r.rec.count(&r.att)
	return r.rec.write(r.o.DataDir)
}

func (r *run) note(text string, err error) {
	if f := r.o.Listener.Note; f != nil {
		f(text, err)
	}
}

// say sets what came of the phase that runs.
func (r *run) say(detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.detail = detail
}

func (r *run) progress(p Progress) {
	if f := r.o.Listener.Progress; f != nil {
		f(p)
	}
}

// prerequisites checks what Check does, and takes up what an earlier run left.
func (r *run) prerequisites(ctx context.Context) error {
	if err := r.takeUp(); err != nil {
		return err
	}
	for tries := 1; ; tries++ {
		r.see = newInspection(r.o)
		r.see.fetched = r.adopt
		r.see.alone = r.adopt && r.m.Blocks
		r.see.all(ctx)
		err := r.see.verdict()
		if ReasonOf(Prerequisites, err) != ReasonUnreachable || tries > max(r.o.Retries, 0) {
			break
		}
		r.retrying(r.o.Sources[0].Name, err)
		if err := pause(ctx, min(r.o.Backoff<<min(tries-1, 6), maxBackoff)); err != nil {
			return err
		}
	}
	for _, row := range r.see.rows {
		if row.Level == Warn {
			r.note(row.Name+": "+row.Text, nil)
		}
	}
	return r.see.verdict()
}

// maxBackoff is the longest pause before a retry.
const maxBackoff = 30 * time.Second

// selection chooses the image. One that was begun is gone on with while a source
// has it.
func (r *run) selection(ctx context.Context) error {
	found := r.see.found
	if r.o.Fresh || len(found) == 0 || r.rounds > 0 {
		id, err := r.makeImage(ctx)
		if err != nil {
			return err
		}
		r.see = newInspection(r.o)
		r.see.ask(ctx)
		if err := r.see.verdict(); err != nil {
			return err
		}
		found = r.see.found
		if i := indexOf(found, id); i > 0 {
			found[0], found[i] = found[i], found[0]
		}
	} else if i := indexOf(found, r.o.begun()); i >= 0 {
		found[0], found[i] = found[i], found[0]
		r.note("going on with image "+found[0].info.ID+", which was begun", nil)
	}
	if len(found) == 0 {
		return errs.New(errs.NoSuchSnapshot, "sources", "none of them has an image that will do")
	}
	r.choice = found[0]
	r.want = r.choice.info.ID
	r.att.Source, r.att.Image, r.att.Index, r.att.Bytes = r.o.Sources[r.choice.source].Name, r.want, r.choice.index, r.choice.info.Bytes
	r.att.Digest = r.choice.info.Attributes["digest"]
	r.say(r.want + " of source " + r.att.Source + ", " + size(r.choice.info.Bytes))
	return nil
}

func indexOf(list []candidate, id string) int {
	for i, c := range list {
		if c.info.ID == id && id != "" {
			return i
		}
	}
	return -1
}

// makeImage asks the first source that answers for a new image and returns its
// catalog id.
func (r *run) makeImage(ctx context.Context) (string, error) {
	var failed []error
	for _, i := range r.see.good {
		s := r.o.Sources[i]
		q := &o3v1.CreateImageRequest{WithBlocks: r.o.WithBlocks}
		for tries := 0; ; {
			a, err := s.Peer.CreateImage(ctx, q)
			if err == nil && a.Image != nil {
				id := a.Image.Id
				if a.Image.Blocks && !strings.HasSuffix(id, image.BlocksSuffix) {
					id += image.BlocksSuffix
				}
				r.note("source "+s.Name+" made image "+id, nil)
				return id, nil
			}
			if err == nil {
				if q.Ticket == "" {
					r.note("source "+s.Name+" makes an image; its files are read for their checksums", nil)
				}
				q.Ticket = a.Ticket
				r.progress(Progress{Phase: Selection, What: "making the image", Source: s.Name})
				continue
			}
			if ctx.Err() != nil {
				return "", err
			}
			tries++
			if k := errs.KindOf(err); k != errs.Unavailable && k != errs.SlowDown && k != errs.NotLeader || tries > max(r.o.Retries, 0) {
				failed = append(failed, err)
				break
			}
			r.retrying(s.Name, err)
			if err := pause(ctx, min(r.o.Backoff<<min(tries-1, 6), maxBackoff)); err != nil {
				return "", err
			}
		}
	}
	return "", errors.Join(failed...)
}

func (r *run) retrying(source string, err error) {
	r.mu.Lock()
	r.retry++
	r.mu.Unlock()
	r.note("source "+source+": "+text(err)+"; trying again", err)
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// validate checks what was fetched. Normal: the transfer has read every file back
// and compared it with its checksum. Strict: also every block of every table, and
// the digest of the state.
func (r *run) validate(ctx context.Context) error {
	mode := image.Normal
	if r.o.Strict {
		mode = image.Strict
	}
	err := r.verify(ctx, mode)
	result := Succeeded
	if err != nil {
		result = Failed
	}
	if ctx.Err() == nil {
		r.rec.validated(mode.String(), result)
	}
	return err
}

func (r *run) verify(ctx context.Context, mode image.Mode) error {
	if mode != image.Strict {
		r.say("every file has its size and its checksum, as read back from this disk")
		return nil
	}
	_, err := image.Verify(ctx, r.o.staged(fetchDir), r.m, image.VerifyOptions{
		Mode: mode,
		Progress: func(done, total int64) {
			r.progress(Progress{Phase: Validation, What: "strict", Image: r.m.ID, Done: done, Total: total})
		},
		Defect: func(d image.Defect) { r.note("defect: "+d.String(), nil) },
	})
	if err != nil && errs.KindOf(err) == errs.Corrupt {
		// The next run must not go on with it.
		return errors.Join(err, os.RemoveAll(r.o.staged(fetchDir)))
	}
	if err == nil {
		r.say("every block of every table is good, and the state has the digest " + r.m.Digest)
	}
	return err
}

// leaseHolder renews the lease of the image until nothing of the source is needed
// any more.
type leaseHolder struct {
	lease *transfer.Lease
	stop  context.CancelFunc
	ended sync.WaitGroup
}

func hold(ctx context.Context, l *transfer.Lease) *leaseHolder {
	ctx, stop := context.WithCancel(ctx)
	h := &leaseHolder{lease: l, stop: stop}
	h.ended.Go(func() { _ = l.Run(ctx) }) // it returns nil
	return h
}

// end lets the lease go, if the source can be reached soon; else it expires.
func (h *leaseHolder) end(ctx context.Context) {
	h.stop()
	h.ended.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = h.lease.Release(ctx)
}
