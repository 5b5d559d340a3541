package consensus

import (
	"fmt"
	"runtime/debug"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"o3/internal/consensus/raftlog"
	"o3/internal/errs"
)

// turn does once what there is to do: it steps what came in, then handles one
// Ready. It reports whether there was anything.
func (n *Node) turn() (worked bool, err error) {
	defer recovered(&err)
	if n.first {
		n.first = false
		if n.alone() {
			n.step(n.rn.Campaign()) // nobody else could lead: why wait
		}
	}
	m := n.in.take()
	// Kept before anything can fail: whoever waits hears of the end.
	n.queue = append(n.queue, m.proposals...)
	n.reads.add(m.reads, n.clock+uint64(m.ticks))
	for _, msg := range m.messages {
		if err := n.receive(msg); err != nil {
			return true, err
		}
	}
	for range m.ticks {
		if err := n.tick(); err != nil {
			return true, err
		}
	}
	for _, f := range m.tasks {
		f()
	}
	n.publish()
	if err := n.pack(); err != nil {
		return true, err
	}
	n.ask()
	if !n.rn.HasReady() {
		n.publish()
		return !m.empty(), nil
	}
	n.publish()
	if err := n.ready(n.rn.Ready()); err != nil {
		return true, err
	}
	n.publish()
	return true, nil
}

// ready handles one Ready in the order of RULES E20. Committed entries that
// were synced in an earlier turn are handed over first, so that they are
// applied while this turn's entries are synced.
func (n *Node) ready(rd raft.Ready) error {
	early, late := n.split(rd.Messages)
	n.send(early)
	synced := len(rd.CommittedEntries)
	if len(rd.Entries) > 0 {
		lo := rd.Entries[0].GetIndex()
		for synced > 0 && rd.CommittedEntries[synced-1].GetIndex() >= lo {
			synced--
		}
	}
	if !raft.IsEmptySnap(rd.Snapshot) {
		synced = 0
	}
	if err := n.handOver(rd.CommittedEntries[:synced]); err != nil {
		return err
	}
	meta, err := n.persist(rd)
	if err != nil {
		return err
	}
	n.send(late)
	if meta != nil {
		n.adoptImage(*meta, rd.Snapshot)
	}
	if err := n.handOver(rd.CommittedEntries[synced:]); err != nil {
		return err
	}
	n.answered(rd.ReadStates)
	n.changeLogged(rd.Entries)
	n.rn.Advance(rd)
	return nil
}

// split separates what a leader may send before its own disk has synced.
func (n *Node) split(ms []*pb.Message) (early, late []*pb.Message) {
	if n.role.Load().Role != Leader {
		return nil, ms
	}
	for _, m := range ms {
		switch m.GetType() {
		case pb.MsgApp, pb.MsgHeartbeat, pb.MsgSnap:
			early = append(early, m)
		default:
			late = append(late, m)
		}
	}
	return early, late
}

func (n *Node) send(ms []*pb.Message) {
	if len(ms) == 0 {
		return
	}
	out := make([]Message, len(ms))
	for i, m := range ms {
		out[i] = Message{From: n.opt.ID, To: m.GetTo(), Raft: m}
		if m.GetType() == pb.MsgSnap {
			n.offered(m)
		}
	}
	n.opt.Transport.Send(out)
}

// persist writes a Ready's snapshot, entries and hard state as one batch. It
// returns the image to install, if there is one.
func (n *Node) persist(rd raft.Ready) (*ImageMeta, error) {
	w := raftlog.Write{Entries: rd.Entries, Hard: rd.HardState, Sync: rd.MustSync}
	var meta *ImageMeta
	if s := rd.Snapshot; !raft.IsEmptySnap(s) {
		var err error
		if meta, err = n.admitted(s); err != nil {
			return nil, err
		}
		w.Base = &raftlog.Base{Index: meta.Index, Term: meta.Term, Conf: meta.Conf, Image: meta.Manifest}
		w.Sync = true // whatever MustSync says
	}
	if w.Base == nil && len(w.Entries) == 0 && raft.IsEmptyHardState(w.Hard) {
		return nil, nil
	}
	if n.opt.faults.AnswerBeforeSync {
		w.Sync = false
	}
	began := time.Now()
	if err := n.log.Write(w); err != nil {
		return nil, err
	}
	if l := n.opt.Listener.Appended; l != nil && w.Sync {
		a := Append{Entries: len(w.Entries), Took: time.Since(began)}
		for _, e := range w.Entries {
			a.Bytes += len(e.GetData())
		}
		l(a)
	}
	return meta, nil
}

