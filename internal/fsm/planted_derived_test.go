package fsm_test

// plantedDerived are mistakes about derived tables that TestHistories must find.
var plantedDerived = []struct{ name, file, old, new string }{
	{"a moved directory leaves its total behind", "recon/task/tree.go", "if err := t.up(m.bucket, m.from.parent, total, -1)", "if err := t.up(m.bucket, m.from.parent, total, 0)"},
	{"a total forgets what the run changed", "recon/task/tree.go", "slices.Clone(stored).add(t.deltas.of(k), 1), nil", "slices.Clone(stored), nil"},
	{"a moved directory hangs where it was meanwhile", "recon/task/tree.go", "	t.moves[string(k)] = place{}\n", ""},
	{"a dropped directory counts above", "recon/task/tree.go", "if m.to.there {", "if m.to.there || m.from.there {"},
	{"old rows keep what they added", "recon/task/run.go", "{&old, c.Old, -1, &m.from}", "{&old, nil, -1, &m.from}"},
	{"lists of extents that went are looked for in vain", "recon/task/run.go", "if c.Old != nil && c.Key[0] == small {", "if false && c.Key[0] == small {"},
	{"a bucket made in the run has no layout", "recon/task/run.go", "l[ns.ObjectID(b.ObjectId)] = ns.Layout(b.Layout)", "_ = b"},
	{"sums of several workers are not merged", "recon/task/rebuild.go", "sum = sum.add(one, 1)", "sum = append(sum[:0], one...)"},
	{"spilled totals are lost", "recon/task/rebuild.go", "	if err := r.totals.drain(r.spillTotal); err != nil {\n		return err\n	}\n	if err", "	if err"},
	{"counters of zero have rows", "recon/task/set.go", "	case c.zero():\n		return b.Delete(k)\n", ""},
	{"a container counts a key for each block", "recon/task/tasks.go", "to.Add(key(tableContainers, c.Container), 0, sign)", "to.Add(key(tableContainers, c.Container), 0, c.Count)"},
}
