package bootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"o3/internal/durable"
	"o3/internal/errs"
)

// RecordFile is the name of the record in a data directory.
const RecordFile = "bootstrap.json"

const (
	recordFormat = 1
	maxAttempts  = 32       // kept in the record; their sums are kept for ever
	maxRecord    = 16 << 20 // bytes
)

// Record is what a data directory knows of its bootstraps: docs/formats/bootstrap.md.
type Record struct {
	Format      int               `json:"format"`
	Attempts    []Attempt         `json:"bootstraps"` // the newest last, a bounded number
	Totals      []Total           `json:"totals"`
	Validations []ValidationTotal `json:"validations"`
}

// Results of an attempt.
const (
	Running   = "running" // or it was killed, which the next one finds
	Succeeded = "ok"
	Failed    = "failed"
)

// Attempt is one bootstrap.
type Attempt struct {
	StartedMs int64  `json:"started_ms"`
	EndedMs   int64  `json:"ended_ms,omitempty"`
	Result    string `json:"result"` // Running, Succeeded or Failed
	Reason    Reason `json:"reason,omitempty"`
	Detail    string `json:"detail,omitempty"` // of the error
	Phase     Phase  `json:"phase"`            // the last one

	Source  string `json:"source,omitempty"`
	Image   string `json:"image,omitempty"`
	Index   uint64 `json:"index,omitempty"`
	Digest  string `json:"digest,omitempty"`
	Blocks  bool   `json:"blocks"`
	Strict  bool   `json:"strict"`
	Bytes   int64  `json:"bytes"`
	Sent    int64  `json:"sent_bytes"`
	Reused  int64  `json:"reused_bytes"`
	Resumed int64  `json:"resumed_bytes"`
	Rate    int64  `json:"bytes_per_second"` // over the network, during the transfer
	Retries int    `json:"retries"`

	Phases []PhaseTime `json:"phases"`
}

// PhaseTime is how long a phase took.
type PhaseTime struct {
	Phase Phase `json:"phase"`
	Ms    int64 `json:"ms"`
}

// Total counts all attempts of a result and reason.
type Total struct {
	Result string `json:"result"`
	Reason Reason `json:"reason"`
	Count  int64  `json:"count"`
}

// ValidationTotal counts all validations of a mode and result.
type ValidationTotal struct {
	Mode   string `json:"mode"`   // normal, strict
	Result string `json:"result"` // ok, failed
	Count  int64  `json:"count"`
}

// Last returns the newest attempt, or nil.
func (r *Record) Last() *Attempt {
	if len(r.Attempts) == 0 {
		return nil
	}
	return &r.Attempts[len(r.Attempts)-1]
}

// ReadRecord returns what the data directory dir knows of its bootstraps: an
// empty record if there were none. Kinds: FormatUnknown, FormatTooNew.
func ReadRecord(dir string) (*Record, error) {
	path := filepath.Join(dir, RecordFile)
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Record{Format: recordFormat}, nil
	}
	if err != nil {
		return nil, errs.Wrap(errs.Internal, path, err)
	}
	if st.Size() > maxRecord {
		return nil, errs.New(errs.FormatUnknown, path, fmt.Sprintf("it has %d bytes; it is not a record of bootstraps", st.Size()))
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, path, err)
	}
	var version struct{ Format int } // of a later one nothing else is known
	if json.Unmarshal(raw, &version) == nil && version.Format > recordFormat {
		return nil, errs.New(errs.FormatTooNew, path, fmt.Sprintf("has format %d, this program knows formats up to %d", version.Format, recordFormat))
	}
	r := new(Record)
	if err := json.Unmarshal(raw, r); err != nil || r.Format != recordFormat {
		return nil, &errs.Error{Kind: errs.FormatUnknown, Subject: path, Detail: "it is not a record of bootstraps; remove it to begin a new one", Err: err}
	}
	return r, nil
}

// begin adds an attempt; one that was running was killed.
func (r *Record) begin(a Attempt) {
	if last := r.Last(); last != nil && last.Result == Running {
		last.Result, last.Reason, last.Detail = Failed, ReasonKilled, "the process ended in the middle"
		r.count(last)
	}
	r.Attempts = append(r.Attempts, a)
	if n := len(r.Attempts) - maxAttempts; n > 0 {
		r.Attempts = append([]Attempt(nil), r.Attempts[n:]...)
	}
}

// count adds an attempt that is over to the totals.
func (r *Record) count(a *Attempt) {
	for i := range r.Totals {
		if t := &r.Totals[i]; t.Result == a.Result && t.Reason == a.Reason {
			t.Count++
			return
		}
	}
	r.Totals = append(r.Totals, Total{a.Result, a.Reason, 1})
}

// validated counts a validation.
func (r *Record) validated(mode, result string) {
	for i := range r.Validations {
		if v := &r.Validations[i]; v.Mode == mode && v.Result == result {
			v.Count++
			return
		}
	}
	r.Validations = append(r.Validations, ValidationTotal{mode, result, 1})
}

// write replaces the record durably.
func (r *Record) write(dir string) error {
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, RecordFile)
	return replaceFile(path, append(raw, '\n'))
}

// replaceFile writes a file as a whole, durably.
func replaceFile(path string, content []byte) error {
	if err := durable.WriteFile(path, content); err != nil {
		return errs.Wrap(errs.Internal, path, err)
	}
	return nil
}

// ms is a time in Unix milliseconds.
func ms(t time.Time) int64 { return t.UnixMilli() }
