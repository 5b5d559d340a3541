package container

import (
	"sync"
)

// state is how far a container has come.
type state uint8

const (
	writing state = iota // an appender holds it
	retired              // complete, but without its index yet
	sealed               // immutable, index in the file
	broken               // its header is damaged: nothing in it can be made out
)

// box is a container: a numbered group of blocks whose file changes (by a new
// generation) while the group stays.
type box struct {
	id uint64

	mu     sync.RWMutex
	place  place
	gen    uint32
	next   uint32 // the generation the next rewriting makes
	node   uint16
	born   int64 // unix nanoseconds
	state  state
	index  index
	tail   int64 // where the records end
	size   int64 // bytes of the file
	blocks int64 // in the index: live and dead
	bytes  int64 // their payload

	dead      bitset
	deadCount int64
	deadBytes int64 // payload
	deadSpace int64 // bytes of their records

	damage *Damage // of a broken one
	force  bool    // rewrite whatever the live share: the index was damaged
	stuck  bool    // a rewriting met damage: leave it until blocks are deleted
	gone   bool    // removed
}

// lay sets what follows from the header of the file; the caller holds mu or is alone.
func (b *box) lay(h fileHead, name string) {
	b.place = place{shape: shape{int64(h.chunk)}, salt: h.salt, container: h.container, name: name}
	b.gen, b.next, b.node, b.born = h.gen, h.gen+1, h.node, h.created
}

// add publishes a durable block.
func (b *box) add(tail int64, entries ...entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, _ := b.index.(residentIndex)
	b.index = append(r, entries...)
	b.blocks += int64(len(entries))
	for _, e := range entries {
		b.bytes += int64(e.length)
	}
	b.tail, b.size = tail, max(b.size, tail)
}

// bury marks a block dead; the delete is durable already.
func (b *box) bury(local, length uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dead.has(local) {
		return
	}
	b.dead.set(local)
	b.countDead(length)
	b.stuck = false
}

// countDead counts a dead block that is still in the file; the caller holds mu.
func (b *box) countDead(length uint32) {
	b.deadCount++
	b.deadBytes += int64(length)
	b.deadSpace += b.place.record(int64(length))
}

// share is the live part of the container's space; the caller holds mu.
func (b *box) share() float64 {
	space := b.tail - headSize
	if space <= 0 || b.blocks == b.deadCount {
		return 0
	}
	return float64(space-b.deadSpace) / float64(space)
}

// isDead reports whether the block was deleted.
func (b *box) isDead(local uint32) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.dead.has(local)
}
