package container

import (
	"context"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/time/rate"

	"o3/internal/errs"
)

// Reclaimed is what one pass of Reclaim did.
type Reclaimed struct {
	Removed   int   // containers without a live block
	Rewritten int   // containers rewritten
	Failed    int   // containers left for the next pass
	Freed     int64 // bytes of disk
}

var (
	errStopped = errors.New("the store is closing")
	errHealed  = errors.New("the index was damaged and has been made anew: the next pass rewrites the container")
)

// limiter bounds a rate of bytes; one for n <= 0 bounds nothing.
func limiter(n int64) *rate.Limiter {
	if n <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(n), int(max(n, 1<<20)))
}

// wait takes n bytes from l, and returns an error when ctx or the store ends.
func (s *Store) wait(ctx context.Context, l *rate.Limiter, n int64) error {
	select {
	case <-s.closing:
		return errStopped
	default:
	}
	if l.Limit() == rate.Inf {
		return ctx.Err()
	}
	for n > 0 {
		some := min(n, int64(l.Burst()))
		if err := l.WaitN(ctx, int(some)); err != nil {
			return err
		}
		n -= some
	}
	return nil
}

// Reclaim makes one pass over the containers: those without a live block are
// removed, those whose live share is below Options.ReclaimBelow are rewritten,
// at Options.ReclaimRate. Run makes such passes. What fails on one container is
// told to Listener.Failed and does not end the pass. Kind Conflict: a pass is
// under way.
func (s *Store) Reclaim(ctx context.Context) (Reclaimed, error) {
	var r Reclaimed
	if !s.reclaiming.TryLock() {
		return r, errs.New(errs.Conflict, "reclaim", "a pass is under way")
	}
	defer s.reclaiming.Unlock()
	if err := s.writable(); err != nil {
		return r, err
	}
	l := limiter(s.o.ReclaimRate)
	s.retireWasteful()
	if err := s.sealPending(); err != nil {
		if s.Err() != nil {
			return r, err
		}
		s.o.Listener.Failed("seal", 0, err)
	}
	for _, b := range s.all() {
		if err := canceled(ctx); err != nil {
			return r, err
		}
		if !s.wasteful(b) {
			continue
		}
		freed, removed, err := s.rewrite(ctx, b, l)
		switch {
		case errors.Is(err, errStopped):
			return r, errs.New(errs.Unavailable, "block store", "closed")
		case s.Err() != nil:
			return r, s.Err()
		case ctx.Err() != nil:
			return r, canceled(ctx)
		case err != nil:
			r.Failed++
			s.o.Listener.Failed("rewrite", b.id, err)
			continue
		case removed:
			r.Removed++
		default:
			r.Rewritten++
		}
		r.Freed += freed
		s.count.rewrites.Add(1)
		s.count.freed.Add(freed)
	}
	return r, nil
}

// wasteful reports whether b is to be rewritten or removed.
func (s *Store) wasteful(b *box) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.state != sealed || b.stuck || b.gone {
		return false
	}
	return b.force || b.share() < s.o.ReclaimBelow
}

// retireWasteful ends containers that are open and mostly dead: they would
// keep their space until they are full.
func (s *Store) retireWasteful() {
	mostlyDead := func(a *appender) bool {
		a.box.mu.RLock()
		defer a.box.mu.RUnlock()
		return a.box.deadCount > 0 && a.box.share() < s.o.ReclaimBelow
	}
	s.life.RLock()
	defer s.life.RUnlock()
	if s.writable() != nil {
		return
	}
	s.small.turn.Lock()
	if a := s.current; a != nil && mostlyDead(a) {
		s.retire(a)
		s.current = nil
	}
	s.small.turn.Unlock()
	s.streams.mu.Lock()
	var keep, end []*appender
	for _, a := range s.streams.idle {
		if mostlyDead(a) {
			end = append(end, a)
		} else {
			keep = append(keep, a)
		}
	}
	s.streams.idle = keep
	s.streams.mu.Unlock()
	for _, a := range end {
		s.retire(a)
	}
}

