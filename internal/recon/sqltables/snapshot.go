package sqltables

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"o3/internal/errs"
	"o3/internal/ns"
)

// FileCount is how many files of a bucket are of a size.
type FileCount struct {
	Bucket ns.ObjectID
	Limit  int64 // the largest size in the bin; 2^63-1 for the last one
	Count  int64
}

// Counts says which file counts are asked for.
type Counts struct {
	Buckets []ns.ObjectID // nil: of all
	Limit   int64         // only the bin with this largest size; 0: all
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
	out := map[string]int64{}
	err := s.each(`SELECT "key", value FROM GLOBAL_STATS`, nil, func(rows *sql.Rows) error {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return s.d.fault(err)
		}
		out[name] = n
		return nil
	})
	return out, err
}

// limit is the largest size in a bin, as FILE_COUNT_BY_SIZE has it.
const limit = "CASE WHEN bin > 40 THEN 9223372036854775807 ELSE 1024 << bin END"

// FileCounts calls f with the counts asked for, in the order of the buckets given,
// or of their ids, and of sizes. Of buckets that are given only their own rows are
// read. An error of f, which must not ask the snapshot for anything, ends it and
// is returned.
func (s *Snapshot) FileCounts(of Counts, f func(FileCount) error) error {
	query := "SELECT bucket_id, " + limit + ", count FROM o3_file_counts WHERE (?1 = 0 OR " + limit + " = ?1) ORDER BY bucket_id, bin"
	args := []any{of.Limit}
	if of.Buckets != nil {
		given, err := json.Marshal(signed(of.Buckets))
		if err != nil {
			return errs.Wrap(errs.Internal, "buckets", err)
		}
		query = "SELECT bucket_id, " + limit + ", count FROM json_each(?2) g CROSS JOIN o3_file_counts ON bucket_id = g.value" +
			" WHERE (?1 = 0 OR " + limit + " = ?1) ORDER BY g.key, bin"
		args = append(args, string(given))
	}
	return s.each(query, args, func(rows *sql.Rows) error {
		var c FileCount
		var id int64
		if err := rows.Scan(&id, &c.Limit, &c.Count); err != nil {
			return s.d.fault(err)
		}
		c.Bucket = ns.ObjectID(id)
		return f(c)
	})
}

// signed writes ids as SQLite has them.
func signed(ids []ns.ObjectID) []int64 {
	out := make([]int64, len(ids))
	for i, id := range ids {
		out[i] = int64(id)
	}
	return out
}

// BucketName is what a bucket is called.
type BucketName struct {
	ID             ns.ObjectID
	Volume, Bucket string
}

const named = "SELECT bucket_id, volume, bucket FROM o3_buckets JOIN o3_volumes USING (volume_id) "

// Bucket returns what a bucket is called; ok is false when there is none of this
// id.
func (s *Snapshot) Bucket(id ns.ObjectID) (b BucketName, ok bool, err error) {
	err = s.each(named+"WHERE bucket_id = ?", []any{int64(id)}, func(rows *sql.Rows) error {
		ok = true
		return b.scan(rows, s.d)
	})
	return b, ok, err
}

// Buckets calls f with the buckets from an id on, by their ids, until f returns
// false. f must not ask the snapshot for anything.
func (s *Snapshot) Buckets(from ns.ObjectID, f func(BucketName) (bool, error)) error {
	end := errors.New("enough")
	err := s.each(named+"WHERE bucket_id >= ? ORDER BY bucket_id", []any{int64(from)}, func(rows *sql.Rows) error {
		var b BucketName
		if err := b.scan(rows, s.d); err != nil {
			return err
		}
		more, err := f(b)
		if err == nil && !more {
			return end
		}
		return err
	})
	if err == end {
		return nil
	}
	return err
}

func (b *BucketName) scan(rows *sql.Rows, d *DB) error {
	var id int64
	err := rows.Scan(&id, &b.Volume, &b.Bucket)
	b.ID = ns.ObjectID(id)
	return d.fault(err)
}

// each calls f with each row of a query.
func (s *Snapshot) each(query string, args []any, f func(*sql.Rows) error) error {
	rows, err := s.tx.Query(query, args...)
	if err != nil {
		return s.d.fault(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return s.d.fault(rows.Err())
}

// Close ends the snapshot.
func (s *Snapshot) Close() error { return s.d.fault(s.tx.Rollback()) }
