package pebblekv

import (
	"errors"
	"io/fs"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"

	"o3/internal/errs"
)

// failure is the end of a store's writing: set once, never cleared.
type failure struct {
	once   sync.Once
	err    atomic.Pointer[errs.Error]
	ch     chan struct{} // closed when set
	opened atomic.Bool   // from then on report is called
	report func(error)
}

func newFailure(report func(error)) *failure {
	return &failure{ch: make(chan struct{}), report: report}
}

func (f *failure) fail(e *errs.Error) {
	f.once.Do(func() {
		f.err.Store(e)
		if f.opened.Load() {
			f.report(e)
		}
		close(f.ch) // whoever waits goes on when the listener knows
	})
}

// get returns the cause, or nil.
func (f *failure) get() error {
	if e := f.err.Load(); e != nil {
		return e
	}
	return nil
}

// diskError classifies an error of writing or of background work.
func (s *Store) diskError(op string, err error) *errs.Error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &errs.Error{
			Kind: errs.ReadOnly, Op: op, Subject: s.opts.Dir,
			Detail: "the disk is full: free space and start again", Err: err,
		}
	}
	return s.readError(op, err)
}

// readError classifies an error of reading the database.
func (s *Store) readError(op string, err error) *errs.Error {
	e := &errs.Error{Kind: errs.Internal, Op: op, Subject: s.opts.Dir, Err: err}
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		e.Kind, e.Subject, e.Detail = errs.Corrupt, info.Path, "a stored block fails its checksum or is malformed"
	}
	if errors.Is(err, fs.ErrNotExist) {
		e.Kind, e.Detail = errs.Corrupt, "a file of the store is missing"
		if p, ok := errors.AsType[*fs.PathError](err); ok {
			e.Subject = p.Path
		}
	}
	if e.Kind == errs.Internal && (pebble.IsCorruptionError(err) || record.IsInvalidRecord(err)) {
		e.Kind, e.Detail = errs.Corrupt, "a file of the store is malformed"
	}
	return e
}

// inconsistent finds the table in what the engine says at open of a file that
// is missing or has the wrong size.
var inconsistent = regexp.MustCompile(`L[0-6]: (\d+)`)

// manifestName finds the manifest in what the engine says of a damaged one.
var manifestName = regexp.MustCompile(`MANIFEST-\d+`)

// openError classifies an error of opening the database.
func (s *Store) openError(err error) error {
	const op = "pebblekv.Open"
	if errors.Is(err, pebble.ErrDBDoesNotExist) {
		return &errs.Error{
			Kind: errs.Corrupt, Op: op, Subject: s.opts.Dir,
			Detail: "the database is missing: it was here, and is not", Err: err,
		}
	}
	e := s.diskError(op, err)
	text := err.Error()
	if m := inconsistent.FindStringSubmatch(text); m != nil {
		e.Kind, e.Detail = errs.Corrupt, "a table file is missing or has the wrong size"
		e.Subject = s.opts.FS.PathJoin(s.opts.Dir, m[1]+".sst")
	} else if m := manifestName.FindString(text); m != "" && e.Kind == errs.Corrupt {
		e.Subject = s.opts.FS.PathJoin(s.opts.Dir, m)
	}
	return e
}
