package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"o3/internal/block"
)

// checker reads whole containers and tells of everything that is not what was
// written.
type checker struct {
	s     *Store
	wait  func(n int64) error
	found func(Damage) error
	dead  bool // deleted blocks too

	blocks, bytes int64 // read so far
	buf, tail     []byte
	stop          error // what wait or found said to end the check
}

// pause waits for n bytes to be allowed.
func (c *checker) pause(n int64) error {
	c.stop = c.wait(n)
	return c.stop
}

// tell tells of damage.
func (c *checker) tell(d Damage) error {
	c.stop = c.found(d)
	return c.stop
}

// unreadable tells of err, unless it is what ended the check, as of damage: a
// disk that cannot read some bytes must not keep the rest from being checked.
func (c *checker) unreadable(err error, d Damage) error {
	if err == nil || c.stop != nil {
		return c.stop
	}
	if !errors.As(err, &d) {
		d.Detail = "cannot be read: " + err.Error()
	}
	return c.tell(d)
}

func (c *checker) box(b *box) error {
	v, err := c.s.look(b, 0)
	if errors.Is(err, errAbsent) {
		return nil
	}
	b.mu.RLock()
	whole := Damage{File: b.place.name, Part: FileHeader, ID: block.ID{Container: b.id}}
	b.mu.RUnlock()
	if err != nil {
		return c.unreadable(err, whole)
	}
	defer c.s.handles.release(v.handle)
	if c.buf == nil {
		c.buf = make([]byte, max(writeBatch, v.place.chunk))
	}
	whole.Length = headSize
	if err := c.unreadable(c.head(b, v), whole); err != nil {
		return err
	}
	entries, err := c.index(v)
	if err := c.unreadable(err, Damage{File: whole.File, Part: Index, ID: whole.ID}); err != nil {
		return err
	}
	return c.records(b, v, entries)
}

// head checks both copies of header and seal.
func (c *checker) head(b *box, v view) error {
	page := make([]byte, headSize)
	if err := c.pause(headSize); err != nil {
		return err
	}
	part := func(at, n int64, part Part, detail string) Damage {
		return Damage{File: v.place.name, Offset: at, Length: n, Part: part,
			ID: block.ID{Container: b.id}, Detail: detail}
	}
	if err := readFull(v.handle, page, 0); err != nil {
		return readFault(err, part(0, headSize, FileHeader, "the file is too short"))
	}
	for _, at := range []int64{0, headCopyAt} {
		if _, err := decodeFileHead(v.place.name, page[at:at+fileHeadSize]); err != nil {
			if err := c.tell(part(at, fileHeadSize, FileHeader, err.Error())); err != nil {
				return err
			}
		}
	}
	p, paged := v.index.(*pagedIndex)
	if !paged {
		return nil
	}
	for _, at := range []int64{sealAt, sealCopyAt} {
		got, err := decodeSeal(p.salt, page[at:at+sealSize])
		if err == nil && got != p.seal {
			err = errBad("the copies differ")
		}
		if err != nil {
			if err := c.tell(part(at, sealSize, Seal, err.Error())); err != nil {
				return err
			}
		}
	}
	return nil
}

// index checks every page of the index and returns the entries; where pages
// are damaged it takes the entries from the records.
func (c *checker) index(v view) ([]entry, error) {
	p, ok := v.index.(*pagedIndex)
	if !ok {
		r, _ := v.index.(residentIndex)
		return r, nil
	}
	var entries []entry
	hurt := false
	buf := make([]byte, pageSize)
	for n := range int(p.seal.pages) {
		if err := c.pause(pageSize); err != nil {
			return nil, err
		}
		page, err := p.page(v.handle, buf, n)
		if err != nil {
			hurt = true
			if err := c.unreadable(err, p.damage(p.seal.index+int64(n)*pageSize, pageSize, "")); err != nil {
				return nil, err
			}
			continue
		}
		for ; len(page) > 0; page = page[entrySize:] {
			entries = append(entries, decodeEntry(page))
		}
	}
	fresh := &pagedIndex{seal: p.seal, salt: p.salt, container: p.container, file: p.file}
	if _, err := fresh.load(v.handle); err != nil {
		hurt = true
		if err := c.unreadable(err, p.damage(p.seal.index+int64(p.seal.pages)*pageSize, int64(p.seal.pages)*4, "")); err != nil {
			return nil, err
		}
	}
	if !hurt {
		return entries, nil
	}
	got, err := scan(v.handle, v.place, p.seal.tail, p.seal.tail)
	return got.entries, err
}

