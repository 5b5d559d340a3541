// Package fileplan moves several files and directories of one root as one: a
// written plan says which, and a crash at any point leaves a root on which the
// plan is completed or undone. What the moves replace is kept until somebody
// says that it is no longer wanted, and can be put back until then.
//
// A Root holds its directory's lock, so that one process at a time works there;
// it belongs to one goroutine and starts none. What is moved must be durable
// already; the package makes durable where it lies. Nothing is deleted but what
// Forget is for, and copies that a crash made of a name.
//
// docs/formats/plan.md describes the marker, which is all there is on disk.
package fileplan

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// Step is one move within the root: From gets the name To, and what has it is
// kept. Both are relative, with slashes.
type Step struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Plan is what is moved as one. No path may lie in another one.
type Plan struct {
	ID    string   `json:"id"`  // of the caller; no two plans of a root should have the same
	Why   string   `json:"why"` // for people
	Steps []Step   `json:"steps"`
	Keep  string   `json:"keep"`           // directory that what is replaced goes to, under its own path; absent before
	Drop  []string `json:"drop,omitempty"` // what Forget removes beside Keep; may hold the Froms
}

// State is where a root stands.
type State string

// The states.
const (
	None        State = "none"         // no plan
	Applying    State = "applying"     // being carried out, or cut off: Recover
	Applied     State = "applied"      // the new things are in their places, the old ones are kept
	RollingBack State = "rolling back" // being undone, or cut off: Recover
	Forgetting  State = "forgetting"   // the old things are no longer wanted: Forget
)

// Status is a root's state, and the plan that it is of.
type Status struct {
	State State
	Plan  Plan // zero when None
}

// Deed is what Recover had to do.
type Deed string

// The deeds.
const (
	Nothing    Deed = "nothing"
	Completed  Deed = "completed"
	RolledBack Deed = "rolled back"
)

// Outcome tells what Recover found and did.
type Outcome struct {
	Did   Deed
	Plan  Plan
	Cause error // why it was rolled back, when this run found a step that could not be done
}

// lockName is the file that whoever works on a root holds locked.
const lockName = "LOCK"

// Root is a directory held by this process.
type Root struct {
	fs   vfs.FS
	dir  string
	lock io.Closer
}

// Open takes the lock of dir, which must exist. fsys nil means the operating
// system's. The kind is Unavailable when another one holds it. It does not look
// for a plan: call Recover.
func Open(fsys vfs.FS, dir string) (*Root, error) {
	if fsys == nil {
		fsys = vfs.Default
	}
	path := fsys.PathJoin(dir, lockName)
	lock, err := fsys.Lock(path)
	if err == nil {
		return &Root{fs: fsys, dir: dir, lock: lock}, nil
	}
	if errors.Is(err, syscall.EAGAIN) || !isDisk(err) {
		return nil, &errs.Error{Kind: errs.Unavailable, Op: "fileplan.Open", Subject: dir, Detail: "in use by a running server or another command: stop it first", Err: err}
	}
	return nil, diskFault("Open", path, err)
}

// isDisk reports whether taking a lock failed for another reason than the lock.
func isDisk(err error) bool {
	_, pathError := errors.AsType[*fs.PathError](err)
	return pathError || errors.Is(err, fs.ErrNotExist)
}

// Close gives the directory back.
func (r *Root) Close() error { return r.lock.Close() }

// Read tells where a root stands. It takes no lock: what it says may be over.
func Read(fsys vfs.FS, dir string) (Status, error) {
	if fsys == nil {
		fsys = vfs.Default
	}
	m, err := readMarker(fsys, dir)
	if err != nil || m == nil {
		return Status{State: None}, err
	}
	return Status{State: m.State, Plan: m.Plan}, nil
}

// Status tells where the root stands. Kinds: Corrupt, FormatTooNew.
func (r *Root) Status() (Status, error) { return Read(r.fs, r.dir) }

// check returns what is wrong with a plan.
func (p Plan) check() error {
	bad := func(format string, a ...any) error { return fault(errs.Invalid, "plan "+p.ID, format, a...) }
	if p.ID == "" || len(p.Steps) == 0 {
		return bad("it needs an id and a step")
	}
	all := []string{p.Keep}
	for _, s := range p.Steps {
		all = append(all, s.From, s.To)
	}
	for i, a := range append(all, p.Drop...) {
		if a == "" || a == "." || a != path.Clean(a) || !filepath.IsLocal(filepath.FromSlash(a)) || strings.Contains(a, `\`) {
			return bad("%q is no path below the root", a)
		}
		if top, _, _ := strings.Cut(a, "/"); top == markerName || top == markerName+partName || top == lockName {
			return bad("%q is the plan's own", a)
		}
		for j, b := range all[:min(i, len(all))] {
			if i < len(all) && (a == b || inside(a, b) || inside(b, a)) {
				return bad("%q and %q lie in each other", b, a)
			}
			if i >= len(all) && (a == b || inside(a, b) || inside(b, a) && !(j > 0 && j%2 == 1)) {
				return bad("%q cannot be dropped: it touches %q", a, b)
			}
		}
	}
	return nil
}

// inside reports whether a lies in b.
func inside(a, b string) bool { return strings.HasPrefix(a, b+"/") }

func fault(kind errs.Kind, subject, format string, a ...any) *errs.Error {
	return &errs.Error{Kind: kind, Op: "fileplan", Subject: subject, Detail: fmt.Sprintf(format, a...)}
}

// diskFault gives an error of a file its kind; one that has a kind keeps it.
func diskFault(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*errs.Error](err); ok {
		return err
	}
	e := &errs.Error{Kind: errs.Internal, Op: "fileplan." + op, Subject: subject, Err: err}
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		e.Kind, e.Detail = errs.ReadOnly, "the disk is full"
	case errors.Is(err, syscall.EXDEV):
		e.Kind, e.Detail = errs.PreconditionFailed, "the two places are on different file systems; a plan moves within one"
	case errors.Is(err, syscall.EBUSY):
		e.Kind, e.Detail = errs.PreconditionFailed, "it is in use, or a disk is mounted there; a plan moves within one file system"
	}
	return e
}
