package kvtest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"testing"

	"o3/internal/kv"
)

// state is the model: rows by key, never changed once made.
type state struct {
	rows map[string]string
	keys []string // sorted
}

func newState(rows map[string]string) state {
	return state{rows, slices.Sorted(maps.Keys(rows))}
}

// clock is the row that counts commits: it tells which state a reader sees.
const clock = "\x00commits"

// history is one random run of an engine beside the model.
type history struct {
	t      *testing.T
	rng    *rand.Rand
	store  kv.Store
	states []state // after each commit; states[0] is empty

	snaps   []kv.Snapshot
	snapsAt []int
	durable int // the newest state seen durable
	floor   int // the state of the last flush
}

// againstModel runs a random history and compares every answer. The seed is
// printed; O3_SEED runs one again.
func againstModel(t *testing.T, open func(t *testing.T) kv.Store) {
	seed := Seed(t)
	h := &history{
		t: t, rng: rand.New(rand.NewPCG(seed, seed)),
		store: open(t), states: []state{newState(map[string]string{})},
	}
	for range 400 {
		h.step()
	}
	for i := range h.snaps {
		h.compare(h.snaps[i], h.snapsAt[i])
	}
	for _, s := range h.snaps {
		closeAll(t, s)
	}
	closeAll(t, h.store)
}

func (h *history) step() {
	latest := len(h.states) - 1
	switch p := h.rng.IntN(100); {
	case p < 55:
		h.commit()
	case p < 60:
		h.compare(h.store, latest)
	case p < 70:
		h.walk(h.store, latest)
	case p < 75 && len(h.snaps) < 8:
		h.snaps, h.snapsAt = append(h.snaps, h.store.Snapshot()), append(h.snapsAt, latest)
	case p < 80 && len(h.snaps) > 0:
		i := h.rng.IntN(len(h.snaps))
		h.compare(h.snaps[i], h.snapsAt[i])
		closeAll(h.t, h.snaps[i])
		h.snaps, h.snapsAt = slices.Delete(h.snaps, i, i+1), slices.Delete(h.snapsAt, i, i+1)
	case p < 88 && len(h.snaps) > 0:
		i := h.rng.IntN(len(h.snaps))
		h.walk(h.snaps[i], h.snapsAt[i])
	case p < 92:
		flush(h.t, h.store)
		h.floor = latest
	case p < 100:
		h.lookDurable(latest)
	}
}

// key draws from a small space, so that rows meet.
func (h *history) key() string {
	k := fmt.Sprintf("k%02d", h.rng.IntN(60))
	switch h.rng.IntN(4) {
	case 0:
		return k + "\x00"
	case 1:
		return k + "\xff\xff"
	}
	return k
}

func (h *history) commit() {
	b := h.store.NewBatch()
	rows := maps.Clone(h.states[len(h.states)-1].rows)
	for range h.rng.IntN(20) {
		k := h.key()
		if h.rng.IntN(3) == 0 {
			fill(h.t, b, del(k))
			delete(rows, k)
			continue
		}
		v := make([]byte, h.rng.IntN(1<<h.rng.IntN(10)))
		for i := range v {
			v[i] = byte(h.rng.Uint32())
		}
		fill(h.t, b, write{k, v})
		rows[k] = string(v)
	}
	if h.rng.IntN(8) == 0 { // given up
		closeAll(h.t, b)
		return
	}
	n := strconv.Itoa(len(h.states))
	fill(h.t, b, put(clock, n))
	rows[clock] = n
	if err := b.Commit(false); err != nil {
		h.t.Fatal(err)
	}
	closeAll(h.t, b)
	h.states = append(h.states, newState(rows))
}

// compare reads everything, in both directions and by key.
func (h *history) compare(r kv.Reader, at int) {
	h.t.Helper()
	want := h.states[at]
	it := iter(h.t, r, "", "")
	defer closeIter(h.t, it)
	i := 0
	for ok := it.First(); ok; ok = it.Next() {
		if i >= len(want.keys) || string(it.Key()) != want.keys[i] || string(value(h.t, it)) != want.rows[want.keys[i]] {
			h.t.Fatalf("state %d: row %d is %q", at, i, it.Key())
		}
		i++
	}
	if i != len(want.keys) {
		h.t.Fatalf("state %d: %d rows, want %d", at, i, len(want.keys))
	}
	for ok := it.Last(); ok; ok = it.Prev() {
		if i--; i < 0 || string(it.Key()) != want.keys[i] {
			h.t.Fatalf("state %d backwards: row %d is %q", at, i, it.Key())
		}
	}
	for range 40 {
		k := h.key()
		v, ok := want.rows[k]
		if !ok {
			v = "-"
		}
		wantGet(h.t, r, k, v)
	}
}

// walk makes random steps between random bounds.
func (h *history) walk(r kv.Reader, at int) {
	h.t.Helper()
	var lower, upper string
	if h.rng.IntN(2) == 0 {
		lower = h.key()
	}
	if h.rng.IntN(2) == 0 {
		upper = h.key()
	}
	keys := h.states[at].keys
	keys = keys[sort.SearchStrings(keys, lower):]
	if upper != "" {
		keys = keys[:sort.SearchStrings(keys, upper)]
	}
	it := iter(h.t, r, lower, upper)
	defer closeIter(h.t, it)
	at0, valid := -1, false
	for range 30 {
		k := h.key()
		var ok bool
		var step string
		switch h.rng.IntN(8) {
		case 0:
			step, ok, at0 = "first", it.First(), 0
		case 1:
			step, ok, at0 = "last", it.Last(), len(keys)-1
		case 2:
			step, ok, at0 = "ge:"+k, it.SeekGE([]byte(k)), sort.SearchStrings(keys, k)
		case 3:
			step, ok, at0 = "lt:"+k, it.SeekLT([]byte(k)), sort.SearchStrings(keys, k)-1
		case 4, 5:
			step, ok = "next", it.Next()
			at0++
			if !valid {
				at0 = -1
			}
		default:
			step, ok = "prev", it.Prev()
			at0--
			if !valid {
				at0 = -1
			}
		}
		valid = at0 >= 0 && at0 < len(keys)
		want := "."
		if valid {
			want = keys[at0]
		}
		if got := position(h.t, it, step, ok); got != want {
			h.t.Fatalf("state %d [%q,%q): %q went to %q, want %q", at, lower, upper, step, got, want)
		}
		if valid && string(value(h.t, it)) != h.states[at].rows[keys[at0]] {
			h.t.Fatalf("state %d: wrong value at %q", at, keys[at0])
		}
	}
}

// lookDurable finds the state that is durable: a whole one, not newer than the
// latest, not older than what was durable before or flushed.
func (h *history) lookDurable(latest int) {
	h.t.Helper()
	d := durable(h.t, h.store)
	defer closeAll(h.t, d)
	v, ok, err := d.Get([]byte(clock))
	if err != nil {
		h.t.Fatal(err)
	}
	n := 0
	if ok {
		if n, err = strconv.Atoi(string(v)); err != nil {
			h.t.Fatal(err)
		}
	}
	if n > latest || n < h.durable || n < h.floor {
		h.t.Fatalf("durable is state %d; latest %d, durable before %d, flushed %d", n, latest, h.durable, h.floor)
	}
	h.durable = n
	h.compare(d, n)
	h.walk(d, n)
}
