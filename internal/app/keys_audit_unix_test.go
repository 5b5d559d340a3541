//go:build unix

package app

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// pipedAudit starts a server whose audit log is a pipe, which can be full and
// cannot be synced.
func pipedAudit(t *testing.T, full bool, set ...string) *server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if full {
		if _, err := pipe.Write(make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := try(t, settings{set: append(set, "ozone.audit.log.path="+path)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		read := make(chan struct{})
		go func() {
			defer close(read)
			io.Copy(io.Discard, pipe)
		}()
		_ = s.shut() // its last sync of the pipe fails too
		pipe.Close()
		<-read
	})
	return s
}

// TestKeyAuditQueue sets "ozone.audit.log.queue".
func TestKeyAuditQueue(t *testing.T) {
	t.Parallel()
	for queue, lost := range map[string]bool{"2": true, "8192": false} {
		s := pipedAudit(t, true, "ozone.audit.log.queue="+queue, "ozone.audit.log.sync=never")
		for i := range 6 {
			s.must("PUT", fmt.Sprintf("/photos-%d", i), nil)
			if i == 0 {
				wait(t, "one is being written", func() bool { return s.node.audit.Waiting() == 0 })
			}
		}
		wait(t, "records are queued or lost", func() bool {
			return s.metric("o3_audit_lost_total", `reason="full"`) > 0 || s.node.audit.Waiting() == 5
		})
		if n := s.metric("o3_audit_lost_total"); (n > 0) != lost {
			t.Errorf("queue %s: %v lost", queue, n)
		}
	}
}

// TestKeyAuditSync sets "ozone.audit.log.sync": always loses a record whose
// sync fails, interval tells of it soon, never does not try.
func TestKeyAuditSync(t *testing.T) {
	t.Parallel()
	servers := map[string]*server{}
	for _, sync := range []string{"always", "interval", "never"} {
		servers[sync] = pipedAudit(t, false, "ozone.audit.log.sync="+sync)
		servers[sync].must("PUT", "/photos", nil)
	}
	failed := func(sync string) bool { return strings.Contains(servers[sync].log.String(), "audit log: write failed") }
	wait(t, "syncs", func() bool { return failed("always") && failed("interval") })
	if failed("never") {
		t.Error("never: it was synced")
	}
	wait(t, "the record is lost", func() bool { return servers["always"].metric("o3_audit_lost_total") > 0 })
	for sync, want := range map[string]float64{"always": 1, "interval": 0, "never": 0} {
		if n := servers[sync].metric("o3_audit_lost_total"); n != want {
			t.Errorf("%s: %v records lost", sync, n)
		}
	}
}
