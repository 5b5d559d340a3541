package audit

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"o3/internal/errs"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// TestFormats: the lines of every format ever released are read by this
// program. The fixtures never change; see docs/formats/README.md.
func TestFormats(t *testing.T) {
	if *makeFormat != "" {
		dir := filepath.Join(formatsDir, *makeFormat)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "lines.json"), fixtureLines(), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	dirs, err := os.ReadDir(formatsDir)
	if err != nil || len(dirs) != Version {
		t.Fatalf("%d formats have fixtures, want %d: %v", len(dirs), Version, err)
	}
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join(formatsDir, d.Name(), "lines.json"))
			if err != nil {
				t.Fatal(err)
			}
			readLines(t, raw)
			refuseLines(t, raw)
			if d.Name() == fmt.Sprintf("v%d", Version) && !bytes.Equal(fixtureLines(), raw) {
				t.Errorf("this program writes other lines: what reads the logs of released versions would not understand them.\n"+
					"Undo the change, or make a new format (docs/formats/README.md).\ngot\n%s\nwant\n%s", fixtureLines(), raw)
			}
		})
	}
}

// fixtureRecords are as a caller gives them: with every field, with the least,
// and with what is never written as it stands.
func fixtureRecords() []Record {
	at := time.Date(2026, 3, 1, 11, 0, 0, 123456789, time.UTC)
	return []Record{
		{
			Version: 1, Time: at, RequestID: "r1", Principal: "ann", AccessKey: "AK1", From: "192.0.2.1:5", Action: "s3:PutObject",
			Resource: "/s3v/b/<k>&\"é\u2028", Params: map[string]string{"size": "5", "name": "a\nb"}, Result: "access denied", Detail: "not yours",
		},
		{Version: 1, Time: at.Add(time.Second).Truncate(time.Second), Action: "admin:CreateUser", Result: "ok"},
		{Version: 1, Time: at, Action: "s3:GetObject", Params: map[string]string{"X-Amz-Signature": "abc"}, Result: "ok"},
		{Version: 1, Time: at, Action: "s3:GetObject", Resource: "not \xff UTF-8", Detail: strings.Repeat("x", maxText+1), Result: "ok"},
		{Version: 1, Time: at, Action: ActionGap, Params: map[string]string{"records": "3"}, Result: "ok"},
	}
}

// fixtureLines are the lines that this program writes of the records.
func fixtureLines() (out []byte) {
	for _, r := range fixtureRecords() {
		out = appendLine(out, trimmed(r))
	}
	return out
}

// readLines reads the lines back as they were given.
func readLines(t *testing.T, raw []byte) {
	t.Helper()
	want := fixtureRecords()
	want[2].Params = map[string]string{"X-Amz-Signature": "***"}
	want[3].Resource, want[3].Detail = "not \uFFFD UTF-8", strings.Repeat("x", maxText)+"…"
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	got, found := all(t, path, Query{})
	if found.Torn+len(found.Damaged) > 0 || len(got) < len(want) {
		t.Fatalf("%+v", found)
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("line %d: got\n%+v, want\n%+v", i+1, got[i], want[i])
		}
	}
	l := start(t, Options{Path: path}) // and it is written further
	record(t, l.Log, "later")
	l.end(t)
	if more, _ := all(t, path, Query{}); len(more) != len(got)+1 || more[len(got)].Action != "later" {
		t.Errorf("after %d lines: %s", len(got), actions(more))
	}
}

// refuseLines: a line of a later version is refused by name and place; one that
// is not a record is damage.
func refuseLines(t *testing.T, raw []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	write := func(begin string) { // of the second line
		lines := bytes.SplitAfter(raw, []byte("\n"))
		_, rest, _ := bytes.Cut(lines[1], []byte(","))
		lines[1] = append([]byte(begin), rest...)
		if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(fmt.Sprintf(`{"v":%d,`, Version+1))
	_, err := Read(path, Query{}, func(Record) error { return nil })
	if errs.KindOf(err) != errs.FormatTooNew || !strings.Contains(err.Error(), "audit.log:2") || !strings.Contains(err.Error(), "audit line") {
		t.Errorf("a later version: %v", err)
	}
	write(`{"w":1,`)
	n := 0
	found, err := Read(path, Query{}, func(Record) error { n++; return nil })
	if err != nil || len(found.Damaged) != 1 || found.Damaged[0] != path+":2" || n != len(fixtureRecords())-1 {
		t.Errorf("a garbled line: %d records, %+v, %v", n, found, err)
	}
}
