package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"o3/internal/errs"
)

// Query selects records. Zero fields select everything.
type Query struct {
	Since     time.Time // the record's time is not before it
	Until     time.Time // the record's time is before it
	Principal string
	AccessKey string
	Action    string // exact, or a prefix that ends in *
	Resource  string // a prefix
	Result    string
	RequestID string
}

// Selects reports whether q selects r.
func (q Query) Selects(r Record) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	action := is(q.Action, r.Action)
	if prefix, ok := strings.CutSuffix(q.Action, "*"); ok {
		action = strings.HasPrefix(r.Action, prefix)
	}
	return action && (q.Since.IsZero() || !r.Time.Before(q.Since)) && (q.Until.IsZero() || r.Time.Before(q.Until)) &&
		is(q.Principal, r.Principal) && is(q.AccessKey, r.AccessKey) && is(q.Result, r.Result) &&
		is(q.RequestID, r.RequestID) && strings.HasPrefix(r.Resource, q.Resource)
}

// Found says what a Read met.
type Found struct {
	Files    int
	Records  int      // selected
	Torn     int      // files whose last line is not whole: a crash, or being written
	Damaged  []string // "file:line" of lines that are not records, at most 100 of them
	Unlisted int      // further damaged lines
}

// Read calls f with the records that q selects, from the oldest file to the
// current one at path, in the order in which they were written. It stops at
// f's first error and returns it. The log may be written meanwhile. No file at
// all is an error of kind NoSuchKey; a line of a later version is one of kind FormatTooNew.
func Read(path string, q Query, f func(Record) error) (Found, error) {
	var found Found
	// The current file first: what is rotated away in between is then in the
	// list as well, and is known by its identity.
	current, err := os.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return found, errs.Wrap(errs.Internal, path, err)
	}
	var identity fs.FileInfo
	if current != nil {
		defer current.Close()
		if identity, err = current.Stat(); err != nil {
			return found, errs.Wrap(errs.Internal, path, err)
		}
	}
	older, err := rotated(path)
	if err != nil {
		return found, errs.Wrap(errs.Internal, path, err)
	}
	if current == nil && len(older) == 0 {
		return found, errs.New(errs.NoSuchKey, path, "there is no audit log")
	}
	for _, old := range older {
		same, err := readOld(old.path, identity, q, &found, f)
		if err != nil {
			return found, err
		}
		if same { // and what follows is newer
			current = nil
		}
	}
	if current == nil {
		return found, nil
	}
	return found, found.read(path, current, q, f)
}

// readOld reads a file that was rotated away, and reports whether it is the one
// that was the current one.
func readOld(path string, current fs.FileInfo, q Query, found *Found, f func(Record) error) (same bool, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // deleted as too old meanwhile
	}
	if err != nil {
		return false, errs.Wrap(errs.Internal, path, err)
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return false, errs.Wrap(errs.Internal, path, err)
	}
	return current != nil && os.SameFile(st, current), found.read(path, file, q, f)
}

func (found *Found) read(path string, r io.Reader, q Query, f func(Record) error) error {
	found.Files++
	lines := bufio.NewReaderSize(r, maxLine)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		for errors.Is(err, bufio.ErrBufferFull) { // no line of ours is that long
			line, err = lines.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			if len(line) > 0 {
				found.Torn++
			}
			return nil
		}
		if err != nil {
			return errs.Wrap(errs.Internal, path, err)
		}
		record, err := parse(line)
		if errs.KindOf(err) == errs.FormatTooNew {
			return errs.New(errs.FormatTooNew, fmt.Sprintf("%s:%d", path, n), errs.Message(err))
		}
		if err != nil {
			if len(found.Damaged) < 100 {
				found.Damaged = append(found.Damaged, fmt.Sprintf("%s:%d", path, n))
			} else {
				found.Unlisted++
			}
			continue
		}
		if q.Selects(record) {
			found.Records++
			if err := f(record); err != nil {
				return err
			}
		}
	}
}

// parse reads one line.
func parse(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(bytes.TrimSuffix(line, []byte("\n")), &r); err != nil {
		return r, errs.Wrap(errs.Corrupt, "audit line", err)
	}
	if r.Version > Version {
		return r, errs.New(errs.FormatTooNew, "audit line", fmt.Sprintf("version %d, this program knows up to %d", r.Version, Version))
	}
	if r.Version < 1 || r.Action == "" {
		return r, errs.New(errs.Corrupt, "audit line", "not a record")
	}
	return r, nil
}
