package fileplan

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"o3/internal/errs"
)

// move is one rename. Its source exists and its destination does not, before;
// the other way round, after. A crash between may leave both names.
type move struct {
	from, to string
	keeps    bool // what is moved is an old thing, and kept
}

// moves are the renames of the plan, in their order.
func (m *marker) moves() (out []move) {
	for i, s := range m.Plan.Steps {
		if m.Replaces[i] {
			out = append(out, move{s.To, path.Join(m.Plan.Keep, s.To), true})
		}
		out = append(out, move{s.From, s.To, false})
	}
	return out
}

// path returns where a path of the plan lies.
func (r *Root) path(name string) string {
	return r.fs.PathJoin(append([]string{r.dir}, strings.Split(name, "/")...)...)
}

func (r *Root) exists(name string) (bool, error) {
	_, err := r.fs.Stat(r.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, diskFault("look", r.path(name), err)
}

// sync makes the names in a directory durable.
func (r *Root) sync(name string) error {
	d, err := r.fs.OpenDir(r.path(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir makes a directory of the root and those above it, durably. One that is
// there may be so only until a crash: it is synced too.
func (r *Root) makeDir(name string) error {
	if name == "." {
		return nil
	}
	parent := path.Dir(name)
	err := r.makeDir(parent)
	if err == nil {
		err = r.fs.MkdirAll(r.path(name), 0o700)
	}
	if err == nil {
		err = r.sync(parent)
	}
	return diskFault("make", r.path(name), err)
}

var errMissing = errors.New("neither its old nor its new place has it")

// carry makes sure that what from was called is called to, durably, whatever a
// crash left of an earlier try. aside is a directory for a name too many.
func (r *Root) carry(from, to, aside string) error {
	source, err := r.exists(from)
	if err != nil {
		return err
	}
	target, err := r.exists(to)
	if err != nil {
		return err
	}
	switch {
	case source && target: // a crash kept the old name of what was moved
		if err := r.setAside(from, aside); err != nil {
			return err
		}
	case source:
		if err := r.makeDir(path.Dir(to)); err != nil {
			return err
		}
		if err := r.fs.Rename(r.path(from), r.path(to)); err != nil {
			return diskFault("move", r.path(from)+" to "+r.path(to), err)
		}
	case !target:
		return &errs.Error{Kind: errs.Corrupt, Op: "fileplan", Subject: r.path(from), Detail: "moving it to " + r.path(to), Err: errMissing}
	}
	return r.settle(from, to)
}

// settle makes a move durable: first that the new name is there, then that the
// old one is gone.
func (r *Root) settle(from, to string) error {
	for _, dir := range []string{path.Dir(to), path.Dir(from)} {
		err := r.sync(dir)
		if errors.Is(err, fs.ErrNotExist) && dir == path.Dir(from) {
			continue // it went with its directory
		}
		if err != nil {
			return diskFault("sync", r.path(dir), err)
		}
	}
	return nil
}

// setAside moves what a crash left of a name that was moved. It is not removed
// here: should it be something else, it is still there.
func (r *Root) setAside(name, aside string) error {
	if err := r.makeDir(aside); err != nil {
		return err
	}
	for n := 1; ; n++ {
		to := path.Join(aside, fmt.Sprint(n))
		taken, err := r.exists(to)
		if err != nil {
			return err
		}
		if taken {
			continue
		}
		if err := r.fs.Rename(r.path(name), r.path(to)); err != nil {
			return diskFault("move", r.path(name), err)
		}
		return r.settle(name, to)
	}
}
