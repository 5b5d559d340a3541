package app

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/audit"
	"o3/internal/errs"
)

const (
	exportRuns      = o3v1.ExportState_EXPORT_STATE_RUNNING
	exportDone      = o3v1.ExportState_EXPORT_STATE_DONE
	exportFailed    = o3v1.ExportState_EXPORT_STATE_FAILED
	exportCancelled = o3v1.ExportState_EXPORT_STATE_CANCELLED
)

// stuck makes images of more than 256 KiB take for ever.
const stuck = "ozone.om.snapshot.checksum.bytes.per.second=1"

// exports begins an export and waits until it is over.
func (s *server) exports(q *o3v1.ExportImageRequest) *o3v1.ExportInfo {
	s.t.Helper()
	r, err := s.om.ExportImage(s.t.Context(), q)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.exported(r.Export.ExportId)
}

func (s *server) exported(id string) (e *o3v1.ExportInfo) {
	s.t.Helper()
	wait(s.t, "the export is over", func() bool {
		e = s.export(id)
		return e.State != exportRuns
	})
	return e
}

func (s *server) export(id string) *o3v1.ExportInfo {
	s.t.Helper()
	r, err := s.om.GetExport(s.t.Context(), &o3v1.GetExportRequest{ExportId: id})
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Export
}

