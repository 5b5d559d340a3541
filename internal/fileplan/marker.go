package fileplan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"

	"o3/internal/errs"
)

// Format is the newest format of a marker that this package reads, and the one
// that it writes.
const Format = 1

const (
	markerName = "plan"
	partName   = ".part" // of the marker while it is written
	magic      = "o3 plan"
	maxMarker  = 1 << 20 // bytes
)

// marker is the file in the root that says that there is a plan.
type marker struct {
	State State `json:"state"`
	// Done is how many moves, in their order, are in force: while applying those
	// that are surely done, while rolling back those that may not be undone yet.
	Done     int    `json:"done"`
	Plan     Plan   `json:"plan"`
	Replaces []bool `json:"replaces"` // which steps found something in their place
}

// envelope is the marker as it is on disk.
type envelope struct {
	Magic  string          `json:"magic"`
	Format int             `json:"format"`
	Body   json.RawMessage `json:"body"`
	Sum    string          `json:"xxh3"` // XXH3-128 of body
}

// encode returns the marker's bytes; there is one form only.
func (m *marker) encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(envelope{magic, Format, body, fmt.Sprintf("%x", xxh3.Hash128(body).Bytes())})
	if err == nil && len(raw) >= maxMarker {
		err = fault(errs.Invalid, "plan "+m.Plan.ID, "it has %d bytes", len(raw))
	}
	return append(raw, '\n'), err
}

func decode(raw []byte, path string) (*marker, error) {
	const advice = "; put it right from a copy, or ask for help before anything is moved by hand"
	var e envelope
	if err := json.Unmarshal(raw, &e); err != nil || e.Magic != magic || e.Format < 1 {
		return nil, fault(errs.Corrupt, path, "it is not the marker of a plan, or damaged%s", advice)
	}
	if e.Format > Format {
		return nil, fault(errs.FormatTooNew, path, "it has format %d, this program knows formats up to %d", e.Format, Format)
	}
	m := new(marker)
	if err := json.Unmarshal(e.Body, m); err != nil {
		return nil, fault(errs.Corrupt, path, "%v%s", err, advice)
	}
	if again, err := m.encode(); err != nil || !bytes.Equal(again, raw) {
		return nil, fault(errs.Corrupt, path, "its checksum does not match, or it is not in the form in which markers are written%s", advice)
	}
	err := m.Plan.check()
	if err == nil && (len(m.Replaces) != len(m.Plan.Steps) || m.Done < 0 || m.Done > len(m.moves())) {
		err = fault(errs.Corrupt, path, "it says what cannot be%s", advice)
	}
	switch m.State {
	case Applying, Applied, RollingBack, Forgetting:
		return m, err
	}
	return nil, fault(errs.Corrupt, path, "its state %q is not one%s", m.State, advice)
}

// readMarker returns the marker, nil when there is none.
func readMarker(fsys vfs.FS, dir string) (*marker, error) {
	path := fsys.PathJoin(dir, markerName)
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, diskFault("read", path, err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxMarker+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, diskFault("read", path, err)
	}
	return decode(raw, path)
}

// write puts the marker in the place of the one before, durably: a crash leaves
// the one or the other.
func (r *Root) write(m *marker) error {
	raw, err := m.encode()
	if err != nil {
		return err
	}
	path := r.path(markerName)
	f, err := r.fs.Create(path+partName, vfs.WriteCategoryUnspecified)
	if err != nil {
		return diskFault("write", path, err)
	}
	if _, err = f.Write(raw); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = r.fs.Rename(path+partName, path)
	}
	if err == nil {
		err = r.sync(".")
	}
	return diskFault("write", path, err)
}

// erase takes the marker away, durably.
func (r *Root) erase() error {
	for _, name := range []string{markerName, markerName + partName} {
		if err := r.fs.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return diskFault("remove", r.path(name), err)
		}
	}
	return diskFault("remove", r.path(markerName), r.sync("."))
}
