package sqltables

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"o3/internal/durable"
	"o3/internal/errs"
)

// Backup makes path, which must not be there yet, a file with the tables as they
// are at one moment, durably. Readers go on meanwhile, Apply waits. A failure
// leaves no file.
func (d *DB) Backup(ctx context.Context, path string) error {
	if _, err := d.write.ExecContext(ctx, "VACUUM INTO ?", path); err != nil {
		return d.fault(errors.Join(err, removed(path)))
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f.Chmod(0o600), f.Sync(), f.Close(), durable.SyncDir(filepath.Dir(path)))
	}
	return d.fault(err)
}

// removed removes what is at path, if anything is.
func removed(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// Verify reads all of the file and checks that its tables and indexes agree. Kind
// Corrupt where they do not.
func (d *DB) Verify(ctx context.Context) error {
	var found string
	if err := d.read.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return d.fault(err)
	}
	if found != "ok" {
		return errs.New(errs.Corrupt, d.path, found)
	}
	return nil
}