// handOver gives committed, synced entries to the applier. Changes of
// membership take effect in Raft here; the state machine learns of them with
// their entry.
func (n *Node) handOver(es []*pb.Entry) error {
	if len(es) == 0 {
		return nil
	}
	var confs []confAt
	for _, e := range es {
		if e.GetType() != pb.EntryNormal {
			c, err := n.applyChange(e)
			if err != nil {
				return err
			}
			confs = append(confs, c)
			continue
		}
		if data := e.GetData(); len(data) > 0 {
			id, _, err := decodeHeader(data)
			if err != nil {
				return err
			}
			if id.node == n.opt.ID && id.incarnation == n.log.Incarnation() {
				n.flights.commit(id.sequence)
			}
		}
	}
	n.hand.give(es[len(es)-1].GetIndex(), confs)
	return nil
}

// receive steps one message from the network.
func (n *Node) receive(m Message) error {
	n.heard[m.From] = n.clock
	switch {
	case m.Ask != nil:
		n.opt.Transport.Send([]Message{{From: n.opt.ID, To: m.From, Answer: n.progress()}})
	case m.Answer != nil:
		n.judge(m.From, *m.Answer)
	case m.Raft != nil:
		switch m.Raft.GetType() {
		case pb.MsgSnap:
			return n.park(m.Raft)
		case pb.MsgProp:
			return nil // requests are never forwarded
		case pb.MsgReadIndex:
			// A group of one would answer from a commit index that may be
			// older than what the term before answered. The asker tries again.
			if n.role.Load().Role == Leader && !n.current {
				return nil
			}
		}
		n.step(n.rn.Step(m.Raft))
	}
	return nil
}

// step takes Raft's word on a message: an error says that it was of no use.
func (n *Node) step(err error) {
	if l := n.opt.Listener.Debug; err != nil && l != nil {
		l("a message was ignored: %v", err)
	}
}

func (n *Node) tick() error {
	n.clock++
	n.rn.Tick()
	n.watchPeers()
	n.snapshotPeers()
	return n.truncate()
}

// recovered makes an error of a panic: the Raft core panics where its storage
// fails or its input cannot be.
func recovered(err *error) {
	switch p := recover().(type) {
	case nil:
	case error:
		*err = halted("raft", fmt.Errorf("%w", p))
		if errs.KindOf(p) == errs.Internal {
			*err = halted("raft", fmt.Errorf("%w\n%s", p, debug.Stack()))
		}
	default:
		*err = halted("raft", fmt.Errorf("%v\n%s", p, debug.Stack()))
	}
}

func marshalConf(c *pb.ConfState) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(c)
}

// storage shows the log to the Raft core.
type storage struct {
	*raftlog.Log
	n *Node
}

func (s storage) InitialState() (*pb.HardState, *pb.ConfState, error) {
	return s.n.hard, s.n.conf, nil
}

func (s storage) Snapshot() (*pb.Snapshot, error) { return s.n.offer() }

// raftLogger passes on what the core says; it panics where the core must not
// go on.
type raftLogger struct{ debug func(string, ...any) }

func (l raftLogger) say(format string, v ...any) {
	if l.debug != nil {
		l.debug(format, v...)
	}
}
func (l raftLogger) Debug(v ...any)                   { l.say("%s", fmt.Sprint(v...)) }
func (l raftLogger) Debugf(format string, v ...any)   { l.say(format, v...) }
func (l raftLogger) Info(v ...any)                    { l.say("%s", fmt.Sprint(v...)) }
func (l raftLogger) Infof(format string, v ...any)    { l.say(format, v...) }
func (l raftLogger) Warning(v ...any)                 { l.say("%s", fmt.Sprint(v...)) }
func (l raftLogger) Warningf(format string, v ...any) { l.say(format, v...) }
func (l raftLogger) Error(v ...any)                   { l.say("%s", fmt.Sprint(v...)) }
func (l raftLogger) Errorf(format string, v ...any)   { l.say(format, v...) }
func (l raftLogger) Fatal(v ...any)                   { panic(fmt.Sprint(v...)) }
func (l raftLogger) Fatalf(format string, v ...any)   { panic(fmt.Sprintf(format, v...)) }
func (l raftLogger) Panic(v ...any)                   { panic(fmt.Sprint(v...)) }
func (l raftLogger) Panicf(format string, v ...any)   { panic(fmt.Sprintf(format, v...)) }