// rewriting is a container on its way to its next generation.
type rewriting struct {
	s    *Store
	b    *box
	v    view
	l    *rate.Limiter
	file vfs.File
	head fileHead
	name string // the file it will be
	tmp  string

	out    []byte // staged
	at     int64  // where out goes
	copied []entry
	seal   seal
}

// rewrite makes the next generation of b from its live blocks, under their
// ids, and puts it in the place of the file; if none is live it removes the
// container. Each step leaves a directory that Open understands: the new file
// has another name until it is whole and durable, and then counts more than
// the old one.
func (s *Store) rewrite(ctx context.Context, b *box, l *rate.Limiter) (freed int64, removed bool, err error) {
	v, err := s.look(b, 0)
	if err != nil {
		return 0, false, err
	}
	defer s.handles.release(v.handle)
	live, err := s.survey(b, v)
	if isDamage(err) {
		b.mu.Lock()
		b.stuck = true
		b.mu.Unlock()
	}
	if err != nil {
		return 0, false, err
	}
	b.mu.RLock()
	size, gen := b.size, b.next
	r := &rewriting{s: s, b: b, v: v, l: l, at: headSize,
		head: fileHead{chunk: uint32(b.place.chunk), container: b.id, salt: b.place.salt,
			created: b.born, gen: gen, node: b.node}}
	b.mu.RUnlock()
	if live.blocks == 0 {
		return size, true, s.removeDead(b)
	}
	if !s.space.room(live.space) {
		return 0, false, s.space.refusal("too little space to rewrite a container")
	}
	b.mu.Lock()
	b.next++ // a generation that fails is not made again: tombstones may name it
	b.mu.Unlock()
	r.name, r.tmp = containerName(b.id, gen), containerName(b.id, gen)+tmpSuffix
	err = r.run(ctx)
	if err != nil {
		s.o.FS.Remove(s.path(r.tmp)) // Open removes it otherwise
		if d, ok := errors.AsType[Damage](err); ok {
			s.damaged(d)
		}
		if ctx.Err() == nil && !errors.Is(err, errStopped) && errs.KindOf(err) != errs.ReadOnly {
			b.mu.Lock()
			b.stuck = true // what cannot be read now is not tried for ever
			b.mu.Unlock()
		}
		return 0, false, err
	}
	s.o.Listener.Rewritten(b.id, size, r.seal.end())
	return size - r.seal.end(), false, nil
}

// surveyed is what is live in a container.
type surveyed struct {
	blocks int
	space  int64
}

// survey counts what is live by the index itself, and refuses a container in
// which records are missing: nothing that is damaged is ever thrown away.
func (s *Store) survey(b *box, v view) (surveyed, error) {
	b.mu.RLock()
	tail := b.tail
	b.mu.RUnlock()
	var out surveyed
	at := int64(headSize)
	err := v.index.from(v.handle, 0, func(e entry) error {
		if e.offset != at {
			return v.place.gap(at, e.offset)
		}
		n := v.place.record(int64(e.length))
		at += n
		if !b.isDead(e.local) {
			out.blocks++
			out.space += n
		}
		return nil
	})
	if d, ok := errors.AsType[Damage](err); ok && d.Part == Index {
		v, err := s.heal(b, err)
		if err == nil {
			s.handles.release(v.handle)
			err = errHealed
		}
		return out, err
	}
	if err == nil && at != tail {
		err = v.place.gap(at, tail)
	}
	return out, err
}

// removeDead removes a container in which nothing is live; a block that is dead
// stays dead, so nothing can change that.
func (s *Store) removeDead(b *box) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.writable(); err != nil {
		return err
	}
	s.deletes.turn.Lock()
	defer s.deletes.turn.Unlock()
	return s.remove(b)
}

func (r *rewriting) run(ctx context.Context) error {
	f, err := r.s.create(r.tmp)
	if err != nil {
		return err
	}
	defer f.Close()
	r.file = f
	if err := r.copy(ctx); err != nil {
		return err
	}
	if err := r.finish(); err != nil {
		return err
	}
	return r.install()
}

