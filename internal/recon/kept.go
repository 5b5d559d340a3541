package recon

import (
	"encoding/json"
	"time"

	"o3/internal/errs"
)

// reasonFile says, in the directory of a stage, why it is kept.
const reasonFile = "reason"

// reason is its content: JSON, format 1.
type reasonRecord struct {
	Format    int    `json:"format"`
	StagingID string `json:"stagingId"`
	Reason    string `json:"reason"`
	Detail    string `json:"detail"`
	SinceMs   int64  `json:"sinceMs"` // Unix milliseconds
}

const reasonFormat = 1

// Kept is a stage that came to nothing and is kept to be looked at.
type Kept struct {
	StagingID string    `json:"stagingId"`
	Path      string    `json:"path"`
	Reason    string    `json:"reason"`
	Detail    string    `json:"detail"`
	Since     time.Time `json:"since"`
}

// keep marks a stage as one that is kept, and makes it read-only.
func (d *directory) keep(name, reason, detail string, now time.Time) error {
	at, err := d.at(name)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(reasonRecord{reasonFormat, name, reason, detail, now.UnixMilli()})
	if err != nil {
		return err
	}
	path := d.fs.PathJoin(at, reasonFile)
	if err := d.write(path, append(raw, '\n')); err != nil {
		return errs.Wrap(diskKind(err), path, err)
	}
	d.modes(at, 0o500)
	return nil
}

// kept returns what is said of a stage, nil when it is not kept.
func (d *directory) kept(name string) *Kept {
	at, err := d.at(name)
	if err != nil {
		return nil
	}
	raw, err := d.read(d.fs.PathJoin(at, reasonFile))
	var r reasonRecord
	if err != nil || json.Unmarshal(raw, &r) != nil || r.Format < 1 {
		return nil
	}
	return &Kept{r.StagingID, at, r.Reason, r.Detail, time.UnixMilli(r.SinceMs).UTC()}
}

// unkeep makes a stage writable that was kept and is in force all the same.
func (d *directory) unkeep(name string) {
	at, err := d.at(name)
	if err != nil || !d.exists(d.fs.PathJoin(at, reasonFile)) {
		return
	}
	d.modes(at, 0o700)
	_ = d.fs.Remove(d.fs.PathJoin(at, reasonFile)) // it says nothing any more
}
