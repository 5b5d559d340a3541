package sqltables

import (
	"context"
	"database/sql"
)

// FileCount is a row of FILE_COUNT_BY_SIZE.
type FileCount struct {
	Volume, Bucket string
	Limit          int64 // the largest size in the bin; 2^63-1 for the last one
	Count          int64
}

// Snapshot reads the tables as they were when it was made. It belongs to one
// goroutine at a time.
type Snapshot struct {
	d  *DB
	tx *sql.Tx

	index uint64
}

// Snapshot returns one; the caller closes it. While it is open the file's log
// grows.
func (d *DB) Snapshot(ctx context.Context) (*Snapshot, error) {
	tx, err := d.read.BeginTx(context.WithoutCancel(ctx), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, d.fault(err)
	}
	s := &Snapshot{d: d, tx: tx}
	var n int64
	if err := tx.QueryRow("SELECT log_index FROM o3_cursor").Scan(&n); err != nil { // from here on it is fixed
		_ = tx.Rollback()
		return nil, d.fault(err)
	}
	s.index = uint64(n)
	return s, nil
}

// Index returns the index that the rows reflect.
func (s *Snapshot) Index() (uint64, error) { return s.index, nil }

// Stats returns GLOBAL_STATS.
func (s *Snapshot) Stats() (map[string]int64, error) {
	rows, err := s.tx.Query(`SELECT "key", value FROM GLOBAL_STATS`)
	if err != nil {
		return nil, s.d.fault(err)
	}
	defer rows.Close()
	out := map[string]int64{}
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return nil, s.d.fault(err)
		}
		out[name] = n
	}
	return out, s.d.fault(rows.Err())
}

// FileCounts calls f with each row of FILE_COUNT_BY_SIZE, by volume, bucket and
// size.
func (s *Snapshot) FileCounts(f func(FileCount) error) error {
	rows, err := s.tx.Query("SELECT volume, bucket, file_size, count FROM FILE_COUNT_BY_SIZE ORDER BY 1, 2, 3")
	if err != nil {
		return s.d.fault(err)
	}
	defer rows.Close()
	for rows.Next() {
		var c FileCount
		if err := rows.Scan(&c.Volume, &c.Bucket, &c.Limit, &c.Count); err != nil {
			return s.d.fault(err)
		}
		if err := f(c); err != nil {
			return err
		}
	}
	return s.d.fault(rows.Err())
}

// Close ends the snapshot.
func (s *Snapshot) Close() error { return s.d.fault(s.tx.Rollback()) }
