package task

import (
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/ns"
)

// Each calls f with each row of a derived table of the store, whose keys begin
// with the byte first, in key order. Both slices are valid during the call.
func Each(r kv.Reader, first byte, f func(key []byte, c Counts) error) error {
	return scan(r, []byte{first}, nil, func(k []byte, c Counts) (bool, error) { return true, f(k, c) })
}

// EachDirect calls f with what is in each directory itself, by bucket.
func EachDirect(r kv.Reader, f func(bucket ns.ObjectID, s Summary) error) error {
	return Each(r, tableDirect, func(k []byte, c Counts) error {
		bucket, _, err := parseDir(k)
		if err != nil {
			return err
		}
		return f(bucket, summary(c))
	})
}

// CountRows returns how many rows a table of the store has, and the sum of their
// first counters.
func CountRows(r kv.Reader, table string) (rows, sum int64, err error) {
	for _, t := range Tables() {
		if t.Name == table && t.First < sqlTables {
			err = Each(r, t.First, func(_ []byte, c Counts) error { rows++; sum += c.At(0); return nil })
			return rows, sum, err
		}
	}
	return 0, 0, errs.New(errs.Invalid, table, "it is no derived table of the store")
}
