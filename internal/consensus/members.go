package consensus

import (
	"context"
	"fmt"
	"slices"
	"sync"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"o3/internal/errs"
)

// change is one change of membership on its way; the loop owns it.
type change struct {
	id    batchID
	index uint64 // of its entry; 0: not logged yet
	once  sync.Once
	done  chan struct{}
	at    uint64 // the outcome: the entry that made it so
	err   error
}

func (c *change) finish(at uint64, err error) {
	c.once.Do(func() {
		c.at, c.err = at, err
		close(c.done)
	})
}

// AddLearner adds a node without a vote: it receives an image and the log. Its
// id must never have been used before. Only the leader can; errors are those
// of Propose, Conflict while another change is under way, and Invalid.
func (n *Node) AddLearner(ctx context.Context, id uint64) error {
	return n.changeMembers(ctx, pb.ConfChangeAddLearnerNode, id)
}

// Promote gives a learner a vote. It is refused with PreconditionFailed until
// the learner is within PromoteLag of the end of the log.
func (n *Node) Promote(ctx context.Context, id uint64) error {
	return n.changeMembers(ctx, pb.ConfChangeAddNode, id)
}

// Remove removes a member for ever. The last voter cannot be removed.
func (n *Node) Remove(ctx context.Context, id uint64) error {
	return n.changeMembers(ctx, pb.ConfChangeRemoveNode, id)
}

func (n *Node) changeMembers(ctx context.Context, t pb.ConfChangeType, id uint64) error {
	c := n.submitChange(t, id)
	select {
	case <-c.done:
	case <-n.stopped: // perhaps before the loop took the change up
		c.finish(0, unknown("the node stopped", n.stopErr))
	case <-ctx.Done():
		return interrupted(ctx, ErrOutcomeUnknown)
	}
	if c.err != nil {
		return c.err
	}
	return n.WaitApplied(ctx, c.at)
}

func (n *Node) submitChange(t pb.ConfChangeType, id uint64) *change {
	c := &change{done: make(chan struct{})}
	if !n.in.task(func() { n.proposeChange(c, t, id) }) {
		c.finish(0, unavailable("the node stopped", n.stopErr))
	}
	return c
}

// proposeChange runs in the loop.
func (n *Node) proposeChange(c *change, t pb.ConfChangeType, id uint64) {
	if err := n.mayChange(t, id); err != nil {
		c.finish(0, err)
		return
	}
	n.sequence++
	c.id = batchID{n.opt.ID, n.log.Incarnation(), n.sequence}
	err := n.rn.ProposeConfChange(&pb.ConfChangeV2{
		Changes: []*pb.ConfChangeSingle{{Type: t.Enum(), NodeId: &id}},
		Context: appendHeader(nil, c.id),
	})
	if err != nil {
		c.finish(0, unavailable("the change was dropped", err))
		return
	}
	n.change = c
}

func (n *Node) mayChange(t pb.ConfChangeType, id uint64) error {
	v := n.role.Load()
	who := fmt.Sprintf("node %d", id)
	voter, learner := slices.Contains(n.conf.GetVoters(), id), slices.Contains(n.conf.GetLearners(), id)
	switch {
	case v.Role != Leader:
		return notLeader(n.opt.ID, v.Leader)
	case id == 0 || id >= 1<<63:
		return errs.New(errs.Invalid, who, "an id is at least 1")
	case n.change != nil || len(n.conf.GetVotersOutgoing()) > 0:
		return errs.New(errs.Conflict, who, "another change of membership is under way")
	case !n.current:
		return errs.New(errs.Conflict, who, "the leader is new: a change may be under way")
	case t == pb.ConfChangeAddLearnerNode && (voter || learner):
		return errs.New(errs.Invalid, who, "is a member already")
	case t == pb.ConfChangeAddNode && !learner:
		return errs.New(errs.Invalid, who, "only a learner can be promoted")
	case t == pb.ConfChangeRemoveNode && !voter && !learner:
		return errs.New(errs.Invalid, who, "is not a member")
	case t == pb.ConfChangeRemoveNode && voter && len(n.conf.GetVoters()) == 1:
		return errs.New(errs.Invalid, who, "is the last voter")
	case t == pb.ConfChangeAddNode:
		return n.mayPromote(id)
	}
	return nil
}

