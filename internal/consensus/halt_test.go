package consensus_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/consensus"
	"o3/internal/errs"
)

// failing is a transport in which the core's own goroutine fails.
type failing struct{ err error }

func (f failing) Send([]consensus.Message) { panic(f.err) }

// TestFailedTurnAnswers: a turn that fails before it looked at what came in with
// the cause of its failure leaves nobody without an answer.
func TestFailedTurnAnswers(t *testing.T) {
	boom := errors.New("boom")
	n, err := consensus.Open(consensus.Options{
		ID: 1, Bootstrap: []uint64{1}, Machine: &counter{}, Dir: "raft", FS: vfs.NewMem(), Transport: failing{boom},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	p, r := n.Submit([]byte("x")), n.SubmitRead()
	n.Deliver([]consensus.Message{{From: 2, To: 1, Ask: &consensus.Ask{}}})
	if _, err := n.Stepper().Turn(); !errors.Is(err, boom) {
		t.Fatalf("the turn returned %v", err)
	}
	select {
	case <-p.Done():
		if _, err := p.Result(); errs.KindOf(err) != errs.Unavailable || errors.Is(err, consensus.ErrOutcomeUnknown) {
			t.Errorf("the request: %v", err)
		}
	default:
		t.Error("the request has no answer")
	}
	select {
	case <-r.Done():
		if _, err := r.Result(); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("the read: %v", err)
		}
	default:
		t.Error("the read has no answer")
	}
}

// TestEndAnswersChanges: a change of membership that the loop has not taken up
// when the node ends is answered.
func TestEndAnswersChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, err := consensus.Open(consensus.Options{ID: 1, Bootstrap: []uint64{1}, Machine: &counter{}, Dir: "raft", FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan error, 1)
		go func() { answer <- n.AddLearner(context.Background(), 2) }()
		synctest.Wait() // it is queued
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := <-answer; errs.KindOf(err) != errs.Unavailable {
			t.Errorf("got %v", err)
		}
	})
}
