package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"os"

	pb "go.etcd.io/raft/v3/raftpb"

	o3v1 "o3/api/o3/v1"
	"o3/internal/consensus"
	"o3/internal/consensus/raftlog"
	"o3/internal/errs"
	"o3/internal/pebblekv"
	"o3/internal/replica"
	"o3/internal/schema"
)

// synchronize brings the node that is made up to the source's log. An image with
// the bytes of objects stays where it is: the log after it names bytes that did
// not come along.
func (r *run) synchronize(ctx context.Context) error {
	if r.m.Blocks {
		at, err := r.position(ctx)
		switch {
		case err != nil:
			r.say(fmt.Sprintf("the node stands at index %d; the source does not say how far its log is", r.m.Index))
			return ctx.Err()
		case at > r.m.Index:
			r.done.Behind = at - r.m.Index
		}
		r.say(fmt.Sprintf("the node stands at index %d; the source has %d log entries more, whose bytes did not come along", r.m.Index, r.done.Behind))
		return nil
	}
	err := r.replay(ctx)
	if ReasonOf(Synchronization, err) == ReasonDigest {
		// The next run must not go on with it.
		return errors.Join(err, os.Remove(r.o.staged(applyFile)), os.RemoveAll(r.o.staged(nodeDir)))
	}
	return err
}

// replay writes the source's log after the image to the staged node's log, and
// applies it to its store: there the state must have the digest of the source's.
func (r *run) replay(ctx context.Context) (err error) {
	t, err := openTail(r.o.staged(nodeDir), r.m.StoreName, uint64(r.m.Node.Number))
	if err != nil {
		return because(ReasonApply, err)
	}
	defer func() { err = errors.Join(err, t.close()) }()
	var failed []error
	for _, s := range r.peers() {
		state, err := r.follow(ctx, s, t)
		if err == nil {
			return r.compare(t, state)
		}
		if k := errs.KindOf(err); ctx.Err() != nil || k == errs.Corrupt || k == errs.Internal {
			return err
		}
		r.note("source "+s.Name+": its log cannot be read", err)
		failed = append(failed, err)
	}
	err = errors.Join(failed...)
	switch errs.KindOf(err) {
	case errs.Conflict, errs.PreconditionFailed:
		err = because(ReasonHistory, err)
	}
	return err
}

// peers returns the sources, that of the image first.
func (r *run) peers() []Source {
	var out, others []Source
	for _, s := range r.o.Sources {
		if s.Name == r.done.Source {
			out = append(out, s)
		} else {
			others = append(others, s)
		}
	}
	return append(out, others...)
}

// follow reads a source's log to where its state stands now.
func (r *run) follow(ctx context.Context, s Source, t *tail) (*o3v1.LogState, error) {
	q := &o3v1.ReadLogRequest{AfterIndex: t.last.Index, AfterTerm: t.last.Term}
	var state *o3v1.LogState
	first := t.last.Index
	for m, err := range s.Peer.ReadLog(ctx, q) {
		if err != nil {
			return nil, err
		}
		if err := t.append(m.Entries); err != nil {
			return nil, err
		}
		if m.State != nil {
			state = m.State
		}
		r.progress(Progress{Phase: Synchronization, What: "replaying the log", Source: s.Name, Image: r.want,
			Done: int64(t.last.Index - first), Total: int64(max(m.CommitIndex, t.last.Index) - first)})
	}
	if state == nil {
		return nil, errs.New(errs.Unavailable, "source "+s.Name, "its log ended without its state")
	}
	return state, nil
}

// compare compares the state with the source's.
func (r *run) compare(t *tail, want *o3v1.LogState) error {
	if err := t.machine.Flush(); err != nil {
		return because(ReasonApply, err)
	}
	at := t.machine.Position()
	if want.Index != at.Index {
		return errs.New(errs.Unavailable, "source "+r.done.Source, fmt.Sprintf("it says its state at index %d, the log it sent ends at %d", want.Index, at.Index))
	}
	if at.Digest.String() != want.Digest {
		return because(ReasonDigest, errs.New(errs.Corrupt, fmt.Sprintf("the state at index %d", at.Index),
			fmt.Sprintf("it has digest %s, the source's is %s", at.Digest, want.Digest)))
	}
	r.done.Entries, r.done.Index, r.done.Term, r.done.Digest = at.Index-r.m.Index, at.Index, at.Term, want.Digest
	r.att.Index, r.att.Digest = at.Index, want.Digest
	r.say(fmt.Sprintf("%d log entries replayed: index %d, digest %s, as at the source", r.done.Entries, at.Index, want.Digest))
	return nil
}

