package freon

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"o3/internal/errs"
)

// Mix is how often each operation of a mixed load is done: put=20,get=60.
type Mix struct {
	text    string
	weights map[string]int
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mix) UnmarshalText(text []byte) error {
	m.text, m.weights = string(text), map[string]int{}
	for _, one := range strings.Split(m.text, ",") {
		op, weight, ok := strings.Cut(strings.TrimSpace(one), "=")
		n, err := strconv.Atoi(weight)
		if !ok || err != nil || n < 0 || n > 1_000_000 {
			return fmt.Errorf("%q is not a mix: write put=20,get=60, with weights from 0 to 1000000", m.text)
		}
		m.weights[op] = n
	}
	return nil
}

// schedule turns the weights of ops into a list of cumulative weights.
func (m Mix) schedule(ops []string) ([]int, error) {
	for op := range m.weights {
		if !slices.Contains(ops, op) {
			return nil, errs.New(errs.Invalid, "--mix "+m.text, fmt.Sprintf("%q is no operation: there are %s", op, strings.Join(ops, ", ")))
		}
	}
	sum := 0
	upTo := make([]int, len(ops))
	for i, op := range ops {
		sum += m.weights[op]
		upTo[i] = sum
	}
	if sum == 0 {
		return nil, errs.New(errs.Invalid, "--mix "+m.text, "one weight at least must not be 0")
	}
	return upTo, nil
}

// choose returns the operation that a random number stands for.
func choose(upTo []int, random uint64) int {
	n := int(random % uint64(upTo[len(upTo)-1]))
	return slices.IndexFunc(upTo, func(limit int) bool { return n < limit })
}

// extras are the keys that a mixed load has put beside those it reads, and may
// delete again. It is safe for concurrent use.
type extras struct {
	mu   sync.Mutex
	next uint64
	keys []uint64
}

// add returns the number of a key to put.
func (e *extras) add() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	return e.next - 1
}

// maxExtras bounds what is remembered; keys beyond it stay.
const maxExtras = 1 << 20

// put notes that a key is there.
func (e *extras) put(n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.keys) < maxExtras {
		e.keys = append(e.keys, n)
	}
}

// take returns a key to delete, which nobody else deletes.
func (e *extras) take() (n uint64, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.keys) == 0 {
		return 0, false
	}
	n = e.keys[len(e.keys)-1]
	e.keys = e.keys[:len(e.keys)-1]
	return n, true
}
