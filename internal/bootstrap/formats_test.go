package bootstrap

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"o3/internal/errs"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// fixtureRecord has every field, and the least of each.
func fixtureRecord() *Record {
	return &Record{
		Format: 1,
		Attempts: []Attempt{
			{
				StartedMs: 1772362800123, EndedMs: 1772362810456, Result: Failed, Reason: ReasonCut, Detail: "unavailable: source a: it is gone", Phase: Transfer,
				Source: "a:9874", Image: "1234-7-89abcdef-blocks", Index: 1234, Digest: "89abcdef0123456789abcdef01234567", Blocks: true, Strict: true,
				Bytes: 1 << 40, Sent: 5, Reused: 6, Resumed: 7, Rate: 8, Retries: 9, Phases: []PhaseTime{{Prerequisites, 1}, {Transfer, 2}},
			},
			{StartedMs: 1772362900000, Result: Running, Phase: Prerequisites, Phases: []PhaseTime{}},
		},
		Totals:      []Total{{Failed, ReasonCut, 3}, {Succeeded, ReasonNone, 4}},
		Validations: []ValidationTotal{{"strict", Succeeded, 2}},
	}
}

func fixtureApplied() applied {
	return applied{Format: 1, Source: "a:9874", NodeID: "om2", BlockDir: "/blocks", Blocks: false, Strict: true, Sent: 1, Reused: 2, Resumed: 3, Manifest: "{\n}"}
}

func encoded(t *testing.T) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	if err := fixtureRecord().write(dir); err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile(filepath.Join(dir, RecordFile))
	if err != nil {
		t.Fatal(err)
	}
	apply, err := json.MarshalIndent(fixtureApplied(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{RecordFile: record, applyFile: apply}
}

// TestFormats: what released versions have written is read, and written the same.
// The fixtures never change; see docs/formats/README.md.
func TestFormats(t *testing.T) {
	dir := filepath.Join(formatsDir, "v1")
	if *makeFormat != "" {
		dir = filepath.Join(formatsDir, *makeFormat)
		if err := os.MkdirAll(formatsDir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := os.Mkdir(dir, 0o755)
		for name, raw := range encoded(t) {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), raw, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range encoded(t) {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(raw, want) {
			t.Errorf("%s is written otherwise: %v\ngot\n%s\nwant\n%s", name, err, want, raw)
		}
	}
	rec, err := ReadRecord(dir)
	if err != nil || !reflect.DeepEqual(rec, fixtureRecord()) {
		t.Errorf("%+v, %v", rec, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, applyFile))
	var a applied
	if err = errors.Join(err, json.Unmarshal(raw, &a)); err != nil || a != fixtureApplied() {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestRecordRefuses: what is no record, or a later version's, is not taken for one.
func TestRecordRefuses(t *testing.T) {
	for text, kind := range map[string]errs.Kind{
		`{"format": 2, "bootstraps": 7}`: errs.FormatTooNew, `{"format": 0}`: errs.FormatUnknown, `no JSON`: errs.FormatUnknown, ``: errs.FormatUnknown,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, RecordFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRecord(dir); errs.KindOf(err) != kind || !strings.Contains(err.Error(), RecordFile) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if rec, err := ReadRecord(t.TempDir()); err != nil || rec.Last() != nil {
		t.Errorf("without a file: %+v, %v", rec, err)
	}
}

// TestRecordIsBounded: it keeps the newest attempts, and the sums of all; one that
// was running when the next began was killed.
func TestRecordIsBounded(t *testing.T) {
	r := &Record{Format: recordFormat}
	for i := range 100 {
		r.begin(Attempt{StartedMs: int64(i), Result: Running})
		if i%2 == 0 {
			last := r.Last()
			last.Result, last.Reason = Succeeded, ReasonNone
			r.count(last)
		}
	}
	if len(r.Attempts) != maxAttempts || r.Last().StartedMs != 99 || r.Attempts[maxAttempts-3].Reason != ReasonKilled {
		t.Errorf("%d attempts: %+v", len(r.Attempts), r.Attempts[maxAttempts-3:])
	}
	want := []Total{{Succeeded, ReasonNone, 50}, {Failed, ReasonKilled, 49}}
	if !reflect.DeepEqual(r.Totals, want) {
		t.Errorf("%+v", r.Totals)
	}
}

// TestReasons: every kind of error has a reason, and it is one of the set.
func TestReasons(t *testing.T) {
	known := map[Reason]bool{ReasonNone: true}
	for _, r := range Reasons() {
		if known[r] {
			t.Errorf("%s is there twice", r)
		}
		known[r] = true
	}
	for _, p := range Phases() {
		for _, k := range errs.Kinds() {
			if r := ReasonOf(p, errs.New(k, "x", "")); !known[r] || r == ReasonNone {
				t.Errorf("%s in %s: %q", k, p, r)
			}
		}
	}
	for want, err := range map[Reason]error{
		ReasonNone: nil, ReasonDisabled: errs.New(errs.Denied, "source", EnabledKey+" is false"), ReasonDenied: errs.New(errs.Denied, "ann", "needs the role admin"),
		ReasonDigest: because(ReasonDigest, errs.New(errs.Corrupt, "x", "")), ReasonTimeout: because(ReasonCut, errs.New(errs.DeadlineExceeded, "x", "")),
	} {
		if got := ReasonOf(Transfer, err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
