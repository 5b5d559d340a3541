package recon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"o3/internal/durable"
	"o3/internal/errs"
)

// current is the file that names the generation in force: JSON, format 1
// (docs/formats/recon.md). Replacing it is the switch.
const currentFile = "current"

type current struct {
	Format     int    `json:"format"`
	Generation string `json:"generation"`
}

const currentFormat = 1

var generationForm = regexp.MustCompile(`^generation-([0-9]{10})$`)

func generationName(n uint64) string { return fmt.Sprintf("generation-%010d", n) }

// readCurrent returns the generation in force, "" when there is none yet.
func readCurrent(dir string) (string, error) {
	path := filepath.Join(dir, currentFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", errs.Wrap(errs.Internal, path, err)
	}
	var c current
	if err := json.Unmarshal(raw, &c); err != nil {
		return "", errs.New(errs.Corrupt, path, "it does not name a generation: "+err.Error())
	}
	if c.Format > currentFormat {
		return "", errs.New(errs.FormatTooNew, path, fmt.Sprintf("it has format %d, this program knows formats up to %d", c.Format, currentFormat))
	}
	if c.Format < 1 || !generationForm.MatchString(c.Generation) {
		return "", errs.New(errs.Corrupt, path, "it does not name a generation")
	}
	return c.Generation, nil
}

// writeCurrent puts a generation into force, durably.
func writeCurrent(dir, name string) error {
	raw, err := json.Marshal(current{currentFormat, name})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, currentFile)
	if err := durable.WriteFile(path, append(raw, '\n')); err != nil {
		return errs.Wrap(errs.Internal, path, err)
	}
	return nil
}
