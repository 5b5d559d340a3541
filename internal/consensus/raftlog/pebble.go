package raftlog

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
	"o3/internal/pebblekv"
)

const storeDir = "pebble"

// makeDir makes dir and what is missing above it, and syncs the directories
// that got a new entry: a log that vanishes with its directory is a lost log.
// The two nearest are synced in any case: a run before this one may have been
// killed between making and syncing them.
func makeDir(fs vfs.FS, dir string) error {
	grown := []string{fs.PathDir(dir), fs.PathDir(fs.PathDir(dir))}
	for d := grown[1]; ; d = fs.PathDir(d) {
		if _, err := fs.Stat(d); err == nil {
			break
		} else if !oserror.IsNotExist(err) {
			return err
		}
		if fs.PathDir(d) == d {
			break
		}
		grown = append(grown, fs.PathDir(d))
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range grown {
		f, err := fs.OpenDir(d)
		if err != nil {
			return err
		}
		if err := first(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// openPebble opens the store. Its format has sync offsets in the WAL, so that
// damage inside the log is told from its torn end. Entries live briefly and
// are mostly compressed already or small: tables are not compressed.
func openPebble(o Options) (*pebble.DB, error) {
	cache := pebble.NewCache(4 << 20)
	defer cache.Unref()
	po := &pebble.Options{
		FS:                          pebblekv.OrderMarkers(o.FS),
		ReadOnly:                    o.readOnly,
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatTableFormatV6,
		MemTableSize:                uint64(o.MemTableBytes),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       64,
		Logger:                      logger{},
		EventListener: &pebble.EventListener{
			BackgroundError: o.Background,
			// By default Pebble takes damage in a table for fatal; the reader
			// gets an error and decides.
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				if o.Background != nil {
					o.Background(errs.New(errs.Corrupt, "raft log "+i.Path, i.String()))
				}
			},
		},
	}
	po.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	var db *pebble.DB
	err := guarded(func() (err error) {
		db, err = pebble.Open(o.FS.PathJoin(o.Dir, storeDir), po)
		return err
	})
	return db, err
}

// logger turns Pebble's fatal errors into panics: Pebble expects that call
// not to return, and goes on as if the write had succeeded when it does. On
// our goroutine guarded makes an error of it; on Pebble's own (a manifest that
// cannot be synced) it ends the process, which is what must happen.
type logger struct{}

type fatal struct{ err error }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}
func (logger) Fatalf(format string, args ...any) {
	panic(fatal{fmt.Errorf(format, args...)})
}

// guarded runs f, making an error of a panic of Pebble.
func guarded(f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case fatal:
			err = p.err
		case error:
			err = p
		default:
			err = fmt.Errorf("%v", p)
		}
	}()
	return f()
}

func commit(b *pebble.Batch, sync bool) error {
	opt := pebble.NoSync
	if sync {
		opt = pebble.Sync
	}
	return guarded(func() error { return b.Commit(opt) })
}

// corruption gives err a kind: Corrupt when Pebble found damage.
func corruption(subject string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*errs.Error](err); ok {
		return err
	}
	if pebble.IsCorruptionError(err) {
		return &errs.Error{Kind: errs.Corrupt, Op: "raftlog", Subject: subject, Detail: err.Error(), Err: err}
	}
	return &errs.Error{Kind: errs.Internal, Op: "raftlog", Subject: subject, Err: err}
}

// closing returns err after calling close, whose own error matters less.
func closing(err error, close func() error) error {
	return first(err, guarded(close))
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
