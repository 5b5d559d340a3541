// Package fsm is the state machine behind the Raft log: it applies entries of
// requests, one after another, and writes the net change of a run of entries
// together with its position (index, term, op, time, digest) in one batch. It
// is pure, has no goroutines and belongs to one goroutine at a time.
//
// Guarantees: what is in the store is exactly the effect of the entries up to
// the position's index; an entry at or below it is skipped, a gap is a fault;
// two machines at the same index have the same rows and the same digest.
package fsm

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/kv/overlay"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Entry is a committed log entry.
type Entry struct {
	Index, Term uint64
	Conf        []byte   // Raft's ConfState after it, when the entry changes the members
	Requests    [][]byte // encoded commandpb.Request
}

// marshal is deterministic: answers are stored.
var marshal = proto.MarshalOptions{Deterministic: true}

// Machine applies entries to a store.
type Machine struct {
	store  kv.Store
	rows   *overlay.Overlay
	tx     *command.Tx
	pos    schemapb.Position
	digest Digest
	strict bool

	watch    func(Run, kv.Reader) error // see Watch
	settings uint64                     // of this process; see Settings
	holds    uint64                     // of this process; see Holds
}

// Open returns a machine that continues where store stands. An empty store
// becomes one of the newest format, at the given start position; one of an older
// format is raised to the newest, and older programs refuse it from then on.
func Open(store kv.Store, start Position) (*Machine, error) {
	m := &Machine{store: store, rows: overlay.New(store)}
	m.tx = command.NewTx(m.rows)
	pos, ok, err := ReadPosition(store)
	if err != nil {
		return nil, err
	}
	if !ok {
		return m, m.initialize(start)
	}
	m.set(pos)
	return m, m.raise()
}

// Strict makes a command that writes before it refuses a fault. Tests use it.
func (m *Machine) Strict() { m.strict = true }

// Settings returns a number that grows with each command that changes what
// requests are checked against (command.Kind.ChangesSettings): what was read
// under it holds while it stays.
func (m *Machine) Settings() uint64 { return m.settings }

// Holds returns a number that grows with each command that changes the leases on
// the log.
func (m *Machine) Holds() uint64 { return m.holds }

// initialize writes the first rows of an empty store.
func (m *Machine) initialize(start Position) error {
	it, err := m.store.Iter(nil, []byte{schema.NodeLocal})
	if err != nil {
		return err
	}
	lost := it.First()
	if err := errors.Join(it.Err(), it.Close()); err != nil {
		return err
	}
	if lost {
		return errs.New(errs.Corrupt, "store", "it has rows but no position: it was damaged, or is not one of ours")
	}
	b := m.store.NewBatch()
	defer b.Close()
	if err := saveFormat(b); err != nil {
		return err
	}
	m.pos = schemapb.Position{Index: start.Index, Term: start.Term, Conf: start.Conf}
	if err := m.savePosition(b); err != nil {
		return err
	}
	return b.Commit(false)
}

// Apply applies entries in order and answers each of their requests: the
// encoded commandpb.Reply of request j of entry i is answers[i][j]; it is nil
// for an entry that was applied before. On an error nothing of the call is in
// the store, and the machine must not be used again.
func (m *Machine) Apply(entries []Entry) (answers [][][]byte, err error) {
	defer m.rows.Reset(m.store)
	after := m.pos.Index
	answers = make([][][]byte, len(entries))
	for i, e := range entries {
		if e.Index <= m.pos.Index {
			continue
		}
		if e.Index != m.pos.Index+1 {
			return nil, errs.New(errs.Corrupt, "state machine",
				fmt.Sprintf("entry %d cannot follow entry %d", e.Index, m.pos.Index))
		}
		if answers[i], err = m.applyEntry(e); err != nil {
			return nil, err
		}
	}
	return answers, m.commit(after)
}

func (m *Machine) applyEntry(e Entry) ([][]byte, error) {
	answers := make([][]byte, len(e.Requests))
	for j, raw := range e.Requests {
		var req commandpb.Request
		if err := proto.Unmarshal(raw, &req); err != nil {
			return nil, errs.New(errs.Corrupt, fmt.Sprintf("entry %d", e.Index), err.Error())
		}
		reply, err := m.applyRequest(&req)
		if err != nil {
			return nil, fmt.Errorf("entry %d, request %d (%v): %w", e.Index, j, command.Kind(req.Kind), err)
		}
		answers[j] = reply
	}
	m.pos.Index, m.pos.Term = e.Index, e.Term
	if e.Conf != nil {
		m.pos.Conf = e.Conf
	}
	return answers, nil
}

// applyRequest gives a request its op, applies it and encodes the answer.
func (m *Machine) applyRequest(req *commandpb.Request) ([]byte, error) {
	m.pos.TimeMs = max(m.pos.TimeMs, req.TimeMs)
	answer, err := m.tx.Answered(req.Stamp)
	if err != nil && !command.IsFault(err) {
		reply := &commandpb.Reply{Op: m.pos.Op}
		refuse(reply, err)
		return marshal.Marshal(reply)
	}
	if err != nil || answer != nil {
		return answer, err
	}
	m.pos.Op++
	if command.Kind(req.Kind).ChangesSettings() {
		m.settings++
	}
	if command.Kind(req.Kind).ChangesHolds() {
		m.holds++
	}
	if err := m.tx.Begin(ns.Op(m.pos.Op), m.pos.TimeMs, req.Principal, req.BucketId); err != nil {
		return nil, err
	}
	body, err := command.Apply(m.tx, command.Kind(req.Kind), req.Body)
	reply := &commandpb.Reply{Op: m.pos.Op}
	switch {
	case err == nil:
		if err := m.tx.End(); err != nil {
			return nil, err
		}
		if body != nil {
			if reply.Body, err = marshal.Marshal(body); err != nil {
				return nil, err
			}
		}
	case command.IsFault(err):
		return nil, err
	default:
		if m.strict && m.tx.Writes() > 0 {
			return nil, errs.New(errs.Internal, "refused after a write", err.Error())
		}
		refuse(reply, err)
	}
	raw, err := marshal.Marshal(reply)
	if err != nil {
		return nil, err
	}
	return raw, m.tx.Remember(req.Stamp, m.pos.TimeMs, raw)
}

// commit writes the net change of the rows and the position.
func (m *Machine) commit(after uint64) error {
	if err := m.tx.Flush(); err != nil {
		return err
	}
	b := m.store.NewBatch()
	defer b.Close()
	run := Run{After: after, Index: m.pos.Index}
	err := m.rows.Changes(func(key, old []byte, oldOK bool, value []byte, ok bool) error {
		if m.watch != nil {
			run.add(key, old, oldOK, value, ok)
		}
		if oldOK {
			m.digest.Remove(key, old)
		}
		if !ok {
			return b.Delete(key)
		}
		m.digest.Add(key, value)
		return b.Set(key, value)
	})
	if err != nil {
		return err
	}
	if m.watch != nil && run.Index > after {
		if err := m.watch(run, m.rows); err != nil {
			return err
		}
	}
	if err := m.savePosition(b); err != nil {
		return err
	}
	return b.Commit(false)
}

func (m *Machine) savePosition(b kv.Batch) error {
	m.pos.DigestHi, m.pos.DigestLo = m.digest.Hi, m.digest.Lo
	value, err := schema.Meta.Encode(&m.pos)
	if err != nil {
		return err
	}
	return b.Set(schema.Meta.Key(schema.PositionKey), value)
}
