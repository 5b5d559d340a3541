package task

import (
	"math/bits"

	"o3/internal/keys"
	"o3/internal/ns"
	"o3/internal/schema"
)

// Task is what derives some of the tables.
type Task struct {
	Name   string   // as Ozone's
	Tables []string // that it fills
	Reads  []string // tables of the namespace whose rows contribute

	// contribute adds to sums what row contributes, times sign. It is a function
	// of the row alone.
	contribute func(row *Row, sign int64, to *Sums)
}

// All returns every task, in order of their names.
func All() []Task {
	return []Task{
		{"ContainerKeyMapperTask", []string{"containerKeyTable", "containerKeyCountTable"}, []string{schema.Entries.Name()}, containerKeys},
		{"FileSizeCountTaskFSO", []string{"FILE_COUNT_BY_SIZE"}, []string{schema.Entries.Name()}, fileSizes(ns.FileSystem)},
		{"FileSizeCountTaskOBS", []string{"FILE_COUNT_BY_SIZE"}, []string{schema.Entries.Name()}, fileSizes(ns.ObjectStore)},
		{"NSSummaryTask", []string{"namespaceSummaryTable", "namespaceTotalTable", "namespaceChildTable", "ageTable", "largestTable"},
			[]string{schema.Entries.Name(), schema.Dirs.Name()}, summaries},
		{"OmTableInsightTask", []string{"GLOBAL_STATS"}, insightTables(), insights},
		{"SnapshotInsightTask", []string{"snapshotSpaceTable"}, []string{schema.Cells.Name(), schema.Snapshots.Name(), schema.Reclaims.Name()}, snapshotSpace},
	}
}

// The slots of namespace summaries.
const (
	slotFiles = iota
	slotDirectories
	slotBytes
	slotBins // and SizeBins after it
)

// SizeBins is how many bins there are: the first has files of up to 1 KiB, each
// further one up to twice as much, the last one but one up to 512 TiB, and the
// last more.
const SizeBins = 41

// SizeBin returns the bin of a size in bytes.
func SizeBin(size uint64) int {
	if size <= 1024 {
		return 0
	}
	return min(bits.Len64(size-1)-10, SizeBins-1)
}

// SizeBinLimit returns the largest size of a bin; the last one has none (false).
func SizeBinLimit(bin int) (bytes uint64, ok bool) {
	if bin >= SizeBins-1 {
		return 0, false
	}
	return 1024 << bin, true
}

// LargeFile is the size in bytes from which a file is in the table of the largest.
const LargeFile = 1 << 20

// summaries counts what is in each directory itself; Tree makes totals of it.
func summaries(row *Row, sign int64, to *Sums) {
	if row.Dir != nil {
		to.Own(keys.Uint64(dirKey(tableChildren, row.DirKey.Bucket, ns.ObjectID(row.Dir.ParentId)), uint64(row.DirKey.Dir)), sign)
		return
	}
	in := dirKey(tableDirect, row.EntryKey.Bucket, row.EntryKey.Parent)
	if !row.IsKey() {
		to.Add(in, slotDirectories, sign)
		return
	}
	size := int64(row.Bytes)
	to.Add(in, slotFiles, sign)
	to.Add(in, slotBytes, sign*size)
	to.Add(in, slotBins+SizeBin(row.Bytes), sign)
	age := key(tableAge, uint64(row.Bucket), month(row.Entry.ModifiedMs))
	to.Add(age, 0, sign)
	to.Add(age, 1, sign*size)
	if row.Bytes >= LargeFile {
		to.Own(append(key(tableLargest, ^row.Bytes, uint64(row.EntryKey.Bucket), uint64(row.EntryKey.Parent)), row.EntryKey.Name...), sign)
	}
}

// containerKeys maps containers to the keys that have blocks there.
func containerKeys(row *Row, sign int64, to *Sums) {
	for _, c := range row.Containers {
		k := key(tableContainerKeys, c.Container, uint64(row.EntryKey.Bucket), uint64(row.EntryKey.Parent))
		to.Own(append(k, row.EntryKey.Name...), sign*c.Count)
		to.Add(key(tableContainers, c.Container), 0, sign)
	}
}

// fileSizes counts files by size in the buckets of a layout.
func fileSizes(layout ns.Layout) func(*Row, int64, *Sums) {
	return func(row *Row, sign int64, to *Sums) {
		if row.Layout == layout && row.IsKey() {
			to.Add(FileCountKey(row.Bucket, fileCountBin(row.Bytes)), 0, sign)
		}
	}
}

// fileCountBin is SizeBin with two last bins: below 1 PiB, and the rest.
func fileCountBin(size uint64) int {
	if size >= 1<<50 {
		return SizeBins
	}
	return SizeBin(size)
}

// snapshotSpace counts what snapshots alone hold.
func snapshotSpace(row *Row, sign int64, to *Sums) {
	k := key(tableSnapshotSpace, uint64(row.Bucket))
	switch {
	case row.Cell != nil:
		to.Add(k, 0, sign*int64(row.Cell.Bytes))
		to.Add(k, 1, sign*int64(row.Cell.Names))
	case row.Table == schema.Snapshots.Name():
		to.Add(k, 2, sign)
	default:
		to.Add(k, 3, sign)
	}
}
