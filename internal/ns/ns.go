// Package ns holds the words of the namespace: identifiers, layouts, names and
// their limits. It is pure.
package ns

// Op is the running number of applied requests: what Since, snapshots, the
// journal and ids use. It starts at 1; 0 means none.
type Op uint64

// ObjectID names a volume, bucket, key or directory for its whole life. It is
// never reused; 0 means none.
type ObjectID uint64

// Layout says how a bucket keeps its keys.
type Layout uint8

// The layouts. The numbers are stored.
const (
	ObjectStore Layout = 1 // flat names (OBS)
	FileSystem  Layout = 2 // a tree with atomic rename (FSO)
)

// String returns the layout's name in configuration and answers.
func (l Layout) String() string {
	switch l {
	case ObjectStore:
		return "OBJECT_STORE"
	case FileSystem:
		return "FILE_SYSTEM_OPTIMIZED"
	}
	return "UNKNOWN_LAYOUT"
}

// ParseLayout returns the layout of a name, in long or short form.
func ParseLayout(s string) (Layout, bool) {
	switch s {
	case "OBJECT_STORE", "OBS":
		return ObjectStore, true
	case "FILE_SYSTEM_OPTIMIZED", "FSO":
		return FileSystem, true
	}
	return 0, false
}

// S3Volume is the volume whose buckets S3 clients see.
const S3Volume = "s3v"
