package recon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/recon/generation"
	"o3/internal/schema"
)

// BackupFile is the manifest of a backup (docs/formats/recon-backup.md). A
// directory without it is no backup.
const BackupFile = "backup.json"

// BackupFormat is the newest format of a backup.
const BackupFormat = 1

// backupPart ends the name of the directory beside a backup in which it is made.
const backupPart = ".part"

// backupMark is in that directory from its beginning on: what has it may be
// removed.
const backupMark = "incomplete-backup"

// BackupManifest is what a backup holds.
type BackupManifest struct {
	Format     int          `json:"format"`
	Generation string       `json:"generation"` // that it is of
	CreatedMs  int64        `json:"createdMs"`  // Unix milliseconds
	Index      uint64       `json:"index"`      // the OM's log entry that it reflects
	Term       uint64       `json:"term"`
	Op         uint64       `json:"op"`
	Digest     string       `json:"digest"`  // of the replica
	Schema     int          `json:"schema"`  // format of the replica's tables
	Derived    int          `json:"derived"` // format of the derived ones
	Files      []BackupPart `json:"files"`
}

// BackupPart is a file of a backup.
type BackupPart struct {
	Path   string `json:"path"` // below the backup, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// BackupSummary is a manifest without its files one by one.
type BackupSummary struct {
	Generation string `json:"generation"`
	CreatedMs  int64  `json:"createdMs"`
	Index      uint64 `json:"index"`
	Digest     string `json:"digest"`
	Files      int    `json:"files"`
	Bytes      int64  `json:"bytes"`
}

// Summary returns what a user is told of a backup.
func (m BackupManifest) Summary() BackupSummary {
	out := BackupSummary{Generation: m.Generation, CreatedMs: m.CreatedMs, Index: m.Index, Digest: m.Digest, Files: len(m.Files)}
	for _, f := range m.Files {
		out.Bytes += f.Size
	}
	return out
}

// Backup makes dir a copy of the generation in force at one index: a checkpoint of
// its stores, hard links where the file system has them, and a backup of SQLite.
// dir is an absolute path of a directory that is absent or empty, in one that is
// there and neither Recon's nor one of Options.Private; it appears when all of it
// is there and durable. Kinds: Invalid, NotEmpty, Unavailable.
func (s *Service) Backup(ctx context.Context, dir string) (BackupManifest, error) {
	var none BackupManifest
	dir, err := s.backupDir(dir)
	if err != nil {
		return none, err
	}
	cur, _ := s.now()
	if cur == nil {
		return none, errs.New(errs.Unavailable, "Recon", s.why())
	}
	hold, err := cur.g.View(ctx) // so that it is not closed meanwhile
	if err != nil {
		return none, err
	}
	defer hold.Close()
	if built, err := cur.g.Built(); err != nil || !built || cur.paused {
		return none, errors.Join(err, errs.New(errs.Unavailable, "Recon", "its tables are being rebuilt in place"))
	}
	part := dir + backupPart
	if err := s.d.beginBackup(dir, part); err != nil {
		return none, err
	}
	m, err := s.fillBackup(ctx, cur, part)
	if err == nil {
		err = s.d.endBackup(dir, part)
	}
	if err != nil {
		kind := errs.KindOf(err)
		if kind == errs.Internal {
			kind = diskKind(err)
		}
		// The cause in words: the error may be about a file that is copied, not about dir.
		return none, errors.Join(errs.New(kind, dir, "the backup was not made: "+err.Error()), s.d.removeAll(part))
	}
	return m, nil
}

// backupDir returns the directory of a backup, or why none can be made there.
func (s *Service) backupDir(dir string) (string, error) {
	bad := func(why string) (string, error) { return "", errs.New(errs.Invalid, dir, why) }
	if !filepath.IsAbs(dir) || filepath.Clean(dir) == "/" {
		return bad("the directory of a backup is given by an absolute path")
	}
	parent, name := filepath.Split(filepath.Clean(dir))
	if s.d.own {
		var err error
		if parent, err = filepath.EvalSymlinks(parent); err != nil {
			return bad("the directory that it is to be in cannot be used; is the disk mounted? " + err.Error())
		}
	}
	at := filepath.Join(parent, name)
	if s.d.own {
		at = realPath(at)
	}
	for _, own := range append([]string{s.d.dir, s.d.base}, s.o.Private...) {
		if s.d.own {
			own = realPath(own)
		}
		if rel, err := filepath.Rel(own, at); err == nil && filepath.IsLocal(rel) {
			return bad("it is in the server's own directory " + own + ": what is there is lost with the server")
		}
	}
	return at, nil
}

// realPath returns where a path leads, as far as that can be found out.
func realPath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	return path
}

// beginBackup makes the directory in which a backup is made.
func (d *directory) beginBackup(dir, part string) error {
	names, err := d.fs.List(dir)
	switch {
	case err == nil && len(names) > 0:
		return errs.New(errs.NotEmpty, dir, "a backup needs a directory that is absent or empty")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return unusable(dir, err)
	}
	if names, err := d.fs.List(part); err == nil && len(names) > 0 {
		if !d.exists(d.fs.PathJoin(part, backupMark)) {
			return errs.New(errs.NotEmpty, part, "it is in the way, and is no backup that was cut off")
		}
		if err := d.removeAll(part); err != nil {
			return err
		}
	}
	if err := d.make(part); err != nil {
		return unusable(part, err)
	}
	if err := d.write(d.fs.PathJoin(part, backupMark), []byte("o3 admin recon backup was cut off; this may be removed\n")); err != nil {
		return unusable(part, err)
	}
	return nil
}

