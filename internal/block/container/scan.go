package container

import (
	"bytes"
	"errors"
	"io"
	"math"

	"o3/internal/block"
)

// scanned is what a scan of a container's records found.
type scanned struct {
	entries residentIndex
	tail    int64 // end of the last good record
	damage  []Damage
}

// scan makes an index out of the headers of the records between the header
// page and limit. Up to trusted everything was durable: what is unreadable
// there is damage, and records behind it are looked for; the same holds up to
// where later records say that it was. Above that, a record counts only if all
// of it verifies: the first that does not was cut off by a crash.
func scan(f io.ReaderAt, pl place, limit, trusted int64) (scanned, error) {
	w := &window{f: f, size: limit, buf: make([]byte, 1<<20)}
	out := scanned{tail: headSize}
	var last uint64
	for at := int64(headSize); at < limit; {
		m, ok, err := w.head(pl, at, last)
		if err != nil {
			return out, err
		}
		if !ok {
			next, err := w.search(pl, at, last, trusted)
			if err != nil {
				return out, err
			}
			if next == 0 && at < trusted {
				next = min(trusted, limit)
			}
			if next == 0 {
				break // cut off by a crash
			}
			if err := out.bridge(f, pl, at, next); err != nil {
				return out, err
			}
			last = max(last, out.last())
			at, out.tail = next, next
			continue
		}
		last = m.local
		trusted = max(trusted, m.durable)
		e := entry{local: uint32(m.local), length: uint32(m.length), offset: at, created: m.created}
		out.entries = append(out.entries, e)
		at += pl.record(m.length)
		out.tail = at
	}
	return out, out.confirm(f, pl, trusted)
}

// bridge goes over damage: if it is the header of one record, whose tail is
// good, the block keeps its entry, so that a read of it says what is wrong.
func (s *scanned) bridge(f io.ReaderAt, pl place, from, to int64) error {
	e, ok, err := s.bridged(f, pl, from, to)
	switch {
	case err != nil:
		return err
	case ok:
		s.entries = append(s.entries, e)
		s.damage = append(s.damage, pl.damage(e, BlockHeader, from, recordHead, "header checksum mismatch"))
	default:
		s.damage = append(s.damage, pl.gap(from, to))
	}
	return nil
}

// bridged makes the entry of the one record between from and to by its tail.
func (s *scanned) bridged(f io.ReaderAt, pl place, from, to int64) (e entry, ok bool, err error) {
	if to-from < pl.record(0) {
		return entry{}, false, nil
	}
	end := make([]byte, trailerSize)
	if err := readFull(f, end, to-trailerSize); err != nil {
		return entry{}, false, unlessShort(err)
	}
	local, length := le.Uint64(end), int64(le.Uint64(end[8:]))
	if local <= s.last() || local > math.MaxUint32 || length < 0 || length > block.MaxSize ||
		pl.record(length) != to-from {
		return entry{}, false, nil
	}
	e = entry{local: uint32(local), length: uint32(length), offset: from}
	if n := len(s.entries); n > 0 {
		e.created = s.entries[n-1].created
	}
	tail := make([]byte, pl.tail(length))
	if err := readFull(f, tail, pl.tailOffset(e)); err != nil {
		return entry{}, false, unlessShort(err)
	}
	_, err = pl.checkTail(tail, e)
	return e, err == nil, nil
}

// unlessShort is nil for the error of a file that ended.
func unlessShort(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// last is the highest local id found so far.
func (s *scanned) last() uint64 {
	if len(s.entries) == 0 {
		return 0
	}
	return uint64(s.entries[len(s.entries)-1].local)
}

func (pl place) gap(from, to int64) Damage {
	return Damage{File: pl.name, Offset: from, Length: to - from, Part: Gap,
		ID: block.ID{Container: pl.container}, Detail: "no record can be made out"}
}

// confirm drops the records above trusted from the first that does not verify.
func (s *scanned) confirm(f io.ReaderAt, pl place, trusted int64) error {
	first := len(s.entries)
	for first > 0 && s.end(pl, first-1) > trusted {
		first--
	}
	buf := make([]byte, max(writeBatch, pl.chunk))
	for i, e := range s.entries[first:] {
		_, err := pl.walk(f, e, buf, nil, sink{})
		if isDamage(err) {
			s.entries = s.entries[:first+i]
			s.tail = e.offset
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scanned) end(pl place, i int) int64 {
	e := s.entries[i]
	return e.offset + pl.record(int64(e.length))
}

// window reads a file forwards in large pieces.
type window struct {
	f    io.ReaderAt
	size int64
	buf  []byte
	off  int64
	n    int
}

// at returns n bytes at off, or fewer at the end of the file; when they are not
// there yet it reads ahead at most that many bytes.
func (w *window) at(off int64, n, ahead int) ([]byte, error) {
	if off < w.off || off+int64(n) > w.off+int64(w.n) {
		want := int(min(int64(max(n, min(ahead, len(w.buf)))), w.size-off))
		if want <= 0 {
			return nil, nil
		}
		got, err := w.f.ReadAt(w.buf[:want], off)
		if err != nil && err != io.EOF {
			return nil, err
		}
		w.off, w.n = off, got
	}
	p := w.buf[off-w.off : w.n]
	return p[:min(n, len(p))], nil
}

// head returns the header at off, if there is a good one, of a block after last.
func (w *window) head(pl place, off int64, last uint64) (recordMeta, bool, error) {
	b, err := w.at(off, recordHead, 64<<10)
	if err != nil || len(b) < recordHead {
		return recordMeta{}, false, err
	}
	m, err := decodeRecordHead(b, pl.salt, off)
	ok := err == nil && m.container == pl.container && m.local > last && m.local <= math.MaxUint32 &&
		m.length >= 0 && m.length <= block.MaxSize
	return m, ok, nil
}

// search returns where the next record behind off begins that proves the bytes
// at off to have been durable; 0 when there is none.
func (w *window) search(pl place, off int64, last uint64, trusted int64) (int64, error) {
	var mark [8]byte
	le.PutUint64(mark[:], pl.salt)
	const at = 8 // of the salt in a header
	for from := off + 8; from+recordHead <= w.size; {
		b, err := w.at(from, len(w.buf), len(w.buf))
		if err != nil || len(b) < recordHead {
			return 0, err
		}
		i := bytes.Index(b[at:], mark[:])
		if i < 0 {
			from += int64(len(b)) - recordHead + 1
			continue
		}
		from += int64(i)
		m, ok, err := w.head(pl, from, last)
		if err != nil {
			return 0, err
		}
		if ok && (m.durable > off || from < trusted) {
			return from, nil
		}
		from++
	}
	return 0, nil
}
