package fsm_test

// plantedDerived are mistakes about derived tables that TestHistories must find.
var plantedDerived = []struct{ name, file, old, new string }{
	{"a moved directory leaves its total behind", "recon/task/tree.go", "if err := t.up(m.bucket, m.from.parent, total, -1)", "if err := t.up(m.bucket, m.from.parent, total, 0)"},
	{"a total forgets what the run changed", "recon/task/tree.go", "total.add(t.deltas.of(k), 1)", "total.add(nil, 1)"},
	{"a moved directory hangs where it was meanwhile", "recon/task/tree.go", "	t.moves[string(k)] = place{}\n", ""},
	{"a dropped directory counts above", "recon/task/tree.go", "if m.to.there {", "if m.to.there || m.from.there {"},
	{"old rows keep what they added", "recon/task/run.go", "p.contribute(old.rows, -1, sums, w)", "p.contribute(old.rows, 0, sums, w)"},
	{"lists of extents that went are looked for in vain", "recon/task/run.go", "if c.Old != nil && c.Key[0] == spaceSmalls {", "if false && c.Key[0] == spaceSmalls {"},
	{"a bucket made in the run has no layout", "recon/task/run.go", "l[ns.ObjectID(b.ObjectId)] = ns.Layout(b.Layout)", "_ = ns.Layout(b.Layout)"},
	{"sums of several workers are not merged", "recon/task/lane.go", "r.sum.add(r.one, 1)", "r.sum = append(r.sum[:0], r.one...)"},
	{"spilled totals are lost", "recon/task/totals.go", "	if err := t.sums.drain(t.spill); err != nil {\n		return err\n	}\n	if err", "	if err"},
	{"counters of zero have rows", "recon/task/set.go", "	case c.zero():\n		return b.Delete(k)\n", ""},
	{"a container counts a key for each block", "recon/task/tasks.go", "to.one(tableContainers, c.Container).plus(0, sign)", "to.one(tableContainers, c.Container).plus(0, c.Count)"},
	{"a row of one source keeps what it was", "recon/task/set.go", "put(b, k, Counts{m.is})", "put(b, k, Counts{m.is + m.was})"},
	{"a vector is remembered under another key", "recon/task/sums.go", "m.table != table || m.a != a || m.b != b", "m.table != table || m.a != a"},
	{"what is remembered outlives what it belongs to", "recon/task/sums.go", "	clear(s.memo[:])\n", ""},
	{"a directory without a row hangs where the next one does", "recon/task/totals.go", "!bytes.Equal(t.dirs.Key(), key)", "len(key) == 0"},
	{"what a replaced rule was stays", "recon/task/lifecycle.go", "rule.plus(slotInForce, sign)", "rule.plus(slotInForce, 1)"},
	{"what a rule did counts again", "recon/task/lifecycle.go", "rule.plus(slotRuleDone+i, sign*int64(n))", "rule.plus(slotRuleDone+i, sign*sign*int64(n))"},
	{"a scan counts in its bucket alone when it goes", "recon/task/lifecycle.go", "all.plus(slot, sign*int64(n))", "all.plus(slot, max(sign, 0)*int64(n))"},
	{"the suspension of all buckets stays", "recon/task/lifecycle.go", "all.plus(slotAllSuspended, sign)", "all.plus(slotAllSuspended, 1)"},
}
