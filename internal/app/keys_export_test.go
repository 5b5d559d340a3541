package app

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/config"
	"o3/internal/errs"
	"o3/internal/image"
)

// bucketURL makes a bucket on s and returns the URL of a place in it.
func (s *server) bucketURL(bucket string) string {
	s.t.Helper()
	s.bucket(bucket, "OBJECT_STORE")
	return "s3://" + bucket + "/om1?endpoint=" + s.S3 + "&region=us-east-1"
}

// exportKeysOf sets the keys of another node for exports to it.
func exportKeysOf(s *server) []string {
	return []string{"OZONE_OM_IMAGE_S3_ACCESS_KEY=" + s.root.AccessKey, "OZONE_OM_IMAGE_S3_SECRET_KEY=" + s.root.SecretKey}
}

// noEnvironment is a node to which nobody gave keys.
func noEnvironment(n *node) { n.images.getenv = func(string) string { return "" } }

// TestKeyExportCredentials: "ozone.om.image.s3.access.key" and
// "ozone.om.image.s3.secret.key", the latter not by -D; without them the
// environment has them.
func TestKeyExportCredentials(t *testing.T) {
	t.Parallel()
	store := start(t, settings{})
	to := store.bucketURL("backups")
	s := start(t, settings{env: exportKeysOf(store), hooks: hooks{made: noEnvironment}})
	if e := s.exports(&o3v1.ExportImageRequest{Directory: to, WithBlocks: true}); e.State != exportDone || e.BytesWritten == 0 {
		t.Errorf("%v", e)
	}
	bare := start(t, settings{hooks: hooks{made: noEnvironment}})
	_, err := bare.om.ExportImage(t.Context(), &o3v1.ExportImageRequest{Directory: to})
	kind(t, err, errs.Unauthenticated, "ozone.om.image.s3.access.key")
	environment := start(t, settings{hooks: hooks{made: func(n *node) {
		n.images.getenv = func(name string) string {
			return map[string]string{"AWS_ACCESS_KEY_ID": store.root.AccessKey, "AWS_SECRET_ACCESS_KEY": store.root.SecretKey}[name]
		}
	}}})
	if e := environment.exports(&o3v1.ExportImageRequest{Directory: strings.Replace(to, "/om1", "/om2", 1)}); e.State != exportDone {
		t.Errorf("%v", e)
	}
	for _, set := range []string{"ozone.om.image.s3.access.key=abc", "ozone.om.image.s3.secret.key=abcdefgh"} {
		if _, err := config.Load(config.Sources{Data: t.TempDir(), Set: []string{set}}); err == nil {
			t.Errorf("%s alone is taken", set)
		}
	}
	_, err = config.Load(config.Sources{Data: t.TempDir(), Set: []string{"ozone.om.image.s3.access.key=abc", "ozone.om.image.s3.secret.key=abcdefgh"}})
	if err == nil || !strings.Contains(err.Error(), "ozone.om.image.s3.secret.key") {
		t.Errorf("the secret key by -D: %v", err)
	}
}

func TestKeyExportRate(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.image.export.bytes.per.second"
	took := func(rate string) time.Duration {
		s := start(t, settings{set: []string{key + "=" + rate}})
		s.noise(40) // 2.4 MB
		s.image()
		begun := time.Now()
		if e := s.exports(&o3v1.ExportImageRequest{Directory: filepath.Join(t.TempDir(), "to")}); e.State != exportDone || e.BytesWritten < 2_000_000 {
			t.Fatalf("%v", e)
		}
		d := time.Since(begun)
		quiet(t, s)
		return d
	}
	const bound = 1500 * time.Millisecond
	if d := took("1MB"); d < bound {
		t.Errorf("at 1 MB a second it took %v", d)
	}
	if d, ok := quick(bound, func() time.Duration { return took("0") }); !ok {
		t.Errorf("without a bound it took %v", d)
	}
}

