package recon_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/errs"
	"o3/internal/recon"
)

// cutter fails one operation on files below a path, once.
type cutter struct {
	mu    sync.Mutex
	below string
	left  int // operations until then; below 0: none fails any more
	hit   bool
}

var errCut = errors.New("planted: it is cut off here")

// MaybeError implements errorfs.Injector.
func (c *cutter) MaybeError(op errorfs.Op) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.below == "" || !strings.HasPrefix(op.Path, c.below) || c.left < 0 {
		return nil
	}
	if c.left--; c.left < 0 {
		c.hit = true
		return errCut
	}
	return nil
}

// String implements errorfs.Injector.
func (c *cutter) String() string { return "cutter" }

func (c *cutter) arm(below string, after int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.below, c.left, c.hit = below, after, false
}

func (c *cutter) was() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hit
}

// TestBackup: what is restored answers as what was backed up did, and is brought
// up to date by the log; with faults at every step of the backup there is none, or
// a whole one.
func TestBackup(t *testing.T) {
	o := newOM(t, 1)
	o.work(200)
	c := new(cutter)
	r := o.follow(t, filepath.Join(t.TempDir(), "recon"), func(o *recon.Options) { o.Generation.FS = errorfs.Wrap(vfs.Default, c) })
	r.current()
	dir := filepath.Join(t.TempDir(), "backups", "b")
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	cuts := 0
	var m recon.BackupManifest
	for n := 0; ; n += 1 + n/10 {
		c.arm(dir, n)
		var err error
		m, err = r.Backup(t.Context(), dir)
		cut := c.was()
		c.arm("", -1)
		if !cut {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if err == nil { // what failed was not needed
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			continue
		}
		cuts++
		if e := (*errs.Error)(nil); !errors.As(err, &e) || e.Detail == "" || !strings.HasPrefix(e.Subject, dir) {
			t.Errorf("cut off at operation %d: who asked is not told what and why: %v", n, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Fatalf("cut off at operation %d it left a backup", n)
		}
	}
	if cuts < 20 {
		t.Errorf("only %d cuts", cuts)
	}
	if m.Index != r.Status().Index || m.Digest != r.Status().Digest || len(m.Files) < 5 {
		t.Errorf("%+v; %+v", m, r.Status())
	}
	at := r.check()
	o.work(50)
	r.current() // the generation goes on, the backup does not
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(t.TempDir(), "restored")
	got, name, err := recon.Restore(t.Context(), recon.RestoreOptions{From: dir, Dir: restored})
	if err != nil || name != "generation-0000000001" || got.Index != at {
		t.Fatal(err, name, got)
	}
	o.set(faults{down: true})
	s := o.follow(t, restored, nil)
	s.until("being open", func(st recon.Status) bool { return st.Generation == name })
	if index := s.check(); index != at {
		t.Errorf("index %d, want %d", index, at)
	}
	o.set(faults{})
	s.current()
	s.check()
	if st := s.Status(); st.Syncs != 0 {
		t.Errorf("it needed a new image: %+v", st.LastSync)
	}
}

// TestBackupRefused: where there is something already, and where a backup would
// not be of use.
func TestBackupRefused(t *testing.T) {
	o := newOM(t, 2)
	o.work(20)
	home := filepath.Join(t.TempDir(), "recon")
	private, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(private, link); err != nil {
		t.Fatal(err)
	}
	r := o.follow(t, home, func(o *recon.Options) { o.Private = []string{private, "testdata"} })
	r.current()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	full, base := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(base, "b.part", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]errs.Kind{
		"relative": errs.Invalid, "/": errs.Invalid, home: errs.Invalid, filepath.Join(home, "b"): errs.Invalid,
		private: errs.Invalid, filepath.Join(private, "b"): errs.Invalid, link: errs.Invalid, filepath.Join(link, "b"): errs.Invalid,
		filepath.Join(base, "absent", "b"): errs.Invalid, filepath.Join(base, "x", "..", "..", filepath.Base(base), "b"): errs.NotEmpty, "": errs.Invalid, filepath.Join(here, "testdata", "b"): errs.Invalid,
		full: errs.NotEmpty, filepath.Join(base, "b"): errs.NotEmpty,
		filepath.Join(full, "x"): errs.Invalid, "/proc/b": errs.Invalid, // a file; where nothing can be made
	} {
		_, err := r.Backup(t.Context(), path)
		if errs.KindOf(err) != want {
			t.Errorf("%s: %v", path, err)
		}
		if e := (*errs.Error)(nil); !errors.As(err, &e) || e.Detail == "" {
			t.Errorf("%s: who asked is not told why: %v", path, err)
		}
	}
	// What a power cut has left of another one is in nobody's way.
	if err := os.WriteFile(filepath.Join(base, "b.part", "incomplete-backup"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Backup(t.Context(), filepath.Join(base, "b")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Backup(ctx, filepath.Join(base, "c")); err == nil {
		t.Error("it did not end with its context")
	}
	if _, err := os.Stat(filepath.Join(base, "c")); err == nil {
		t.Error("it left something")
	}
	_, _, err = recon.Restore(t.Context(), recon.RestoreOptions{From: filepath.Join(base, "b"), Dir: home, Replace: true})
	if errs.KindOf(err) != errs.Unavailable {
		t.Errorf("beside a server: %v", err)
	}
}

// shelf is a file system with a backup and a directory that Recon has.
type shelf struct {
	fs    *vfs.MemFS
	files map[string]string // of the backup
}

const (
	backupDir = "/backup"
	homeDir   = "/recon"
	oldMarker = `{"format":1,"generation":"generation-0000000003","previous":"generation-0000000002"}` + "\n"
)

func put(t *testing.T, fs vfs.FS, path, content string) {
	t.Helper()
	if err := fs.MkdirAll(fs.PathDir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write([]byte(content))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	for dir := fs.PathDir(path); ; dir = fs.PathDir(dir) {
		d, err := fs.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			t.Fatal(err)
		}
		if dir == "/" {
			return
		}
	}
}

func get(fs vfs.FS, path string) string {
	f, err := fs.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

func newShelf(t *testing.T, change func(*recon.BackupManifest)) *shelf {
	s := &shelf{fs: vfs.NewCrashableMem(), files: map[string]string{
		"replica/000001.sst": strings.Repeat("a", 3000), "replica/MANIFEST-1": "m", "derived/CURRENT": "", "recon.sqlite": strings.Repeat("s", 70000),
	}}
	m := recon.BackupManifest{Format: recon.BackupFormat, Generation: "generation-0000000009", Index: 77, Schema: 1, Derived: 1}
	for path, content := range s.files {
		put(t, s.fs, backupDir+"/"+path, content)
		sum := sha256.Sum256([]byte(content))
		m.Files = append(m.Files, recon.BackupPart{Path: path, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])})
	}
	if change != nil {
		change(&m)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s.fs, backupDir+"/"+recon.BackupFile, string(raw))
	return s
}

// occupied puts a generation in force into Recon's directory.
func (s *shelf) occupied(t *testing.T) {
	put(t, s.fs, homeDir+"/current", oldMarker)
	put(t, s.fs, homeDir+"/generation-0000000003/replica/x", "old")
	put(t, s.fs, homeDir+"/generation-0000000002/replica/x", "older")
	put(t, s.fs, homeDir+"/staging", `{"format":1,"stagingId":"generation-0000000012","state":"NONE"}`)
}

// restored reports whether the backup is in force in a file system, and what is
// wrong with what is.
func (s *shelf) restored(fs vfs.FS) (bool, error) {
	if now := get(fs, homeDir+"/current"); now == oldMarker {
		if get(fs, homeDir+"/generation-0000000003/replica/x") != "old" {
			return false, errors.New("what is in force is damaged")
		}
		return false, nil
	} else if !strings.Contains(now, `"generation-0000000013"`) {
		return false, fmt.Errorf("the marker says %q", now)
	}
	for path, content := range s.files {
		if get(fs, homeDir+"/generation-0000000013/"+path) != content {
			return true, fmt.Errorf("%s is not what was backed up", path)
		}
	}
	return true, nil
}

// TestRestoreCut: wherever a restore is cut off, by a fault or by the power, what
// was there is in force, or the backup; and a restore that is repeated is good.
func TestRestoreCut(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	olds, news := 0, 0
	for n := 0; ; n++ {
		s := newShelf(t, nil)
		s.occupied(t)
		var left *vfs.MemFS // by the power cut at the operation that fails
		c := new(cutter)
		c.arm(homeDir, n)
		power := errorfs.InjectorFunc(func(op errorfs.Op) error {
			err := c.MaybeError(op)
			if err != nil {
				left = s.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			}
			return err
		})
		_, _, err := recon.Restore(t.Context(), recon.RestoreOptions{From: backupDir, Dir: homeDir, Replace: true, FS: errorfs.Wrap(s.fs, power)})
		if !c.was() {
			if done, bad := s.restored(s.fs); err != nil || bad != nil || !done {
				t.Fatal(err, bad, done)
			}
			break
		}
		for what, fs := range map[string]*vfs.MemFS{"a fault": s.fs, "a power cut": left} {
			done, bad := s.restored(fs)
			if bad != nil {
				t.Fatalf("%s at operation %d: %v (%v)", what, n, bad, err)
			}
			if done {
				news++
				continue
			}
			olds++
			if _, name, err := recon.Restore(t.Context(), recon.RestoreOptions{From: backupDir, Dir: homeDir, Replace: true, FS: fs}); err != nil {
				t.Fatalf("%s at operation %d: again: %v", what, n, err)
			} else if got := get(fs, homeDir+"/"+name+"/recon.sqlite"); got != s.files["recon.sqlite"] {
				t.Fatalf("%s at operation %d: again: %.20s", what, n, got)
			}
		}
	}
	if olds < 40 || news < 1 {
		t.Errorf("%d cuts before and %d after", olds, news)
	}
}

// TestRestoreRefused: what is no backup, is damaged or of a later version; and a
// directory that is in use.
func TestRestoreRefused(t *testing.T) {
	for what, c := range map[string]struct {
		kind   errs.Kind
		change func(*recon.BackupManifest)
		then   func(s *shelf)
	}{
		"no manifest":           {errs.FormatUnknown, nil, func(s *shelf) { _ = s.fs.Remove(backupDir + "/" + recon.BackupFile) }},
		"junk":                  {errs.FormatUnknown, nil, func(s *shelf) { put(t, s.fs, backupDir+"/"+recon.BackupFile, "{}") }},
		"a later format":        {errs.FormatTooNew, func(m *recon.BackupManifest) { m.Format++ }, nil},
		"a later schema":        {errs.FormatTooNew, func(m *recon.BackupManifest) { m.Schema = 1000 }, nil},
		"later derived tables":  {errs.FormatTooNew, func(m *recon.BackupManifest) { m.Derived = 1000 }, nil},
		"a file outside":        {errs.Corrupt, func(m *recon.BackupManifest) { m.Files[0].Path = "../x" }, nil},
		"a changed byte":        {errs.Corrupt, nil, func(s *shelf) { put(t, s.fs, backupDir+"/replica/MANIFEST-1", "n") }},
		"a file that is longer": {errs.Corrupt, nil, func(s *shelf) { put(t, s.fs, backupDir+"/derived/CURRENT", "n") }},
		"a missing file":        {errs.Corrupt, nil, func(s *shelf) { _ = s.fs.Remove(backupDir + "/recon.sqlite") }},
		"a later marker": {errs.FormatTooNew, nil, func(s *shelf) {
			put(t, s.fs, homeDir+"/current", `{"format":9,"generation":"generation-0000000003"}`)
		}},
	} {
		s := newShelf(t, c.change)
		s.occupied(t)
		if c.then != nil {
			c.then(s)
		}
		before := get(s.fs, homeDir+"/current")
		_, _, err := recon.Restore(t.Context(), recon.RestoreOptions{From: backupDir, Dir: homeDir, Replace: true, FS: s.fs})
		if errs.KindOf(err) != c.kind {
			t.Errorf("%s: %v", what, err)
		}
		if get(s.fs, homeDir+"/current") != before || get(s.fs, homeDir+"/generation-0000000013/recon.sqlite") == s.files["recon.sqlite"] {
			t.Errorf("%s: it left something", what)
		}
	}
	s := newShelf(t, nil)
	s.occupied(t)
	o := recon.RestoreOptions{From: backupDir, Dir: homeDir, FS: s.fs}
	if _, _, err := recon.Restore(t.Context(), o); errs.KindOf(err) != errs.NotEmpty {
		t.Error(err)
	}
	o.Dir = "/elsewhere"
	if _, name, err := recon.Restore(t.Context(), o); err != nil || name != "generation-0000000001" {
		t.Error(name, err)
	}
	put(t, s.fs, homeDir+"/current", "junk") // damage is no reason to refuse
	o.Dir, o.Replace = homeDir, true
	if _, name, err := recon.Restore(t.Context(), o); err != nil || name != "generation-0000000013" {
		t.Error(name, err)
	}
}

// TestBackupFormat: a manifest as format 1 has it, byte by byte, is written and
// read.
func TestBackupFormat(t *testing.T) {
	const text = `{"format":1,"generation":"generation-0000000009","createdMs":1767225600000,"index":77,"term":2,"op":80,"digest":"00ff","schema":1,"derived":1,` +
		`"files":[{"path":"replica/x","size":1,"sha256":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}]}`
	fs := vfs.NewCrashableMem()
	put(t, fs, backupDir+"/replica/x", "x")
	put(t, fs, backupDir+"/"+recon.BackupFile, text)
	m, name, err := recon.Restore(t.Context(), recon.RestoreOptions{From: backupDir, Dir: homeDir, FS: fs})
	if err != nil || get(fs, homeDir+"/"+name+"/replica/x") != "x" {
		t.Fatal(err)
	}
	if raw, err := json.Marshal(m); err != nil || string(raw) != text {
		t.Errorf("%s %v", raw, err)
	}
}
