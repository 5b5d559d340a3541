package consensus

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"o3/internal/errs"
)

// LogPart is a piece of the log as ReadLog returns it.
type LogPart struct {
	Entries []*pb.Entry // without a gap, committed and on this node's disk; not to be changed
	Commit  uint64      // the last entry that could be read now
	First   uint64      // the first entry that this node has
}

// ReadLog returns committed entries after index: as many as maxBytes hold, at
// least one if there is any. term is that of the entry at index, as the reader
// has it; 0 is not compared. It takes no lock for longer than a look, so that
// any number of readers disturb neither the log nor its truncation.
//
// Kinds: Conflict (the log does not reach back to index: a newer image is
// needed), PreconditionFailed (index is beyond what is committed, or its entry
// is of another term: the reader's history is another one), Corrupt.
func (n *Node) ReadLog(index, term uint64, maxBytes int) (LogPart, error) {
	n.hand.mu.Lock()
	commit := n.hand.to // committed, and synced here: what follows it may yet be replaced
	n.hand.mu.Unlock()
	first, _ := n.log.FirstIndex()
	part := LogPart{Commit: commit, First: first}
	subject := fmt.Sprintf("log of node %d", n.opt.ID)
	if index > commit {
		return part, errs.New(errs.PreconditionFailed, subject,
			fmt.Sprintf("entries after %d are wanted, it is committed up to %d", index, commit))
	}
	if index == 0 && first == 2 && n.log.Base().Index == 1 {
		index = 1 // the entry that every first voter begins with is in no log
	}
	have, err := n.log.Term(index)
	if err == nil && term != 0 && have != term {
		return part, errs.New(errs.PreconditionFailed, subject, fmt.Sprintf("entry %d is of term %d, not %d: it is of another history", index, have, term))
	}
	if err == nil && index < commit {
		part.Entries, err = n.log.Entries(index+1, commit+1, uint64(max(maxBytes, 1)))
	}
	if errors.Is(err, raft.ErrCompacted) {
		first, _ = n.log.FirstIndex()
		return part, errs.New(errs.Conflict, subject,
			fmt.Sprintf("entries after %d are wanted, it begins with entry %d: a newer image is needed", index, first))
	}
	return part, err
}

// Waiting returns a channel that is closed once the entry at index is applied
// here, and a function to call when nobody waits for it any more.
func (n *Node) Waiting(index uint64) (done <-chan struct{}, forget func()) {
	w := n.waiters.add(index)
	if n.applied.Load() >= index {
		n.waiters.reached(index)
	}
	return w.done, func() { n.waiters.remove(w) }
}

// Stopped is closed when the node ends: what is not applied by then will not be.
func (n *Node) Stopped() <-chan struct{} { return n.stopped }

// DecodeRequests returns the requests in the data of a normal entry, which they
// share the memory of. Kinds: Corrupt, FormatTooNew.
func DecodeRequests(data []byte) ([][]byte, error) {
	if len(data) == 0 {
		return nil, nil
	}
	_, requests, err := decodePayload(data)
	return requests, err
}

// LogBytesAfter estimates the bytes of the entries after index, to about 1 MiB.
func (n *Node) LogBytesAfter(index uint64) int64 { return n.log.BytesAfter(index) }