// tail is the log and the store of a staged node.
type tail struct {
	log     *raftlog.Log
	store   *pebblekv.Store
	machine *replica.Replica
	last    consensus.Position // of the log
}

// openTail opens them: what is in the log is applied to the store.
func openTail(dir, name string, number uint64) (t *tail, err error) {
	t = new(tail)
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if t.log, err = raftlog.Open(raftlog.Options{Dir: dir + "/om/raft", NodeID: number}); err != nil {
		return t, err
	}
	t.store, err = pebblekv.Open(pebblekv.Options{
		Dir: dir + "/om/store", Name: name, Version: schema.Format, DisableWAL: true, CacheBytes: 32 << 20, DiskSlowAfter: -1,
	})
	if err != nil {
		return t, err
	}
	if t.machine, err = replica.Open(t.store); err != nil {
		return t, err
	}
	if t.last.Index, err = t.log.LastIndex(); err == nil {
		t.last.Term, err = t.log.Term(t.last.Index)
	}
	if err != nil {
		return t, err
	}
	return t, t.catchUp()
}

// apart is how many terms the node's own entries are from the source's, as package
// image has it: no entry of both has the same index and term.
const apart = 1 << 20

// piece bounds what is read of the log at once, in bytes.
const piece = 4 << 20

// catchUp applies what the log has and the store has not: a run was cut off.
func (t *tail) catchUp() error {
	for at := t.machine.Applied().Index; at < t.last.Index; at = t.machine.Applied().Index {
		es, err := t.log.Entries(at+1, t.last.Index+1, piece)
		if err != nil {
			return err
		}
		if err := t.apply(es); err != nil {
			return err
		}
	}
	return nil
}

// append adds entries of the source to the log, durably, and then to the store.
func (t *tail) append(list []*o3v1.LogEntry) error {
	if len(list) == 0 {
		return nil
	}
	es := make([]*pb.Entry, 0, len(list))
	next := t.last.Index + 1
	for _, e := range list {
		if e.Index != next {
			return errs.New(errs.Corrupt, "log of the source", fmt.Sprintf("entry %d came in place of %d", e.Index, next))
		}
		if e.Type != o3v1.LogEntry_TYPE_NORMAL {
			return errs.New(errs.Conflict, "log of the source",
				fmt.Sprintf("entry %d changes the members of the group: a newer image is needed", e.Index))
		}
		index, term := e.Index, e.Term
		es = append(es, &pb.Entry{Index: &index, Term: &term, Type: pb.EntryNormal.Enum(), Data: e.Data})
		next++
	}
	last := es[len(es)-1]
	hard := t.log.HardState()
	commit := last.GetIndex()
	term := max(hard.GetTerm(), last.GetTerm()+apart)
	vote := uint64(0)
	err := t.log.Write(raftlog.Write{Entries: es, Hard: &pb.HardState{Term: &term, Vote: &vote, Commit: &commit}, Sync: true})
	if err != nil {
		return because(ReasonApply, err)
	}
	t.last = consensus.Position{Index: last.GetIndex(), Term: last.GetTerm()}
	return t.apply(es)
}

func (t *tail) apply(es []*pb.Entry) error {
	out := make([]consensus.Entry, 0, len(es))
	for _, e := range es {
		requests, err := consensus.DecodeRequests(e.GetData())
		if err != nil {
			return err
		}
		out = append(out, consensus.Entry{Index: e.GetIndex(), Term: e.GetTerm(), Requests: requests})
	}
	_, err := t.machine.Apply(out)
	return because(ReasonApply, err)
}

// close closes what is open.
func (t *tail) close() (err error) {
	if t.store != nil {
		err = t.store.Close()
	}
	if t.log != nil {
		err = errors.Join(err, t.log.Close())
	}
	return err
}
