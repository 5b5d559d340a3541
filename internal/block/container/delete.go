package container

import (
	"context"
	"errors"
	"math"

	"o3/internal/block"
)

const (
	logAhead  = 1 << 20 // space allocated ahead
	tombBatch = 16 << 10
)

// Delete marks blocks dead, durably; see block.Store. Their space is freed
// when Run rewrites or removes their containers.
func (s *Store) Delete(ctx context.Context, ids []block.ID) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.writable(); err != nil {
		return err
	}
	for len(ids) > 0 {
		if err := canceled(ctx); err != nil {
			return err
		}
		some := ids[:min(len(ids), tombBatch)]
		ids = ids[len(some):]
		tombs := make([]tomb, 0, len(some))
		for _, id := range some {
			t, ok, err := s.tombOf(id)
			if err != nil {
				return err
			}
			if ok {
				tombs = append(tombs, t)
			}
		}
		if len(tombs) == 0 {
			continue
		}
		if err := s.deletes.do(tombs); err != nil {
			return err
		}
	}
	return nil
}

// tombOf returns the tombstone of a block that is there.
func (s *Store) tombOf(id block.ID) (tomb, bool, error) {
	b := s.box(id.Container)
	if b == nil || id.Local == 0 || id.Local > math.MaxUint32 {
		return tomb{}, false, nil
	}
	return s.tombIn(b, uint32(id.Local))
}

// tombIn returns the tombstone of a live block of b, for its file as it is now.
func (s *Store) tombIn(b *box, local uint32) (tomb, bool, error) {
	t := tomb{container: b.id, local: local}
	v, e, err := s.find(b, local)
	switch {
	case err == nil:
		s.handles.release(v.handle)
		t.gen, t.length = v.gen, e.length
	case errors.Is(err, errAbsent):
		return tomb{}, false, nil
	case isDamage(err): // it can be dead all the same
		b.mu.RLock()
		t.gen = b.gen
		b.mu.RUnlock()
	default:
		return tomb{}, false, err
	}
	return t, true, nil
}

// commitDeletes is one step of the group: one frame, one fdatasync.
func (s *Store) commitDeletes(batch []*call[[]tomb]) {
	err := s.writeDeletes(batch)
	for _, c := range batch {
		c.err = err
	}
}

func (s *Store) writeDeletes(batch []*call[[]tomb]) error {
	var all []tomb
	for _, c := range batch {
		for _, t := range c.v {
			t, ok, err := s.refresh(t)
			if err != nil {
				return err
			}
			if ok {
				all = append(all, t)
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	if err := s.appendTombs(all); err != nil {
		return err
	}
	for _, t := range all {
		if b := s.box(t.container); b != nil {
			b.bury(t.local, t.length)
		}
	}
	s.count.deletes.Add(int64(len(all)))
	return s.rotateLog()
}

// refresh makes t fit the file its container has now; generations change
// under deletes.turn only, which the caller holds. False: nothing is left to do.
func (s *Store) refresh(t tomb) (tomb, bool, error) {
	b := s.box(t.container)
	if b == nil || b.isDead(t.local) {
		return t, false, nil
	}
	b.mu.RLock()
	same := b.gen == t.gen
	b.mu.RUnlock()
	if same {
		return t, true, nil
	}
	return s.tombIn(b, t.local)
}

// appendTombs makes tombstones durable; the caller holds deletes.turn.
func (s *Store) appendTombs(tombs []tomb) error {
	if err := s.Err(); err != nil {
		return err
	}
	payload := make([]byte, 0, len(tombs)*tombSize)
	for _, t := range tombs {
		payload = appendTomb(payload, t)
	}
	l := s.log
	frame := appendFrame(nil, l.salt, frameTombs, payload, l.tail, l.tail)
	if l.spare < l.tail+int64(len(frame)) {
		if l.file.Preallocate(l.tail, logAhead+int64(len(frame))) == nil {
			l.spare = l.tail + logAhead + int64(len(frame))
		}
	}
	if _, err := l.file.WriteAt(frame, l.tail); err != nil {
		return s.writeFault(deletesName(l.n), err)
	}
	if err := s.syncData(l.file, deletesName(l.n)); err != nil {
		return err
	}
	l.tail += int64(len(frame))
	return nil
}

// rotateLog replaces a log that has grown; the caller holds deletes.turn. A
// disk without space for a new one is no error: the old one goes on.
func (s *Store) rotateLog() error {
	l := s.log
	if l.tail-l.base < max(s.o.logGrowth, 4*l.base) {
		return nil
	}
	next, err := s.writeLog(l.n + 1)
	if err != nil {
		s.o.FS.Remove(s.path(deletesName(l.n+1) + tmpSuffix))
		if s.Err() != nil {
			return err
		}
		s.o.Listener.Failed("delete log", 0, err)
		return nil
	}
	s.log = next
	l.file.Close() // what it holds is in the new one
	s.o.FS.Remove(s.path(deletesName(l.n)))
	return nil
}
