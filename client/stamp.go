package client

import (
	"crypto/rand"
	"encoding/binary"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	o3v1 "o3/api/o3/v1"
)

// window bounds how far the writes of a session run ahead of its oldest one
// that is outstanding. The server remembers the answers of so many, and takes a
// write that arrives after them all for a late copy.
const window = 256

// stamps numbers the writes of one Client and knows which are outstanding. A
// write that takes long keeps its session; the later ones go on in another. It
// is safe for concurrent use.
type stamps struct {
	mu struct {
		sync.Mutex
		now  *session
		open map[uint64]*session // those with writes outstanding, and now, by id
	}
}

// session is a run of numbers under one client id.
type session struct {
	id   uint64
	low  uint64 // the lowest sequence that is outstanding, or the next one
	open []bool // whether low+i is outstanding
}

func newStamps() *stamps {
	s := new(stamps)
	s.mu.open = map[uint64]*session{}
	s.renew()
	return s
}

// renew begins another session. s.mu is held, or s is not shared yet.
func (s *stamps) renew() {
	n := &session{low: 1}
	for n.id == 0 || s.mu.open[n.id] != nil {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		n.id = binary.LittleEndian.Uint64(b[:])
	}
	s.mu.now, s.mu.open[n.id] = n, n
}

// begin returns the stamp of a new write.
func (s *stamps) begin() *o3v1.Stamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.now.open) >= window {
		s.renew()
	}
	n := s.mu.now
	n.open = append(n.open, true)
	return &o3v1.Stamp{ClientId: n.id, Sequence: n.low + uint64(len(n.open)) - 1, Acked: n.low}
}

// end says that the caller of a write has had its answer: no retry follows.
func (s *stamps) end(stamp *o3v1.Stamp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.mu.open[stamp.ClientId]
	n.open[stamp.Sequence-n.low] = false
	done := 0
	for done < len(n.open) && !n.open[done] {
		done++
	}
	n.low += uint64(done)
	n.open = n.open[done:]
	if n != s.mu.now && len(n.open) == 0 {
		delete(s.mu.open, n.id)
	}
}

// stamped returns a copy of req with the stamp; it shares everything below the
// top level with req.
func stamped(req protoreflect.Message, stamp *o3v1.Stamp) proto.Message {
	out := req.New()
	req.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		out.Set(fd, v)
		return true
	})
	out.Set(out.Descriptor().Fields().ByName("stamp"), protoreflect.ValueOfMessage(stamp.ProtoReflect()))
	return out.Interface()
}
