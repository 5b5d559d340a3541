package container

import (
	"bytes"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The delete log is a file of frames. It begins with a snapshot, one frame for
// each container that has dead blocks, and goes on with a frame for each step
// of the delete group. It is replaced by a new one when it has grown.
const (
	logMagic0  = "O3DELETE"
	frameMagic = 0x6c654433 // "3Del"
	frameHead  = 32
	logHead    = 128 // the header twice
	tombSize   = 24

	frameTombs    = 1
	frameSnapshot = 2

	snapshotHead = 40
	maxFrame     = 64 << 20 // bytes of a payload
)

// tomb says that a block is dead. gen is that of its container's file: after
// a rewriting, older tombstones mean blocks that are not in the file any more.
type tomb struct {
	container uint64
	gen       uint32
	local     uint32
	length    uint32
}

// deleteLog is the open log. Its user serialises.
type deleteLog struct {
	file  vfs.File
	n     uint64
	salt  uint64
	tail  int64
	base  int64 // its size after the snapshot
	spare int64 // allocated up to here
}

func logHeader(salt uint64) []byte {
	b := make([]byte, logHead)
	copy(b, logMagic0)
	le.PutUint32(b[8:], Version)
	le.PutUint64(b[16:], salt)
	le.PutUint32(b[60:], crc(b[:60]))
	copy(b[64:], b[:64])
	return b
}

func decodeLogHeader(name string, b []byte) (salt uint64, err error) {
	for _, h := range [][]byte{b[:64], b[64:128]} {
		if le.Uint32(h[60:]) != crc(h[:60]) || string(h[:8]) != logMagic0 {
			err = errBad("checksum mismatch")
			continue
		}
		return le.Uint64(h[16:]), checkVersion(name, le.Uint32(h[8:]))
	}
	return 0, err
}

// appendFrame appends a frame that will lie at offset at; durable is how much
// of the log is known to be durable.
func appendFrame(b []byte, salt uint64, kind uint32, payload []byte, at, durable int64) []byte {
	from := len(b)
	b = le.AppendUint32(b, frameMagic)
	b = le.AppendUint32(b, uint32(len(payload)))
	b = le.AppendUint64(b, salt)
	b = le.AppendUint64(b, uint64(durable))
	b = le.AppendUint32(b, kind)
	b = le.AppendUint32(b, 0)
	b = append(b, payload...)
	le.PutUint32(b[from+28:], sum(salt, uint64(at), b[from:]))
	return b
}

func appendTomb(b []byte, t tomb) []byte {
	b = le.AppendUint64(b, t.container)
	b = le.AppendUint32(b, t.gen)
	b = le.AppendUint32(b, t.local)
	b = le.AppendUint32(b, t.length)
	return le.AppendUint32(b, 0)
}

func decodeTomb(b []byte) tomb {
	return tomb{le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:])}
}

// appendSnapshot appends the payload of a snapshot frame; the caller holds b.mu.
func appendSnapshot(p []byte, b *box) []byte {
	p = le.AppendUint64(p, b.id)
	p = le.AppendUint32(p, b.gen)
	p = le.AppendUint32(p, 0)
	p = le.AppendUint64(p, uint64(b.deadCount))
	p = le.AppendUint64(p, uint64(b.deadBytes))
	p = le.AppendUint64(p, uint64(b.deadSpace))
	for _, w := range b.dead {
		p = le.AppendUint64(p, w)
	}
	return p
}

// applySnapshot sets what a snapshot frame says of b.
func (b *box) applySnapshot(p []byte) {
	b.deadCount = int64(le.Uint64(p[16:]))
	b.deadBytes = int64(le.Uint64(p[24:]))
	b.deadSpace = int64(le.Uint64(p[32:]))
	b.dead = make(bitset, 0, (len(p)-snapshotHead)/8)
	for p = p[snapshotHead:]; len(p) >= 8; p = p[8:] {
		b.dead = append(b.dead, le.Uint64(p))
	}
}

