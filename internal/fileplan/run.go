package fileplan

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"o3/internal/errs"
)

// asideName is where names too many go, in the directory of what is kept.
const asideName = ".aside"

// Begin carries a plan out. When it returns nil the new things are in their
// places, the old ones are kept, and both is durable. Else the root is as it was
// before; should undoing fail too, the error says so, and Recover goes on with
// it. Kinds: Invalid (the plan), Conflict (there is another one), NotEmpty (Keep
// exists), PreconditionFailed (a source or a target's directory is missing, two
// file systems, or a mounted disk), ReadOnly (the disk is full), Internal.
func (r *Root) Begin(p Plan) error {
	m, err := r.prepare(p)
	if err != nil {
		return err
	}
	if err = r.write(m); err == nil {
		err = r.forward(m)
	}
	if err == nil {
		return nil
	}
	if undo := r.backward(m); undo != nil {
		return errors.Join(err, errs.Wrap(errs.Internal, r.dir+": what was moved already could not be moved back; it will be tried at the next start", undo))
	}
	return err
}

// prepare checks that the plan can be carried out, and returns its marker.
func (r *Root) prepare(p Plan) (*marker, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	was, err := readMarker(r.fs, r.dir)
	if err != nil {
		return nil, err
	}
	if was != nil && was.State == Forgetting {
		if err := r.Forget(context.Background()); err != nil {
			return nil, err
		}
	} else if was != nil {
		return nil, fault(errs.Conflict, r.dir, "plan %s (%s) is %s here", was.Plan.ID, was.Plan.Why, was.State)
	}
	if there, err := r.exists(p.Keep); err != nil {
		return nil, err
	} else if there {
		return nil, fault(errs.NotEmpty, r.path(p.Keep), "it is there, and no plan's; move it away")
	}
	if err := r.dirOf(p.Keep); err != nil {
		return nil, err
	}
	m := &marker{State: Applying, Plan: p, Replaces: make([]bool, len(p.Steps))}
	for i, s := range p.Steps {
		there, err := r.exists(s.From)
		if err != nil {
			return nil, err
		}
		if !there {
			return nil, fault(errs.PreconditionFailed, r.path(s.From), "there is nothing to move to %s", r.path(s.To))
		}
		if err := r.dirOf(s.To); err != nil {
			return nil, err
		}
		if m.Replaces[i], err = r.exists(s.To); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// dirOf checks that the directory of a name is there.
func (r *Root) dirOf(name string) error {
	there, err := r.exists(path.Dir(name))
	if err == nil && !there {
		err = fault(errs.PreconditionFailed, r.path(path.Dir(name)), "there is no such directory")
	}
	return err
}

// Recover brings a plan that a crash cut off to its end: to the end that it was
// going to, or back when a step cannot be done, and Cause says why. It is to be
// called at every start, before anything else is read. After an error the root
// may be a mix, and must not be used; Recover can be called again. Kinds: Corrupt
// (the marker is damaged, or something that was kept is lost), FormatTooNew,
// Internal.
func (r *Root) Recover() (Outcome, error) {
	m, err := readMarker(r.fs, r.dir)
	if err != nil {
		return Outcome{Did: Nothing}, err
	}
	if m == nil || m.State == Applied || m.State == Forgetting {
		return Outcome{Did: Nothing}, nil
	}
	out := Outcome{Did: Completed, Plan: m.Plan}
	if m.State == Applying {
		if out.Cause = r.forward(m); out.Cause == nil {
			return out, nil
		}
	}
	out.Did = RolledBack
	if err := r.backward(m); err != nil {
		return Outcome{Did: Nothing, Plan: m.Plan, Cause: out.Cause}, errors.Join(err, out.Cause)
	}
	return out, nil
}

// forward does the moves that are not surely done.
func (r *Root) forward(m *marker) error {
	moves := m.moves()
	aside := path.Join(m.Plan.Keep, asideName)
	for m.Done < len(moves) {
		next := moves[m.Done]
		if err := r.carry(next.from, next.to, aside); err != nil {
			return err
		}
		m.Done++
		if m.Done == len(moves) {
			break
		}
		if err := r.write(m); err != nil {
			return err
		}
	}
	m.State = Applied
	return r.write(m)
}

// Rollback puts the old things back in their places, and the new ones where they
// came from. Cut off, it is completed by Recover. Kinds: PreconditionFailed
// (nothing is kept, or the new state has served), Corrupt (what was kept is
// lost), Internal.
func (r *Root) Rollback() error {
	m, err := readMarker(r.fs, r.dir)
	if err != nil {
		return err
	}
	switch {
	case m == nil:
		return fault(errs.PreconditionFailed, r.dir, "no previous state is kept here")
	case m.State == Forgetting:
		return fault(errs.PreconditionFailed, r.dir, "the new state has served: the previous one is being removed")
	case m.State == Applying:
		return fault(errs.PreconditionFailed, r.dir, "plan %s was cut off: recover first", m.Plan.ID)
	}
	return r.backward(m)
}

// backward undoes what may be done.
func (r *Root) backward(m *marker) error {
	moves := m.moves()
	if m.State != RollingBack {
		m.State, m.Done = RollingBack, min(m.Done+1, len(moves)) // the next one may be done in part
		if err := r.write(m); err != nil {
			return err
		}
	}
	aside := path.Join(m.Plan.Keep, asideName)
	for m.Done > 0 {
		last := moves[m.Done-1]
		err := r.carry(last.to, last.from, aside)
		if err != nil && (last.keeps || !errors.Is(err, errMissing)) {
			return err // a new thing that is lost is no loss: the old one has its place again
		}
		m.Done--
		if m.Done == 0 {
			break // the rest is erased
		}
		if err := r.write(m); err != nil {
			return err
		}
	}
	return r.end(m)
}

// end removes what is left of a plan that was undone: names too many, the empty
// directories of what was kept, and the marker.
func (r *Root) end(m *marker) error {
	keep := m.Plan.Keep
	if err := r.fs.RemoveAll(r.path(path.Join(keep, asideName))); err != nil {
		return diskFault("remove", r.path(keep), err)
	}
	for _, move := range m.moves() {
		for dir := path.Dir(move.to); move.keeps && dir != path.Dir(keep); dir = path.Dir(dir) {
			if err := r.removeEmpty(dir); err != nil {
				return err
			}
		}
	}
	if err := r.removeEmpty(keep); err != nil { // where nothing was replaced
		return err
	}
	return r.erase()
}

// removeEmpty removes a directory unless it holds something.
func (r *Root) removeEmpty(dir string) error {
	names, err := r.fs.List(r.path(dir))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(names) > 0 {
		return nil
	}
	if err == nil {
		err = r.fs.Remove(r.path(dir))
	}
	if err == nil {
		err = r.sync(path.Dir(dir))
	}
	return diskFault("remove", r.path(dir), err)
}

// Confirm says that the new state serves: from now on it is not rolled back, and
// Forget may run. It is durable when it returns, and takes one small file. Where
// no plan is applied it does nothing.
func (r *Root) Confirm() error {
	m, err := readMarker(r.fs, r.dir)
	if err != nil || m == nil || m.State != Applied {
		return err
	}
	m.State = Forgetting
	return r.write(m)
}

// Forget removes what a confirmed plan has kept, and at the end the plan. Cut
// off, by ctx or a crash, it goes on when it is called again. A symbolic link is
// removed, and not what it leads to. Where no plan is confirmed it does nothing.
func (r *Root) Forget(ctx context.Context) error {
	m, err := readMarker(r.fs, r.dir)
	if err != nil || m == nil || m.State != Forgetting {
		return err
	}
	for _, dir := range append([]string{m.Plan.Keep}, m.Plan.Drop...) {
		names, err := r.fs.List(r.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			names = nil // no directory
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return errs.Wrap(errs.Canceled, r.path(dir), err)
			}
			if err := r.fs.RemoveAll(r.fs.PathJoin(r.path(dir), name)); err != nil {
				return diskFault("remove", r.path(dir), err)
			}
		}
		if err := r.fs.RemoveAll(r.path(dir)); err != nil {
			return diskFault("remove", r.path(dir), err)
		}
		if err := r.sync(path.Dir(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return diskFault("sync", r.path(path.Dir(dir)), err)
		}
	}
	return r.erase()
}
