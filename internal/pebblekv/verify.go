package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/sstable"

	"o3/internal/errs"
)

// File is a table file that Verify has read.
type File struct {
	Path  string
	Level int
	Bytes int64
	Err   error // errs.Corrupt, or nil when all is well
}

// Verify reads every block of every table file that is part of the store now,
// past the cache, and checks its checksum. Each file is reported. The error is
// errs.Corrupt naming the first damaged file when there are any; all files are
// read nevertheless. It may run beside writers; ctx is looked at between files.
// (What is not in table files is checked by Open: the manifest and the log.)
func (s *Store) Verify(ctx context.Context, report func(File)) error {
	const op = "pebblekv.Verify"
	if err := s.enter(op); err != nil {
		return err
	}
	defer s.life.RUnlock()
	tables, err := s.tables()
	if err != nil {
		return s.readError(op, err)
	}
	var first *errs.Error
	damaged := 0
	for _, t := range tables {
		if err := ctx.Err(); err != nil {
			return &errs.Error{Kind: errs.Canceled, Op: op, Subject: s.opts.Dir, Err: err}
		}
		file, gone, err := s.verifyTable(t)
		if err != nil {
			return err
		}
		if gone {
			continue
		}
		report(file)
		if e, ok := errors.AsType[*errs.Error](file.Err); ok {
			damaged++
			if first == nil {
				first = e
			}
		}
	}
	if first == nil {
		return nil
	}
	return &errs.Error{
		Kind: errs.Corrupt, Op: op, Subject: first.Subject,
		Detail: fmt.Sprintf("%d of %d table files are damaged", damaged, len(tables)), Err: first,
	}
}

// table is a table file of a level.
type table struct {
	name  string
	level int
}

// tables returns the table files of the present state, the last level first.
func (s *Store) tables() ([]table, error) {
	levels, err := s.db.SSTables()
	if err != nil {
		return nil, err
	}
	var out []table
	seen := map[string]bool{}
	for level := len(levels) - 1; level >= 0; level-- {
		for _, info := range levels[level] {
			if name := info.BackingSSTNum.String() + ".sst"; !seen[name] {
				seen[name] = true
				out = append(out, table{name, level})
			}
		}
	}
	return out, nil
}

// verifyTable reads one file. gone says that a compaction has replaced it.
func (s *Store) verifyTable(t table) (file File, gone bool, err error) {
	file = File{Path: s.fs.PathJoin(s.opts.Dir, t.name), Level: t.level}
	file.Bytes, err = s.checksums(file.Path)
	if err == nil {
		return file, false, nil
	}
	detail := "a block fails its checksum or is malformed"
	if errors.Is(err, fs.ErrNotExist) {
		now, err := s.tables()
		if err != nil {
			return file, false, s.readError("pebblekv.Verify", err)
		}
		gone = true
		for _, n := range now {
			gone = gone && n.name != t.name
		}
		detail = "the file is missing"
	}
	if gone {
		return file, true, nil
	}
	e := &errs.Error{Kind: errs.Corrupt, Op: "pebblekv.Verify", Subject: file.Path, Detail: detail, Err: err}
	s.opts.Listener.Corruption(file.Path, e)
	file.Err = e
	return file, false, nil
}

// checksums reads a table file and returns its size.
func (s *Store) checksums(path string) (int64, error) {
	f, err := s.fs.Open(path)
	if err != nil {
		return 0, err
	}
	stat, err := f.Stat()
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, s.engine.MakeReaderOptions())
	if err != nil {
		return 0, errors.Join(err, readable.Close())
	}
	return stat.Size(), errors.Join(r.ValidateBlockChecksums(), r.Close())
}
