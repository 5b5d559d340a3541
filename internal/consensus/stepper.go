package consensus

import (
	"context"

	pb "go.etcd.io/raft/v3/raftpb"
)

// Stepper drives a node by hand, in place of Run: same steps, one goroutine,
// no time. After a method returned an error the node has halted.
type Stepper struct{ n *Node }

// Stepper returns the node's stepper; nil when the node is driven already.
func (n *Node) Stepper() *Stepper {
	if !n.busy.CompareAndSwap(false, true) {
		return nil
	}
	return &Stepper{n}
}

// Node returns the node.
func (s *Stepper) Node() *Node { return s.n }

// Tick lets one tick of time pass; Turn sees it.
func (s *Stepper) Tick() { s.n.in.tick(s.n.opt.ElectionTick) }

// Turn steps what came in and handles at most one Ready.
func (s *Stepper) Turn() (worked bool, err error) { return s.done(s.n.turn()) }

// Apply applies one batch of entries or one image.
func (s *Stepper) Apply() (worked bool, err error) { return s.done(s.n.applyTurn()) }

// Fetch fetches the image that is wanted, if any.
func (s *Stepper) Fetch(ctx context.Context) (worked bool) { return s.n.fetchTurn(ctx) }

// Maintain looks at what is durable, and flushes the machine if it must.
func (s *Stepper) Maintain() error {
	_, err := s.done(false, s.n.maintain())
	return err
}

func (s *Stepper) done(worked bool, err error) (bool, error) {
	if err != nil {
		s.n.end(err)
	}
	return worked, err
}

// AddLearner is Node.AddLearner without the wait.
func (s *Stepper) AddLearner(id uint64) Change {
	return Change{s.n.submitChange(pb.ConfChangeAddLearnerNode, id)}
}

// Promote is Node.Promote without the wait.
func (s *Stepper) Promote(id uint64) Change {
	return Change{s.n.submitChange(pb.ConfChangeAddNode, id)}
}

// Remove is Node.Remove without the wait.
func (s *Stepper) Remove(id uint64) Change {
	return Change{s.n.submitChange(pb.ConfChangeRemoveNode, id)}
}

// Transfer asks for another leader, without the wait.
func (s *Stepper) Transfer(to uint64) {
	s.n.in.task(func() { s.n.rn.TransferLeader(to) })
}

// Change is a change of membership on its way, for a Stepper.
type Change struct{ c *change }

// Done is closed when Err can be asked.
func (c Change) Done() <-chan struct{} { return c.c.done }

// Err returns the outcome; it must not be called before Done is closed.
func (c Change) Err() error { return c.c.err }

// Campaign starts an election, as a timeout would.
func (s *Stepper) Campaign() {
	s.n.in.task(func() { s.n.step(s.n.rn.Campaign()) })
}