// copy writes the live records, verified, one behind the other.
func (r *rewriting) copy(ctx context.Context) error {
	pl := r.v.place
	buf := make([]byte, max(writeBatch, pl.chunk))
	var tail []byte
	head := make([]byte, recordHead)
	return r.v.index.from(r.v.handle, 0, func(e entry) error {
		if r.b.isDead(e.local) {
			return nil
		}
		to := e
		to.offset = r.at + int64(len(r.out))
		recordMeta{container: r.b.id, local: uint64(e.local), length: int64(e.length), created: e.created}.
			encode(head, pl.salt, to.offset)
		if err := r.write(head); err != nil {
			return err
		}
		var err error
		tail, err = pl.walk(r.v.handle, e, buf, tail, sink{
			data: r.write,
			wait: func(n int64) error { return r.s.wait(ctx, r.l, n) },
		})
		if err != nil {
			return err
		}
		r.copied = append(r.copied, to)
		return r.write(tail)
	})
}

func (r *rewriting) write(p []byte) error {
	r.out = append(r.out, p...)
	if len(r.out) < writeBatch {
		return nil
	}
	return r.flush()
}

func (r *rewriting) flush() error {
	if len(r.out) == 0 {
		return nil
	}
	if _, err := r.file.WriteAt(r.out, r.at); err != nil {
		return r.s.writeFault(r.tmp, err)
	}
	r.at += int64(len(r.out))
	r.out = r.out[:0]
	return nil
}

// finish writes header, index and seal, and makes the file durable.
func (r *rewriting) finish() error {
	if err := r.flush(); err != nil {
		return err
	}
	r.seal = seal{tail: r.at, sealed: time.Now().UnixNano()}
	r.out = encodeIndex(&r.seal, r.head.salt, r.copied, r.at)
	if err := r.flush(); err != nil {
		return err
	}
	page := headPage(r.head)
	copy(page[sealAt:], r.seal.encode(r.head.salt))
	copy(page[sealCopyAt:], r.seal.encode(r.head.salt))
	if _, err := r.file.WriteAt(page, 0); err != nil {
		return r.s.writeFault(r.tmp, err)
	}
	return r.s.syncData(r.file, r.tmp)
}

// install puts the new file in the place of the old one. Deletes stand still
// meanwhile: those of blocks that were copied and deleted since are logged
// again, for the new generation, before it counts.
func (r *rewriting) install() error {
	s, b := r.s, r.b
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.writable(); err != nil {
		return err
	}
	s.deletes.turn.Lock()
	defer s.deletes.turn.Unlock()
	var dead []tomb
	for _, e := range r.copied {
		if b.isDead(e.local) {
			dead = append(dead, tomb{container: b.id, gen: r.head.gen, local: e.local, length: e.length})
		}
	}
	if len(dead) > 0 {
		if err := s.appendTombs(dead); err != nil {
			return err
		}
	}
	old := b.place.name
	if err := s.o.FS.Rename(s.path(r.tmp), s.path(r.name)); err != nil {
		return s.writeFault(r.name, err)
	}
	if err := s.syncDir(); err != nil {
		return err
	}
	b.mu.Lock()
	b.lay(r.head, r.name)
	b.index = &pagedIndex{seal: r.seal, salt: r.head.salt, container: b.id, file: r.name}
	b.tail, b.size = r.seal.tail, r.seal.end()
	b.blocks, b.bytes = int64(r.seal.blocks), r.seal.bytes
	// The bits of b.dead stay: whoever still reads by the old index needs them.
	b.deadCount, b.deadBytes, b.deadSpace = 0, 0, 0
	for _, t := range dead {
		b.countDead(t.length)
	}
	b.force = false
	b.mu.Unlock()
	s.handles.forget(old)
	s.o.FS.Remove(s.path(old)) // Open removes it otherwise
	return nil
}
