package schema

import (
	"o3/internal/keys"
	"o3/internal/ns"
)

// Children returns the bounds of the entries whose parent is parent and whose
// names start with prefix.
func Children(bucket, parent ns.ObjectID, prefix string) (lower, upper []byte) {
	lower = append(ids([]byte{spaceEntries}, bucket, parent), prefix...)
	return lower, keys.PrefixEnd(lower)
}

// EntriesOf returns the bounds of all entries of a bucket.
func EntriesOf(bucket ns.ObjectID) (lower, upper []byte) {
	lower = ids([]byte{spaceEntries}, bucket)
	return lower, keys.PrefixEnd(lower)
}

// PartsOf returns the bounds of an upload's parts.
func PartsOf(bucket, upload ns.ObjectID) (lower, upper []byte) {
	lower = ids([]byte{spaceParts}, bucket, upload)
	return lower, keys.PrefixEnd(lower)
}

// BucketsOf returns the bounds of a volume's buckets whose names start with prefix.
func BucketsOf(volume ns.ObjectID, prefix string) (lower, upper []byte) {
	lower = append(ids([]byte{spaceBuckets}, volume), prefix...)
	return lower, keys.PrefixEnd(lower)
}

// UploadsOf returns the bounds of a bucket's uploads.
func UploadsOf(bucket ns.ObjectID) (lower, upper []byte) {
	lower = ids([]byte{spaceUploads}, bucket)
	return lower, keys.PrefixEnd(lower)
}

// OpenKeysOf returns the bounds of a bucket's open keys.
func OpenKeysOf(bucket ns.ObjectID) (lower, upper []byte) {
	lower = ids([]byte{spaceOpenKeys}, bucket)
	return lower, keys.PrefixEnd(lower)
}

// All returns the bounds of the whole table.
func (t *Table[K, R, P]) All() (lower, upper []byte) {
	return []byte{t.space}, []byte{t.space + 1}
}
