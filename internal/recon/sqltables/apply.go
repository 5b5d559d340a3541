package sqltables

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/recon/task"
	"o3/internal/schema"
)

// statements are those of Apply, compiled once.
type statements struct {
	cursor     *sql.Stmt
	file, stat counter
}

// counter changes the rows of a table of counters.
type counter struct{ more, less, none *sql.Stmt }

// compile compiles them for the connection that writes.
func (d *DB) compile(ctx context.Context) (err error) {
	for to, query := range map[**sql.Stmt]string{
		&d.apply.cursor:    "UPDATE o3_cursor SET log_index = ?",
		&d.apply.file.more: "INSERT INTO o3_file_counts VALUES (?2, ?3, ?1) ON CONFLICT (bucket_id, bin) DO UPDATE SET count = count + excluded.count",
		&d.apply.file.less: "UPDATE o3_file_counts SET count = count + ?1 WHERE bucket_id = ?2 AND bin = ?3",
		&d.apply.file.none: "DELETE FROM o3_file_counts WHERE count = ?1 AND bucket_id = ?2 AND bin = ?3",
		&d.apply.stat.more: `INSERT INTO GLOBAL_STATS VALUES (?3, ?1, ?2) ON CONFLICT ("key") DO UPDATE SET value = value + excluded.value, last_updated_index = ?2`,
		&d.apply.stat.less: `UPDATE GLOBAL_STATS SET value = value + ?1, last_updated_index = ?2 WHERE "key" = ?3`,
		&d.apply.stat.none: `DELETE FROM GLOBAL_STATS WHERE value = ?1 AND last_updated_index = ?2 AND "key" = ?3`,
	} {
		if *to, err = d.write.PrepareContext(ctx, query); err != nil {
			return d.fault(err)
		}
	}
	return nil
}

// Cursor implements task.SQL.
func (d *DB) Cursor() (index uint64, err error) { return d.cursor.Load(), nil }

// readCursor learns where the file stands. Only Apply moves it.
func (d *DB) readCursor(ctx context.Context) error {
	var n int64
	err := d.write.QueryRowContext(ctx, "SELECT log_index FROM o3_cursor").Scan(&n)
	d.cursor.Store(uint64(n))
	return d.fault(err)
}

// Apply implements task.SQL.
func (d *DB) Apply(index uint64, run fsm.Run, add func(func(key []byte, c task.Counts) error) error) error {
	ctx := context.Background()
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return d.fault(err)
	}
	a := applying{ctx, tx, &d.apply, index}
	err = errors.Join(a.names(run), add(a.add))
	if err == nil {
		_, err = tx.StmtContext(ctx, d.apply.cursor).Exec(int64(index))
	}
	if err != nil {
		return d.fault(errors.Join(err, tx.Rollback()))
	}
	if err := tx.Commit(); err != nil {
		return d.fault(err)
	}
	d.cursor.Store(index)
	return nil
}

// applying is one call of Apply.
type applying struct {
	ctx   context.Context
	tx    *sql.Tx
	s     *statements
	index uint64
}

// names learns volumes and buckets: first those that went, since one may come
// back under another id.
func (a applying) names(run fsm.Run) error {
	for _, c := range run.Changes {
		if c.Old == nil || stays(c) {
			continue
		}
		if err := a.name(c.Key, c.Old, "DELETE FROM o3_volumes WHERE volume_id = ?", "DELETE FROM o3_buckets WHERE bucket_id = ?", false); err != nil {
			return err
		}
	}
	for _, c := range run.Changes {
		if c.New == nil || stays(c) {
			continue
		}
		if err := a.name(c.Key, c.New, "INSERT INTO o3_volumes VALUES (?, ?)", "INSERT INTO o3_buckets VALUES (?, ?, ?)", true); err != nil {
			return err
		}
	}
	return nil
}

// stays reports whether a bucket has the id that it had; its name is its key.
func stays(c fsm.Change) bool {
	if c.Old == nil || c.New == nil || c.Key[0] != schema.Buckets.Prefix()[0] {
		return false
	}
	was, err := schema.Buckets.Decode(c.Key, c.Old)
	is, err2 := schema.Buckets.Decode(c.Key, c.New)
	return err == nil && err2 == nil && was.ObjectId == is.ObjectId
}

// name runs one of the statements if the row is of a volume or a bucket.
func (a applying) name(key, value []byte, volume, bucket string, insert bool) error {
	switch key[0] {
	case schema.Volumes.Prefix()[0]:
		name, err := schema.Volumes.ParseKey(key)
		if err != nil {
			return err
		}
		row, err := schema.Volumes.Decode(key, value)
		if err != nil {
			return err
		}
		args := []any{int64(row.ObjectId), name}
		if !insert {
			args = args[:1]
		}
		_, err = a.tx.ExecContext(a.ctx, volume, args...)
		return err
	case schema.Buckets.Prefix()[0]:
		k, err := schema.Buckets.ParseKey(key)
		if err != nil {
			return err
		}
		row, err := schema.Buckets.Decode(key, value)
		if err != nil {
			return err
		}
		args := []any{int64(row.ObjectId), int64(k.Volume), k.Name}
		if !insert {
			args = args[:1]
		}
		_, err = a.tx.ExecContext(a.ctx, bucket, args...)
		return err
	}
	return nil
}

// add adds counters to a row. One that would fall below zero fails the
// transaction.
func (a applying) add(key []byte, c task.Counts) error {
	if bucket, bin, ok := task.ParseFileCount(key); ok {
		return a.change(a.s.file, c.At(0), int64(bucket), bin)
	}
	if name, ok := task.ParseStat(key); ok {
		return a.change(a.s.stat, c.At(0), int64(a.index), name)
	}
	return errs.New(errs.Internal, "derived table", "a row is of no table in SQLite")
}

// change adds n to a row, which is made when there is none, and goes when it is
// zero then.
func (a applying) change(s counter, n int64, where ...any) error {
	if n > 0 {
		_, err := a.tx.StmtContext(a.ctx, s.more).Exec(append([]any{n}, where...)...)
		return err
	}
	done, err := a.tx.StmtContext(a.ctx, s.less).Exec(append([]any{n}, where...)...)
	if err != nil {
		return err
	}
	rows, err := done.RowsAffected()
	if err == nil && rows == 0 && n < 0 {
		return errs.New(errs.Corrupt, "derived tables", fmt.Sprintf("the counter of %v would be %d", where, n))
	}
	if err == nil {
		_, err = a.tx.StmtContext(a.ctx, s.none).Exec(append([]any{0}, where...)...)
	}
	return err
}

// TaskStatus is a row of RECON_TASK_STATUS.
type TaskStatus struct {
	Name    string
	Updated time.Time
	Index   uint64 // that the task's tables reflect
	Failed  bool   // its last run
	Running bool
}

// SetTasks replaces RECON_TASK_STATUS.
func (d *DB) SetTasks(list []TaskStatus) error {
	tx, err := d.write.Begin()
	if err != nil {
		return d.fault(err)
	}
	_, err = tx.Exec("DELETE FROM RECON_TASK_STATUS")
	for _, t := range list {
		if err != nil {
			break
		}
		status := 0
		if t.Failed {
			status = -1
		}
		_, err = tx.Exec("INSERT INTO RECON_TASK_STATUS VALUES (?, ?, ?, ?, ?)", t.Name, t.Updated.UnixMilli(), int64(t.Index), status, t.Running)
	}
	if err != nil {
		return d.fault(errors.Join(err, tx.Rollback()))
	}
	return d.fault(tx.Commit())
}
