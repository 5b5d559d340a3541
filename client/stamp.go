package client

import (
	"crypto/rand"
	"encoding/binary"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	o3v1 "o3/api/o3/v1"
)

// stamps numbers the writes of one Client and knows which are outstanding. It
// is safe for concurrent use.
type stamps struct {
	client uint64
	mu     struct {
		sync.Mutex
		low  uint64 // the lowest sequence that is outstanding, or the next one
		open []bool // whether low+i is outstanding
	}
}

func newStamps() *stamps {
	s := new(stamps)
	for s.client == 0 {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		s.client = binary.LittleEndian.Uint64(b[:])
	}
	s.mu.low = 1
	return s
}

// begin returns the stamp of a new write.
func (s *stamps) begin() *o3v1.Stamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.open = append(s.mu.open, true)
	return &o3v1.Stamp{ClientId: s.client, Sequence: s.mu.low + uint64(len(s.mu.open)) - 1, Acked: s.mu.low}
}

// end says that the caller of a write has had its answer: no retry follows.
func (s *stamps) end(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.open[sequence-s.mu.low] = false
	n := 0
	for n < len(s.mu.open) && !s.mu.open[n] {
		n++
	}
	s.mu.low += uint64(n)
	s.mu.open = s.mu.open[n:]
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
