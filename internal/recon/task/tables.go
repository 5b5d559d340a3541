package task

import (
	"o3/internal/errs"
	"o3/internal/keys"
	"o3/internal/ns"
)

// The first bytes of derived keys. They are never reused. Those from sqlTables on
// are rows of the generation's SQLite file.
const (
	tableDirect        = 0x10 // bucket, directory
	tableTotal         = 0x11 // bucket, directory
	tableChildren      = 0x12 // bucket, directory, directory in it
	tableContainerKeys = 0x20 // container, bucket, parent, name
	tableContainers    = 0x21 // container
	tableAge           = 0x30 // bucket, month
	tableLargest       = 0x31 // size, descending, bucket, parent, name
	tableSnapshotSpace = 0x40 // bucket
	tableLifecycle     = 0x50 // bucket; 0: sums over all
	tableRules         = 0x51 // bucket, configuration, rule, its id

	sqlTables       = 0x80
	tableStats      = 0x80 // name
	tableFileCounts = 0x81 // bucket, bin
)

// Table describes a derived table.
type Table struct {
	First byte   // of its keys
	Name  string // as Ozone's where it has one
	Tuple string // of the key
	Slots string // what is counted
}

// Tables returns every derived table, in key order.
func Tables() []Table {
	return []Table{
		{tableDirect, "namespaceSummaryTable", "bucket id, directory id", "in the directory itself: files, directories, bytes, files by size"},
		{tableTotal, "namespaceTotalTable", "bucket id, directory id", "in the whole subtree: files, directories, bytes, files by size"},
		{tableChildren, "namespaceChildTable", "bucket id, directory id, id of a directory in it", "1"},
		{tableContainerKeys, "containerKeyTable", "container, bucket id, parent id, name", "blocks"},
		{tableContainers, "containerKeyCountTable", "container", "keys"},
		{tableAge, "ageTable", "bucket id, months since 1970", "files, bytes"},
		{tableLargest, "largestTable", "size, the largest first, bucket id, parent id, name", "1"},
		{tableSnapshotSpace, "snapshotSpaceTable", "bucket id", "bytes, names, snapshots, deleted snapshots"},
		{tableLifecycle, "lifecycleInsightTable", "bucket id; 0: the sums over all buckets, of the counters up to those of what was done",
			"configurations, rules, enabled rules, scans, scans not at their end, suspensions, scans with an error, rows scanned, rows estimated, commands, " + done +
				", phase, start, end and last command of the scan and time of its error (ms), id of the configuration, id of the scan's configuration; of 0: whether all are suspended"},
		{tableRules, "lifecycleRuleTable", "bucket id, id of the configuration, number of the rule from 0, its id", "1 while it is in force, 1 while it is enabled, " + done},
		{tableStats, "GLOBAL_STATS", "name", "value"},
		{tableFileCounts, "FILE_COUNT_BY_SIZE", "bucket id, size bin", "files"},
	}
}

// done is what scans have done, in the order of its counters.
const done = "deleted keys, their bytes, deleted directories, keys moved to trash, their bytes, moved directories, aborted uploads, their bytes, skipped"

// key begins a derived key.
func key(table byte, ids ...uint64) []byte {
	b := append(make([]byte, 0, 64), table)
	for _, id := range ids {
		b = keys.Uint64(b, id)
	}
	return b
}

func dirKey(table byte, bucket, dir ns.ObjectID) []byte {
	return key(table, uint64(bucket), uint64(dir))
}

// parseDir returns the directory of a key that dirKey made.
func parseDir(b []byte) (bucket, dir ns.ObjectID, err error) {
	if len(b) != 17 {
		return 0, 0, errs.New(errs.Corrupt, "derived table", "a key is malformed")
	}
	v, rest, err := keys.TakeUint64(b[1:])
	if err != nil {
		return 0, 0, err
	}
	w, _, err := keys.TakeUint64(rest)
	return ns.ObjectID(v), ns.ObjectID(w), err
}

// StatKey returns the key of a row of GLOBAL_STATS.
func StatKey(name string) []byte { return append([]byte{tableStats}, name...) }

// FileCountKey returns the key of a row of FILE_COUNT_BY_SIZE.
func FileCountKey(bucket ns.ObjectID, bin int) []byte {
	return key(tableFileCounts, uint64(bucket), uint64(bin))
}

// ParseStat returns the name of a row of GLOBAL_STATS.
func ParseStat(k []byte) (name string, ok bool) {
	if len(k) == 0 || k[0] != tableStats {
		return "", false
	}
	return string(k[1:]), true
}

// ParseFileCount returns bucket and bin of a row of FILE_COUNT_BY_SIZE.
func ParseFileCount(k []byte) (bucket ns.ObjectID, bin int64, ok bool) {
	if len(k) == 0 || k[0] != tableFileCounts {
		return 0, 0, false
	}
	bucket, at, err := parseDir(k)
	return bucket, int64(at), err == nil
}
