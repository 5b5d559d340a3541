package recon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"o3/internal/errs"
)

// current is the file that names the generation in force: JSON, format 1
// (docs/formats/recon.md). Replacing it is the switch.
const currentFile = "current"

// marker is its content.
type marker struct {
	Format     int    `json:"format"`
	Generation string `json:"generation"`
	SinceMs    int64  `json:"sinceMs,omitempty"`  // when it came into force, Unix milliseconds
	Previous   string `json:"previous,omitempty"` // the one before, which is kept
}

const currentFormat = 1

var generationForm = regexp.MustCompile(`^generation-([0-9]{10})$`)

func generationName(n uint64) string { return fmt.Sprintf("generation-%010d", n) }

// generationNumber is the inverse of generationName.
func generationNumber(name string) (n uint64, ok bool) {
	m := generationForm.FindStringSubmatch(name)
	if m == nil {
		return 0, false
	}
	for _, d := range m[1] {
		n = n*10 + uint64(d-'0')
	}
	return n, true
}

// readCurrent returns what is in force; no generation when there is none yet.
func (d *directory) readCurrent() (m marker, err error) {
	path := d.path(currentFile)
	raw, err := d.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return marker{Format: currentFormat}, nil
	}
	if err != nil {
		return m, errs.Wrap(errs.Internal, path, err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, errs.New(errs.Corrupt, path, "it does not name a generation: "+err.Error())
	}
	if m.Format > currentFormat {
		return m, errs.New(errs.FormatTooNew, path, fmt.Sprintf("it has format %d, this program knows formats up to %d", m.Format, currentFormat))
	}
	if m.Format < 1 || !generationForm.MatchString(m.Generation) || m.Previous != "" && !generationForm.MatchString(m.Previous) {
		return m, errs.New(errs.Corrupt, path, "it does not name a generation")
	}
	return m, nil
}

// writeCurrent puts a generation into force, durably.
func (d *directory) writeCurrent(m marker) error {
	m.Format = currentFormat
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := d.write(d.path(currentFile), append(raw, '\n')); err != nil {
		return errs.Wrap(diskKind(err), d.path(currentFile), err)
	}
	return nil
}
