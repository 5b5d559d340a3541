package app

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/lifecycle"
)

// scanning makes a server's lifecycle service notice at once what there is to do.
func scanning(set ...string) settings {
	return settings{set: set, hooks: hooks{lifecycle: func(o *lifecycle.Options) { o.LeadInterval = 5 * time.Millisecond }}}
}

// past is a rule by which everything that begins with prefix has expired.
func past(prefix string) *o3v1.LifecycleRule {
	return &o3v1.LifecycleRule{Id: "past", Enabled: true, Filter: &o3v1.LifecycleFilter{Prefix: &prefix}, ExpireDateMs: proto.Int64(0), AbortDays: proto.Int32(1)}
}

// farOff is a rule by which nothing will for long.
func farOff() *o3v1.LifecycleRule {
	return &o3v1.LifecycleRule{Id: "far off", Enabled: true, Filter: &o3v1.LifecycleFilter{}, ExpireDays: proto.Int32(10_000)}
}

func (s *server) rules(bucket string, rules ...*o3v1.LifecycleRule) {
	s.t.Helper()
	_, err := s.om.SetLifecycle(s.t.Context(), &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: bucket, Configuration: &o3v1.LifecycleConfiguration{Rules: rules}})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) scans(bucket string) *o3v1.LifecycleStatusResponse {
	s.t.Helper()
	req := &o3v1.LifecycleStatusRequest{Bucket: bucket}
	if bucket != "" {
		req.Volume = "s3v"
	}
	resp, err := s.om.LifecycleStatus(s.t.Context(), req)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp
}

// scanned waits until a bucket's scan has reached its end.
func (s *server) scanned(bucket string) (b *o3v1.LifecycleBucketStatus) {
	s.t.Helper()
	wait(s.t, "the scan of "+bucket+" is over", func() bool {
		b = s.scans(bucket).Buckets[0]
		return b.Scan.GetPhase() == o3v1.LifecyclePhase_LIFECYCLE_PHASE_DONE && b.Scan.LifecycleConfigurationUpdateID == b.ConfigurationId
	})
	return b
}

