package app

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/audit"
	"o3/internal/errs"
)

// TestAuditSnapshots: what is done about snapshots and diffs is audited, with
// what it was done to; looking at them is not.
func TestAuditSnapshots(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	ctx := t.Context()
	s.changes(3)
	done := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	unnamed, err := s.om.CreateSnapshot(ctx, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "photos"})
	done(err)
	kind(t, s.snapshot("old"), errs.SnapshotExists)
	_, err = s.om.RenameSnapshot(ctx, &o3v1.RenameSnapshotRequest{Volume: "s3v", Bucket: "photos", From: "old", To: "older"})
	done(err)
	_, err = s.om.RestoreSnapshot(ctx, &o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: "photos", Name: "older", Prefix: "new", Exact: true})
	done(err)
	_, err = s.om.RestoreSnapshot(ctx, &o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: "photos", Name: "new", Key: "new 00001"})
	done(err)
	d := photosDiff(func(d *o3v1.DiffSpec) { d.From = "older" })
	job := s.diff(d).Job
	_, err = s.om.CancelDiff(ctx, &o3v1.CancelDiffRequest{Spec: d, JobId: job.JobId})
	done(err)
	_, err = s.om.ForgetDiff(ctx, &o3v1.ForgetDiffRequest{Spec: d})
	done(err)
	s.deleteSnapshot("new")
	_, err = s.om.ListSnapshots(ctx, &o3v1.ListSnapshotsRequest{Volume: "s3v", Bucket: "photos"})
	done(err)
	s.shut()

	var got []string
	for _, r := range s.records(filepath.Join(s.Data, "audit", "audit.log"), audit.Query{}) {
		if !strings.Contains(r.Action, "Snapshot") && !strings.Contains(r.Action, "Diff") {
			continue
		}
		line := r.Action + " " + r.Resource
		for _, name := range slices.Sorted(maps.Keys(r.Params)) {
			line += fmt.Sprintf(" %s=%s", name, r.Params[name])
		}
		if r.Principal != "root" {
			t.Errorf("%s: by %q", line, r.Principal)
		}
		got = append(got, line+" "+r.Result)
	}
	const at = "/s3v/photos/.snapshot/"
	want := []string{
		"om:CreateSnapshot " + at + "old name=old ok",
		"om:CreateSnapshot " + at + "new name=new ok",
		"om:CreateSnapshot /s3v/photos name=" + unnamed.Snapshot.Name + " ok",
		"om:CreateSnapshot " + at + "old name=old snapshot exists",
		"om:RenameSnapshot " + at + "old to=" + at + "older ok",
		"om:RestoreSnapshot " + at + "older exact=true name=older prefix=new removed=3 restored=0 ok",
		"om:RestoreSnapshot " + at + "new key=new 00001 name=new removed=0 restored=1 ok",
		"om:SubmitDiff /s3v/photos from=older job=" + job.JobId + " to=new ok",
		"om:CancelDiff /s3v/photos from=older job=" + job.JobId + " to=new ok",
		"om:ForgetDiff /s3v/photos from=older to=new ok",
		"om:DeleteSnapshot " + at + "new name=new ok",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