// decodeFrame returns the frame at offset at of b, the bytes of the log, or
// false.
func decodeFrame(b []byte, salt uint64, at int64) (kind uint32, payload []byte, durable int64, ok bool) {
	b = b[at:]
	if len(b) < frameHead || le.Uint32(b) != frameMagic || le.Uint64(b[8:]) != salt {
		return 0, nil, 0, false
	}
	n := int64(le.Uint32(b[4:]))
	if n > maxFrame || int64(len(b)) < frameHead+n {
		return 0, nil, 0, false
	}
	f := bytes.Clone(b[:frameHead+n])
	want := le.Uint32(f[28:])
	le.PutUint32(f[28:], 0)
	if sum(salt, uint64(at), f) != want {
		return 0, nil, 0, false
	}
	return le.Uint32(f[24:]), f[frameHead:], int64(le.Uint64(f[16:])), true
}

// readLog applies the frames of the log in f to boxes. The end that a crash
// tore off is passed over; a range that was durable and cannot be read is
// damage: its deletes are lost, that is, the blocks are there again, named by
// nobody.
func readLog(f vfs.File, name string, boxes map[uint64]*box, bad func(Damage)) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	b := make([]byte, st.Size())
	if err := readFull(f, b, 0); err != nil {
		return err
	}
	damage := func(from, to int64, detail string) {
		bad(Damage{File: name, Offset: from, Length: to - from, Part: DeleteLog, Detail: detail})
	}
	if len(b) < logHead {
		damage(0, int64(len(b)), "the file is too short")
		return nil
	}
	salt, err := decodeLogHeader(name, b)
	if _, isBad := err.(errBad); isBad {
		damage(0, logHead, "header: "+err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	for at := int64(logHead); at < int64(len(b)); {
		kind, payload, _, ok := decodeFrame(b, salt, at)
		if !ok {
			next := resyncLog(b, salt, at)
			if next < 0 {
				return nil
			}
			damage(at, next, "checksum mismatch: deletes are lost")
			at = next
			continue
		}
		applyFrame(kind, payload, boxes)
		at += frameHead + int64(len(payload))
	}
	return nil
}

// resyncLog finds the next frame behind at that was written when the bytes at
// at were durable; -1 when there is none.
func resyncLog(b []byte, salt uint64, at int64) int64 {
	var mark [8]byte
	le.PutUint64(mark[:], salt)
	for from := at + 1; ; {
		i := bytes.Index(b[min(from+8, int64(len(b))):], mark[:])
		if i < 0 {
			return -1
		}
		from += int64(i)
		if _, _, durable, ok := decodeFrame(b, salt, from); ok && durable > at {
			return from
		}
		from++
	}
}

func applyFrame(kind uint32, p []byte, boxes map[uint64]*box) {
	switch kind {
	case frameSnapshot:
		if len(p) < snapshotHead {
			return
		}
		if b := boxes[le.Uint64(p)]; b != nil && b.gen == le.Uint32(p[8:]) {
			b.applySnapshot(p)
		}
	case frameTombs:
		for ; len(p) >= tombSize; p = p[tombSize:] {
			t := decodeTomb(p)
			if b := boxes[t.container]; b != nil && b.gen == t.gen {
				b.bury(t.local, t.length)
			}
		}
	}
}

// writeLog writes a new log that holds what is dead now, durably, and makes it
// the one that counts.
func (s *Store) writeLog(n uint64) (*deleteLog, error) {
	name, tmp := deletesName(n), deletesName(n)+tmpSuffix
	f, err := s.create(tmp)
	if err != nil {
		return nil, err
	}
	l := &deleteLog{file: f, n: n, salt: newSalt()}
	if err := s.fillLog(l, f); err != nil {
		f.Close()
		return nil, err
	}
	if err := s.syncData(f, tmp); err != nil {
		f.Close()
		return nil, err
	}
	if err := s.o.FS.Rename(s.path(tmp), s.path(name)); err != nil {
		f.Close()
		return nil, s.writeFault(name, err)
	}
	if err := s.syncDir(); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func (s *Store) fillLog(l *deleteLog, f io.WriterAt) error {
	put := func(p []byte) error {
		if _, err := f.WriteAt(p, l.tail); err != nil {
			return s.writeFault(deletesName(l.n), err)
		}
		l.tail += int64(len(p))
		return nil
	}
	if err := put(logHeader(l.salt)); err != nil {
		return err
	}
	for _, b := range s.all() {
		b.mu.RLock()
		if b.deadCount == 0 {
			b.mu.RUnlock()
			continue
		}
		payload := appendSnapshot(nil, b)
		b.mu.RUnlock()
		if err := put(appendFrame(nil, l.salt, frameSnapshot, payload, l.tail, 0)); err != nil {
			return err
		}
	}
	l.base = l.tail
	return nil
}
