package consensus

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// Role is what a node is in its group.
type Role uint8

// The roles.
const (
	Follower Role = iota
	Candidate
	Leader
	Learner  // receives everything, has no vote
	Outsider // not a member: waits to be added, or was removed
)

// String returns the role's name.
func (r Role) String() string {
	return [...]string{"follower", "candidate", "leader", "learner", "outsider"}[r]
}

// Status describes a node at a moment. Peers and members are those of the
// last tick.
type Status struct {
	ID, Term, Leader uint64 // Leader 0: unknown
	Role             Role
	Incarnation      uint64 // counts the starts of this node
	Applied, Commit  uint64
	Durable          uint64 // the state machine would keep so much; updated each second or so
	First, Last      uint64 // the log is [First, Last]
	LogBytes         int64  // about
	Voters, Learners []uint64
	Peers            []PeerStatus // at the leader, ascending by id, itself included
	QueuedRequests   int
	Holds            map[string]uint64 // see Hold
}

// PeerStatus is how the leader sees a member.
type PeerStatus struct {
	ID          uint64
	Match, Next uint64 // replicated up to Match, Next is sent next
	State       string // "probe", "replicate" or "image": it needs one
	Active      bool   // heard of within an election timeout
	Learner     bool
}

// roleView is replaced as a whole; changed is closed when it is.
type roleView struct {
	Role    Role
	Term    uint64
	Leader  uint64
	since   uint64 // tick
	changed chan struct{}
}

type groupView struct {
	voters, learners []uint64
	peers            []PeerStatus
}

// Status returns the node's status.
func (n *Node) Status() Status {
	v, g := n.role.Load(), n.peers.Load()
	s := Status{
		ID: n.opt.ID, Term: v.Term, Leader: v.Leader, Role: v.Role, Incarnation: n.log.Incarnation(),
		Applied: n.applied.Load(), Commit: n.commit.Load(), Durable: n.durable.Load(),
		Voters: g.voters, Learners: g.learners, Peers: g.peers, Holds: n.holds.copy(),
	}
	s.First, _ = n.log.FirstIndex()
	s.Last, _ = n.log.LastIndex()
	s.LogBytes = n.log.BytesAfter(s.First - 1)
	n.in.mu.Lock()
	s.QueuedRequests = n.in.waiting
	n.in.mu.Unlock()
	return s
}

// Role returns the node's role, term and leader, and a channel that is closed
// when any of them changes.
func (n *Node) Role() (RoleChange, <-chan struct{}) {
	v := n.role.Load()
	return RoleChange{Role: v.Role, Term: v.Term, Leader: v.Leader}, v.changed
}

// alone reports whether this node is the only voter.
func (n *Node) alone() bool {
	return len(n.conf.GetVoters()) == 1 && n.conf.GetVoters()[0] == n.opt.ID && len(n.conf.GetVotersOutgoing()) == 0
}

// publish shows the world what Raft's state is now, and draws the
// consequences of a lost leadership before any further message is sent.
func (n *Node) publish() {
	st := n.rn.BasicStatus()
	old := n.role.Load()
	v := roleView{Role: n.roleOf(st.RaftState), Term: st.GetTerm(), Leader: st.Lead}
	n.commit.Store(st.GetCommit())
	if v.Role != old.Role || v.Term != old.Term || v.Leader != old.Leader {
		if old.Role == Leader && (v.Role != Leader || v.Term != old.Term) {
			n.deposed()
		}
		v.since, v.changed = n.clock, make(chan struct{})
		n.role.Store(&v)
		close(old.changed)
		n.snapshotPeers()
		if l := n.opt.Listener.Role; l != nil {
			l(RoleChange{Role: v.Role, Term: v.Term, Leader: v.Leader})
		}
	}
	if v.Role != Leader {
		return
	}
	if !n.current {
		t, err := n.log.Term(st.GetCommit())
		n.current = err == nil && t == v.Term
	}
	switch {
	case !n.current || !n.alone():
		n.solo.Store(0)
	case n.solo.Load() == 0:
		n.solo.Store(st.GetCommit())
	}
}

// deposed answers those whom only a leader can promise anything.
func (n *Node) deposed() {
	n.solo.Store(0)
	n.current = false
	n.flights.failAll(unknown("the node lost its leadership before the request was known to be committed", nil), false)
	clear(n.watch)
	if n.change != nil {
		n.change.finish(0, unknown("the node lost its leadership before the change was known to be committed", nil))
		n.change = nil
	}
}

func (n *Node) roleOf(s raft.StateType) Role {
	switch {
	case s == raft.StateLeader:
		return Leader
	case slices.Contains(n.conf.GetLearners(), n.opt.ID) || slices.Contains(n.conf.GetLearnersNext(), n.opt.ID):
		return Learner
	case !slices.Contains(n.conf.GetVoters(), n.opt.ID) && !slices.Contains(n.conf.GetVotersOutgoing(), n.opt.ID):
		return Outsider
	case s == raft.StateFollower:
		return Follower
	}
	return Candidate
}

// snapshotPeers refreshes what Status shows of the group.
func (n *Node) snapshotPeers() {
	g := &groupView{voters: slices.Clone(n.conf.GetVoters()), learners: slices.Clone(n.conf.GetLearners())}
	if n.role.Load().Role == Leader {
		n.rn.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
			g.peers = append(g.peers, PeerStatus{
				ID: id, Match: p.Match, Next: p.Next, State: stateName(p.State),
				Active: n.alive(id), Learner: p.IsLearner,
			})
		})
		slices.SortFunc(g.peers, func(a, b PeerStatus) int { return int(int64(a.ID) - int64(b.ID)) })
	}
	n.peers.Store(g)
}

func stateName(s tracker.StateType) string {
	switch s {
	case tracker.StateReplicate:
		return "replicate"
	case tracker.StateSnapshot:
		return "image"
	}
	return "probe"
}
