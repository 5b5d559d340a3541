package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/raft/v3/raftpb"

	"o3/internal/errs"
)

// The keys. Entries are 'e' and the index, big-endian; the rest is 'm' and a
// name. See docs/formats/raftlog.md.
const (
	keyFormat = "mformat"
	keyNode   = "mnode"
	keyCount  = "mincarnation"
	keyHard   = "mhard"
	keyBase   = "mbase"
	keyTrunc  = "mtrunc"
)

const magic = "o3 raft log\x00"

// An entry's value: type (1), term (8), data, then the checksum (4) of the
// key and all before it.
const entryOverhead = 1 + 8 + 4

func setEntry(b *pebble.Batch, e *pb.Entry) error {
	n := entryOverhead + len(e.GetData())
	d := b.SetDeferred(9, n)
	d.Key[0] = 'e'
	binary.BigEndian.PutUint64(d.Key[1:], e.GetIndex())
	v := append(d.Value[:0], byte(e.GetType()))
	v = binary.BigEndian.AppendUint64(v, e.GetTerm())
	v = append(v, e.GetData()...)
	binary.BigEndian.AppendUint32(v, checksum(d.Key, v))
	return d.Finish()
}

// decodeEntry copies the entry out of a row.
func decodeEntry(key, value []byte) (*pb.Entry, error) {
	if len(key) != 9 || len(value) < entryOverhead {
		return nil, errs.New(errs.Corrupt, fmt.Sprintf("raft log row %x", key), fmt.Sprintf("%d bytes", len(value)))
	}
	index := binary.BigEndian.Uint64(key[1:])
	body, sum := value[:len(value)-4], binary.BigEndian.Uint32(value[len(value)-4:])
	if checksum(key, body) != sum {
		return nil, errs.New(errs.Corrupt, fmt.Sprintf("raft log entry %d", index), "its checksum does not match")
	}
	term := binary.BigEndian.Uint64(body[1:9])
	e := &pb.Entry{Index: &index, Term: &term, Type: pb.EntryType(body[0]).Enum()}
	if len(body) > 9 {
		e.Data = append([]byte(nil), body[9:]...)
	}
	return e, nil
}

func checksum(parts ...[]byte) uint32 {
	var c uint32
	t := crc32.MakeTable(crc32.Castagnoli) // one for all callers
	for _, p := range parts {
		c = crc32.Update(c, t, p)
	}
	return c
}

// Small rows are a payload and its checksum, which covers the key too.

func seal(key string, payload []byte) []byte {
	return binary.BigEndian.AppendUint32(payload, checksum([]byte(key), payload))
}

func unseal(key string, value []byte) ([]byte, error) {
	if len(value) >= 4 {
		p := value[:len(value)-4]
		if checksum([]byte(key), p) == binary.BigEndian.Uint32(value[len(p):]) {
			return p, nil
		}
	}
	return nil, errs.New(errs.Corrupt, "raft log row "+key[1:], "its checksum does not match")
}

func encodePosition(p position) []byte {
	return seal(keyTrunc, appendUint64s(nil, p.index, p.term))
}

func encodeHard(h *pb.HardState) []byte {
	return seal(keyHard, appendUint64s(nil, h.GetTerm(), h.GetVote(), h.GetCommit()))
}

func encodeBase(b Base) []byte {
	p := appendUint64s(nil, b.Index, b.Term, uint64(len(b.Conf)))
	p = append(p, b.Conf...)
	return seal(keyBase, append(p, b.Image...))
}

func decodeBase(p []byte) (Base, error) {
	if len(p) < 24 {
		return Base{}, errs.New(errs.Corrupt, "raft log row base", "too short")
	}
	b := Base{Index: binary.BigEndian.Uint64(p), Term: binary.BigEndian.Uint64(p[8:])}
	n, rest := binary.BigEndian.Uint64(p[16:]), p[24:]
	if n > uint64(len(rest)) {
		return Base{}, errs.New(errs.Corrupt, "raft log row base", "its membership is cut off")
	}
	b.Conf, b.Image = append([]byte(nil), rest[:n]...), append([]byte(nil), rest[n:]...)
	return b, nil
}

func appendUint64s(p []byte, vs ...uint64) []byte {
	for _, v := range vs {
		p = binary.BigEndian.AppendUint64(p, v)
	}
	return p
}

// row reads a small row of n numbers; ok is false when it is absent.
func (l *Log) row(key string, n int) (vs []uint64, ok bool, err error) {
	p, ok, err := l.payload(key)
	if err != nil || !ok {
		return nil, false, err
	}
	if len(p) != 8*n {
		return nil, false, errs.New(errs.Corrupt, "raft log row "+key[1:], fmt.Sprintf("%d bytes", len(p)))
	}
	for i := range n {
		vs = append(vs, binary.BigEndian.Uint64(p[8*i:]))
	}
	return vs, true, nil
}

func (l *Log) payload(key string) (p []byte, ok bool, err error) {
	v, c, err := l.db.Get([]byte(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, corruption("raft log row "+key[1:], err)
	}
	defer c.Close()
	p, err = unseal(key, v)
	return append([]byte(nil), p...), err == nil, err
}
