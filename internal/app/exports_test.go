package app

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/audit"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/image/s3target"
)

// at opens the place of a URL on s.
func (s *server) at(url string) *s3target.Target {
	s.t.Helper()
	place, err := s3target.Parse(url)
	if err != nil {
		s.t.Fatal(err)
	}
	at, err := s3target.New(s3target.Options{Place: place, AccessKey: s.root.AccessKey, SecretKey: s.root.SecretKey})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { at.Close() })
	return at
}

// TestExportToBucket: a node is exported to a bucket on another one, and lost; the
// node that comes of it is the same. A second export brings what changed only.
func TestExportToBucket(t *testing.T) {
	t.Parallel()
	store := start(t, settings{})
	to := store.bucketURL("backups")
	s := start(t, settings{env: exportKeysOf(store)})
	s.bucket("photos", "FILE_SYSTEM_OPTIMIZED")
	put := func(name string, data []byte) {
		t.Helper()
		if a, err := s.ask(s.root, "", http.MethodPut, "/photos/"+name, data); err != nil || a.status != http.StatusOK {
			t.Fatal(a, err)
		}
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // in parts
	put("big", big)
	put("a/small", []byte("small"))
	first := s.exports(&o3v1.ExportImageRequest{Directory: to, WithBlocks: true})
	if first.State != exportDone || first.BytesWritten < uint64(len(big)) {
		t.Fatalf("%v", first)
	}
	put("a/late", []byte("late"))
	second := s.exports(&o3v1.ExportImageRequest{Directory: to, WithBlocks: true})
	if second.State != exportDone || second.BytesWritten == 0 || second.BytesWritten > 1<<20+uint64(len(big))/16 {
		t.Errorf("the second export: %v; the first: %v", second, first)
	}
	digest := s.status().Digest
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.Data); err != nil {
		t.Fatal(err)
	}
	at := store.at(to)
	if _, err := image.VerifyTarget(t.Context(), at, second.ImageId, filepath.Join(t.TempDir(), "scratch"), image.VerifyOptions{Mode: image.Strict}); err != nil {
		t.Error(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	got, err := image.Import(t.Context(), at, second.ImageId, image.ImportOptions{DataDir: data, Strict: true, Reserve: -1})
	if err != nil || got.Manifest.Digest != digest {
		t.Fatalf("%+v, %v; the digest was %s", got, err, digest)
	}
	was := s.root
	s = start(t, settings{dir: data, env: []string{"O3_ROOT_ACCESS_KEY=" + was.AccessKey, "O3_ROOT_SECRET_KEY=" + was.SecretKey}})
	for name, want := range map[string]string{"big": string(big), "a/small": "small", "a/late": "late"} {
		if a, err := s.ask(was, "", http.MethodGet, "/photos/"+name, nil); err != nil || string(a.body) != want {
			t.Errorf("%s: %v, %v", name, a.status, err)
		}
	}
	if out, err := image.Prune(t.Context(), at, 1); err != nil || len(out.Images) != 1 || out.Images[0] != first.ImageId {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestExportURLs: what is no good place is refused before anything begins, and
// secrets in a URL are not written anywhere.
func TestExportURLs(t *testing.T) {
	t.Parallel()
	store := start(t, settings{})
	to := store.bucketURL("backups")
	s := start(t, settings{env: exportKeysOf(store)})
	other := start(t, settings{env: []string{"OZONE_OM_IMAGE_S3_ACCESS_KEY=" + store.root.AccessKey, "OZONE_OM_IMAGE_S3_SECRET_KEY=not-the-secret-key"}})
	for url, c := range map[string]struct {
		kind errs.Kind
		says string
	}{
		"s3://KEY:HUSHHUSH@backups/x":            {errs.Invalid, "keys do not belong in it"},
		"s3://backups/x?secret=HUSHHUSH":         {errs.Invalid, "never keys"},
		"s3://":                                  {errs.Invalid, "name of a bucket"},
		strings.Replace(to, "backups", "no", 1):  {errs.Invalid, "name of a bucket"},
		strings.Replace(to, "backups", "nay", 1): {errs.NoSuchBucket, "create it"},
		"s3://backups?endpoint=" + store.OM:      {errs.Invalid, "no S3 store"},
	} {
		_, err := s.om.ExportImage(t.Context(), &o3v1.ExportImageRequest{Directory: url})
		kind(t, err, c.kind, c.says)
		if err != nil && strings.Contains(err.Error(), "HUSH") {
			t.Errorf("%v", err)
		}
	}
	_, err := other.om.ExportImage(t.Context(), &o3v1.ExportImageRequest{Directory: to})
	kind(t, err, errs.Unauthenticated, "s3://backups/om1")
	_, err = s.om.GetExport(t.Context(), &o3v1.GetExportRequest{})
	kind(t, err, errs.NoSuchJob)
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	records := s.records(filepath.Join(s.Data, "audit", "audit.log"), audit.Query{})
	raw, err := os.ReadFile(filepath.Join(s.Data, "audit", "audit.log"))
	if err != nil || strings.Contains(string(raw), "HUSH") || strings.Contains(s.log.String(), "HUSH") || len(records) < 6 {
		t.Errorf("%d records, %v; or a secret was written", len(records), err)
	}
}

// TestExportsRemembered: what the node knows of its exports outlives it, also
// when it is killed during one.
func TestExportsRemembered(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	to := filepath.Join(t.TempDir(), "to")
	done := s.exports(&o3v1.ExportImageRequest{Directory: to, WithBlocks: true, ExportId: "good"})
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	s = start(t, settings{dir: s.Data, set: []string{stuck}})
	if e := s.export(""); e.String() != done.String() {
		t.Errorf("got %v, want %v", e, done)
	}
	if at := s.metric("o3_image_export_success_timestamp_seconds"); at != float64(done.FinishedMs)/1000 {
		t.Errorf("the last good export ended at %v, not %v", at, done.FinishedMs)
	}
	s.noise(10)
	if _, err := s.om.ExportImage(t.Context(), &o3v1.ExportImageRequest{Directory: to, ExportId: "stopped"}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.Data, "om", "exports.json")
	killed, err := os.ReadFile(file) // as a kill would leave it
	if err != nil {
		t.Fatal(err)
	}
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	stopped, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(killed), `"state": 1,`) || strings.Contains(string(stopped), `"state": 1,`) {
		t.Fatalf("%v\n%s\n%s", err, killed, stopped)
	}
	for what, raw := range map[string][]byte{"killed": killed, "stopped": stopped} {
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		s = start(t, settings{dir: s.Data})
		e := s.export("")
		if e.ExportId != "stopped" || e.State != exportFailed || !strings.Contains(e.Error, "the node was stopped while it ran; begin it again") || errs.Kind(e.ErrorKind) != errs.Unavailable {
			t.Errorf("%s: %v", what, e)
		}
		if e := s.export("good"); e.String() != done.String() {
			t.Errorf("%s: got %v, want %v", what, e, done)
		}
		if err := s.shut(); err != nil {
			t.Fatal(err)
		}
	}
	s = start(t, settings{dir: s.Data})
	if e := s.exports(&o3v1.ExportImageRequest{Directory: to, ExportId: "again"}); e.State != exportDone {
		t.Errorf("%v", e)
	}
	for i := range maxExports {
		if e := s.exports(&o3v1.ExportImageRequest{Directory: to}); e.State != exportDone {
			t.Errorf("%d: %v", i, e)
		}
	}
	_, err = s.om.GetExport(t.Context(), &o3v1.GetExportRequest{ExportId: "again"})
	kind(t, err, errs.NoSuchJob, "others after it")
}

// TestExportsFile: a file of a later version, or of something else, is refused by
// name.
func TestExportsFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]errs.Kind{
		`{"magic":"o3 exports","version":2,"exports":[]}`: errs.FormatTooNew,
		`{"magic":"else","version":1}`:                    errs.FormatUnknown,
		`not json`:                                        errs.FormatUnknown,
	} {
		path := filepath.Join(t.TempDir(), "exports.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openHistory(path)
		kind(t, err, want, path)
	}
}

// TestExportsFormat: the file as docs/formats/image.md has it.
func TestExportsFormat(t *testing.T) {
	t.Parallel()
	h := &history{path: filepath.Join(t.TempDir(), "exports.json")}
	e := keptExport{ID: "a", Target: "s3://b/om1", Blocks: true, Scheduled: true, State: int32(exportFailed), Image: "5-1-00000000", StartedMs: 1000, FinishedMs: 2000,
		Done: 10, Total: 20, Written: 5, Files: 2, Kind: uint8(errs.Unavailable), Error: "it broke"}.export()
	h.add(e)
	if err := h.save(); err != nil {
		t.Fatal(err)
	}
	const want = `{
 "magic": "o3 exports",
 "version": 1,
 "exports": [
  {
   "id": "a",
   "target": "s3://b/om1",
   "blocks": true,
   "scheduled": true,
   "state": 3,
   "image": "5-1-00000000",
   "started_ms": 1000,
   "finished_ms": 2000,
   "done_bytes": 10,
   "total_bytes": 20,
   "written_bytes": 5,
   "files": 2,
   "error_kind": 24,
   "error": "it broke"
  }
 ]
}
`
	if got, err := os.ReadFile(h.path); err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	again, err := openHistory(h.path)
	if err != nil || again.find("").info().String() != e.info().String() {
		t.Errorf("%v, %v", again, err)
	}
}