func (n *Node) mayPromote(id uint64) error {
	last, _ := n.log.LastIndex()
	var p tracker.Progress
	n.rn.WithProgress(func(peer uint64, _ raft.ProgressType, pr tracker.Progress) {
		if peer == id {
			p = pr
		}
	})
	if p.State != tracker.StateReplicate || !n.alive(id) || p.Match+n.opt.PromoteLag < last {
		return errs.New(errs.PreconditionFailed, fmt.Sprintf("node %d", id),
			fmt.Sprintf("has the log up to %d of %d (%s): it is not close enough to vote", p.Match, last, stateName(p.State)))
	}
	return nil
}

// alive reports whether a peer was heard of within an election timeout. (The
// core's own mark is cleared at every check of the quorum.)
func (n *Node) alive(id uint64) bool {
	at, ok := n.heard[id]
	return id == n.opt.ID || ok && n.clock-at <= uint64(n.opt.ElectionTick)
}

// changeLogged finds the pending change among the entries just appended. The
// core puts an empty entry in the place of a change it refuses.
func (n *Node) changeLogged(es []*pb.Entry) {
	c := n.change
	if c == nil || c.index != 0 {
		return
	}
	for _, e := range es {
		if cc, err := changeOf(e); err == nil && cc != nil && string(cc.GetContext()) == string(appendHeader(nil, c.id)) {
			c.index = e.GetIndex()
			return
		}
	}
	c.finish(0, errs.New(errs.Conflict, "membership", "another change is under way"))
	n.change = nil
}

// changeOf returns the change an entry carries, nil if none.
func changeOf(e *pb.Entry) (*pb.ConfChangeV2, error) {
	switch e.GetType() {
	case pb.EntryConfChangeV2:
		cc := &pb.ConfChangeV2{}
		return cc, proto.Unmarshal(e.GetData(), cc)
	case pb.EntryConfChange:
		cc := &pb.ConfChange{}
		err := proto.Unmarshal(e.GetData(), cc)
		return cc.AsV2(), err
	}
	return nil, nil
}

// applyChange puts a committed change in force. Reads stop being answered
// alone, and images that do not know the change stop being offered, before
// Raft can act on it (RULES E3).
func (n *Node) applyChange(e *pb.Entry) (confAt, error) {
	cc, err := changeOf(e)
	if err != nil {
		return confAt{}, errs.Wrap(errs.Corrupt, fmt.Sprintf("raft log entry %d", e.GetIndex()), err)
	}
	n.solo.Store(0)
	n.confAt = e.GetIndex()
	n.conf = n.rn.ApplyConfChange(cc)
	conf, err := marshalConf(n.conf)
	if err != nil {
		return confAt{}, errs.Wrap(errs.Internal, "membership", err)
	}
	n.snapshotPeers()
	if l := n.opt.Listener.Members; l != nil {
		l(conf, e.GetIndex())
	}
	if c := n.change; c != nil && string(cc.GetContext()) == string(appendHeader(nil, c.id)) {
		c.finish(e.GetIndex(), nil)
		n.change = nil
	}
	return confAt{e.GetIndex(), conf}, nil
}

// TransferLeadership makes a voter the leader, and returns when another node
// than this leads. It fails with Unavailable when that has not happened within
// about one election timeout; requests wait meanwhile.
func (n *Node) TransferLeadership(ctx context.Context, to uint64) error {
	asked := make(chan error, 1)
	var began uint64
	ok := n.in.task(func() {
		began = n.clock
		v := n.role.Load()
		switch {
		case v.Role != Leader:
			asked <- notLeader(n.opt.ID, v.Leader)
		case to == n.opt.ID || !slices.Contains(n.conf.GetVoters(), to):
			asked <- errs.New(errs.Invalid, fmt.Sprintf("node %d", to), "is not another voter")
		default:
			n.rn.TransferLeader(to)
			asked <- nil
		}
	})
	if !ok {
		return unavailable("the node stopped", n.stopErr)
	}
	select {
	case err := <-asked:
		if err != nil {
			return err
		}
	case <-n.stopped:
		return unavailable("the node stopped", n.stopErr)
	}
	return n.handedOver(ctx, began)
}

// handedOver waits until this node no longer leads, or no longer tries to.
func (n *Node) handedOver(ctx context.Context, began uint64) error {
	for {
		v, changed := n.Role()
		if v.Role != Leader && v.Leader != 0 {
			return nil
		}
		tried := make(chan bool, 1)
		n.in.later(func() { tried <- n.clock-began > uint64(2*n.opt.ElectionTick) })
		select {
		case <-changed:
		case over := <-tried:
			if over {
				return unavailable("the leadership was not taken over in time", nil)
			}
		case <-ctx.Done():
			return interrupted(ctx, nil)
		case <-n.stopped:
			return unavailable("the node stopped", n.stopErr)
		}
	}
}
