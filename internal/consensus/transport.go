package consensus

import (
	pb "go.etcd.io/raft/v3/raftpb"
)

// Transport carries messages to other nodes. It may lose, delay, duplicate and
// reorder them; it must not change them, and must not deliver one sent to
// another node or by one that is not a member.
type Transport interface {
	// Send queues messages and returns at once. Messages are shared with the
	// log and must not be changed.
	Send([]Message)
}

// Message is one message between nodes: exactly one of Raft, Ask and Answer.
type Message struct {
	From, To uint64
	Raft     *pb.Message
	Ask      *Ask
	Answer   *Answer
}

// Ask is a leader's question to a peer it sent an image offer.
type Ask struct{}

// Answer tells how the peer gets on.
type Answer struct {
	Incarnation uint64
	Applied     uint64
	Fetching    bool   // an image is being fetched or installed
	Progress    uint64 // bytes fetched so far
}

// Size returns about how many bytes m takes.
func (m Message) Size() int {
	n := 64
	if m.Raft == nil {
		return n
	}
	for _, e := range m.Raft.GetEntries() {
		n += 32 + len(e.GetData())
	}
	if s := m.Raft.GetSnapshot(); s != nil {
		n += len(s.GetData())
	}
	return n
}

type nowhere struct{}

func (nowhere) Send([]Message) {}
