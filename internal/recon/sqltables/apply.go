package sqltables

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/recon/task"
	"o3/internal/schema"
)

// Cursor implements task.SQL.
func (d *DB) Cursor() (index uint64, err error) {
	var n int64
	err = d.write.QueryRow("SELECT log_index FROM o3_cursor").Scan(&n)
	return uint64(n), d.fault(err)
}

// Apply implements task.SQL.
func (d *DB) Apply(index uint64, run fsm.Run, add func(func(key []byte, c task.Counts) error) error) error {
	ctx := context.Background()
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return d.fault(err)
	}
	a := applying{ctx, tx, index}
	err = errors.Join(a.names(run), add(a.add))
	if err == nil {
		_, err = tx.Exec("DELETE FROM o3_file_counts WHERE count = 0; DELETE FROM GLOBAL_STATS WHERE value = 0")
	}
	if err == nil {
		_, err = tx.Exec("UPDATE o3_cursor SET log_index = ?", int64(index))
	}
	if err != nil {
		return d.fault(errors.Join(err, tx.Rollback()))
	}
	return d.fault(tx.Commit())
}

// applying is one call of Apply.
type applying struct {
	ctx   context.Context
	tx    *sql.Tx
	index uint64
}

// names learns volumes and buckets: first those that went, since one may come
// back under another id.
func (a applying) names(run fsm.Run) error {
	for _, c := range run.Changes {
		if c.Old == nil {
			continue
		}
		if err := a.name(c.Key, c.Old, "DELETE FROM o3_volumes WHERE volume_id = ?", "DELETE FROM o3_buckets WHERE bucket_id = ?", false); err != nil {
			return err
		}
	}
	for _, c := range run.Changes {
		if c.New == nil {
			continue
		}
		if err := a.name(c.Key, c.New, "INSERT INTO o3_volumes VALUES (?, ?)", "INSERT INTO o3_buckets VALUES (?, ?, ?)", true); err != nil {
			return err
		}
	}
	return nil
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
		return a.upsert("UPDATE o3_file_counts SET count = count + ?1 WHERE bucket_id = ?2 AND bin = ?3",
			"INSERT INTO o3_file_counts VALUES (?2, ?3, ?1)", c.At(0), int64(bucket), bin)
	}
	if name, ok := task.ParseStat(key); ok {
		return a.upsert(`UPDATE GLOBAL_STATS SET value = value + ?1, last_updated_index = ?2 WHERE "key" = ?3`,
			"INSERT INTO GLOBAL_STATS VALUES (?3, ?1, ?2)", c.At(0), int64(a.index), name)
	}
	return errs.New(errs.Internal, "derived table", "a row is of no table in SQLite")
}

// upsert changes a row, or makes it when there is none.
func (a applying) upsert(update, insert string, args ...any) error {
	done, err := a.tx.ExecContext(a.ctx, update, args...)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n > 0 {
		return err
	}
	_, err = a.tx.ExecContext(a.ctx, insert, args...)
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
