package fsm_test

import (
	"context"
	"fmt"
	"strings"

	"o3/internal/fsm"
	"o3/internal/kv/memkv"
	"o3/internal/recon/task"
	"o3/internal/recon/task/tasktest"
)

// checkDerived brings derived tables forward by the whole history, cut otherwise
// than it was applied, and compares them now and then with tables that are
// built from the rows (Law 7).
func (h *history) checkDerived() {
	store := new(memkv.Store)
	m, err := fsm.Open(store, fsm.Position{})
	if err != nil {
		h.t.Fatal(err)
	}
	tables, sql := new(memkv.Store), tasktest.NewSQL()
	set, err := task.OpenSet(tables, sql, task.All(), store)
	if err != nil {
		h.t.Fatal(err)
	}
	m.Watch(set.Apply)
	for at := 0; at < len(h.d.Log); {
		n := min(1+h.rng.IntN(20), len(h.d.Log)-at)
		if _, err := m.Apply(h.d.Log[at : at+n]); err != nil {
			h.errorf("derived tables at entries %d to %d: %v", at+1, at+n, err)
			return
		}
		if at += n; at < len(h.d.Log) && h.rng.IntN(30) > 0 {
			continue
		}
		have, err := tasktest.Print(tables, sql)
		if err != nil {
			h.t.Fatal(err)
		}
		if want := h.rebuilt(store, m.Position().Index); have != want {
			h.errorf("derived tables at index %d differ (-rebuilt, +brought forward):\n%s", m.Position().Index, lineDiff(want, have))
			return
		}
	}
}

// rebuilt prints derived tables built from rows.
func (h *history) rebuilt(rows *memkv.Store, index uint64) string {
	tables, sql := new(memkv.Store), tasktest.NewSQL()
	set, err := task.OpenSet(tables, sql, task.All(), rows)
	if err != nil {
		h.t.Fatal(err)
	}
	o := task.RebuildOptions{Dir: h.t.TempDir(), Workers: 1 + h.rng.IntN(3), Memory: []int{1 << 12, 1 << 20}[h.rng.IntN(2)]}
	if _, err := set.Rebuild(context.Background(), rows, index, o); err != nil {
		h.t.Fatal(err)
	}
	text, err := tasktest.Print(tables, sql)
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

// lineDiff prints the lines that only one of the texts has.
func lineDiff(a, b string) string {
	var out strings.Builder
	lines := func(s string) map[string]bool {
		m := map[string]bool{}
		for line := range strings.Lines(s) {
			m[line] = true
		}
		return m
	}
	in, of := lines(a), lines(b)
	for line := range strings.Lines(a) {
		if !of[line] {
			fmt.Fprint(&out, "-", line)
		}
	}
	for line := range strings.Lines(b) {
		if !in[line] {
			fmt.Fprint(&out, "+", line)
		}
	}
	return out.String()
}