// numbered writes n keys to a new bucket.
func (s *server) numbered(bucket string, n int) {
	s.t.Helper()
	s.bucket(bucket, "OBJECT_STORE")
	var wg sync.WaitGroup
	for from := range 16 { // side by side, so that they share syncs
		wg.Go(func() {
			for i := from; i < n; i += 16 {
				if err := s.commit(bucket, fmt.Sprintf("k%05d", i), []byte("1")); err != nil {
					s.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// listed returns the names of a bucket's keys.
func (s *server) listed(bucket string) string {
	s.t.Helper()
	resp, err := s.om.ListKeys(s.t.Context(), &o3v1.ListKeysRequest{Volume: "s3v", Bucket: bucket})
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, k := range resp.Keys {
		out = append(out, k.Name)
	}
	return strings.Join(out, " ")
}

// commands returns how many commands the scan of a bucket took under rules.
func commands(t *testing.T, fill func(*server), rule *o3v1.LifecycleRule, o settings) uint64 {
	t.Helper()
	s := start(t, o)
	fill(s)
	s.rules("photos", rule)
	return s.scanned("photos").Scan.Sequence
}

func TestKeyLifecycleEnabled(t *testing.T) {
	t.Parallel()
	on, off := start(t, scanning()), start(t, scanning("ozone.lifecycle.service.enabled=false"))
	for _, s := range []*server{on, off} {
		s.numbered("photos", 2)
		s.rules("photos", past(""))
	}
	on.scanned("photos")
	if got := on.listed("photos"); got != "" || !on.scans("").Enabled {
		t.Errorf("left: %s", got)
	}
	_, err := off.om.RunLifecycle(t.Context(), &o3v1.RunLifecycleRequest{Volume: "s3v", Bucket: "photos"})
	kind(t, err, errs.Conflict, "ozone.lifecycle.service.enabled")
	if st := off.scans("photos"); st.Enabled || st.Buckets[0].Activity != o3v1.LifecycleActivity_LIFECYCLE_ACTIVITY_OFF || off.listed("photos") == "" {
		t.Errorf("switched off: %v, left: %s", st, off.listed("photos"))
	}
}

func TestKeyLifecycleInterval(t *testing.T) {
	t.Parallel()
	often, daily := start(t, scanning("ozone.lifecycle.service.interval=10ms")), start(t, scanning())
	for _, s := range []*server{often, daily} {
		s.numbered("photos", 1)
		s.rules("photos", farOff())
		first := s.scanned("photos").Scan
		if s == often {
			wait(t, "the next scan", func() bool { return s.scanned("photos").Scan.ScanID != first.ScanID })
		}
	}
	if b := daily.scanned("photos"); b.NextMs-int64(b.Scan.ScanEndTime) != 24*time.Hour.Milliseconds() {
		t.Errorf("the next scan is due at %d: %v", b.NextMs, b.Scan)
	}
}

func TestKeyLifecycleTimeout(t *testing.T) {
	t.Parallel()
	for set, overdue := range map[string]bool{"ozone.lifecycle.service.timeout=1ms": true, "ozone.lifecycle.service.timeout=2h": false} {
		s := start(t, scanning(set, "ozone.lifecycle.service.delete.rate=1"))
		s.numbered("photos", 100)
		s.rules("photos", past(""))
		wait(t, "a step of the scan", func() bool { return s.scans("photos").Buckets[0].Scan.GetSequence() > 0 })
		wait(t, "the status says whether it is overdue", func() bool { return s.scans("photos").Buckets[0].Overdue == overdue })
		if overdue {
			wait(t, "the scan is told to be overdue", func() bool { return s.metric("o3_lifecycle_overdue_total") == 1 })
		} else if n := s.metric("o3_lifecycle_overdue_total"); n != 0 {
			t.Errorf("%s: %v scans are overdue", set, n)
		}
	}
}

func TestKeyLifecycleWorkers(t *testing.T) {
	t.Parallel()
	one, five := start(t, scanning("ozone.lifecycle.service.workers=1", "ozone.lifecycle.service.delete.rate=1")), start(t, scanning("ozone.lifecycle.service.delete.rate=1"))
	for s, want := range map[*server][2]uint32{one: {1, 2}, five: {3, 0}} {
		for _, b := range []string{"a-1", "b-2", "c-3"} {
			s.numbered(b, 100)
			s.rules(b, past(""))
		}
		wait(t, fmt.Sprintf("%d run, %d wait", want[0], want[1]), func() bool { st := s.scans(""); return st.Running == want[0] && st.Waiting == want[1] })
	}
}

func TestKeyLifecycleBatch(t *testing.T) {
	t.Parallel()
	fill := func(s *server) { s.numbered("photos", 6) }
	for set, want := range map[string]uint64{"ozone.lifecycle.service.delete.batch-size=2": 3, "ozone.lifecycle.service.delete.batch-size=1000": 1} {
		if n := commands(t, fill, past(""), scanning(set)); n != want {
			t.Errorf("%s: %d commands, want %d", set, n, want)
		}
	}
}

func TestKeyLifecycleRate(t *testing.T) {
	t.Parallel()
	for set, held := range map[string]bool{"ozone.lifecycle.service.delete.rate=1": true, "ozone.lifecycle.service.delete.rate=0": false} {
		s := start(t, scanning(set))
		s.numbered("photos", 6) // five of them wait for a second
		s.rules("photos", past(""))
		s.scanned("photos")
		wait(t, "the scan is counted", func() bool { return s.metric("key_lifecycle_service_metrics_num_success_task") == 1 })
		if waited := s.metric("o3_lifecycle_throttled_seconds_total"); (waited > 1) != held {
			t.Errorf("%s: waited for %v s", set, waited)
		}
	}
}

func TestKeyLifecycleWindow(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC()
	window := func(from, to time.Duration) string {
		return "ozone.lifecycle.service.work.window=" + now.Add(from).Format("15:04") + "-" + now.Add(to).Format("15:04")
	}
	open, shut := start(t, scanning(window(-2*time.Hour, 2*time.Hour))), start(t, scanning(window(2*time.Hour, 4*time.Hour)))
	for _, s := range []*server{open, shut} {
		s.numbered("photos", 1)
		s.rules("photos", past(""))
	}
	open.scanned("photos")
	// A scan that an operator asks for waits too.
	if _, err := shut.om.RunLifecycle(t.Context(), &o3v1.RunLifecycleRequest{Volume: "s3v", Bucket: "photos"}); err != nil {
		t.Fatal(err)
	}
	st := shut.scans("photos")
	if b := st.Buckets[0]; st.InWindow || b.Activity != o3v1.LifecycleActivity_LIFECYCLE_ACTIVITY_DUE || b.Scan.GetSequence() != 0 || shut.listed("photos") == "" {
		t.Errorf("outside of the window: %v", st)
	}
	_, err := try(t, scanning("ozone.lifecycle.service.work.window=nonsense"))
	if err == nil || !strings.Contains(err.Error(), "22:00-06:00") {
		t.Error(err)
	}
}

func TestKeyLifecycleSaveInterval(t *testing.T) {
	t.Parallel()
	fill := func(s *server) { s.numbered("photos", 600) }
	for set, often := range map[string]bool{"ozone.lifecycle.service.state.save.interval.ms=1": true, "ozone.lifecycle.service.state.save.interval.ms=300000": false} {
		o := scanning(set)
		hook := o.hooks.lifecycle
		o.hooks.lifecycle = func(o *lifecycle.Options) {
			hook(o)
			looked := o.Listener.Looked
			o.Listener.Looked = func(rows, dirs, uploads int) {
				<-time.After(3 * time.Millisecond) // the scan takes its time
				looked(rows, dirs, uploads)
			}
		}
		if n := commands(t, fill, farOff(), o); (n > 1) != often {
			t.Errorf("%s: %d commands", set, n)
		}
	}
}

func TestKeyLifecycleSaveKeys(t *testing.T) {
	t.Parallel()
	fill := func(s *server) { s.numbered("photos", 55) }
	for set, want := range map[string]uint64{"ozone.lifecycle.service.state.save.keys.processed=10": 6, "ozone.lifecycle.service.state.save.keys.processed=100000": 1} {
		if n := commands(t, fill, farOff(), scanning(set)); n != want {
			t.Errorf("%s: %d commands, want %d", set, n, want)
		}
	}
}

func TestKeyLifecycleAbort(t *testing.T) {
	t.Parallel()
	fill := func(s *server) {
		s.bucket("photos", "")
		for i := range 3 {
			u, err := s.om.CreateUpload(t.Context(), &o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "photos", Key: fmt.Sprint("k", i)})
			if err == nil {
				_, err = s.om.CommitPart(t.Context(), &o3v1.CommitPartRequest{
					Volume: "s3v", Bucket: "photos", Key: fmt.Sprint("k", i), UploadId: u.Upload.UploadId, Number: 1, Data: []byte("1"), Size: 1,
				})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		wait(t, "the uploads are old", func() bool {
			p, err := s.om.PreviewLifecycle(t.Context(), &o3v1.PreviewLifecycleRequest{Volume: "s3v", Bucket: "photos", Configuration: &o3v1.LifecycleConfiguration{Rules: []*o3v1.LifecycleRule{past("")}}})
			return err == nil && len(p.Rules) == 1 && p.Rules[0].Uploads == 3
		})
	}
	for set, want := range map[string]uint64{"ozone.lifecycle.service.mpu.abort.limit.per.task=1": 3, "ozone.lifecycle.service.mpu.abort.limit.per.task=1000": 1} {
		if n := commands(t, fill, past(""), scanning(set, "ozone.lifecycle.service.day=1ms")); n != want {
			t.Errorf("%s: %d commands, want %d", set, n, want)
		}
	}
}

const trash = "ozone.lifecycle.service.move.to.trash.enabled=true"

func TestKeyLifecycleTrash(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{trash: ".Trash/root/Current/k00000", "ozone.lifecycle.service.move.to.trash.enabled=false": ""} {
		s := start(t, scanning(set, "ozone.lifecycle.service.trash.retention=0"))
		s.numbered("photos", 1)
		s.rules("photos", past(""))
		s.scanned("photos")
		if got := s.listed("photos"); got != want {
			t.Errorf("%s: %q, want %q", set, got, want)
		}
	}
}

func TestKeyLifecycleTrashCheckpoint(t *testing.T) {
	t.Parallel()
	s := start(t, scanning(trash, "ozone.lifecycle.service.trash.checkpoint.interval=10ms", "ozone.lifecycle.service.trash.retention=24h"))
	s.numbered("photos", 1)
	if err := s.commit("photos", ".Trash/root/Current/x", []byte("1")); err != nil {
		t.Fatal(err)
	}
	s.rules("photos", farOff())
	wait(t, "the trash is set aside", func() bool {
		got := s.listed("photos")
		return strings.HasPrefix(got, ".Trash/root/2") && strings.HasSuffix(got, "/x k00000")
	})
}

func TestKeyLifecycleTrashRetention(t *testing.T) {
	t.Parallel()
	fast := "ozone.lifecycle.service.trash.checkpoint.interval=10ms"
	short, kept := start(t, scanning(trash, fast, "ozone.lifecycle.service.trash.retention=10ms")), start(t, scanning(trash, fast, "ozone.lifecycle.service.trash.retention=0"))
	for _, s := range []*server{short, kept} {
		s.numbered("photos", 1)
		if err := s.commit("photos", ".Trash/root/Current/x", []byte("1")); err != nil {
			t.Fatal(err)
		}
		s.rules("photos", farOff())
		s.scanned("photos")
	}
	wait(t, "the trash is emptied", func() bool { return short.listed("photos") == "k00000" })
	if got := kept.listed("photos"); got != ".Trash/root/Current/x k00000" {
		t.Errorf("trash that is left alone is %s", got)
	}
}

func TestKeyLifecycleDay(t *testing.T) {
	t.Parallel()
	rule := &o3v1.LifecycleRule{Id: "a day", Enabled: true, Filter: &o3v1.LifecycleFilter{}, ExpireDays: proto.Int32(1)}
	short, long := start(t, scanning("ozone.lifecycle.service.day=1ms", "ozone.lifecycle.service.interval=10ms")), start(t, scanning())
	for _, s := range []*server{short, long} {
		s.numbered("photos", 1)
		s.rules("photos", rule)
		s.scanned("photos")
	}
	wait(t, "a short day is over", func() bool { return short.listed("photos") == "" })
	if long.listed("photos") == "" {
		t.Error("a key of today has expired")
	}
}
