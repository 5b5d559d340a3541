package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/cli"
	"o3/internal/errs"
)

var quietText, quietJSON = cli.VerifyOptions{Step: func(int64, int64) {}}, cli.VerifyOptions{JSON: true, Step: func(int64, int64) {}}

// offline are the commands that look into the files of a stopped node.
var offline = map[string]func(context.Context, string, io.Writer) error{
	"db verify":    func(ctx context.Context, dir string, w io.Writer) error { return verifyStore(ctx, dir, quietText, w) },
	"block verify": func(ctx context.Context, dir string, w io.Writer) error { return verifyBlocks(ctx, dir, quietText, w) },
	"db dump":      func(ctx context.Context, dir string, w io.Writer) error { return dump(ctx, dir, cli.DumpOptions{}, w) },
}

// TestOfflineRefusals: they refuse a node that runs, and one of a later
// version, as the server does.
func TestOfflineRefusals(t *testing.T) {
	t.Parallel()
	running := start(t, settings{})
	later := stopped(t)
	edit(t, filepath.Join(later, "node"), replace(`"format":1`, `"format":2,"number":"n1"`))
	for name, run := range offline {
		var out bytes.Buffer
		kind(t, run(t.Context(), running.Data, &out), errs.Unavailable, running.Data, "in use by a running server: stop it first")
		kind(t, run(t.Context(), later, &out), errs.FormatTooNew, filepath.Join(later, "node"), "has format 2")
		kind(t, run(t.Context(), t.TempDir(), &out), errs.FormatUnknown, "does not hold a node's data")
		if out.Len() > 0 {
			t.Errorf("%s: %s", name, &out)
		}
	}
	_, err := try(t, settings{dir: later})
	kind(t, err, errs.FormatTooNew, "has format 2")
	if err := running.shut(); err != nil {
		t.Fatal(err)
	}
	for name, run := range offline {
		if err := run(t.Context(), running.Data, io.Discard); err != nil {
			t.Errorf("%s of the stopped node: %v", name, err)
		}
	}
}

// objects reads one JSON object per line.
func objects(t *testing.T, out *bytes.Buffer) (found []finding, sum map[string]any) {
	t.Helper()
	for line := range strings.Lines(out.String()) {
		if sum != nil {
			t.Fatalf("a line follows the summary: %s", line)
		}
		var one struct {
			finding
			Summary map[string]any
		}
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&one); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if sum = one.Summary; sum == nil {
			found = append(found, one.finding)
		}
	}
	if sum == nil {
		t.Fatalf("no summary: %s", out)
	}
	return found, sum
}

// TestVerifyJSON: with --json every line is an object: the problems, then the
// summary.
func TestVerifyJSON(t *testing.T) {
	t.Parallel()
	check := func(verify func(context.Context, string, cli.VerifyOptions, io.Writer) error, dir string, want errs.Kind) ([]finding, map[string]any) {
		t.Helper()
		var out bytes.Buffer
		if err := verify(t.Context(), dir, quietJSON, &out); errs.KindOf(err) != want {
			t.Fatalf("%v", err)
		}
		return objects(t, &out)
	}
	healthy := stopped(t)
	found, sum := check(verifyStore, healthy, errs.OK)
	if len(found) != 0 || sum["problems"] != 0.0 || sum["rows"].(float64) < 10 || sum["rowsChecked"] != true || sum["digest"] == "" || sum["lastEntry"] != sum["index"] {
		t.Errorf("%v %v", found, sum)
	}
	found, sum = check(verifyBlocks, healthy, errs.OK)
	if len(found) != 0 || sum["damages"] != 0.0 || sum["missing"] != 0.0 || sum["blocks"] != 3.0 {
		t.Errorf("%v %v", found, sum)
	}

	table := stopped(t)
	path := one(t, filepath.Join(table, "om", "store", "*.sst"))
	edit(t, path, func(b []byte) []byte { b[len(b)/3] ^= 1; return b })
	found, sum = check(verifyStore, table, errs.Corrupt)
	if len(found) != 1 || found[0].Check != "file" || !strings.Contains(found[0].Subject, filepath.Base(path)) || sum["problems"] != 1.0 || sum["rowsChecked"] != false {
		t.Errorf("%v %v", found, sum)
	}

	lost := stopped(t)
	edit(t, one(t, filepath.Join(lost, "om", "store", "MANIFEST-*")), func([]byte) []byte { return nil })
	found, sum = check(verifyStore, lost, errs.Corrupt)
	if len(found) != 1 || found[0].Check != "open" || found[0].Detail == "" || sum["lastEntry"] == 0.0 || sum["rowsChecked"] != false {
		t.Errorf("%v %v", found, sum)
	}

	hurt := stopped(t)
	path = one(t, filepath.Join(hurt, "blocks", "c-*"))
	edit(t, path, replace("\x01\x01\x01\x01", "\x01\x07\x01\x01"))
	found, sum = check(verifyBlocks, hurt, errs.Corrupt)
	if len(found) != 1 || found[0].Check != "damage" || found[0].Damage == nil || found[0].Damage.File != filepath.Base(path) || sum["damages"] != 1.0 {
		t.Errorf("%v %v", found, sum)
	}
}

// TestMissingBlocksAreNamed: a block that is gone is told with the names of its
// keys, in both layouts, and of the uploads it is a part of.
func TestMissingBlocksAreNamed(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	s.bucket("flat", "OBJECT_STORE")
	s.bucket("tree", "FILE_SYSTEM_OPTIMIZED")
	big := bytes.Repeat([]byte("x"), 100_000)
	s.must("PUT", "/flat/a/b", big)
	s.must("PUT", "/tree/d/e/f", nil, header("X-Amz-Copy-Source", "/flat/a/b"))
	s.must("PUT", "/tree/alone", big)
	s.must("PUT", "/tree/small", []byte("in its row"))
	s.must("PUT", "/tree/d/was", big)
	if _, err := s.om.CreateSnapshot(t.Context(), &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "tree", Name: "before"}); err != nil {
		t.Fatal(err)
	}
	s.must("DELETE", "/tree/d/was", nil)
	upload := s.must("POST", "/tree/up/load?uploads=", nil).body
	_, rest, _ := strings.Cut(string(upload), "<UploadId>")
	id, _, _ := strings.Cut(rest, "<")
	s.must("PUT", "/tree/up/load?partNumber=7&uploadId="+id, big)
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(s.Data, "blocks", "c-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	kind(t, verifyBlocks(t.Context(), s.Data, quietJSON, &out), errs.Corrupt, "4 missing blocks")
	problems, sum := objects(t, &out)
	var names []string
	for _, p := range problems {
		if p.Check != "blocks" || !strings.HasPrefix(p.Subject, "block ") {
			t.Errorf("%+v", p)
		}
		names = append(names, strings.Join(p.Keys, " + "))
	}
	slices.Sort(names)
	want := []string{"/s3v/flat/a/b + /s3v/tree/d/e/f", "/s3v/tree/alone", "/s3v/tree/d/was of a snapshot", "part 7 of the upload of /s3v/tree/up/load"}
	if !slices.Equal(names, want) || sum["missing"] != 4.0 {
		t.Errorf("%q %v, want %q", names, sum, want)
	}
	out.Reset()
	kind(t, verifyBlocks(t.Context(), s.Data, quietText, &out), errs.Corrupt)
	if !strings.Contains(out.String(), "it is not stored: /s3v/tree/alone\n") {
		t.Errorf("%s", &out)
	}
}
