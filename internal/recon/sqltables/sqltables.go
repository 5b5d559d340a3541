// Package sqltables keeps the small derived tables of a generation of Recon in
// a SQLite file, which users may open beside it: GLOBAL_STATS,
// FILE_COUNT_BY_SIZE and RECON_TASK_STATUS, with the columns they know from Ozone
// (docs/formats/recon.md).
//
// Every change of rows moves the cursor in the same transaction. What was
// committed is lost by a power cut only as a whole suffix, until Flush. Apply
// belongs to one goroutine; everything else is safe for concurrent use. The
// package starts no goroutines but those of database/sql, which Close ends.
package sqltables

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"o3/internal/errs"
)

// Format is the newest format of the file that this program writes and reads.
const Format = 1

// application marks our files (PRAGMA application_id): "o3re".
const application = 0x6f337265

// DB is an open file.
type DB struct {
	path  string
	write *sql.DB
	read  *sql.DB

	apply  statements
	cursor atomic.Uint64
}

// create makes the tables of an empty file. In ids the highest bit is the sign.
const create = `
CREATE TABLE o3_cursor (one INTEGER PRIMARY KEY CHECK (one = 1), log_index INTEGER NOT NULL, flushes INTEGER NOT NULL);
INSERT INTO o3_cursor VALUES (1, 0, 0);
CREATE TABLE o3_volumes (volume_id INTEGER PRIMARY KEY, volume TEXT NOT NULL);
CREATE TABLE o3_buckets (bucket_id INTEGER PRIMARY KEY, volume_id INTEGER NOT NULL, bucket TEXT NOT NULL);
CREATE TABLE o3_file_counts (
	bucket_id INTEGER NOT NULL, bin INTEGER NOT NULL, count INTEGER NOT NULL CHECK (count >= 0),
	PRIMARY KEY (bucket_id, bin)) WITHOUT ROWID;
CREATE TABLE GLOBAL_STATS (
	"key" TEXT PRIMARY KEY, value INTEGER NOT NULL CHECK (value >= 0), last_updated_index INTEGER NOT NULL);
CREATE VIEW FILE_COUNT_BY_SIZE (volume, bucket, file_size, count) AS
	SELECT v.volume, b.bucket, CASE WHEN f.bin > 40 THEN 9223372036854775807 ELSE 1024 << f.bin END, f.count
	FROM o3_file_counts f JOIN o3_buckets b USING (bucket_id) JOIN o3_volumes v USING (volume_id);
CREATE TABLE RECON_TASK_STATUS (
	task_name TEXT PRIMARY KEY, last_updated_timestamp INTEGER NOT NULL, last_updated_seq_number INTEGER NOT NULL,
	last_task_run_status INTEGER NOT NULL, is_current_task_running INTEGER NOT NULL);
CREATE TRIGGER o3_task_index AFTER UPDATE OF log_index ON o3_cursor BEGIN
	UPDATE RECON_TASK_STATUS SET last_updated_seq_number = NEW.log_index, last_updated_timestamp = CAST(1000 * unixepoch('subsec') AS INTEGER);
END;
`

// Open opens the file, or makes it. Kinds: FormatTooNew, FormatUnknown (it is a
// file of something else), Corrupt.
func Open(ctx context.Context, path string) (*DB, error) {
	d := &DB{path: path}
	var err error
	if d.write, err = d.connect("_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(10000)&_pragma=wal_autocheckpoint(0)"); err != nil {
		return nil, err
	}
	d.write.SetMaxOpenConns(1)
	for _, step := range []func(context.Context) error{d.prepare, d.readCursor, d.compile} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, d.write.Close())
		}
	}
	if d.read, err = d.connect("_pragma=query_only(1)&_pragma=busy_timeout(10000)"); err != nil {
		return nil, errors.Join(err, d.write.Close())
	}
	return d, nil
}

func (d *DB) connect(options string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: d.path}).EscapedPath(), RawQuery: options}
	db, err := sql.Open("sqlite", u.String())
	return db, d.fault(err)
}

// prepare checks whose file it is and makes the tables of a new one.
func (d *DB) prepare(ctx context.Context) error {
	var id, version, tables int
	for query, to := range map[string]*int{"PRAGMA application_id": &id, "PRAGMA user_version": &version, "SELECT count(*) FROM sqlite_schema": &tables} {
		if err := d.write.QueryRowContext(ctx, query).Scan(to); err != nil {
			return d.fault(err)
		}
	}
	switch {
	case id == application && version > Format:
		return errs.New(errs.FormatTooNew, d.path, fmt.Sprintf("it has format %d, this program knows formats up to %d", version, Format))
	case id == application && version == Format:
		return nil
	case id != 0 || version != 0 || tables > 0:
		return errs.New(errs.FormatUnknown, d.path, "it is not a file of Recon's tables")
	}
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return d.fault(err)
	}
	for _, q := range []string{create, fmt.Sprintf("PRAGMA application_id = %d", application), fmt.Sprintf("PRAGMA user_version = %d", Format)} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return d.fault(errors.Join(err, tx.Rollback()))
		}
	}
	return d.fault(tx.Commit())
}

// maxLog is the size of SQLite's log from which Flush waits for readers, a moment,
// to begin it anew. They keep it from being emptied while they look.
const maxLog = 64 << 20

// Flush makes everything that was committed durable. It waits for nobody who
// reads, but a moment where the log has grown large.
func (d *DB) Flush() error {
	// A commit that is synced takes all before it along; one that changes nothing
	// would be none.
	sync := []string{"PRAGMA synchronous = FULL", "UPDATE o3_cursor SET flushes = flushes + 1", "PRAGMA synchronous = NORMAL"}
	for _, q := range sync {
		if _, err := d.write.Exec(q); err != nil {
			return d.fault(err)
		}
	}
	mode, wait := "PASSIVE", 0
	if st, err := os.Stat(d.path + "-wal"); err == nil && st.Size() > maxLog {
		mode, wait = "TRUNCATE", 200
	}
	if _, err := d.write.Exec(fmt.Sprintf("PRAGMA busy_timeout = %d", wait)); err != nil {
		return d.fault(err)
	}
	var busy, log, done int
	err := d.write.QueryRow("PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &log, &done)
	_, back := d.write.Exec("PRAGMA busy_timeout = 10000")
	return d.fault(errors.Join(err, back))
}

// Close closes the file; nothing is read from it then.
func (d *DB) Close() error { return d.fault(errors.Join(d.read.Close(), d.write.Close())) }

// fault names the file in an error of SQLite.
func (d *DB) fault(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &errs.Error{Kind: kindOf(err), Op: "sqltables", Subject: d.path, Err: err}
}
