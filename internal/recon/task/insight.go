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

// statKeys are the keys of GLOBAL_STATS for a table.
type statKeys struct {
	number int // of the table
	keys   [statKinds][]byte
}

// What GLOBAL_STATS has of a table.
const (
	statCount = iota
	statUnreplicated
	statReplicated
	statKinds
)

// maxStats is more than there are tables that are counted.
const maxStats = 64

// allStats has the keys of every table that can be counted, by names.
var allStats = func() map[string]*statKeys {
	m := map[string]*statKeys{}
	names := []string{"keyTable", "fileTable", "directoryTable", "openKeyTable", "openFileTable"}
	for _, d := range schema.Tables() {
		names = append(names, cmp.Or(ozoneNames[d.Name], d.Name))
	}
	for i, name := range names {
		m[name] = &statKeys{i, [statKinds][]byte{StatKey(name + "Count"), StatKey(name + "UnReplicatedDataSize"), StatKey(name + "ReplicatedDataSize")}}
	}
	return m
}()

// statsOf has them by the first bytes of the rows' keys.
var statsOf = func() (of [256]*statKeys) {
	for _, d := range schema.Tables() {
		of[d.Space] = allStats[cmp.Or(ozoneNames[d.Name], d.Name)]
	}
	return of
}()

// Those of rows whose bucket's layout decides.
var (
	statDirectories = allStats["directoryTable"]
	statKeysFlat    = allStats["keyTable"]
	statKeysTree    = allStats["fileTable"]
	statOpenFlat    = allStats["openKeyTable"]
	statOpenTree    = allStats["openFileTable"]
)

// statsFor returns under which keys a row is counted.
func statsFor(row *Row) *statKeys {
	flat := row.Layout == ns.ObjectStore
	switch {
	case row.Table == spaceEntries && !row.Key:
		return statDirectories
	case row.Table == spaceEntries && flat:
		return statKeysFlat
	case row.Table == spaceEntries:
		return statKeysTree
	case row.Table == spaceOpenKeys && flat:
		return statOpenFlat
	case row.Table == spaceOpenKeys:
		return statOpenTree
	}
	return statsOf[row.Table]
}

// sized tells the tables whose rows stand for bytes that are counted.
var sized = func() (is [256]bool) {
	for _, space := range []byte{spaceEntries, spaceUploads, spaceParts, spaceOpenKeys, spaceDeleted} {
		is[space] = true
	}
	return is
}()

// insights counts the rows of every table, and the bytes that some stand for.
func insights(row *Row, sign int64, to *Sums) {
	k := statsFor(row)
	to.stat(k, statCount).plus(0, sign)
	if row.Bytes == 0 || !sized[row.Table] {
		return
	}
	to.stat(k, statUnreplicated).plus(0, sign*int64(row.Bytes))
	to.stat(k, statReplicated).plus(0, sign*int64(row.Bytes))
}

// month returns how many months after January 1970 a time is; earlier ones are 0.
func month(ms int64) uint64 {
	year, month, _ := time.UnixMilli(ms).UTC().Date()
	return uint64(max((year-1970)*12+int(month)-1, 0))
}
