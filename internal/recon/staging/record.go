package staging

import (
	"encoding/json"
	"fmt"
	"time"

	"o3/internal/errs"
)

// Format is the newest format of a record (docs/formats/recon.md).
const Format = 1

// Record is a stage as it is kept in a file, so that a restart knows of it.
type Record struct {
	Format    int    `json:"format"`
	StagingID string `json:"stagingId"` // "" before the first one; also the name of its directory
	State     State  `json:"state"`
	Kind      Kind   `json:"kind,omitempty"`
	Reason    string `json:"reason,omitempty"` // why it was begun
	Detail    string `json:"detail,omitempty"`
	From      uint64 `json:"from,omitempty"` // of an incremental stage: the entry after which the log is applied
	Clean     bool   `json:"clean,omitempty"`
	InPlace   bool   `json:"inPlace,omitempty"`
	Attempt   int    `json:"attempt,omitempty"`

	StartedMs int64  `json:"startedMs,omitempty"` // Unix milliseconds
	SinceMs   int64  `json:"sinceMs,omitempty"`   // of the state
	RetryMs   int64  `json:"retryMs,omitempty"`   // with state NONE: when it is tried again; 0: it is not
	Error     string `json:"error,omitempty"`     // of the last try
	Stopped   bool   `json:"stopped,omitempty"`   // the server was stopped during the stage
}

// New returns the record of no stage.
func New() Record { return Record{Format: Format, State: None} }

// Encode returns the record as a file has it.
func (r Record) Encode() ([]byte, error) {
	r.Format = Format
	raw, err := json.Marshal(r)
	return append(raw, '\n'), err
}

// Decode reads a record. name is of the file, for errors. Kinds: FormatTooNew,
// Corrupt.
func Decode(name string, raw []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, errs.New(errs.Corrupt, name, "it is no record of a stage: "+err.Error())
	}
	if r.Format > Format {
		return r, errs.New(errs.FormatTooNew, name, fmt.Sprintf("it has format %d, this program knows formats up to %d", r.Format, Format))
	}
	if _, known := becomes[r.State]; r.Format < 1 || !known {
		return r, errs.New(errs.Corrupt, name, fmt.Sprintf("it is no record of a stage: format %d, state %q", r.Format, r.State))
	}
	return r, nil
}

// To returns the record with the stage in another state, and the transition. Kind
// Conflict where there is none.
func (r Record) To(to State, reason, detail string, now time.Time) (Record, Transition, error) {
	if !r.State.CanBecome(to) {
		return r, Transition{}, errs.New(errs.Conflict, r.StagingID, fmt.Sprintf("a stage does not go from %s to %s", r.State, to))
	}
	t := Transition{StagingID: r.StagingID, From: r.State, To: to, Reason: reason, Detail: detail, Attempt: r.Attempt}
	if r.SinceMs > 0 && r.State != None && r.State != Failed {
		t.Took = max(now.Sub(time.UnixMilli(r.SinceMs)), 0)
	}
	r.State, r.SinceMs, r.Stopped = to, now.UnixMilli(), false
	return r, t, nil
}

// Begin returns the record of a stage that begins.
func (r Record) Begin(next Record, now time.Time) (Record, Transition, error) {
	next.Format, next.State, next.SinceMs, next.StartedMs = Format, r.State, r.SinceMs, now.UnixMilli()
	next.Error, next.RetryMs = r.Error, 0
	return next.To(Initializing, next.Reason, next.Detail, now)
}
