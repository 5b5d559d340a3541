package container

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/block"
	"o3/internal/errs"
)

// load reads the directory and, unless the store is read-only, brings what a
// crash left into order.
func (s *Store) load() error {
	if !s.o.readOnly {
		if err := s.claim(); err != nil {
			return err
		}
	}
	names, err := s.o.FS.List(s.o.Dir)
	if err != nil {
		return fmt.Errorf("container: %w", err)
	}
	l := parseListing(names)
	garbage := slices.Clone(l.tmp)
	for id, gens := range l.gens {
		old, err := s.loadBox(id, gens)
		if err != nil {
			return err
		}
		garbage = append(garbage, old...)
	}
	slices.Sort(l.deletes)
	var lastLog uint64
	if n := len(l.deletes); n > 0 {
		lastLog = l.deletes[n-1]
		if err := s.loadDeletes(deletesName(lastLog)); err != nil {
			return err
		}
	}
	if s.o.readOnly {
		return nil
	}
	s.seq.next = 1
	for id := range l.gens {
		s.seq.next = max(s.seq.next, id&(1<<48-1)+1)
	}
	for _, n := range l.ids {
		s.seq.next = max(s.seq.next, n)
	}
	if s.log, err = s.writeLog(lastLog + 1); err != nil {
		return err
	}
	for _, n := range l.deletes {
		garbage = append(garbage, deletesName(n))
	}
	if n := len(l.ids); n > 0 { // all but the highest
		slices.Sort(l.ids)
		for _, n := range l.ids[:n-1] {
			garbage = append(garbage, idsName(n))
		}
		s.seq.limit = l.ids[n-1]
	}
	for _, name := range garbage {
		if err := s.o.FS.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return s.writeFault(name, err)
		}
	}
	if err := s.sealPending(); err != nil && errs.KindOf(err) != errs.ReadOnly {
		return err // without space the index waits in memory
	}
	return s.loadScrub()
}

// claim makes the directory, durably, and locks it.
func (s *Store) claim() error {
	fsys := s.o.FS
	var made []string // directories that are new, and the one they are in
	for d := s.o.Dir; ; d = fsys.PathDir(d) {
		made = append(made, d)
		if _, err := fsys.Stat(d); err == nil || fsys.PathDir(d) == d {
			break
		}
	}
	if err := fsys.MkdirAll(s.o.Dir, 0o755); err != nil {
		return fmt.Errorf("container: %w", err)
	}
	for i, d := range slices.Backward(made) {
		f, err := fsys.OpenDir(d)
		if err != nil {
			return fmt.Errorf("container: %w", err)
		}
		if i == 0 {
			s.dir = f
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("container: %w", err)
		}
		if i > 0 {
			f.Close()
		}
	}
	lock, err := fsys.Lock(s.path(lockName))
	if err != nil {
		return &errs.Error{Kind: errs.Conflict, Op: "container.Open", Subject: s.o.Dir,
			Detail: "another process has the block store open", Err: err}
	}
	s.lock = lock
	return nil
}

// loadBox opens the newest whole generation of a container and returns the
// names of the files it replaces.
func (s *Store) loadBox(id uint64, gens []uint32) (garbage []string, err error) {
	slices.Sort(gens)
	var hurt *Damage
	for i, gen := range slices.Backward(gens) {
		name := containerName(id, gen)
		f, err := s.o.FS.Open(s.path(name))
		if errors.Is(err, fs.ErrNotExist) && s.o.readOnly {
			continue // taken away by the server that runs beside
		}
		if err != nil {
			return nil, fmt.Errorf("container: %w", err)
		}
		b, err := s.readBox(f, id, gen, name)
		f.Close()
		if d, ok := errors.AsType[Damage](err); ok {
			hurt = &d
			continue
		}
		if err != nil {
			return nil, err
		}
		if b == nil { // created, and cut off before its header was durable
			garbage = append(garbage, name)
			continue
		}
		s.boxes[id] = b
		for _, old := range gens[:i] {
			garbage = append(garbage, containerName(id, old))
		}
		break
	}
	if hurt != nil {
		s.early = append(s.early, *hurt)
		s.damaged(*hurt)
		if s.boxes[id] == nil {
			top := gens[len(gens)-1]
			s.boxes[id] = &box{id: id, state: broken, damage: hurt, gen: top, next: top + 1,
				place: place{shape: shape{s.o.chunk}, container: id, name: containerName(id, top)}, index: residentIndex(nil)}
		}
	}
	return garbage, nil
}

