package consensus

import (
	"bytes"
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"o3/internal/errs"
)

// start brings log and machine together and makes the Raft core (RULES E14,
// E16, E21, E22, E24).
func (n *Node) start() error {
	if err := n.bootstrap(); err != nil {
		return err
	}
	if err := n.redoInstall(); err != nil {
		return err
	}
	if err := n.giveFirst(); err != nil {
		return err
	}
	pos := n.sm.Applied()
	if err := n.fits(pos); err != nil {
		return err
	}
	conf := pos.Conf
	if n.opt.faults.ForgetConf {
		conf = n.log.Base().Conf
	}
	n.conf = &pb.ConfState{}
	if err := proto.Unmarshal(conf, n.conf); err != nil {
		return errs.Wrap(errs.Corrupt, "the state machine's membership", err)
	}
	applied := pos.Index
	if n.opt.faults.Reapply && applied > 2 {
		applied--
	}
	hs := n.log.HardState()
	n.hard = &pb.HardState{Term: hs.Term, Vote: hs.Vote, Commit: new(uint64)}
	*n.hard.Commit = max(hs.GetCommit(), applied)
	n.applied.Store(applied)
	n.commit.Store(*n.hard.Commit)
	n.hand.to = applied
	n.hand.done = applied
	return n.makeRaft(applied)
}

// bootstrap gives an empty log its base, if this is a first voter.
func (n *Node) bootstrap() error {
	if !n.log.Empty() {
		return nil
	}
	if pos := n.sm.Applied(); pos.Index > 0 {
		return errs.New(errs.Corrupt, fmt.Sprintf("raft log of node %d", n.opt.ID),
			fmt.Sprintf("it is empty, but the state machine is at index %d: the log was lost. The node must be rebuilt under a new id, or its log restored", pos.Index))
	}
	if len(n.opt.Bootstrap) == 0 {
		return nil
	}
	conf, err := proto.Marshal(&pb.ConfState{Voters: n.opt.Bootstrap})
	if err != nil {
		return errs.Wrap(errs.Internal, "bootstrap", err)
	}
	return n.log.Bootstrap(conf)
}

// redoInstall completes an installation that a crash interrupted: the base
// record is its intent.
func (n *Node) redoInstall() error {
	base := n.log.Base()
	if len(base.Image) == 0 || n.sm.Applied().Index >= base.Index {
		return nil
	}
	if n.opt.Images == nil {
		return errs.New(errs.Internal, "image", fmt.Sprintf("the log begins with an image at index %d and there is nothing to install it", base.Index))
	}
	return n.install(ImageMeta{Index: base.Index, Term: base.Term, Conf: base.Conf, Manifest: base.Image})
}

// giveFirst gives an empty machine the entry every first voter begins with.
func (n *Node) giveFirst() error {
	base := n.log.Base()
	if n.sm.Applied().Index != 0 || base.Index != 1 {
		return nil
	}
	if first, _ := n.log.FirstIndex(); first != 2 {
		return errs.New(errs.Corrupt, "state machine", fmt.Sprintf("it is empty, and the log starts only at index %d: the state was lost", first))
	}
	_, err := n.sm.Apply([]Entry{{Index: 1, Term: base.Term, Conf: base.Conf}})
	return err
}

// fits checks that the machine's position is one the log can continue from.
func (n *Node) fits(pos Position) error {
	first, _ := n.log.FirstIndex()
	last, _ := n.log.LastIndex()
	bad := func(format string, a ...any) error {
		return errs.New(errs.Corrupt, fmt.Sprintf("node %d", n.opt.ID), fmt.Sprintf(format, a...))
	}
	switch {
	case pos.Index == 0 && last == 0:
		return nil // waits to be added to a group
	case pos.Index > last:
		return bad("the state machine is at index %d, but the log ends at %d: the end of the log was lost", pos.Index, last)
	case pos.Index+1 < first:
		return bad("the state machine is at index %d, but the log starts at %d: entries between are gone", pos.Index, first)
	case len(pos.Conf) == 0:
		return bad("the state machine is at index %d without a membership", pos.Index)
	}
	term, err := n.log.Term(pos.Index)
	if err != nil {
		return err
	}
	if term != pos.Term {
		return bad("entry %d is of term %d in the state machine and of term %d in the log: they do not belong together", pos.Index, pos.Term, term)
	}
	return nil
}

func (n *Node) makeRaft(applied uint64) (err error) {
	defer recovered(&err)
	n.rn, err = raft.NewRawNode(&raft.Config{
		ID:                        n.opt.ID,
		ElectionTick:              n.opt.ElectionTick,
		HeartbeatTick:             n.opt.HeartbeatTick,
		Storage:                   storage{n.log, n},
		Applied:                   applied,
		MaxSizePerMsg:             uint64(n.opt.MaxEntryBytes),
		MaxCommittedSizePerReady:  64 << 20,
		MaxInflightMsgs:           256,
		MaxInflightBytes:          uint64(max(64<<20, 2*n.opt.MaxEntryBytes)),
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		Logger:                    raftLogger{n.opt.Listener.Debug},
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
	})
	if err != nil {
		return halted("raft", err)
	}
	n.publish()
	return nil
}

// install switches the machine to an image and checks that it did.
func (n *Node) install(m ImageMeta) error {
	n.machine.Lock()
	defer n.machine.Unlock()
	if err := n.opt.Images.Install(m); err != nil {
		return fmt.Errorf("installing the image at index %d: %w", m.Index, err)
	}
	pos := n.sm.Applied()
	if pos.Index != m.Index || pos.Term != m.Term || !bytes.Equal(pos.Conf, m.Conf) {
		return errs.New(errs.Internal, "image", fmt.Sprintf("installed at index %d of term %d, the state machine is at %d of term %d",
			m.Index, m.Term, pos.Index, pos.Term))
	}
	if l := n.opt.Listener.Image; l != nil {
		l("installed", m)
	}
	return nil
}
