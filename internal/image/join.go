package image

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"o3/internal/consensus/raftlog"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/pebblekv"
	"o3/internal/schema"
)

// alone returns the membership of a group of one.
func (m *Manifest) alone() ([]byte, error) {
	return proto.Marshal(&pb.ConfState{Voters: []uint64{uint64(m.Node.Number)}})
}

// isAlone reports whether the image's node was the only member.
func (m *Manifest) isAlone() bool {
	c := &pb.ConfState{}
	return proto.Unmarshal(m.Conf, c) == nil &&
		c.Equivalent(&pb.ConfState{Voters: []uint64{uint64(m.Node.Number)}}) == nil
}

// stands checks that the store at at is where the manifest says.
func stands(at places, m *Manifest) error {
	s, err := openStore(at.fs, at.store, m.StoreName)
	if err != nil {
		return err
	}
	pos, _, err := fsm.ReadPosition(s)
	if err = errors.Join(err, s.Close()); err != nil {
		return diskFault("Import", at.store, err)
	}
	if pos.Index != m.Index || pos.Term != m.Term || pos.Digest.String() != m.Digest {
		return fault(errs.Corrupt, "Import", at.store, "it is at index %d of term %d, digest %s; the manifest says index %d of term %d, digest %s",
			pos.Index, pos.Term, pos.Digest, m.Index, m.Term, m.Digest)
	}
	return nil
}

// join makes the restored node the only member of its group: the machine's
// position says who the members are.
func (i *importing) join() error {
	if i.m.isAlone() {
		return nil
	}
	s, err := pebblekv.Open(pebblekv.Options{
		FS: i.fs, Dir: i.at.store, Name: i.m.StoreName, Version: i.m.Format, DisableWAL: true, CacheBytes: 8 << 20, DiskSlowAfter: -1,
	})
	if err != nil {
		return err
	}
	err = i.setConf(s)
	if err == nil {
		err = s.Flush()
	}
	return diskFault("Import", i.at.store, errors.Join(err, s.Close()))
}

func (i *importing) setConf(s *pebblekv.Store) error {
	row, ok, err := schema.Meta.Get(s, schema.PositionKey)
	if err != nil {
		return err
	}
	if !ok {
		return errs.New(errs.Corrupt, i.at.store, "it has no position")
	}
	if row.Conf, err = i.m.alone(); err != nil {
		return err
	}
	value, err := schema.Meta.Encode(row)
	if err != nil {
		return err
	}
	b := s.NewBatch()
	defer b.Close()
	if err := b.Set(schema.Meta.Key(schema.PositionKey), value); err != nil {
		return err
	}
	return b.Commit(false)
}

// apart is how many terms a restored log leaves out: no entry of it has index and
// term of one that the lost node wrote after the image.
const apart = 1 << 20

// log writes a Raft log that begins behind the image: empty, base and commit at
// its index.
func (i *importing) log() error { return i.logWith(nil) }

// logWith writes a Raft log that begins behind the image and holds the entries
// of tail, all of them committed.
func (i *importing) logWith(tail *tail) error {
	conf, err := i.m.alone()
	if err != nil {
		return err
	}
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return err
	}
	l, err := raftlog.Open(raftlog.Options{
		FS: i.fs, Dir: i.path("raft"), NodeID: uint64(i.m.Node.Number), CacheBytes: 1 << 20,
		Incarnation: n.Uint64(), // no batch of this node has the name of one in the tail
	})
	if err != nil {
		return err
	}
	err = l.Write(raftlog.Write{
		Base: &raftlog.Base{Index: i.m.Index, Term: i.m.Term, Conf: conf},
		Hard: hardState(i.m.Term, i.m.Index),
		Sync: true,
	})
	if err == nil && tail != nil {
		err = tail.write(l)
	}
	if err = errors.Join(err, l.Close()); err == nil {
		err = syncDir(i.fs, i.path("raft")) // the log makes files that it does not sync
	}
	if err != nil {
		return fmt.Errorf("image: the log of the restored node: %w", err)
	}
	return nil
}

// hardState is that of a log whose last entry is of this term and committed.
func hardState(term, last uint64) *pb.HardState {
	term += apart
	return &pb.HardState{Term: &term, Vote: new(uint64), Commit: &last}
}
