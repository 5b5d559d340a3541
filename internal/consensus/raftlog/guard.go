package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"o3/internal/errs"
)

const guardFile = "TAIL"

// A guard is a small file beside the store that says how far the log was
// synced. It is written after each sync and never synced itself, so it costs
// no disk access; what it says is a lower bound. Pebble takes a damaged record
// at the end of its log for a write cut short, and goes on without it: the
// guard knows better, unless the power failed too.
//
// Two slots are written in turn: a torn one leaves the other.
type guard struct {
	f     vfs.File // nil when read-only and there is none
	path  string
	turn  int
	found *guardMark
	lost  atomic.Bool // a write failed: the file says too little, never too much
}

// guardMark is what was synced: the last entry, the term and the vote.
type guardMark struct {
	last       position
	term, vote uint64
	count      uint64 // orders the slots
}

const (
	guardSlot  = 512
	guardBytes = 8 + 5*8 + 4
	guardMagic = "o3 tail\x01"
)

func openGuard(fsys vfs.FS, path string, readOnly bool) (*guard, error) {
	var f vfs.File
	var err error
	if readOnly {
		f, err = fsys.Open(path)
	} else {
		f, err = fsys.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	}
	if readOnly && errors.Is(err, fs.ErrNotExist) {
		return &guard{path: path}, nil // never synced, so a power cut may take it: it says nothing
	}
	if err != nil {
		return nil, errs.Wrap(errs.Internal, path, err)
	}
	g := &guard{f: f, path: path}
	buf := make([]byte, 2*guardSlot)
	n, err := f.ReadAt(buf, 0)
	if err != nil && err != io.EOF {
		return nil, closing(errs.Wrap(errs.Internal, path, err), f.Close)
	}
	for slot := range 2 {
		if at := slot * guardSlot; at+guardBytes <= n {
			if m, ok := decodeGuard(buf[at : at+guardBytes]); ok && (g.found == nil || m.count > g.found.count) {
				g.found, g.turn = &m, 1-slot
			}
		}
	}
	return g, nil
}

// check compares the log that was opened with what was synced. An overwritten
// tail ends in a higher term, so "at least as recent" is Raft's comparison.
func (g *guard) check(last position, hard *pb.HardState) error {
	m := g.found
	if m == nil {
		return nil
	}
	lost := func(format string, a ...any) error {
		return errs.New(errs.Corrupt, "raft log "+g.path, fmt.Sprintf(format, a...))
	}
	if last.term < m.last.term || last.term == m.last.term && last.index < m.last.index {
		return lost("its end is lost or damaged: entries up to %d of term %d were synced, it ends at %d of term %d",
			m.last.index, m.last.term, last.index, last.term)
	}
	if hard.GetTerm() < m.term || hard.GetTerm() == m.term && m.vote != 0 && hard.GetVote() != m.vote {
		return lost("term %d and the vote for %d were synced, it has term %d and vote %d",
			m.term, m.vote, hard.GetTerm(), hard.GetVote())
	}
	return nil
}

// note records what was just synced. A failure is not an error of the log:
// it leaves an older, still true, mark.
func (g *guard) note(last position, hard *pb.HardState) {
	m := guardMark{last: last, term: hard.GetTerm(), vote: hard.GetVote(), count: 1}
	if g.found != nil {
		m.count = g.found.count + 1
	}
	if _, err := g.f.WriteAt(encodeGuard(m), int64(g.turn*guardSlot)); err != nil {
		g.lost.Store(true)
		return
	}
	g.found, g.turn = &m, 1-g.turn
}

func (g *guard) close() error {
	if g.f == nil {
		return nil
	}
	return g.f.Close()
}

func encodeGuard(m guardMark) []byte {
	p := appendUint64s([]byte(guardMagic), m.last.index, m.last.term, m.term, m.vote, m.count)
	return binary.BigEndian.AppendUint32(p, checksum(p))
}

func decodeGuard(p []byte) (m guardMark, ok bool) {
	body := p[:len(p)-4]
	if string(p[:8]) != guardMagic || checksum(body) != binary.BigEndian.Uint32(p[len(body):]) {
		return m, false
	}
	at := func(i int) uint64 { return binary.BigEndian.Uint64(body[8+8*i:]) }
	return guardMark{position{at(0), at(1)}, at(2), at(3), at(4)}, true
}
