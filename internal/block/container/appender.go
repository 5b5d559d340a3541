package container

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

const (
	seqStep    = 256      // sequence numbers reserved at a time
	smallAhead = 32 << 20 // space allocated ahead of small blocks: a third off the cost of fdatasync
	writeBatch = 256 << 10
)

// appender is the one writer of a container that is not sealed. Records become
// visible by commit, after they are durable; what was written and not
// committed is written over by whoever comes next. Not safe for concurrent use.
type appender struct {
	place
	box     *box
	file    vfs.File
	tail    int64  // end of the last committed record
	local   uint32 // the last id committed
	given   uint32 // the last id given
	ahead   int64  // bytes to allocate ahead of the tail, 0 none
	spare   int64  // allocated up to here
	stage   []byte // small records on their way into one write
	marked  int64  // the tail that the mark names
	spoiled bool   // a write failed: no more are tried
}

// newAppender creates a container. It is durable, empty, when this returns:
// from then on a file that is longer than its header and lacks it is damaged.
func (s *Store) newAppender() (*appender, error) {
	id, err := s.newID()
	if err != nil {
		return nil, err
	}
	h := fileHead{chunk: uint32(s.o.chunk), container: id, salt: newSalt(),
		created: time.Now().UnixNano(), gen: 1, node: s.o.Node}
	name := containerName(id, h.gen)
	f, err := s.create(name)
	if err != nil {
		return nil, err
	}
	if err := s.begin(f, name, h); err != nil {
		f.Close()
		s.o.FS.Remove(s.path(name)) // holds nothing; Open removes it otherwise
		return nil, err
	}
	b := &box{id: id, state: writing, tail: headSize, size: headSize, index: residentIndex(nil)}
	b.lay(h, name)
	s.mu.Lock()
	s.boxes[id] = b
	s.mu.Unlock()
	return &appender{place: b.place, box: b, file: f, tail: headSize}, nil
}

// create makes an empty file of that name.
func (s *Store) create(name string) (vfs.File, error) {
	s.o.FS.Remove(s.path(name)) // a leftover, if there is one
	f, err := s.o.FS.OpenReadWrite(s.path(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, s.writeFault(name, err)
	}
	return f, nil
}

// begin writes the header page and makes file and name durable.
func (s *Store) begin(f vfs.File, name string, h fileHead) error {
	if _, err := f.WriteAt(headPage(h), 0); err != nil {
		return s.writeFault(name, err)
	}
	if err := s.syncData(f, name); err != nil {
		return err
	}
	return s.syncDir()
}

func headPage(h fileHead) []byte {
	page := make([]byte, headSize)
	copy(page, h.encode())
	copy(page[headCopyAt:], h.encode())
	return page
}

// newID returns a container id that was never given before: the numbers up to
// the limit are set aside in the directory, durably once the caller has synced
// it, which it must do for the container's own name before it uses the id.
func (s *Store) newID() (uint64, error) {
	s.seq.Lock()
	defer s.seq.Unlock()
	if s.seq.next >= s.seq.limit {
		if s.seq.next+seqStep >= 1<<48 {
			return 0, errs.New(errs.TooMany, "containers", "2^48 were made")
		}
		old := s.seq.limit
		limit := s.seq.next + seqStep
		f, err := s.o.FS.Create(s.path(idsName(limit)), vfs.WriteCategoryUnspecified)
		if err != nil {
			return 0, s.writeFault(idsName(limit), err)
		}
		f.Close() // empty: its name is its content
		s.seq.limit = limit
		if old != 0 {
			s.o.FS.Remove(s.path(idsName(old))) // Open removes what is left
		}
	}
	id := uint64(s.o.Node)<<48 | s.seq.next
	s.seq.next++
	return id, nil
}

// next gives the entry of a new block at offset.
func (a *appender) next(offset, length, created int64) entry {
	a.given++
	return entry{local: a.given, length: uint32(length), offset: offset, created: created}
}

func (a *appender) meta(e entry) recordMeta {
	return recordMeta{container: a.container, local: uint64(e.local), length: int64(e.length),
		created: e.created, durable: a.tail}
}

// commit publishes records that are durable.
func (a *appender) commit(tail int64, entries ...entry) {
	a.tail, a.local = tail, a.given
	a.box.add(tail, entries...)
}

// mark notes in the file how much of it is durable: what a scan after a crash
// then finds damaged below is damage, not a torn write. It need not be durable
// itself, so it costs no fsync.
func (a *appender) mark() {
	if a.marked == a.tail || a.spoiled {
		return
	}
	a.file.WriteAt(encodeMark(a.salt, a.tail), markAt)
	a.marked = a.tail
}

// wipe makes sure that a scan finds no record at the tail, after a write
// there failed half way.
func (a *appender) wipe() {
	a.spoiled = true
	a.file.WriteAt(make([]byte, recordHead), a.tail) // the seal says the same; this is for when it cannot be written
}

// batchWriter gathers small records into large writes.
type batchWriter struct {
	a    *appender
	from int64 // where the staged bytes go
	off  int64 // where the next record goes
}

func (a *appender) writer() *batchWriter {
	if a.ahead > 0 && a.tail+writeBatch > a.spare {
		from := max(a.spare, a.tail)
		if err := a.file.Preallocate(from, a.ahead); err != nil {
			a.ahead = 0 // not here, or no space: it is only for speed
		}
		a.spare = from + a.ahead
	}
	a.stage = a.stage[:0]
	return &batchWriter{a: a, from: a.tail, off: a.tail}
}

func (w *batchWriter) write(rec []byte) error {
	w.off += int64(len(rec))
	if direct := len(rec) >= writeBatch/2; direct || len(w.a.stage)+len(rec) > writeBatch {
		if err := w.drain(); err != nil {
			return err
		}
	}
	if len(rec) >= writeBatch/2 {
		w.from += int64(len(rec))
		return w.a.write(rec, w.from-int64(len(rec)))
	}
	w.a.stage = append(w.a.stage, rec...)
	return nil
}

func (w *batchWriter) drain() error {
	if len(w.a.stage) == 0 {
		return nil
	}
	if err := w.a.write(w.a.stage, w.from); err != nil {
		return err
	}
	w.from += int64(len(w.a.stage))
	w.a.stage = w.a.stage[:0]
	return nil
}

func (w *batchWriter) flush() error { return w.drain() }

func (a *appender) write(p []byte, at int64) error {
	n, err := a.file.WriteAt(p, at)
	if err == nil && n < len(p) {
		err = fmt.Errorf("wrote %d of %d bytes", n, len(p))
	}
	return err
}