// unusable is why a backup cannot be made at a path that somebody gave.
func unusable(path string, err error) error {
	kind := diskKind(err)
	if kind == errs.Internal {
		kind = errs.Invalid
	}
	return errs.New(kind, path, "the server cannot write there: "+err.Error())
}

// fillBackup copies the generation and describes the copy.
func (s *Service) fillBackup(ctx context.Context, cur *served, part string) (m BackupManifest, err error) {
	if err := cur.g.Clone(ctx, part); err != nil {
		return m, err
	}
	pos, err := s.positionOf(s.d.fs.PathJoin(part, generation.ReplicaDir))
	if err != nil {
		return m, err
	}
	m = BackupManifest{
		Format: BackupFormat, Generation: cur.name, CreatedMs: s.clock.Now().UnixMilli(), Index: pos.Index, Term: pos.Term, Op: uint64(pos.Op),
		Digest: pos.Digest.String(), Schema: schema.Format, Derived: generation.DerivedFormat,
	}
	if m.Files, err = s.d.sums(ctx, part, ""); err != nil {
		return m, err
	}
	m.Files = slices.DeleteFunc(m.Files, func(f BackupPart) bool { return f.Path == backupMark || strings.HasSuffix(f.Path, "/LOCK") })
	raw, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return m, err
	}
	return m, s.d.write(s.d.fs.PathJoin(part, BackupFile), append(raw, '\n'))
}

// positionOf reads where a copy of a replica stands.
func (s *Service) positionOf(dir string) (fsm.Position, error) {
	return generation.PositionOf(s.o.Generation, dir)
}

// endBackup gives a backup its name.
func (d *directory) endBackup(dir, part string) error {
	if err := d.syncTree(part); err != nil {
		return err
	}
	if err := d.fs.Remove(d.fs.PathJoin(part, backupMark)); err != nil {
		return err
	}
	if err := d.sync(part); err != nil {
		return err
	}
	if d.exists(dir) { // empty
		if err := d.fs.Remove(dir); err != nil {
			return err
		}
	}
	if err := d.fs.Rename(part, dir); err != nil {
		return err
	}
	return d.sync(d.fs.PathDir(dir))
}

// syncTree makes everything in a directory durable.
func (d *directory) syncTree(path string) error {
	names, err := d.fs.List(path)
	if err != nil {
		return err
	}
	for _, name := range names {
		at := d.fs.PathJoin(path, name)
		st, err := d.fs.Stat(at)
		if err != nil {
			return err
		}
		if st.IsDir() {
			err = d.syncTree(at)
		} else {
			err = d.syncFile(at)
		}
		if err != nil {
			return err
		}
	}
	return d.sync(path)
}

func (d *directory) syncFile(path string) error {
	f, err := d.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// sums describes the files below a directory.
func (d *directory) sums(ctx context.Context, root, below string) (out []BackupPart, err error) {
	names, err := d.fs.List(d.fs.PathJoin(root, below))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		path := name
		if below != "" {
			path = below + "/" + name
		}
		at := d.fs.PathJoin(root, path)
		st, err := d.fs.Stat(at)
		if err != nil {
			return nil, err
		}
		if st.IsDir() {
			more, err := d.sums(ctx, root, path)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
			continue
		}
		size, sum, err := d.sum(ctx, at, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, BackupPart{path, size, sum})
	}
	return out, nil
}

// sum reads a file, and writes it to w unless that is nil.
func (d *directory) sum(ctx context.Context, path string, w io.Writer) (int64, string, error) {
	f, err := d.fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	to := io.Writer(h)
	if w != nil {
		to = io.MultiWriter(h, w)
	}
	buf, size := make([]byte, 1<<20), int64(0)
	for {
		if ctx.Err() != nil {
			return size, "", errs.Wrap(errs.Canceled, path, context.Cause(ctx))
		}
		n, err := f.Read(buf)
		if _, werr := to.Write(buf[:n]); werr != nil {
			return size, "", errs.Wrap(diskKind(werr), path, werr)
		}
		size += int64(n)
		if errors.Is(err, io.EOF) {
			return size, hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return size, "", errs.Wrap(errs.Internal, path, err)
		}
	}
}

// readBackup reads the manifest of a backup. Kinds: FormatUnknown, FormatTooNew.
func (d *directory) readBackup(dir string) (m BackupManifest, err error) {
	path := d.fs.PathJoin(dir, BackupFile)
	raw, err := d.readAll(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, errs.New(errs.FormatUnknown, dir, "it is no backup of Recon: it has no "+BackupFile)
	}
	if err != nil {
		return m, errs.Wrap(errs.Internal, path, err)
	}
	var version struct{ Format, Schema, Derived int } // of a later one nothing else is known
	if err := json.Unmarshal(raw, &version); err != nil || version.Format < 1 {
		return m, errs.New(errs.FormatUnknown, path, "it is no manifest of a backup of Recon")
	}
	for _, f := range []struct {
		what       string
		has, known int
	}{{"backup", version.Format, BackupFormat}, {"replica", version.Schema, schema.Format}, {"derived tables", version.Derived, generation.DerivedFormat}} {
		if f.has > f.known {
			return m, errs.New(errs.FormatTooNew, path, fmt.Sprintf("the %s has format %d, this program knows formats up to %d", f.what, f.has, f.known))
		}
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, errs.New(errs.FormatUnknown, path, "it is no manifest of a backup of Recon: "+err.Error())
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(f.Path) || f.Size < 0 {
			return m, errs.New(errs.Corrupt, path, fmt.Sprintf("it names a file %q outside of the backup", f.Path))
		}
	}
	return m, nil
}

// readAll is read without a bound, for manifests.
func (d *directory) readAll(path string) ([]byte, error) {
	f, err := d.fs.Open(path)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(f)
	return raw, errors.Join(err, f.Close())
}