// TestImages: making, listing and deleting; what was done shows in metrics and in
// the audit log.
func TestImages(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	if n, age := s.metric("o3_images_created_total"), s.metric("o3_image_age_seconds"); n != 0 || age != 0 {
		t.Errorf("%v images were made, with an age of %v", n, age)
	}
	s.bucket("photos", "")
	first := s.image()
	if st := s.status(); first.Digest != st.Digest || first.Index != st.AppliedIndex || first.Op != st.Op || first.Bytes == 0 || first.Files == 0 {
		t.Errorf("%v; the node is at %v", first, st)
	}
	if again := s.image(); again.Id != first.Id {
		t.Errorf("another image of the same state: %v", again)
	}
	if err := s.commit("photos", "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	second := s.image()
	if got := s.images(); len(got) != 2 || got[0].Id != second.Id || got[1].Id != first.Id {
		t.Errorf("%v", got)
	}
	if age := s.metric("o3_image_age_seconds"); age <= 0 || age > 60 {
		t.Errorf("an age of %v", age)
	}
	if n, b := s.metric("o3_images"), s.metric("o3_images_bytes"); n != 2 || b != float64(first.Bytes+second.Bytes) {
		t.Errorf("%v images, %v bytes", n, b)
	}
	_, err := s.om.DeleteImage(t.Context(), &o3v1.DeleteImageRequest{Id: first.Id})
	if err != nil || len(s.images()) != 1 || s.metric("o3_images_removed_total") != 1 {
		t.Errorf("%v; %v", s.images(), err)
	}
	_, err = s.om.DeleteImage(t.Context(), &o3v1.DeleteImageRequest{Id: first.Id})
	kind(t, err, errs.NoSuchSnapshot)
	_, err = s.om.CreateImage(t.Context(), &o3v1.CreateImageRequest{Ticket: "unknown"})
	kind(t, err, errs.NoSuchJob)
	ann := s.client(s.user("ann", "user"))
	_, err = ann.CreateImage(t.Context(), &o3v1.CreateImageRequest{})
	kind(t, err, errs.Denied, "user ann")
	_, err = ann.ListImages(t.Context(), &o3v1.ListImagesRequest{})
	kind(t, err, errs.Denied)
	to := filepath.Join(t.TempDir(), "backup")
	e := s.exports(&o3v1.ExportImageRequest{Directory: to, WithBlocks: true, ExportId: "mine"})
	if e.State != exportDone || e.Percent != 100 || e.Files == 0 || e.BytesWritten == 0 || s.metric("o3_image_exports_total", `result="done"`) != 1 {
		t.Errorf("%v", e)
	}
	if n := s.metric("o3_image_exported_bytes_total"); n != float64(e.BytesWritten) {
		t.Errorf("%v bytes exported, %v", n, e)
	}
	s.shut()
	var got []string
	for _, r := range s.records(filepath.Join(s.Data, "audit", "audit.log"), audit.Query{}) {
		if !strings.Contains(r.Action, "Image") {
			continue
		}
		line := r.Action + " " + r.Resource
		for _, name := range slices.Sorted(maps.Keys(r.Params)) {
			line += " " + name + "=" + r.Params[name]
		}
		if r.RequestID == "" || !strings.HasPrefix(r.From, "127.0.0.1:") || r.AccessKey == "" {
			t.Errorf("%+v", r)
		}
		got = append(got, line+" "+r.Principal+" "+r.Result)
	}
	want := []string{
		"om:CreateImage  image=" + first.Id + " root ok",
		"om:CreateImage  image=" + first.Id + " root ok",
		"om:CreateImage  image=" + second.Id + " root ok",
		"om:DeleteImage " + first.Id + " root ok",
		"om:DeleteImage " + first.Id + " root no such snapshot",
		"om:CreateImage  ann denied",
		"om:ExportImage  directory=" + to + " export=mine image=" + e.ImageId + " withBlocks=true root ok",
	}
	if !slices.Equal(got, want) {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestExportRuns: what can be done while an export runs, and how it is stopped.
// While blocks are exported frees are held back.
func TestExportRuns(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{stuck}, hooks: hooks{made: func(n *node) { n.images.wait = time.Millisecond }}})
	s.noise(10)
	ctx := t.Context()
	held := func() bool { _, ok := s.node.reads.oldest(); return ok }
	to := filepath.Join(t.TempDir(), "backup")
	begin := &o3v1.ExportImageRequest{Directory: to, WithBlocks: true, ExportId: "one"}
	r, err := s.om.ExportImage(ctx, begin)
	if err != nil || r.Export.State != exportRuns || r.Export.Phase != phaseImage {
		t.Fatal(r, err)
	}
	wait(t, "frees are held back", held)
	if again, err := s.om.ExportImage(ctx, begin); err != nil || again.Export.StartedMs != r.Export.StartedMs {
		t.Errorf("repeated: %v, %v", again, err)
	}
	_, err = s.om.ExportImage(ctx, &o3v1.ExportImageRequest{Directory: to + "2", ExportId: "two"})
	kind(t, err, errs.Conflict, "export one to "+to+" runs; a node runs one at a time")
	_, err = s.om.GetExport(ctx, &o3v1.GetExportRequest{ExportId: "two"})
	kind(t, err, errs.NoSuchJob)

	made, err := s.om.CreateImage(ctx, &o3v1.CreateImageRequest{})
	if err != nil || made.Image != nil || made.Ticket == "" {
		t.Errorf("an image that takes long: %v, %v", made, err)
	}
	if made, err = s.om.CreateImage(ctx, &o3v1.CreateImageRequest{Ticket: made.Ticket}); err != nil || made.Ticket == "" {
		t.Errorf("%v, %v", made, err)
	}
	ann := s.client(s.user("ann", "user"))
	_, err = ann.CancelExport(ctx, &o3v1.CancelExportRequest{ExportId: "one"})
	kind(t, err, errs.Denied)
	_, err = s.om.CancelExport(ctx, &o3v1.CancelExportRequest{ExportId: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if e := s.exported("one"); e.State != exportCancelled || e.Error != "export: cancelled by an admin" || errs.Kind(e.ErrorKind) != errs.Canceled {
		t.Errorf("%v", e)
	}
	if held() {
		t.Error("frees are still held back")
	}
	if r, err = s.om.ExportImage(ctx, &o3v1.ExportImageRequest{Directory: to}); err != nil || r.Export.ExportId == "" || r.Export.ExportId == "one" {
		t.Fatal(r, err)
	}
	if held() {
		t.Error("an export without blocks holds frees back")
	}
	if err := s.shut(); err != nil { // while it runs, and while an image is being made
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(to, "images", "*")); len(left) != 0 {
		t.Errorf("an export that was cut off left %v", left)
	}
	if log := s.log.String(); !strings.Contains(log, "the node was stopped") {
		t.Errorf("the log does not tell of the export that was cut off:\n%s", log)
	}
}

// TestExportDirectories: where nothing can be exported to is refused before
// anything begins.
func TestExportDirectories(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blocks := filepath.Join(dir, "blocks")
	s := start(t, settings{set: []string{"ozone.block.dir=" + blocks}})
	file, link, sealed := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "sealed")
	for _, err := range []error{os.WriteFile(file, nil, 0o600), os.Symlink(s.Data, link), os.Mkdir(sealed, 0o500)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]string{
		"":                                   "an absolute path, on the node's machine",
		"backup":                             "an absolute path, on the node's machine",
		"./backup":                           "an absolute path",
		filepath.Join(dir, "no", "such"):     "is the disk mounted?",
		file:                                 "it is not a directory",
		s.Data:                               "the node's data directory",
		filepath.Join(s.Data, "backup"):      "the node's data directory",
		filepath.Join(s.Data, "om", "x"):     "the node's data directory",
		filepath.Join(blocks, "backup"):      "the node's block directory",
		link:                                 "the node's data directory",
		filepath.Join(link, "backup"):        "the node's data directory",
		filepath.Join(s.Data, "..", "data/"): "the node's data directory",
	}
	if os.Geteuid() != 0 { // whom permissions do not stop
		cases[sealed] = "the node cannot write to it"
	}
	for to, says := range cases {
		_, err := s.om.ExportImage(t.Context(), &o3v1.ExportImageRequest{Directory: to})
		kind(t, err, errs.Invalid, says)
	}
	_, err := s.om.GetExport(t.Context(), &o3v1.GetExportRequest{})
	kind(t, err, errs.NoSuchJob)
	_, err = s.om.ExportImage(t.Context(), &o3v1.ExportImageRequest{Directory: dir, ExportId: "a/b"})
	kind(t, err, errs.Invalid, "export id")
	if left, err := os.ReadDir(filepath.Join(s.Data, "om")); err != nil || slices.ContainsFunc(left, func(d os.DirEntry) bool { return d.Name() == "x" }) {
		t.Errorf("%v, %v", left, err)
	}
	if e := s.exports(&o3v1.ExportImageRequest{Directory: filepath.Join(dir, "new")}); e.State != exportDone {
		t.Errorf("%v", e)
	}
	files := filepath.Join(dir, "new", "files")
	if err := os.RemoveAll(files); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files, nil, 0o600); err != nil { // in the way
		t.Fatal(err)
	}
	e := s.exports(&o3v1.ExportImageRequest{Directory: filepath.Join(dir, "new")})
	if e.State != exportFailed || e.Error == "" || errs.Kind(e.ErrorKind) == errs.OK || s.metric("o3_image_exports_total", `result="failed"`) != 1 {
		t.Errorf("%v", e)
	}
}
