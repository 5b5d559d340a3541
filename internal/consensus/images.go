package consensus

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"o3/internal/errs"
)

// What MsgSnap carries as data: the leader's first index (RULES E9), then the
// image's manifest.

func encodeOffer(first uint64, manifest []byte) []byte {
	return append(binary.BigEndian.AppendUint64(nil, first), manifest...)
}

func decodeOffer(s *pb.Snapshot) (m ImageMeta, first uint64, err error) {
	if len(s.GetData()) < 8 {
		return m, 0, errs.New(errs.Invalid, "image offer", fmt.Sprintf("%d bytes", len(s.GetData())))
	}
	md := s.GetMetadata()
	conf, err := marshalConf(md.GetConfState())
	if err != nil {
		return m, 0, errs.Wrap(errs.Invalid, "image offer", err)
	}
	return ImageMeta{Index: md.GetIndex(), Term: md.GetTerm(), Conf: conf, Manifest: s.GetData()[8:]},
		binary.BigEndian.Uint64(s.GetData()), nil
}

// offer is Storage.Snapshot: the newest image if a follower can go on from it,
// else "not yet" and the start of a new one (E1, E3). An image made before the
// membership in force is never offered: its receiver would not find itself in
// it and ignore it.
func (n *Node) offer() (*pb.Snapshot, error) {
	if n.opt.Images == nil {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	first, _ := n.log.FirstIndex()
	m, ok := n.opt.Images.Latest()
	if ok && m.Index+1 >= first && m.Index >= n.confAt {
		cs := &pb.ConfState{}
		if err := proto.Unmarshal(m.Conf, cs); err == nil && cs.Equivalent(n.conf) == nil {
			return &pb.Snapshot{
				Data:     encodeOffer(first, m.Manifest),
				Metadata: &pb.SnapshotMetadata{Index: &m.Index, Term: &m.Term, ConfState: cs},
			}, nil
		}
	}
	n.opt.Images.Prepare(max(first-1, n.confAt, 1))
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

func (n *Node) offered(m *pb.Message) {
	delete(n.watch, m.GetTo()) // a new offer is watched from the start
	if l := n.opt.Listener.Image; l != nil {
		if meta, _, err := decodeOffer(m.GetSnapshot()); err == nil {
			l("offered", meta)
		}
	}
}

// intake is a receiver's state; the loop owns it. Raft must not see an offer
// before its image is here: it would forget the log at once (E6, E7).
type intake struct {
	parked *pb.Message // the newest offer, until it is answered
	staged *ImageMeta  // fetched and valid, not yet installed
}

// park takes an offer.
func (n *Node) park(m *pb.Message) error {
	meta, _, err := decodeOffer(m.GetSnapshot())
	if err != nil || n.opt.Images == nil {
		return nil // the leader's watchdog will notice
	}
	if meta.Index <= max(n.applied.Load(), n.commit.Load()) {
		n.step(n.rn.Step(m)) // nothing to install: the answer heals the leader
		return nil
	}
	in := &n.intake
	if in.staged != nil && in.staged.Index <= n.commit.Load() {
		in.staged = nil // the log came first
	}
	if in.parked == nil || m.GetTerm() >= in.parked.GetTerm() {
		in.parked = m
	}
	if l := n.opt.Listener.Image; l != nil {
		l("parked", meta)
	}
	if in.staged != nil && n.admit() {
		return nil
	}
	n.fetch.want(fetchJob{from: m.GetFrom(), offer: meta})
	return nil
}

// fetched hears of a finished fetch.
func (n *Node) fetched(job fetchJob, m ImageMeta, err error) {
	in := &n.intake
	if err != nil {
		in.parked = nil
		if l := n.opt.Listener.ImageFail; l != nil {
			l(job.from, "fetching the image failed: "+err.Error())
		}
		return
	}
	in.staged = &m
	if l := n.opt.Listener.Image; l != nil {
		l("fetched", m)
	}
	if in.parked != nil && !n.admit() {
		// The leader asks how this gets on, and then offers another one.
		in.parked = nil
	}
}

// admit steps the parked offer with the staged image in its place: index, term
// and membership are the image's (E8). It reports whether it did.
func (n *Node) admit() bool {
	in := &n.intake
	m, img := in.parked, in.staged
	_, first, _ := decodeOffer(m.GetSnapshot())
	cs := &pb.ConfState{}
	switch err := proto.Unmarshal(img.Conf, cs); {
	case err != nil || img.Index+1 < first || img.Term > m.GetTerm() || !member(cs, n.opt.ID):
		// Installed, it would leave the leader waiting (E9).
		if l := n.opt.Listener.Image; l != nil {
			l("refused", *img)
		}
		in.staged = nil
		return false
	}
	in.parked = nil
	msg := proto.CloneOf(m)
	msg.Snapshot = &pb.Snapshot{
		Data:     encodeOffer(first, img.Manifest),
		Metadata: &pb.SnapshotMetadata{Index: &img.Index, Term: &img.Term, ConfState: cs},
	}
	n.step(n.rn.Step(msg)) // of an old term it is ignored: the image stays for the new leader's offer (E17)
	return true
}

func member(cs *pb.ConfState, id uint64) bool {
	return slices.Contains(cs.GetVoters(), id) || slices.Contains(cs.GetLearners(), id) ||
		slices.Contains(cs.GetVotersOutgoing(), id) || slices.Contains(cs.GetLearnersNext(), id)
}

// admitted returns the staged image a Ready's snapshot stands for. Raft took
// it: from here the base record is the intent to install it (E21).
func (n *Node) admitted(s *pb.Snapshot) (*ImageMeta, error) {
	img := n.intake.staged
	if img == nil || img.Index != s.GetMetadata().GetIndex() || img.Term != s.GetMetadata().GetTerm() {
		return nil, errs.New(errs.Internal, "image", fmt.Sprintf("raft wants one at index %d, which was not fetched", s.GetMetadata().GetIndex()))
	}
	return img, nil
}

// adoptImage gives a persisted image to the applier.
func (n *Node) adoptImage(m ImageMeta, s *pb.Snapshot) {
	n.intake.staged = nil
	n.solo.Store(0)
	n.conf, n.confAt = s.GetMetadata().GetConfState(), m.Index
	n.hand.giveImage(m)
	n.snapshotPeers()
	if l := n.opt.Listener.Members; l != nil {
		l(m.Conf, m.Index)
	}
}

// fetchSlot passes one job at a time to the fetcher.
type fetchSlot struct {
	wake     chan struct{}
	progress atomic.Uint64

	mu      sync.Mutex
	next    *fetchJob
	running bool
}

type fetchJob struct {
	from  uint64
	offer ImageMeta
}

// want asks for an image unless one is being fetched: the one that comes will
// do, or be refused and asked for again.
func (f *fetchSlot) want(j fetchJob) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running || f.next != nil {
		return
	}
	f.next = &j
	poke(f.wake)
}

func (f *fetchSlot) busy() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running || f.next != nil
}

// fetchTurn fetches the image that is wanted, if any.
func (n *Node) fetchTurn(ctx context.Context) (worked bool) {
	f := &n.fetch
	f.mu.Lock()
	job := f.next
	f.next, f.running = nil, job != nil
	f.mu.Unlock()
	if job == nil {
		return false
	}
	f.progress.Store(0)
	m, err := n.opt.Images.Fetch(ctx, job.from, job.offer, f.progress.Store)
	n.in.task(func() {
		f.mu.Lock()
		f.running = false
		f.mu.Unlock()
		n.fetched(*job, m, err)
	})
	return true
}
