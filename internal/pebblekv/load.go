package pebblekv

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/kv"
)

// loadDir holds the table files of a load under way. What a crash leaves of it is
// removed by the next load.
const loadDir = "load"

// loadBytes is the size of a table file that is loaded, of keys and values.
const loadBytes = 64 << 20

// NewLoader implements kv.Loading: rows become table files at once, and the store
// links them. Only one load may be under way.
func (s *Store) NewLoader() (kv.Loader, error) {
	const op = "pebblekv.NewLoader"
	if err := s.enter(op); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	if err := s.writable(op); err != nil {
		return nil, err
	}
	l := &loader{s: s, dir: s.fs.PathJoin(s.opts.Dir, loadDir)}
	if err := errors.Join(s.fs.RemoveAll(l.dir), s.fs.MkdirAll(l.dir, 0o700)); err != nil {
		return nil, s.diskError(op, err)
	}
	return l, nil
}

type loader struct {
	s     *Store
	dir   string
	w     *sstable.Writer
	size  int
	paths []string
}

// Add implements kv.Loader.
func (l *loader) Add(key, value []byte) error {
	const op = "pebblekv.Load"
	if l.w == nil {
		path := l.s.fs.PathJoin(l.dir, fmt.Sprintf("%06d.sst", len(l.paths)))
		f, err := l.s.fs.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			return l.s.diskError(op, err)
		}
		l.paths = append(l.paths, path)
		l.w = sstable.NewWriter(objstorageprovider.NewFileWritable(f), l.s.engine.MakeWriterOptions(len(l.s.engine.Levels)-1, engineFormat.MaxTableFormat()))
	}
	if err := l.w.Set(key, value); err != nil {
		return l.s.diskError(op, err)
	}
	if l.size += len(key) + len(value); l.size < loadBytes {
		return nil
	}
	return l.finish()
}

// finish ends the table file being written.
func (l *loader) finish() error {
	if l.w == nil {
		return nil
	}
	err := l.w.Close()
	l.w, l.size = nil, 0
	if err != nil {
		return l.s.diskError("pebblekv.Load", err)
	}
	return nil
}

// Commit implements kv.Loader.
func (l *loader) Commit() error {
	const op = "pebblekv.Load"
	if err := l.finish(); err != nil {
		return err
	}
	if err := l.s.enter(op); err != nil {
		return err
	}
	defer l.s.life.RUnlock()
	if err := l.s.writable(op); err != nil || len(l.paths) == 0 {
		return err
	}
	if err := l.s.db.Ingest(context.Background(), l.paths); err != nil {
		return l.s.diskError(op, err)
	}
	l.paths = nil
	l.s.getters.drop()
	l.s.filesChanged()
	return l.s.writable(op)
}

// Close implements kv.Loader.
func (l *loader) Close() error {
	err := l.finish()
	if rm := l.s.fs.RemoveAll(l.dir); rm != nil {
		err = errors.Join(err, l.s.diskError("pebblekv.Load", rm))
	}
	return err
}
