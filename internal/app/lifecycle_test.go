package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	o3v1 "o3/api/o3/v1"
	"o3/internal/audit"
	"o3/internal/cli"
)

// seedFields are those of the design that scans follow, under its names.
var seedFields = []string{
	"bucketKey", "bucketObjID", "lifecycleConfigurationUpdateID", "scanStartTime", "scanEndTime", "lastScannedKey", "lastScannedDir",
	"lastScannedDirKey", "lastScannedMpuKey",
}

// TestLifecycleSeen: what a scan did is in its status and in a dump of the store,
// under the names of the design that it follows; in the audit log, by whom and by
// which rule; and in the metrics.
func TestLifecycleSeen(t *testing.T) {
	t.Parallel()
	s := start(t, scanning())
	for bucket, layout := range map[string]string{"flat": "OBJECT_STORE", "tree": "FILE_SYSTEM_OPTIMIZED"} {
		s.bucket(bucket, layout)
		for _, key := range []string{"dir/a", "dir/b", "keep"} {
			if err := s.commit(bucket, key, []byte("123")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.om.CreateUpload(t.Context(), &o3v1.CreateUploadRequest{Volume: "s3v", Bucket: bucket, Key: "dir/u"}); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	if _, err := s.om.SuspendLifecycle(ctx, &o3v1.SuspendLifecycleRequest{Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	for _, bucket := range []string{"flat", "tree"} {
		s.rules(bucket, past("dir/"))
	}
	if st := s.scans(""); len(st.Buckets) != 2 || st.Buckets[0].Activity != o3v1.LifecycleActivity_LIFECYCLE_ACTIVITY_SUSPENDED || st.Suspension.GetReason() != "a test" {
		t.Errorf("suspended: %v", st)
	}
	if _, err := s.om.ResumeLifecycle(ctx, &o3v1.ResumeLifecycleRequest{}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, bucket := range []string{"flat", "tree"} {
		b := s.scanned(bucket)
		if b.Percent != 100 || b.Scan.Rules[0].DeletedKeys != 2 || b.Scan.Rules[0].DeletedBytes != 6 || b.Scan.Rules[0].Id != "past" {
			t.Errorf("%v", b)
		}
		want[bucket] = s.seedValues(b)
	}
	if _, err := s.om.RunLifecycle(ctx, &o3v1.RunLifecycleRequest{Volume: "s3v", Bucket: "flat"}); err != nil {
		t.Fatal(err)
	}
	s.scanned("flat")
	wait(t, "the scans are counted", func() bool { return s.metric("key_lifecycle_service_metrics_num_success_task") == 3 })
	for name, n := range map[string]float64{"num_key_deleted": 4, "size_key_deleted": 12, "num_multipart_uploads_iterated": 3} {
		if got := s.metric("key_lifecycle_service_metrics_" + name); got != n {
			t.Errorf("%s is %v, want %v", name, got, n)
		}
	}
	if got := s.metric("o3_lifecycle_rule_objects_total", `bucket="s3v/tree"`, `rule="past"`, `result="deleted"`); got != 2 {
		t.Errorf("the rule deleted %v", got)
	}
	s.shut()
	s.dumped(want["tree"])
	s.noted()
}

// seedValues returns the nine fields of a status as JSON has them, and checks them.
func (s *server) seedValues(b *o3v1.LifecycleBucketStatus) string {
	s.t.Helper()
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(b)
	var got struct{ Scan map[string]any }
	if err == nil {
		err = json.Unmarshal(raw, &got)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, name := range seedFields {
		v, ok := got.Scan[name]
		if !ok {
			s.t.Errorf("the status of %s lacks %s: %s", b.Bucket, name, raw)
		}
		out = append(out, fmt.Sprintf("%s=%v", name, v))
	}
	row := b.Scan
	dir, dirKey := "", ""
	if b.Bucket == "tree" {
		dir, dirKey = "dir", strings.TrimSuffix(row.LastScannedDirKey, "/b")
		if len(strings.Split(row.LastScannedDirKey, "/")) != 4 {
			s.t.Errorf("lastScannedDirKey is %s", row.LastScannedDirKey)
		}
		dirKey += "/b"
	}
	want := fmt.Sprintf("bucketKey=/s3v/%s bucketObjID=%d lifecycleConfigurationUpdateID=%d scanStartTime=%d scanEndTime=%d lastScannedKey=dir/b lastScannedDir=%s lastScannedDirKey=%s lastScannedMpuKey=%s",
		b.Bucket, row.BucketObjID, b.ConfigurationId, row.ScanStartTime, row.ScanEndTime, dir, dirKey, row.LastScannedMpuKey)
	if have := strings.Join(out, " "); have != want || row.ScanEndTime < row.ScanStartTime || !strings.HasPrefix(row.LastScannedMpuKey, "dir/u/") {
		s.t.Errorf("have %s\nwant %s", have, want)
	}
	return strings.Join(out, " ")
}

// dumped looks for a scan's fields in a dump of the store.
func (s *server) dumped(want string) {
	s.t.Helper()
	var out bytes.Buffer
	if err := dump(s.t.Context(), s.Data, cli.DumpOptions{Table: "lifecycleStateTable"}, &out); err != nil {
		s.t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 2 {
		s.t.Errorf("%d scans: %s", n, out.String())
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if !strings.Contains(line, "/s3v/tree") {
			continue
		}
		for field := range strings.FieldsSeq(want) {
			name, value, _ := strings.Cut(field, "=")
			if !strings.Contains(line, `"`+name+`":"`+value+`"`) {
				s.t.Errorf("the dump lacks %s: %s", field, line)
			}
		}
		return
	}
	s.t.Errorf("the dump lacks the scan: %s", out.String())
}

// noted looks for what happened in the audit log.
func (s *server) noted() {
	s.t.Helper()
	have := map[string]int{}
	for _, r := range s.records(filepath.Join(s.Data, "audit", "audit.log"), audit.Query{}) {
		switch r.Action {
		case "lifecycle:Step":
			if r.Params["source"] != "LIFECYCLE" || r.Params["keys"] != `"delete dir/a by past" "delete dir/b by past"` || r.Params["bytes"] != "6" || r.Principal != "" {
				s.t.Errorf("%s %s: %v", r.Principal, r.Resource, r.Params)
			}
			have[r.Action+" "+r.Resource]++
		case "om:SuspendLifecycle":
			if r.Params["reason"] != "a test" || r.Principal == "" {
				s.t.Errorf("%s: %v", r.Principal, r.Params)
			}
			have[r.Action]++
		case "om:ResumeLifecycle", "om:RunLifecycle":
			have[r.Action]++
		}
	}
	for _, want := range []string{"lifecycle:Step /s3v/flat", "lifecycle:Step /s3v/tree", "om:SuspendLifecycle", "om:ResumeLifecycle", "om:RunLifecycle"} {
		if have[want] != 1 {
			s.t.Errorf("%s was noted %d times", want, have[want])
		}
	}
}
