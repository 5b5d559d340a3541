package container

import (
	"time"
)

// sealLag is how many retired containers may wait for their index (kept in
// memory meanwhile) before whoever retires one more writes an index itself.
const sealLag = 4

// retire ends the writing to a container; Run or Close writes its index.
func (s *Store) retire(a *appender) {
	a.box.mu.Lock()
	a.box.state = retired
	a.box.mu.Unlock()
	s.mu.Lock()
	s.pending = append(s.pending, a)
	n := len(s.pending)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	if n > sealLag && s.Err() == nil {
		if err := s.sealPending(); err != nil {
			s.o.Listener.Failed("seal", a.container, err)
		}
	}
}

// sealPending seals what is retired and returns the first error; what could
// not be sealed waits for the next call.
func (s *Store) sealPending() error {
	s.sealing.Lock()
	defer s.sealing.Unlock()
	for {
		s.mu.Lock()
		if len(s.pending) == 0 {
			s.mu.Unlock()
			return nil
		}
		a := s.pending[0]
		s.pending = s.pending[1:]
		s.mu.Unlock()
		if err := s.seal(a); err != nil {
			s.mu.Lock()
			s.pending = append(s.pending, a)
			s.mu.Unlock()
			return err
		}
	}
}

// seal writes the index of a retired container behind its records, then the
// seal that names it; a crash in between leaves a container without a seal,
// which Open scans.
func (s *Store) seal(a *appender) error {
	if err := s.Err(); err != nil {
		return err
	}
	b := a.box
	b.mu.RLock()
	entries, _ := b.index.(residentIndex)
	b.mu.RUnlock()
	if len(entries) == 0 && a.tail == headSize { // not where damage hides what there was
		if err := s.remove(b); err != nil {
			return err
		}
		a.file.Close()
		return nil
	}
	sl := seal{tail: a.tail, sealed: time.Now().UnixNano()}
	if err := s.writeSeal(a, &sl, entries); err != nil {
		return err
	}
	b.mu.Lock()
	b.state = sealed
	b.index = &pagedIndex{seal: sl, salt: a.salt, container: a.container, file: a.name}
	b.tail, b.size = a.tail, sl.end()
	b.mu.Unlock()
	a.file.Close() // all of it is durable
	s.o.Listener.Sealed(b.id, len(entries), sl.bytes)
	return nil
}

func (s *Store) writeSeal(a *appender, sl *seal, entries []entry) error {
	index := encodeIndex(sl, a.salt, entries, a.tail)
	if err := a.write(index, sl.index); err != nil {
		a.wipe()
		return s.writeFault(a.name, err)
	}
	cut(a.file, sl.end())
	if err := s.syncData(a.file, a.name); err != nil {
		return err
	}
	both := make([]byte, headSize-sealAt)
	copy(both, sl.encode(a.salt))
	copy(both[sealCopyAt-sealAt:], sl.encode(a.salt))
	if err := a.write(both, sealAt); err != nil {
		return s.writeFault(a.name, err)
	}
	return s.syncData(a.file, a.name)
}

// remove takes a container with no live block out of the directory, durably,
// and then out of the store, so that its tombstones are forgotten last.
func (s *Store) remove(b *box) error {
	b.mu.Lock()
	b.gone = true
	name, size, had := b.place.name, b.size, b.blocks
	b.mu.Unlock()
	if err := s.o.FS.Remove(s.path(name)); err != nil {
		return s.writeFault(name, err)
	}
	if err := s.syncDir(); err != nil {
		return err
	}
	s.handles.forget(name)
	s.mu.Lock()
	delete(s.boxes, b.id)
	s.mu.Unlock()
	if had > 0 {
		s.o.Listener.Rewritten(b.id, size, 0)
	}
	return nil
}
