package pebblekv

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// Open opens the store in o.Dir, and makes it if there is none. Unless it is
// opened to read only, a store of a lower version is raised to o.Version: its
// owner reads the older rows, and writes newer ones. Open fails with
// errs.FormatTooNew or FormatUnknown for a directory that is not ours to open,
// errs.Unavailable when another process has it open, errs.Corrupt when files
// are missing or damaged, errs.ReadOnly when the disk is full, and errs.Invalid
// for wrong options.
func Open(o Options) (*Store, error) {
	s := &Store{opts: o.withDefaults()}
	if err := s.opts.validate(); err != nil {
		return nil, err
	}
	s.failure = newFailure(s.opts.Listener.Fatal)
	inner, watch := vfs.WithDiskHealthChecks(s.opts.FS, max(0, s.opts.DiskSlowAfter), nil, func(i vfs.DiskSlowInfo) {
		s.opts.Listener.DiskSlow(i.Path, i.OpType.String(), i.Duration)
	})
	s.closers = append(s.closers, watch)
	s.fs = newGuardFS(inner, s)
	s.closers = append(s.closers, s.fs)
	if err := s.openFiles(); err != nil {
		for i := len(s.closers) - 1; i >= 0; i-- {
			err = errors.Join(err, s.closers[i].Close())
		}
		return nil, err
	}
	s.getters = &getters{s: s, make: s.db.NewIter, era: s.latestEra}
	s.fs.armed.Store(true)
	s.failure.opened.Store(true)
	if err := s.failure.get(); err != nil { // of background work, meanwhile
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (o Options) validate() error {
	bad := func(what string) error {
		return &errs.Error{Kind: errs.Invalid, Op: "pebblekv.Open", Subject: o.Dir, Detail: what}
	}
	switch {
	case o.Dir == "":
		return bad("Dir is empty")
	case !validName(o.Name):
		return bad("Name must be of a-z, 0-9 and '-'")
	case o.Version < 1:
		return bad("Version must be at least 1")
	case o.NoLock && !o.ReadOnly:
		return bad("NoLock is for a store that is opened to read only")
	case o.CacheBytes < 0 || o.MaxOpenFiles < 0 || o.BytesPerSync < 0 || o.WALBytesPerSync < 0:
		return bad("sizes and counts must not be negative")
	case o.MemTableBytes < 64<<10 || o.MemTableBytes > 2<<30:
		return bad("MemTableBytes must be between 64 KiB and 2 GiB")
	}
	return nil
}

// openFiles checks the marker, takes the lock and opens the database.
func (s *Store) openFiles() error {
	found, err := s.inspect()
	if err != nil {
		return err
	}
	if s.opts.ReadOnly && (!found || s.marker.state == creating) {
		return &errs.Error{
			Kind: errs.FormatUnknown, Op: "pebblekv.Open", Subject: s.opts.Dir, Detail: "there is no store here",
		}
	}
	if !found {
		if err := s.makeDir(); err != nil {
			return err
		}
	}
	lock, err := pebble.LockDirectory(s.opts.Dir, s.fs)
	if err != nil {
		return &errs.Error{
			Kind: errs.Unavailable, Op: "pebblekv.Open", Subject: s.opts.Dir,
			Detail: "the store is open already, in this or another process", Err: err,
		}
	}
	s.closers = append(s.closers, lock)
	if found, err = s.inspect(); err != nil { // again, now that it cannot change
		return err
	}
	if s.marker.state == creating {
		if err := s.clean(); err != nil {
			return err
		}
	}
	if !found {
		s.marker = marker{name: s.opts.Name, version: s.opts.Version, engine: engineVersion, state: creating}
		if err := s.writeMarker(s.marker); err != nil {
			return err
		}
	}
	s.engine = s.engineOptions()
	s.engine.Lock = lock
	s.engine.ErrorIfNotExists = s.marker.state == ready
	s.db, err = pebble.Open(s.opts.Dir, s.engine)
	if err == nil && s.failure.get() != nil {
		err = errors.Join(s.failure.get(), s.db.Close())
	}
	if err != nil {
		return s.openError(err)
	}
	if s.marker.state == creating && !s.opts.ReadOnly {
		m := s.marker
		m.state = ready
		if err := s.writeMarker(m); err != nil {
			return errors.Join(err, s.db.Close())
		}
	}
	if err := s.raise(); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}