// readBox returns the container in f: nil when it never held anything, an
// error of type Damage when its header cannot be read.
func (s *Store) readBox(f vfs.File, id uint64, gen uint32, name string) (*box, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("container: %w", err)
	}
	page := make([]byte, headSize)
	if n := min(headSize, st.Size()); n > 0 {
		if err := readFull(f, page[:n], 0); err != nil {
			return nil, fmt.Errorf("container: reading %s: %w", name, err)
		}
	}
	if st.Size() <= headSize && allZero(page) {
		return nil, nil
	}
	h, err := s.headOf(page, id, gen, name)
	if err != nil {
		return nil, err
	}
	if h.node != s.o.Node && !s.o.readOnly {
		return nil, errs.New(errs.Invalid, name, fmt.Sprintf("belongs to node %d, this is node %d", h.node, s.o.Node))
	}
	b := &box{id: id, size: st.Size()}
	b.lay(h, name)
	if sl, ok := s.sealOf(b, page); ok {
		b.state = sealed
		b.index = &pagedIndex{seal: sl, salt: h.salt, container: id, file: name}
		b.tail, b.blocks, b.bytes = sl.tail, int64(sl.blocks), sl.bytes
		return b, nil
	}
	return b, s.rescan(b, f, decodeMark(h.salt, page[markAt:]))
}

// headOf returns the header in page, from whichever copy is good.
func (s *Store) headOf(page []byte, id uint64, gen uint32, name string) (fileHead, error) {
	var good *fileHead
	var bad []Damage
	for _, at := range []int64{0, headCopyAt} {
		h, err := decodeFileHead(name, page[at:at+fileHeadSize])
		if err == nil && (h.container != id || h.gen != gen) {
			err = errBad(fmt.Sprintf("names container %d, generation %d", h.container, h.gen))
		}
		if e, ok := errors.AsType[errBad](err); ok {
			bad = append(bad, Damage{File: name, Offset: at, Length: fileHeadSize, Part: FileHeader,
				ID: block.ID{Container: id}, Detail: e.Error()})
			continue
		}
		if err != nil {
			return fileHead{}, err
		}
		good = &h
	}
	if good == nil {
		return fileHead{}, bad[0]
	}
	for _, d := range bad {
		s.damaged(d)
	}
	return *good, nil
}

// sealOf returns the seal in page, from whichever copy is good; false where
// there is none.
func (s *Store) sealOf(b *box, page []byte) (seal, bool) {
	var good seal
	var bad []Damage
	ok := false
	for _, at := range []int64{sealAt, sealCopyAt} {
		p := page[at : at+sealSize]
		sl, err := decodeSeal(b.place.salt, p)
		if err == nil {
			good, ok = sl, true
		} else {
			bad = append(bad, Damage{File: b.place.name, Offset: at, Length: sealSize, Part: Seal,
				ID: block.ID{Container: b.id}, Detail: err.Error()})
		}
	}
	if !ok && allZero(page[sealAt:]) {
		return seal{}, false
	}
	for _, d := range bad {
		s.damaged(d)
	}
	return good, ok
}

// rescan makes the index of a container without a seal by a scan, and has it
// sealed.
func (s *Store) rescan(b *box, f vfs.File, durable int64) error {
	got, err := scan(f, b.place, b.size, durable)
	if err != nil {
		return fmt.Errorf("container: reading %s: %w", b.place.name, err)
	}
	for _, d := range got.damage {
		s.early = append(s.early, d)
		s.damaged(d)
	}
	if got.tail < b.size {
		s.o.Listener.Torn(b.place.name, got.tail, b.size-got.tail)
	}
	b.state, b.index, b.tail = retired, got.entries, got.tail
	b.blocks = int64(len(got.entries))
	for _, e := range got.entries {
		b.bytes += int64(e.length)
	}
	if s.o.readOnly {
		return nil
	}
	w, err := s.o.FS.OpenReadWrite(s.path(b.place.name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("container: %w", err)
	}
	s.pending = append(s.pending, &appender{place: b.place, box: b, file: w, tail: b.tail})
	return nil
}

func (s *Store) loadDeletes(name string) error {
	f, err := s.o.FS.Open(s.path(name))
	if err != nil {
		return fmt.Errorf("container: %w", err)
	}
	defer f.Close()
	return readLog(f, name, s.boxes, func(d Damage) {
		s.early = append(s.early, d)
		s.damaged(d)
	})
}