// records checks each record, and that they lie one behind the other.
func (c *checker) records(b *box, v view, entries []entry) error {
	at := int64(headSize)
	for _, e := range entries {
		if e.offset != at {
			if err := c.tell(v.place.gap(at, e.offset)); err != nil {
				return err
			}
		}
		at = e.offset + v.place.record(int64(e.length))
		dead := b.isDead(e.local)
		if dead && !c.dead {
			continue
		}
		if err := c.record(b, v, e, dead); err != nil {
			return err
		}
	}
	if p, ok := v.index.(*pagedIndex); ok && at != p.seal.tail {
		return c.tell(v.place.gap(at, p.seal.tail))
	}
	return nil
}

func (c *checker) record(b *box, v view, e entry, dead bool) error {
	tail, err := v.place.walk(v.handle, e, c.buf, c.tail, sink{
		wait: c.pause,
		bad: func(d Damage) error {
			d.Dead = dead || b.isDead(e.local) // deleted while it was read
			return c.tell(d)
		},
	})
	if tail != nil {
		c.tail = tail
	}
	d := v.place.damage(e, BlockData, e.offset, v.place.record(int64(e.length)), "")
	d.Dead = dead
	if err := c.unreadable(err, d); err != nil {
		return err
	}
	c.blocks++
	c.bytes += int64(e.length)
	return nil
}

// Verified is what Verify read.
type Verified struct {
	Containers int64 `json:"containers"`
	Blocks     int64 `json:"blocks"` // deleted ones too, while they are on the disk
	Bytes      int64 `json:"bytes"`  // of the blocks
	Damages    int64 `json:"damages"`
}

// Verify reads everything in the directory of a store and calls f with each
// damaged range of bytes; it stops at f's first error. It changes nothing, and
// may run beside the server that has the store open: what that server is
// writing meanwhile may be missed. Options other than FS and Dir do not matter.
func Verify(ctx context.Context, o Options, f func(Damage) error) (Verified, error) {
	var out Verified
	o = Options{FS: o.FS, Dir: o.Dir, Reserve: -1, readOnly: true, chunk: o.chunk,
		ContainerSize: o.ContainerSize, SmallSize: o.SmallSize}
	s, err := Open(o)
	for range 3 { // a file that went between two looks is a server's beside
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		s, err = Open(o)
	}
	if err != nil {
		return out, err
	}
	defer s.Close()
	c := &checker{
		s:    s,
		dead: true,
		wait: func(int64) error { return canceled(ctx) },
		found: func(d Damage) error {
			out.Damages++
			return f(d)
		},
	}
	for _, d := range s.early {
		if d.Part == FileHeader || d.Part == Gap { // met again below
			continue
		}
		if err := c.tell(d); err != nil {
			return out, err
		}
	}
	for _, b := range s.all() {
		if err := c.box(b); err != nil {
			return out, fmt.Errorf("container: verifying %s: %w", b.place.name, err)
		}
		out.Containers++
		out.Blocks, out.Bytes = c.blocks, c.bytes
	}
	return out, nil
}

// OpenReadOnly opens the store in o.Dir to look at it; nothing in the directory
// is changed and every write is refused.
func OpenReadOnly(o Options) (*Store, error) {
	o.Reserve, o.readOnly = -1, true
	return Open(o)
}
