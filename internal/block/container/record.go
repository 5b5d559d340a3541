package container

import (
	"errors"
	"fmt"
	"io"

	"o3/internal/block"
)

// place is a container file as the records in it see it.
type place struct {
	shape
	salt      uint64
	container uint64
	name      string // of the file
}

// readFull reads len(b) bytes at off; io.ErrUnexpectedEOF when the file ends before.
func readFull(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readFault is d where the file is shorter than it must be, else err: a disk
// that fails to read is not a disk that reads something else.
func readFault(err error, d Damage) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return d
	}
	return fmt.Errorf("container: reading %s at %d: %w", d.File, d.Offset, err)
}

func (pl place) damage(e entry, part Part, offset, length int64, detail string) Damage {
	return Damage{
		File: pl.name, Offset: offset, Length: length, Part: part, Detail: detail,
		ID: block.ID{Container: pl.container, Local: uint64(e.local)},
	}
}

// checkHead verifies b, the header of the record of e.
func (pl place) checkHead(b []byte, e entry) error {
	m, err := decodeRecordHead(b, pl.salt, e.offset)
	if err == nil && (m.container != pl.container || m.local != uint64(e.local) || m.length != int64(e.length)) {
		err = errBad(fmt.Sprintf("names block %d/%d of %d bytes", m.container, m.local, m.length))
	}
	if err != nil {
		return pl.damage(e, BlockHeader, e.offset, recordHead, err.Error())
	}
	return nil
}

func (pl place) tailOffset(e entry) int64 { return e.offset + recordHead + int64(e.length) }

// checkTail verifies b, the tail of the record of e, and returns the checksums in it.
func (pl place) checkTail(b []byte, e entry) ([]byte, error) {
	sums, err := pl.decodeTail(b, pl.salt, uint64(e.local), int64(e.length))
	if err != nil {
		return nil, pl.damage(e, BlockTrailer, pl.tailOffset(e), int64(len(b)), err.Error())
	}
	return sums, nil
}

// checkData verifies p, bytes of the block from offset at on, which begin and
// end at chunks (or end with the block). bad hears of each damaged chunk; when
// it is nil the first is returned.
func (pl place) checkData(p []byte, e entry, at int64, sums []byte, bad func(Damage) error) error {
	for i := at / pl.chunk; len(p) > 0; i++ {
		n := min(int64(len(p)), pl.chunk)
		if crc(p[:n]) != le.Uint32(sums[4*i:]) {
			d := pl.damage(e, BlockData, e.offset+recordHead+i*pl.chunk, n, fmt.Sprintf("chunk %d: checksum mismatch", i))
			if bad == nil {
				return d
			}
			if err := bad(d); err != nil {
				return err
			}
		}
		p = p[n:]
	}
	return nil
}

// readEnds reads and verifies the header and the tail of the record of e and
// returns the tail and the checksums in it. tail is reused when large enough.
func (pl place) readEnds(f io.ReaderAt, e entry, tail []byte) (all, sums []byte, err error) {
	var head [recordHead]byte
	if err := readFull(f, head[:], e.offset); err != nil {
		return nil, nil, readFault(err, pl.damage(e, BlockHeader, e.offset, recordHead, "the file ends before it"))
	}
	if err := pl.checkHead(head[:], e); err != nil {
		return nil, nil, err
	}
	n := pl.tail(int64(e.length))
	if int64(cap(tail)) < n {
		tail = make([]byte, n)
	}
	tail = tail[:n]
	if err := readFull(f, tail, pl.tailOffset(e)); err != nil {
		return nil, nil, readFault(err, pl.damage(e, BlockTrailer, pl.tailOffset(e), n, "the file ends before it"))
	}
	sums, err = pl.checkTail(tail, e)
	return tail, sums, err
}

// readRun reads as much of the block as buf holds in whole chunks, from offset
// at (a multiple of the chunk size) up to limit, unverified.
func (pl place) readRun(f io.ReaderAt, e entry, buf []byte, at, limit int64) ([]byte, error) {
	n := int64(len(buf)) / pl.chunk * pl.chunk
	if rest := min(limit, int64(e.length)) - at; rest < n {
		n = min((rest+pl.chunk-1)/pl.chunk*pl.chunk, int64(e.length)-at)
	}
	off := e.offset + recordHead + at
	if err := readFull(f, buf[:n], off); err != nil {
		return nil, readFault(err, pl.damage(e, BlockData, off, n, "the file ends before it"))
	}
	return buf[:n], nil
}

// sink takes what walk reads. data gets the verified bytes of the block in
// order; bad hears of damage and may end the walk by an error (nil bad: any
// damage ends it); wait is called with the size of each read to come.
type sink struct {
	data func(p []byte) error
	bad  func(Damage) error
	wait func(n int64) error
}

// walk reads and verifies the whole record of e through buf, which holds at
// least a chunk, and returns its tail, valid until the next use of tail.
func (pl place) walk(f io.ReaderAt, e entry, buf, tail []byte, s sink) ([]byte, error) {
	if s.wait != nil {
		if err := s.wait(recordHead + pl.tail(int64(e.length))); err != nil {
			return nil, err
		}
	}
	all, sums, err := pl.readEnds(f, e, tail)
	if err != nil {
		return nil, s.report(err) // without its checksums the data cannot be judged
	}
	for at := int64(0); at < int64(e.length); {
		if s.wait != nil {
			if err := s.wait(min(int64(len(buf)), int64(e.length)-at)); err != nil {
				return nil, err
			}
		}
		p, err := pl.readRun(f, e, buf, at, int64(e.length))
		if err != nil {
			return nil, s.report(err)
		}
		if err := pl.checkData(p, e, at, sums, s.bad); err != nil {
			return nil, err
		}
		if s.data != nil {
			if err := s.data(p); err != nil {
				return nil, err
			}
		}
		at += int64(len(p))
	}
	return all, nil
}

func (s sink) report(err error) error {
	var d Damage
	if s.bad != nil && errors.As(err, &d) {
		return s.bad(d)
	}
	return err
}
