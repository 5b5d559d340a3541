package consensustest

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"o3/internal/consensus"
)

// Machine is a StateMachine of registers. A request is "id register value": it
// sets the register and answers its old value. A Machine accepts what it is
// given, twice if need be: finding mistakes is the Oracle's part.
//
// Its disk is a model: what was applied survives a crash up to some entry at
// or after the last one flushed.
type Machine struct {
	id     uint64
	oracle *Oracle

	mu      sync.Mutex
	state   state
	base    state             // the newest state that is whole on disk
	since   []consensus.Entry // applied since base
	durable int               // so many of since are flushed
	images  map[string]state  // staged and offered, by manifest
	latest  *consensus.ImageMeta
	wanted  uint64
}

type state struct {
	pos       consensus.Position
	registers map[string]string
	seen      map[string]int // requests by id, and how often
	digest    uint64
}

// NewMachine returns an empty machine that reports to oracle.
func NewMachine(id uint64, oracle *Oracle) *Machine {
	m := &Machine{id: id, oracle: oracle, images: map[string]state{}}
	m.state = state{registers: map[string]string{}, seen: map[string]int{}}
	m.base = m.state.clone()
	return m
}

func (s state) clone() state {
	s.registers, s.seen = maps.Clone(s.registers), maps.Clone(s.seen)
	return s
}

func (s *state) apply(e consensus.Entry) [][]byte {
	results := make([][]byte, len(e.Requests))
	for i, r := range e.Requests {
		f := strings.SplitN(string(r), " ", 3)
		id, reg, value := f[0], f[1], f[2]
		results[i] = []byte(s.registers[reg])
		s.registers[reg] = value
		s.seen[id]++
		s.digest = mix(s.digest, r)
	}
	s.pos.Index, s.pos.Term = e.Index, e.Term
	if e.Conf != nil {
		s.pos.Conf = e.Conf
		s.digest = mix(s.digest, e.Conf)
	}
	s.digest = mix(s.digest, binary.BigEndian.AppendUint64(nil, e.Index))
	return results
}

func mix(d uint64, p []byte) uint64 {
	h := fnv.New64a()
	h.Write(binary.BigEndian.AppendUint64(nil, d))
	h.Write(p)
	return h.Sum64()
}

// Apply implements consensus.StateMachine.
func (m *Machine) Apply(entries []consensus.Entry) ([][][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	results := make([][][]byte, len(entries))
	for i, e := range entries {
		if e.Index > m.state.pos.Index+1 {
			return nil, fmt.Errorf("machine %d: entry %d after %d", m.id, e.Index, m.state.pos.Index)
		}
		results[i] = m.state.apply(e)
		m.since = append(m.since, e)
		m.oracle.applied(m.id, m.state)
	}
	if m.wanted != 0 && m.state.pos.Index >= m.wanted {
		m.makeImage()
	}
	return results, nil
}

// Applied implements consensus.StateMachine.
func (m *Machine) Applied() consensus.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.pos
}

// Durable implements consensus.StateMachine.
func (m *Machine) Durable() (consensus.Position, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.durable == 0 {
		return m.base.pos, nil
	}
	e := m.since[m.durable-1]
	return consensus.Position{Index: e.Index, Term: e.Term}, nil
}

// Flush implements consensus.StateMachine.
func (m *Machine) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.durable = len(m.since)
	return nil
}

// Crash loses what a power cut may lose: a suffix of what is not flushed.
func (m *Machine) Crash(rng *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	keep := m.durable + rng.IntN(len(m.since)-m.durable+1)
	m.since = slices.Clip(m.since[:keep])
	m.durable = keep
	m.state = m.base.clone()
	for _, e := range m.since {
		m.state.apply(e)
	}
	m.wanted = 0
}

// Get reads a register.
func (m *Machine) Get(register string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.registers[register]
}

// Digest returns the index applied last and the digest there.
func (m *Machine) Digest() (index, digest uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.pos.Index, m.state.digest
}

// Missing returns those of ids that the machine has not applied.
func (m *Machine) Missing(ids []string) (missing []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if m.state.seen[id] == 0 {
			missing = append(missing, id)
		}
	}
	return missing
}

func (m *Machine) makeImage() {
	meta := consensus.ImageMeta{
		Index: m.state.pos.Index, Term: m.state.pos.Term, Conf: m.state.pos.Conf,
		Manifest: fmt.Appendf(nil, "image of node %d at %d", m.id, m.state.pos.Index),
	}
	m.images[string(meta.Manifest)] = m.state.clone()
	m.latest, m.wanted = &meta, 0
}

// Latest implements consensus.Images.
func (m *Machine) Latest() (consensus.ImageMeta, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.latest == nil {
		return consensus.ImageMeta{}, false
	}
	return *m.latest, true
}

// Prepare implements consensus.Images.
func (m *Machine) Prepare(min uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wanted = min; m.state.pos.Index >= min {
		m.makeImage()
	}
}

// stage copies an image from another machine.
func (m *Machine) stage(src *Machine, offer consensus.ImageMeta) (consensus.ImageMeta, error) {
	src.mu.Lock()
	meta := offer
	s, ok := src.images[string(offer.Manifest)]
	if !ok && src.latest != nil {
		meta, ok = *src.latest, true
		s = src.images[string(meta.Manifest)]
	}
	s = s.clone()
	src.mu.Unlock()
	if !ok {
		return meta, fmt.Errorf("node %d has no image", src.id)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.images[string(meta.Manifest)] = s
	return meta, nil
}

// Install implements consensus.Images.
func (m *Machine) Install(meta consensus.ImageMeta) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.images[string(meta.Manifest)]
	if !ok {
		return fmt.Errorf("machine %d: %q is not staged", m.id, meta.Manifest)
	}
	m.state, m.base, m.since, m.durable = s.clone(), s.clone(), nil, 0
	m.oracle.applied(m.id, m.state)
	return nil
}
