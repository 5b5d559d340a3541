package pebblekv

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// The marker is the file FORMAT beside the database, described in
// docs/formats/store.md. It says whose directory this is. A new store writes
// it as "creating" before the database and as "ready" after; so a ready
// directory without a database is a loss, and not a place for a new one; and
// what is in a directory whose creation was cut short is nobody's data.
const (
	markerFile = "FORMAT"
	markerTemp = "FORMAT.tmp"
	lockFile   = "LOCK"

	// engineVersion is the version of how we use Pebble: its format, its
	// comparer, our key rules.
	engineVersion = 1

	creating = "creating"
	ready    = "ready"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type marker struct {
	name    string // kind of store
	version int    // of its rows
	engine  int
	state   string
}

// text returns the file's content.
func (m marker) text() string {
	body := fmt.Sprintf("o3 store\nname %s\nversion %d\nengine pebble %d\nstate %s\n", m.name, m.version, m.engine, m.state)
	return body + checksumLine(body)
}

func checksumLine(body string) string {
	return fmt.Sprintf("crc32c %08x\n", crc32.Checksum([]byte(body), castagnoli))
}

// parseMarker reads the text of a marker. Versions first: what a later program
// writes after them is not ours to judge.
func parseMarker(text string) (marker, error) {
	var m marker
	if !strings.HasPrefix(text, "o3 store\n") {
		return m, errs.New(errs.FormatUnknown, markerFile, "not a marker of an o3 store")
	}
	end := strings.LastIndex(text, "crc32c ")
	if end < 0 || text[end:] != checksumLine(text[:end]) {
		return m, errs.New(errs.Corrupt, markerFile, "the checksum of the marker is wrong")
	}
	_, err := fmt.Sscanf(text, "o3 store\nname %s\nversion %d\nengine pebble %d\n", &m.name, &m.version, &m.engine)
	if err != nil {
		return m, errs.New(errs.FormatUnknown, markerFile, "the marker names another engine or has another form")
	}
	if m.engine > engineVersion {
		return m, errs.New(errs.FormatTooNew, markerFile,
			fmt.Sprintf("the store has engine version %d, this program knows %d", m.engine, engineVersion))
	}
	_, m.state, _ = strings.Cut(text[:end], "state ")
	m.state = strings.TrimSpace(m.state)
	if m.state != creating && m.state != ready {
		return m, errs.New(errs.Corrupt, markerFile, "the marker has no state")
	}
	return m, nil
}

// inspect reads the marker, and reports whether there is one. A directory with
// files of others is refused; nothing is changed.
func (s *Store) inspect() (found bool, err error) {
	const op = "pebblekv.Open"
	names, err := s.fs.List(s.opts.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, &errs.Error{Kind: errs.Internal, Op: op, Subject: s.opts.Dir, Err: err}
	}
	if !slices.Contains(names, markerFile) {
		for _, name := range names {
			if name != lockFile && name != markerTemp {
				return false, &errs.Error{
					Kind: errs.FormatUnknown, Op: op, Subject: s.opts.Dir,
					Detail: fmt.Sprintf("the directory holds %q but no store; give an empty one", name),
				}
			}
		}
		return false, nil
	}
	text, err := s.readMarker()
	if err != nil {
		return false, &errs.Error{Kind: errs.Internal, Op: op, Subject: s.opts.Dir, Err: err}
	}
	m, err := parseMarker(text)
	if e, ok := errors.AsType[*errs.Error](err); ok {
		e.Op, e.Subject = op, s.fs.PathJoin(s.opts.Dir, markerFile)
		return false, e
	}
	switch {
	case m.name != s.opts.Name:
		return false, &errs.Error{
			Kind: errs.FormatUnknown, Op: op, Subject: s.opts.Dir,
			Detail: fmt.Sprintf("the directory holds a store named %q, not %q", m.name, s.opts.Name),
		}
	case m.version > s.opts.Version:
		return false, &errs.Error{
			Kind: errs.FormatTooNew, Op: op, Subject: s.opts.Dir,
			Detail: fmt.Sprintf("the store %q has version %d, this program knows %d", m.name, m.version, s.opts.Version),
		}
	}
	s.marker = m
	return true, nil
}

func (s *Store) readMarker() (string, error) {
	f, err := s.fs.Open(s.fs.PathJoin(s.opts.Dir, markerFile))
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	return string(b), err
}

// writeMarker replaces the marker as a whole and syncs the directory.
func (s *Store) writeMarker(m marker) error {
	err := s.putMarker(s.opts.Dir, m)
	if err == nil {
		err = s.failure.get()
	}
	if err != nil {
		return s.diskError("pebblekv: write "+markerFile, err)
	}
	s.marker = m
	return nil
}

// putMarker makes m the marker of dir, at once and durably.
func (s *Store) putMarker(dir string, m marker) error {
	temp := s.fs.PathJoin(dir, markerTemp)
	f, err := s.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(m.text()))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.fs.Rename(temp, s.fs.PathJoin(dir, markerFile)); err != nil {
		return err
	}
	return s.syncDir(dir)
}

// engineFiles matches the names of what the engine makes.
var engineFiles = regexp.MustCompile(`^(\d+\.(sst|log|blob)|(MANIFEST|OPTIONS)-\d+|marker\..*|.*\.dbtmp|CURRENT)$`)

// clean removes the remains of a database whose creation was cut short, so
// that creation starts again: a power cut may have kept any part of them.
func (s *Store) clean() error {
	names, err := s.fs.List(s.opts.Dir)
	for _, name := range names {
		if err == nil && engineFiles.MatchString(name) {
			err = s.fs.Remove(s.fs.PathJoin(s.opts.Dir, name))
		}
	}
	if err == nil {
		err = s.syncDir(s.opts.Dir)
	}
	if err != nil {
		return s.diskError("pebblekv: remove an unfinished database", err)
	}
	return nil
}

// makeDir makes the directory durably, with the parents that are missing.
func (s *Store) makeDir() error {
	var made []string
	for dir := s.opts.Dir; ; {
		if _, err := s.fs.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parent := s.fs.PathDir(dir)
		made = append(made, parent)
		if parent == dir {
			break
		}
		dir = parent
	}
	err := s.fs.MkdirAll(s.opts.Dir, 0o750)
	for _, dir := range made {
		if err == nil {
			err = s.syncDir(dir)
		}
	}
	if err != nil {
		return s.diskError("pebblekv: make directory", err)
	}
	return nil
}

func (s *Store) syncDir(dir string) error {
	d, err := s.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close(), s.failure.get())
}

// Version returns the version of the rows, as written in the directory.
func (s *Store) Version() int {
	s.life.RLock()
	defer s.life.RUnlock()
	return s.marker.version
}

// raise writes the version of Options into the marker of a store of an older
// one, durably: from then on programs that know less refuse the store. It
// happens before the owner of the rows writes the first of the new version.
func (s *Store) raise() error {
	if s.opts.ReadOnly || s.marker.version >= s.opts.Version {
		return nil
	}
	m := s.marker
	m.version = s.opts.Version
	return s.writeMarker(m)
}

func validName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
