package fsm_test

// change replaces a text that occurs once in a source file.
type change struct{ file, old, new string }

// plantedPast are mistakes about snapshots that TestHistories must find. Those
// with a single word for a name are what a prototype of the rules found to fail.
var plantedPast = []struct {
	name    string
	changes []change
}{
	{"PurgeNoJournal", []change{{"command/purge_dirs.go", "if moved { //", "if false && moved { //"}}},
	{"PurgeLateJournal", []change{{"command/purge_dirs.go",
		"JournalKey{Bucket: key.Bucket, Op: at,", "JournalKey{Bucket: key.Bucket, Op: t.op,"}}},
	{"PurgeNewestL", []change{{"command/history.go",
		"(moved bool, err error) {\n\tnewest, err := t.newestBefore(b, until)\n\tif err != nil {\n\t\treturn false, err\n\t}\n\tif newest == 0",
		"(moved bool, err error) {\n\tnewest, err := t.newestBefore(b, t.op)\n\tif err != nil {\n\t\treturn false, err\n\t}\n\tif newest == 0"}}},
	{"StaticRange", []change{
		{"command/reclaim_snapshot.go", "	lower, upper := schema.JournalBetween(b.id(), ns.Op(row.Read), ns.Op(row.Until))\n",
			"	hidden := ns.Op(0)\n	if row.Until >= row.DeletedOp {\n		row.Until, hidden = uint64(t.op), ns.Op(row.DeletedOp)\n	}\n" +
				"	lower, upper := schema.JournalBetween(b.id(), ns.Op(row.Read), ns.Op(row.Until))\n"},
		{"command/reclaim_snapshot.go", "freed, err := t.dropUnseen(b, j)",
			"newest := b.row.NewestSnapshot\n		if hidden > 0 {\n			before, _ := schema.SnapshotBefore(t.w, b.id(), hidden)\n" +
				"			b.row.NewestSnapshot = uint64(before)\n		}\n		freed, err := t.dropUnseen(b, j)\n		b.row.NewestSnapshot = newest"},
		{"command/reclaim_snapshot.go", "return oldest != 0 && oldest < until, err",
			"return oldest != 0 && oldest < until && oldest <= ns.Op(b.row.NewestSnapshot), err"},
	}},
	{"CutIgnoresPend", []change{{"command/reclaim_snapshot.go", "floor = min(floor, k.Op)", "_ = k.Op"}}},
	{"NoReach", []change{{"view/view.go",
		`return "", errs.New(errs.NoSuchKey, path, "a directory above it is gone")`, "return path, nil"}}},
	{"NoReach by the live directories", []change{{"command/find.go",
		"key.Name = component + \"/\"\n\t\t\trow, ok, err := schema.EntryAt(r, key, at)",
		"key.Name = component + \"/\"\n\t\t\trow, ok, err := schema.EntryAt(r, key, schema.Live)"}}},
	{"LPending", []change{{"command/snapshots.go", "b.row.NewestSnapshot = uint64(before)", "_ = before"}}},
	{"SharedIndex", []change{{"command/history.go", "entry.Since = uint64(t.op)", "entry.Since = uint64(t.op &^ 1)"}}},
	{"NoRefs", []change{{"command/restore_keys.go", "if err := t.share(entry.Extents); err != nil {", "if err := error(nil); err != nil {"}}},
	{"NoRefs of a rename", []change{{"command/rename_key.go", "if err := t.share(moved.Extents); err != nil {", "if err := error(nil); err != nil {"}}},
	{"history names no blocks", []change{{"command/history.go",
		"return true, putPast(t, b, schema.History, schema.HistoryKey{EntryKey: key, Until: until}, old)",
		"if err := t.drop(key.Bucket, old.Extents); err != nil {\n\t\treturn false, err\n\t}\n\t" +
			"return true, putPast(t, b, schema.History, schema.HistoryKey{EntryKey: key, Until: until}, old)"}}},
	{"a cell goes to its first snapshot alone", []change{{"command/cells.go", "last = before\n", "last = first\n"}}},
	{"a cell goes the wrong way", []change{{"command/cells.go", "first = after\n", "first = last\n"}}},
	{"what is held is not counted", []change{{"command/cells.go", "t.charge(b, u)\n", "t.charge(b, usage{})\n"}}},
	{"a quota forgets what snapshots go on to hold", []change{{"command/cells.go", "if newest > 0 {\n\t\th := held(old)", "if newest > 0 && false {\n\t\th := held(old)"}}},
	{"a purge does not lower the usage of later snapshots", []change{{"command/purge_dirs.go",
		"add(&s.row.UsedKeys, gone.keys)", "add(&s.row.UsedKeys, 0*gone.keys)"}}},
	{"a purge lowers the usage of earlier snapshots", []change{{"command/purge_dirs.go",
		"lower := schema.Snapshots.Key(schema.SnapshotKey{Bucket: b.id(), Op: deleted})",
		"lower := schema.Snapshots.Key(schema.SnapshotKey{Bucket: b.id(), Op: 0 * deleted})"}}},
	{"a purge ends lineages when it runs", []change{{"command/purge_dirs.go", "if err := t.bury(b, e, at); err != nil {", "if err := t.bury(b, e, t.op); err != nil {"}}},
	{"a rename starts a new lineage", []change{{"command/rename_key.go", "moved := clone(from.entry)\n", "moved := clone(from.entry)\n\tmoved.Born = uint64(t.op)\n"}}},
	{"a restored key goes on with the old lineage", []change{{"command/restore_keys.go",
		"entry.ObjectId, entry.CreatedMs = old.ObjectId, old.CreatedMs", "entry.ObjectId, entry.CreatedMs, entry.Born = old.ObjectId, old.CreatedMs, old.Born"}}},
	{"a slot changed twice loses its old row", []change{{"command/history.go",
		"if before := t.touched[key]; before != nil {\n\t\trow.OldId", "if before := t.touched[key]; false && before != nil {\n\t\trow.OldId"}}},
	{"a look up at a snapshot prefers the live row", []change{{"schema/past.go",
		"row, ok, err := Entries.Get(r, k)\n\tif err != nil || at == Live || ok && ns.Op(row.Since) <= at {",
		"row, ok, err := Entries.Get(r, k)\n\tif err != nil || at == Live || ok {"}}},
	{"a listing of a snapshot prefers the live row", []change{{"view/merge.go", "visible(m.live, m.at, decode)", "visible(m.live, schema.Live, decode)"}}},
	{"a listing of a snapshot takes the oldest row", []change{{"view/merge.go", "m.past.Until <= m.at; n++", "m.past.Until < 0; n++"}}},
	{"a directory is found where it hangs now", []change{{"schema/past.go",
		"row, ok, err := Dirs.Get(r, k)\n\tif err != nil || at == Live || ok && ns.Op(row.Since) <= at {",
		"row, ok, err := Dirs.Get(r, k)\n\tif err != nil || at == Live || ok {"}}},
	{"a restore keeps the snapshot's object id", []change{{"command/restore_keys.go",
		"entry.ObjectId, entry.CreatedMs = uint64(id), t.now", "entry.CreatedMs = t.now\n\t_ = id"}}},
	{"a restore reads live", []change{{"command/restore_keys.go", "_, then, err := Find(t.w, b.id(), ns.Layout(b.row.Layout), path, at)", "_, then, err := Find(t.w, b.id(), ns.Layout(b.row.Layout), path, at+1<<40)"}}},
	{"a reclaim goes on one name late", []change{{"command/reclaim_snapshot.go", "lower = append(bytes.Clone(row.Cursor), 0)", "lower = append(bytes.Clone(row.Cursor), 0xff)"}}},
	{"a reclaim begins where it was, not where it got", []change{{"command/reclaim_snapshot.go", "if row.Cursor != nil {", "if row.Cursor != nil && false {"}}},
	{"a reclaim forgets where directories hung", []change{{"command/reclaim_snapshot.go", "return 1, dropPast(t, b, schema.DirHistory, key, row)", "return 0, nil"}}},
	{"a reclaim frees no blocks", []change{{"command/reclaim_snapshot.go", "if err := t.drop(b.id(), entry.Extents); err != nil {", "if err := error(nil); err != nil {"}}},
	{"the journal is cut one op too far", []change{{"command/reclaim_snapshot.go", "schema.JournalBetween(b.id(), 0, floor)", "schema.JournalBetween(b.id(), 0, min(floor, schema.Live-4)+3)"}}},
	{"the snapshots around an op are not looked up again", []change{{"command/snapshots.go", "b.dirty, b.gap = true, gap{}", "b.dirty = true"}}},
	{"a change of tags is none to a diff", []change{{"command/history.go", "Headers: e.Headers, Tags: e.Tags,", "Headers: e.Headers,"}}},
	{"the journal tells the wrong beginning", []change{{"command/history.go",
		"row.OldId, row.OldSince, row.OldTag = old.ObjectId, old.Since, ContentTag(old)",
		"row.OldId, row.OldSince, row.OldTag = old.ObjectId, old.Born, ContentTag(old)"}}},
	{"counters that are zero again are kept", []change{{"command/history.go", "case proto.Equal(row, &schemapb.Counters{}):", "case false && row != nil:"}}},
	{"a name is free before its snapshot is deleted", []change{{"command/snapshots.go", "if err == nil && taken {", "if err == nil && taken && name != \"s3\" {"}}},
}
