package recon

import (
	"testing"

	"o3/internal/recon/staging"
)

// TestQueueStaysClean: who asks for a stage of nothing that was left gets one, also
// when somebody asks for a larger one after it.
func TestQueueStaysClean(t *testing.T) {
	s := New(Options{Dir: t.TempDir()})
	first := s.wish(ask{kind: staging.Local, reason: ReasonRebuild, clean: true, manual: true})
	second := s.wish(ask{kind: staging.Full, reason: ReasonTruncated})
	if q := s.queue; !second.Joined || second.StagingID != first.StagingID || q.kind != staging.Full || q.reason != ReasonTruncated || !q.clean {
		t.Errorf("%+v, %+v, %+v", first, second, q)
	}
}
