package recon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
	"o3/internal/recon/staging"
)

// RestoreOptions is what Restore works on. From and Dir are required.
type RestoreOptions struct {
	From    string // a backup
	Dir     string // Recon's directory; made if it is absent
	Replace bool   // also where there is a generation in force

	FS       vfs.FS // nil: the operating system's
	Now      func() time.Time
	Progress func(done, total int64) // bytes
}

// Restore makes the backup the generation in force in a directory that no server
// uses. All of it is read and compared with its checksums first as it is copied;
// then one file is replaced: whatever cuts it off leaves what was in force, or the
// backup. What was there before is removed by the next start of the server.
// It returns the generation's name. Kinds: FormatUnknown, FormatTooNew, Corrupt,
// NotEmpty.
func Restore(ctx context.Context, o RestoreOptions) (m BackupManifest, name string, err error) {
	d := &directory{fs: o.FS, dir: o.Dir, base: o.Dir}
	if d.fs == nil {
		d.fs, d.own = vfs.Default, true
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if m, err = d.readBackup(o.From); err != nil {
		return m, "", err
	}
	if err := d.make(o.Dir); err != nil {
		return m, "", errs.Wrap(diskKind(err), o.Dir, err)
	}
	lock, err := d.fs.Lock(d.path(lockFile))
	if err != nil {
		return m, "", errs.Wrap(errs.Unavailable, o.Dir+": a server or another restore uses it", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	next, err := d.mayRestore(o.Replace)
	if err != nil {
		return m, "", err
	}
	name = generationName(next)
	if err := d.restoreFiles(ctx, o, m, name); err != nil {
		return m, "", errors.Join(err, d.removeAll(d.path(name)))
	}
	if err := d.writeCurrent(marker{Generation: name, SinceMs: o.Now().UnixMilli()}); err != nil {
		return m, "", err
	}
	return m, name, nil
}

// lockFile is held by whoever uses a directory of Recon.
const lockFile = "lock"

// mayRestore returns the number of the generation that a backup becomes.
func (d *directory) mayRestore(replace bool) (next uint64, err error) {
	cur, err := d.readCurrent()
	there := cur.Generation != "" || err != nil
	if errs.KindOf(err) == errs.FormatTooNew {
		return 0, err
	}
	if there && !replace {
		return 0, errs.New(errs.NotEmpty, d.dir, "there is a generation in force; --replace puts the backup in its place")
	}
	all, err := d.generations()
	if err != nil {
		return 0, err
	}
	record, err := d.recorded()
	if err != nil {
		return 0, err
	}
	next = 1
	for _, known := range []string{cur.Generation, cur.Previous, record} {
		if n, ok := generationNumber(known); ok {
			all[known] = n
		}
	}
	for _, n := range all {
		next = max(next, n+1)
	}
	return next, nil
}

// recorded returns the stage that the record names, "" where it names none.
func (d *directory) recorded() (string, error) {
	raw, err := d.read(d.path(recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", errs.Wrap(errs.Internal, d.path(recordFile), err)
	}
	r, err := staging.Decode(d.path(recordFile), raw)
	if errs.KindOf(err) == errs.FormatTooNew {
		return "", err
	}
	return r.StagingID, nil // a damaged one names none
}

// restoreFiles copies a backup.
func (d *directory) restoreFiles(ctx context.Context, o RestoreOptions, m BackupManifest, name string) error {
	total, done := m.Summary().Bytes, int64(0)
	for _, f := range m.Files {
		from, to := d.fs.PathJoin(o.From, f.Path), d.path(name, f.Path)
		if err := d.make(d.fs.PathDir(to)); err != nil {
			return errs.Wrap(diskKind(err), to, err)
		}
		if err := d.restoreFile(ctx, from, to, f); err != nil {
			return err
		}
		if done += f.Size; o.Progress != nil {
			o.Progress(done, total)
		}
	}
	return d.syncTree(d.path(name))
}

func (d *directory) restoreFile(ctx context.Context, from, to string, want BackupPart) error {
	f, err := d.fs.Create(to, vfs.WriteCategoryUnspecified)
	if err != nil {
		return errs.Wrap(diskKind(err), to, err)
	}
	size, sum, err := d.sum(ctx, from, f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return errs.New(errs.Corrupt, from, "the backup lacks it")
		}
		return err
	}
	if size != want.Size || sum != want.SHA256 {
		return errs.New(errs.Corrupt, from, fmt.Sprintf("it has %d bytes with SHA-256 %.16s…; the backup had %d with %.16s…", size, sum, want.Size, want.SHA256))
	}
	return nil
}
