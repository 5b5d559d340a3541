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

	layout ns.Layout // of the buckets whose file counts are the task's; 0: it has none
}

// All returns every task, in order of their names.
func All() []Task {
	return []Task{
		{Name: "ContainerKeyMapperTask", Tables: []string{"containerKeyTable", "containerKeyCountTable"}, Reads: []string{schema.Entries.Name()}, contribute: containerKeys},
		{Name: "FileSizeCountTaskFSO", Tables: []string{"FILE_COUNT_BY_SIZE"}, Reads: []string{schema.Entries.Name()}, contribute: fileSizes(ns.FileSystem), layout: ns.FileSystem},
		{Name: "FileSizeCountTaskOBS", Tables: []string{"FILE_COUNT_BY_SIZE"}, Reads: []string{schema.Entries.Name()}, contribute: fileSizes(ns.ObjectStore), layout: ns.ObjectStore},
		{Name: "LifecycleInsightTask", Tables: []string{"lifecycleInsightTable", "lifecycleRuleTable"},
			Reads: []string{schema.Lifecycles.Name(), schema.LifecycleScans.Name(), schema.LifecycleSuspensions.Name()}, contribute: lifecycles},
		{Name: "NSSummaryTask", Tables: []string{"namespaceSummaryTable", "namespaceTotalTable", "namespaceChildTable", "ageTable", "largestTable"},
			Reads: []string{schema.Entries.Name(), schema.Dirs.Name()}, contribute: summaries},
		{Name: "OmTableInsightTask", Tables: []string{"GLOBAL_STATS"}, Reads: insightTables(), contribute: insights},
		{Name: "SnapshotInsightTask", Tables: []string{"snapshotSpaceTable"},
			Reads: []string{schema.Cells.Name(), schema.Snapshots.Name(), schema.Reclaims.Name()}, contribute: snapshotSpace},
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
	if row.Table == spaceDirs {
		to.key = keys.Uint64(keys.Uint64(keys.Uint64(append(to.key[:0], tableChildren), uint64(row.Bucket)), uint64(row.Parent)), uint64(row.Dir))
		to.Own(to.key, 1+16, sign)
		return
	}
	in := to.two(tableDirect, uint64(row.Bucket), uint64(row.Parent))
	if !row.Key {
		in.plus(slotDirectories, sign)
		return
	}
	size := int64(row.Bytes)
	in.plus(slotBins+SizeBin(row.Bytes), sign)
	in.plus(slotFiles, sign)
	in.plus(slotBytes, sign*size)
	age := to.two(tableAge, uint64(row.Bucket), month(row.ModifiedMs))
	age.plus(0, sign)
	age.plus(1, sign*size)
	if row.Bytes >= LargeFile {
		to.key = append(keys.Uint64(append(to.key[:0], tableLargest), ^row.Bytes), row.Tuple...)
		to.Own(to.key, 1+8, sign)
	}
}

// containerKeys maps containers to the keys that have blocks there.
func containerKeys(row *Row, sign int64, to *Sums) {
	for _, c := range row.Containers {
		to.key = append(keys.Uint64(append(to.key[:0], tableContainerKeys), c.Container), row.Tuple...)
		to.Own(to.key, 1+8, sign*c.Count)
		to.one(tableContainers, c.Container).plus(0, sign)
	}
}

// fileSizes counts files by size in the buckets of a layout.
func fileSizes(layout ns.Layout) func(*Row, int64, *Sums) {
	return func(row *Row, sign int64, to *Sums) {
		if row.Layout == layout && row.Key {
			to.two(tableFileCounts, uint64(row.Bucket), uint64(fileCountBin(row.Bytes))).plus(0, sign)
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
	c := to.one(tableSnapshotSpace, uint64(row.Bucket))
	switch row.Table {
	case spaceCells:
		c.plus(0, sign*int64(row.Bytes))
		c.plus(1, sign*int64(row.Names))
	case spaceSnapshots:
		c.plus(2, sign)
	default:
		c.plus(3, sign)
	}
}
