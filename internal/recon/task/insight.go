package task

import (
	"cmp"
	"time"

	"o3/internal/ns"
	"o3/internal/schema"
)

// ozoneNames are the names of Ozone's tables for ours. Those of entries depend
// on the bucket's layout; the rest keep our name.
var ozoneNames = map[string]string{
	schema.Volumes.Name():     "volumeTable",
	schema.Buckets.Name():     "bucketTable",
	schema.Users.Name():       "userTable",
	schema.AccessKeys.Name():  "s3SecretTable",
	schema.Uploads.Name():     "multipartInfoTable",
	schema.Parts.Name():       "multipartPartsTable",
	schema.Deleted.Name():     "deletedTable",
	schema.DeletedDirs.Name(): "deletedDirectoryTable",
	schema.Snapshots.Name():   "snapshotInfoTable",
	schema.DiffJobs.Name():    "snapDiffJobTable",
}

// notCounted are tables of which nobody wants to know the rows: what belongs to
// others, or is how the machine itself works.
var notCounted = map[string]bool{
	schema.Meta.Name(): true, schema.Counters.Name(): true, schema.CellEnds.Name(): true, schema.SnapshotNames.Name(): true,
}

// insightTables returns the tables that are counted.
func insightTables() (names []string) {
	for _, d := range schema.Tables() {
		if !notCounted[d.Name] {
			names = append(names, d.Name)
		}
	}
	return names
}

// statTable returns the name under which a row is counted.
func statTable(row *Row) string {
	flat := row.Layout == ns.ObjectStore
	switch row.Table {
	case schema.Entries.Name():
		switch {
		case !row.IsKey():
			return "directoryTable"
		case flat:
			return "keyTable"
		}
		return "fileTable"
	case schema.OpenKeys.Name():
		if flat {
			return "openKeyTable"
		}
		return "openFileTable"
	}
	if name, ok := ozoneNames[row.Table]; ok {
		return name
	}
	return row.Table
}

// statKeys are the keys of GLOBAL_STATS for a table.
type statKeys struct{ count, unreplicated, replicated []byte }

func statsOf(table string) *statKeys {
	return &statKeys{StatKey(table + "Count"), StatKey(table + "UnReplicatedDataSize"), StatKey(table + "ReplicatedDataSize")}
}

// allStats has the keys of every table that can be counted.
var allStats = func() map[string]*statKeys {
	m := map[string]*statKeys{}
	for _, name := range []string{"keyTable", "fileTable", "directoryTable", "openKeyTable", "openFileTable"} {
		m[name] = statsOf(name)
	}
	for _, d := range schema.Tables() {
		name := cmp.Or(ozoneNames[d.Name], d.Name)
		m[name] = statsOf(name)
	}
	return m
}()

// insights counts the rows of every table, and the bytes that some stand for.
func insights(row *Row, sign int64, to *Sums) {
	k := allStats[statTable(row)]
	to.Add(k.count, 0, sign)
	if row.Bytes == 0 {
		return
	}
	to.Add(k.unreplicated, 0, sign*int64(row.Bytes))
	to.Add(k.replicated, 0, sign*int64(row.Bytes))
}

// month returns how many months after January 1970 a time is; earlier ones are 0.
func month(ms int64) uint64 {
	t := time.UnixMilli(ms).UTC()
	return uint64(max((t.Year()-1970)*12+int(t.Month())-1, 0))
}
