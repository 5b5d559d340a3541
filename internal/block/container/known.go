package container

import (
	"cmp"
	"slices"
	"sync"
)

// knownMost bounds the damaged ranges that are remembered.
const knownMost = 100_000

// spot is a damaged range, whoever met it and whatever it was looking for.
type spot struct {
	file           string
	offset, length int64
}

func spotOf(d Damage) spot { return spot{d.File, d.Offset, d.Length} }

// known are the damaged ranges that were met. A scrub that read everything
// knows better than all before it: what it did not meet is forgotten.
type known struct {
	mu   sync.Mutex
	pass uint64 // of the scrub, from its first container to its last
	at   map[spot]met
}

type met struct {
	Damage
	pass uint64 // the last in which it was met
}

func (k *known) note(d Damage) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := spotOf(d)
	if _, old := k.at[s]; !old && len(k.at) >= knownMost {
		return
	}
	if k.at == nil {
		k.at = map[spot]met{}
	}
	k.at[s] = met{d, k.pass}
}

// begin begins a scrub at the first container.
func (k *known) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pass++
}

// end forgets what was not met since begin.
func (k *known) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for s, m := range k.at {
		if m.pass < k.pass {
			delete(k.at, s)
		}
	}
}

// Damages returns the damaged ranges of the blocks that are stored, in order
// of file and offset: each once, however often it was met, by reads, scrubs
// (the last one before Open too) or Open, since the last whole scrub began. At
// most 100,000 are remembered.
func (s *Store) Damages() []Damage {
	var out []Damage
	s.known.mu.Lock()
	for _, m := range s.known.at {
		out = append(out, m.Damage)
	}
	s.known.mu.Unlock()
	out = slices.DeleteFunc(out, s.gone)
	slices.SortFunc(out, func(a, b Damage) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Length, b.Length))
	})
	return out
}

// gone reports whether nobody misses the damaged range any more: its block was
// deleted, or its container went or was rewritten.
func (s *Store) gone(d Damage) bool {
	if d.ID.Container == 0 {
		return false
	}
	s.mu.RLock()
	b := s.boxes[d.ID.Container]
	s.mu.RUnlock()
	if b == nil {
		return true
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.place.name != d.File || d.ID.Local != 0 && b.dead.has(uint32(d.ID.Local))
}
