package consensustest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Oracle knows what every machine of a group did and every client saw, and
// says what is wrong with it.
type Oracle struct {
	mu      sync.Mutex
	digests map[uint64]uint64 // by index: the same on every machine, for ever
	faults  []string
	acked   []string
	history []porcupine.Operation
}

// NewOracle returns an oracle for one group.
func NewOracle() *Oracle { return &Oracle{digests: map[uint64]uint64{}} }

func (o *Oracle) fault(format string, a ...any) {
	if len(o.faults) < 20 {
		o.faults = append(o.faults, fmt.Sprintf(format, a...))
	}
}

// applied hears of each entry a machine applied.
func (o *Oracle) applied(id uint64, s state) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d, ok := o.digests[s.pos.Index]; ok && d != s.digest {
		o.fault("node %d differs from another at index %d", id, s.pos.Index)
	}
	o.digests[s.pos.Index] = s.digest
}

// Faults returns what was found so far.
func (o *Oracle) Faults() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.faults)
}

// Acked returns the ids of the requests that were answered.
func (o *Oracle) Acked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.acked)
}

func (o *Oracle) finished(op *Op, now int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if op.Write && !op.Unknown {
		o.acked = append(o.acked, op.ID)
	}
	if op.Unknown {
		now = 1 << 60 // at any later time, or never
	}
	o.history = append(o.history, porcupine.Operation{
		ClientId: op.client, Input: input{op.Register, op.Write, op.Value}, Call: op.call,
		Output: output{op.Out, op.Unknown}, Return: now,
	})
}

// Settled checks what must hold once every machine has caught up: all at one
// index with one digest, each answered request applied once.
func (o *Oracle) Settled(machines []*Machine) {
	acked := o.Acked()
	o.mu.Lock()
	defer o.mu.Unlock()
	var index, digest uint64
	for i, m := range machines {
		at, d := m.Digest()
		if i == 0 {
			index, digest = at, d
		}
		if at != index || d != digest {
			o.fault("node %d ends at index %d digest %x, node %d at %d digest %x", m.id, at, d, machines[0].id, index, digest)
		}
		if lost := m.Missing(acked); len(lost) > 0 {
			o.fault("node %d lost %d of %d answered requests: %.60v", m.id, len(lost), len(acked), lost)
		}
		m.mu.Lock()
		for id, times := range m.state.seen {
			if times > 1 {
				o.fault("node %d applied request %s %d times", m.id, id, times)
			}
		}
		m.mu.Unlock()
	}
}

// Linearizable checks the clients' history, register by register.
func (o *Oracle) Linearizable(limit time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r := porcupine.CheckOperationsTimeout(register(), o.history, limit); r == porcupine.Illegal {
		o.fault("the clients' history of %d operations is not linearizable", len(o.history))
	}
}

type input struct {
	register string
	write    bool
	value    string
}

type output struct {
	value   string
	unknown bool
}

// register is a model of registers that answer a write with their old value.
func register() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			by := map[string][]porcupine.Operation{}
			for _, op := range history {
				r := op.Input.(input).register
				by[r] = append(by[r], op)
			}
			var parts [][]porcupine.Operation
			for _, p := range by {
				parts = append(parts, p)
			}
			return parts
		},
		Init: func() any { return "" },
		Step: func(state, in, out any) (bool, any) {
			i, o := in.(input), out.(output)
			if !o.unknown && o.value != state.(string) {
				return false, state
			}
			if i.write {
				return true, i.value
			}
			return true, state
		},
	}
}
