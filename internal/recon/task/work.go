package task

import (
	"time"

	"o3/internal/ns"
)

// Work is what a task did, in a rebuild or for a run of log entries.
type Work struct {
	Task    string
	Rows    int64         // of the namespace that it was given; one that changed counts twice
	Written int64         // derived rows that it made, changed or dropped
	Took    time.Duration // of its own, on all processors: what all tasks share, such as reading, is not in it
}

// plan is which task is given which rows and fills which tables.
type plan struct {
	tasks []Task
	reads [][256]bool // by task: first bytes of rows' keys
	any   [256]bool   // the tables that some task reads
	fills [256]int    // tasks by the first bytes of derived keys; that of file counts depends on the bucket
	tree  int         // the task of FileSizeCountTaskFSO; -1: there is none
	flat  int
}

func newPlan(tasks []Task) *plan {
	p := &plan{tasks: tasks, reads: make([][256]bool, len(tasks)), tree: -1, flat: -1}
	spaces := map[string]byte{}
	for space, name := range tableOf {
		if name != "" {
			spaces[name] = byte(space)
		}
	}
	first := map[string]byte{}
	for _, t := range Tables() {
		first[t.Name] = t.First
	}
	for i := range p.fills {
		p.fills[i] = -1
	}
	for i, t := range tasks {
		for _, name := range t.Reads {
			p.reads[i][spaces[name]], p.any[spaces[name]] = true, true
		}
		for _, name := range t.Tables {
			p.fills[first[name]] = i
		}
		switch t.layout {
		case ns.FileSystem:
			p.tree = i
		case ns.ObjectStore:
			p.flat = i
		}
	}
	return p
}

// of returns the number of the task that a derived row is of, -1 for none.
func (p *plan) of(key []byte, layouts Layouts) int {
	if bucket, _, ok := ParseFileCount(key); ok {
		if layouts.of(bucket) == ns.ObjectStore {
			return p.flat
		}
		return p.tree
	}
	return p.fills[key[0]]
}

// tables names the tables that the tasks fill, as the store has it: a version, then
// their first bytes. One whose rows change in meaning gets another first byte.
func (p *plan) tables() []byte {
	b := []byte{countsVersion}
	for _, t := range Tables() {
		if p.fills[t.First] >= 0 {
			b = append(b, t.First)
		}
	}
	return b
}

// works is Work by task.
type works []Work

func (p *plan) works() works {
	w := make(works, len(p.tasks))
	for i, t := range p.tasks {
		w[i].Task = t.Name
	}
	return w
}

func (w works) add(more works) {
	for i, m := range more {
		w[i].Rows += m.Rows
		w[i].Written += m.Written
		w[i].Took += m.Took
	}
}

// contribute has each task add to sums what the rows give, times sign.
func (p *plan) contribute(rows []Row, sign int64, to *Sums, w works) {
	for i, t := range p.tasks {
		began, reads, n := time.Now(), &p.reads[i], int64(0)
		for j := range rows {
			if r := &rows[j]; reads[r.Table] {
				t.contribute(r, sign, to)
				n++
			}
		}
		w[i].Rows += n
		w[i].Took += time.Since(began)
	}
}
