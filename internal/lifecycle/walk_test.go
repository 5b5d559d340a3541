package lifecycle_test

import (
	"testing"
	"testing/synctest"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/lifecycle"
)

// TestBegin: a scan sees what was there when it began, also what came after the
// look at the bucket that began it.
func TestBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lifecycle.Options{})
		r.put("flat", "elsewhere", "in/a")
		time.Sleep(48 * hour)
		r.rules("flat", age("in", "in/", 1))
		r.log.before = func(k command.Kind, _ []byte) error {
			if k == command.StartLifecycleScan {
				_, err := r.user.RenameKey(root, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "flat", From: "elsewhere", To: "in/b"})
				r.ok(err)
			}
			return nil
		}
		r.start()
		r.await("flat")
		r.end()
		if got := r.names("flat"); got != "" || r.began != 1 {
			t.Errorf("%d scans, left: %s", r.began, got)
		}
	})
}

// TestHolds: a directory that is old enough but holds something that stays is not
// asked to go.
func TestHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lifecycle.Options{})
		r.put("tree", "d/e//", "d/empty//", "f//")
		time.Sleep(48 * hour)
		r.put("tree", "d/e/young")
		r.rules("tree", age("all", "", 1))
		r.start()
		r.await("tree")
		r.end()
		c := total(r.state("tree"))
		if got := r.names("tree"); got != "d/e/ d/e/young" || c.DeletedDirs != 2 || c.Skipped != 0 {
			t.Errorf("left: %s; %v", got, c)
		}
	})
}