// TestKeyExportSchedule: "ozone.om.image.export.target" and
// "ozone.om.image.export.interval".
func TestKeyExportSchedule(t *testing.T) {
	t.Parallel()
	const target, interval = "ozone.om.image.export.target=", "ozone.om.image.export.interval="
	none := start(t, settings{set: []string{interval + "100ms"}})
	to := filepath.Join(t.TempDir(), "often")
	often := start(t, settings{set: []string{target + to, interval + "100ms"}})
	wait(t, "exports are made by themselves", func() bool { return often.metric("o3_image_exports_total", `result="done"`) >= 3 })
	if e := often.export(""); !e.WithBlocks || e.Directory != to {
		t.Errorf("%v", e)
	}
	if at := often.metric("o3_image_export_success_timestamp_seconds"); at < float64(time.Now().Unix()-300) {
		t.Errorf("the last good export ended at %v", at)
	}
	if n := none.metric("o3_image_exports_total", `result="done"`); n != 0 {
		t.Errorf("%v exports without a target", n)
	}

	daily := filepath.Join(t.TempDir(), "daily")
	s := start(t, settings{set: []string{target + daily}}) // the interval is a day
	wait(t, "the first one is made at once", func() bool { return s.metric("o3_image_exports_total", `result="done"`) == 1 })
	first := s.export("")
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	s = start(t, settings{dir: s.Data, set: []string{target + daily}})
	s.bucket("photos", "")
	late := time.Now().Add(500 * time.Millisecond)
	wait(t, "time passes", func() bool { return time.Now().After(late) })
	if e := s.export(""); e.ExportId != first.ExportId || e.State != exportDone {
		t.Errorf("after a restart: %v, before: %v", e, first)
	}
	if n := s.metric("o3_image_exports_total", `result="done"`); n != 0 {
		t.Errorf("%v exports after a restart, with an interval of a day", n)
	}
}

// TestKeyExportKeep: "ozone.om.image.export.keep".
func TestKeyExportKeep(t *testing.T) {
	t.Parallel()
	for keep, want := range map[string]int{"0": 4, "2": 2} {
		to := filepath.Join(t.TempDir(), "to")
		s := start(t, settings{set: []string{"ozone.om.image.export.target=" + to, "ozone.om.image.export.interval=100ms", "ozone.om.image.export.keep=" + keep}})
		s.bucket("photos", "")
		at := image.Directory{Dir: to}
		for i := range 4 {
			id := s.image().Id
			wait(t, "the image is exported", func() bool { // as a whole: nothing else is written
				m, err := image.ReadManifest(t.Context(), at, id)
				return err == nil && m.ID == id
			})
			if err := s.commit("photos", fmt.Sprint(i), []byte("1")); err != nil {
				t.Fatal(err)
			}
		}
		pruned := func() bool { return keep == "0" || s.metric("o3_image_prunes_total", `result="done"`) >= 4 }
		wait(t, "what is too old is removed", pruned)
		if list, err := image.List(t.Context(), at, nil); err != nil || keep == "0" && len(list) < want || keep != "0" && len(list) > want+1 {
			t.Errorf("keep %s: %d images, %v", keep, len(list), err)
		}
	}
}

// TestExportScheduleFails: an export that the node makes by itself and that fails
// shows, and is made when it can be.
func TestExportScheduleFails(t *testing.T) {
	t.Parallel()
	store := start(t, settings{})
	to := "s3://later/om1?endpoint=" + store.S3
	s := start(t, settings{env: exportKeysOf(store), set: []string{"ozone.om.image.export.target=" + to, "ozone.om.image.export.interval=100ms"},
		hooks: hooks{made: func(n *node) { n.images.retry = 50 * time.Millisecond }}})
	wait(t, "exports fail", func() bool { return s.metric("o3_image_exports_total", `result="failed"`) >= 2 })
	if e := s.export(""); e.State != exportFailed || !strings.Contains(e.Error, "there is no such bucket") {
		t.Errorf("%v", e)
	}
	if at := s.metric("o3_image_export_success_timestamp_seconds"); at != 0 {
		t.Errorf("a good export at %v", at)
	}
	store.bucket("later", "")
	wait(t, "one is made", func() bool { return s.metric("o3_image_exports_total", `result="done"`) >= 1 })
}
