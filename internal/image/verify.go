package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/block/container"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/pebblekv"
	"o3/internal/verify"
)

// Mode says how deep Verify looks.
type Mode int

// The modes.
const (
	// Normal: every file is there, has its size and checksum, and no other is.
	Normal Mode = iota
	// Strict: also every block of every table is good, the store opens and
	// stands where the manifest says, its state has the digest of the manifest,
	// and every record of the containers is good.
	Strict
)

// String returns the mode in a word.
func (m Mode) String() string {
	if m == Strict {
		return "strict"
	}
	return "normal"
}

// Defect is a difference between an image and its manifest.
type Defect struct {
	File     string `json:"file"` // its path in the manifest; "" means the state as a whole
	What     string `json:"what"` // missing, extra, unreadable, size, checksum, table, store, container, position, membership, format, digest, or a check of package verify
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found"`
}

// String returns the defect in a line.
func (d Defect) String() string {
	who := d.File
	if who == "" {
		who = "the state"
	}
	if d.Expected == "" {
		return fmt.Sprintf("%s: %s: %s", who, d.What, d.Found)
	}
	return fmt.Sprintf("%s: %s: expected %s, found %s", who, d.What, d.Expected, d.Found)
}

// VerifyOptions is how an image is verified. The zero value of a field is its
// default.
type VerifyOptions struct {
	FS       vfs.FS       // nil means the operating system's
	Mode     Mode         //
	Rate     int64        // bytes read per second; 0 or less: no bound
	Progress Progress     // bytes of files; nil: silent
	Defect   func(Defect) // hears of every defect; nil: silent
}

// Verified is what Verify read.
type Verified struct {
	Mode    string `json:"mode"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	Tables  int    `json:"tables"`  // whose blocks were checked
	Blocks  int64  `json:"blocks"`  // of the containers, whose records were checked
	Defects int    `json:"defects"` //
}

// Verify compares the image in dir with its manifest; nothing is changed. All of
// it is looked at, and each defect told; then the error is errs.Corrupt naming
// the first. It needs memory for the names of the files and a few MiB.
func Verify(ctx context.Context, dir string, m *Manifest, o VerifyOptions) (Verified, error) {
	o.FS = dirFS(o.FS)
	return verifyAt(ctx, inImage(o.FS, dir), m, o, true)
}

// verifier is one run of Verify.
type verifier struct {
	ctx   context.Context
	at    places
	m     *Manifest
	o     VerifyOptions
	t     throttle
	out   Verified
	first *Defect
	done  int64
}

// verifyAt verifies an image whose directories lie at at. Without sums the
// checksums of files are taken to be right.
func verifyAt(ctx context.Context, at places, m *Manifest, o VerifyOptions, sums bool) (Verified, error) {
	v := &verifier{ctx: ctx, at: at, m: m, o: o, t: newThrottle(o.Rate, -1)}
	v.out.Mode = o.Mode.String()
	steps := []func() error{v.extras}
	if sums {
		steps = append(steps, v.files)
	}
	if o.Mode == Strict {
		steps = append(steps, v.store, v.containers)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return v.out, err
		}
	}
	if v.first == nil {
		return v.out, nil
	}
	subject := "image " + m.ID
	if v.first.File != "" {
		subject = at.of(v.first.File)
	}
	return v.out, fault(errs.Corrupt, "Verify", subject, "%s; %d defects in all", v.first, v.out.Defects)
}

func (v *verifier) defect(file, what, expected, found string) {
	d := Defect{File: file, What: what, Expected: expected, Found: found}
	if v.first == nil {
		v.first = &d
	}
	v.out.Defects++
	if v.o.Defect != nil {
		v.o.Defect(d)
	}
}

// extras finds files that the manifest does not name: another marker or table
// would change what the store opens as.
func (v *verifier) extras() error {
	dirs := map[string]string{storeDir: v.at.store}
	if v.m.Blocks {
		dirs[blocksDir] = v.at.blocks
	}
	for name, dir := range dirs {
		found, err := v.at.fs.List(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its files are missing
		}
		if err != nil {
			return diskFault("Verify", dir, err)
		}
		slices.Sort(found)
		for _, f := range found {
			path := name + "/" + f
			if f == lockName || f == identityFile && name == blocksDir || v.m.file(path) != nil {
				continue
			}
			v.defect(path, "extra", "no such file", "a file")
		}
	}
	return nil
}

// file finds a file by its path.
func (m *Manifest) file(path string) *File {
	at, ok := slices.BinarySearchFunc(m.Files, path, func(f File, p string) int { return bytes.Compare([]byte(f.Path), []byte(p)) })
	if !ok {
		return nil
	}
	return &m.Files[at]
}

// files checks presence, sizes and checksums.
func (v *verifier) files() error {
	for _, f := range v.m.Files {
		if err := v.sum(f); err != nil {
			return err
		}
		v.out.Files++
	}
	return nil
}

func (v *verifier) sum(f File) error {
	path := v.at.of(f.Path)
	st, err := v.at.fs.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.defect(f.Path, "missing", fmt.Sprintf("%d bytes", f.Size), "no such file")
		return nil
	case err != nil:
		v.defect(f.Path, "unreadable", "", err.Error())
		return nil
	case st.Size() != f.Size:
		v.defect(f.Path, "size", fmt.Sprintf("%d bytes", f.Size), fmt.Sprintf("%d bytes", st.Size()))
		return nil
	}
	_, sum, err := sumFile(v.ctx, v.at.fs, path, v.t, v.count)
	switch {
	case v.ctx.Err() != nil:
		return canceled(v.ctx)
	case err != nil:
		v.defect(f.Path, "unreadable", "", err.Error())
	case sum != f.XXH3:
		v.defect(f.Path, "checksum", f.XXH3, sum)
	}
	return nil
}

func (v *verifier) count(n int64) {
	v.done += n
	v.out.Bytes += n
	if v.o.Progress != nil {
		v.o.Progress(v.done, v.m.Bytes)
	}
}

// store opens the store and checks blocks, position and digest.
func (v *verifier) store() error {
	s, err := openStore(v.at.fs, v.at.store, v.m.StoreName)
	if err != nil {
		return v.broken("store", err)
	}
	defer s.Close()
	if err := v.tables(s); err != nil {
		return err
	}
	pos, ok, err := fsm.ReadPosition(s)
	if err != nil {
		return v.broken("position", err)
	}
	if !ok {
		v.defect("", "position", fmt.Sprintf("index %d", v.m.Index), "none")
		return nil
	}
	v.position(pos, s.Version())
	if v.first != nil {
		return nil // what a damaged store holds is no news
	}
	snap := s.Snapshot()
	defer snap.Close()
	got, err := fsm.Scan(stoppable{ctx: v.ctx, Reader: snap})
	switch {
	case v.ctx.Err() != nil:
		return canceled(v.ctx)
	case err != nil:
		return v.broken("digest", err)
	case got != pos.Digest:
		v.defect("", "digest", pos.Digest.String(), got.String())
	}
	return nil
}

// broken makes a defect of what the store says; other errors end the run.
func (v *verifier) broken(what string, err error) error {
	switch errs.KindOf(err) {
	case errs.Corrupt, errs.FormatTooNew, errs.FormatUnknown:
		v.defect("", what, "", err.Error())
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		v.defect("", what, "", err.Error())
		return nil
	}
	return err
}

func (v *verifier) tables(s *pebblekv.Store) error {
	err := s.Verify(v.ctx, func(f pebblekv.File) {
		v.out.Tables++
		if f.Err != nil {
			v.defect(storeDir+"/"+v.at.fs.PathBase(f.Path), "table", "", f.Err.Error())
		}
	})
	if errs.KindOf(err) == errs.Corrupt {
		return nil // told
	}
	return err
}

// position compares the store's position with the manifest.
func (v *verifier) position(pos fsm.Position, format int) {
	for _, c := range []struct{ what, want, got string }{
		{"position", fmt.Sprintf("index %d of term %d, op %d, time %d", v.m.Index, v.m.Term, v.m.Op, v.m.TimeMs),
			fmt.Sprintf("index %d of term %d, op %d, time %d", pos.Index, pos.Term, pos.Op, pos.TimeMs)},
		{"membership", fmt.Sprintf("%x", v.m.Conf), fmt.Sprintf("%x", pos.Conf)},
		{"digest", v.m.Digest, pos.Digest.String()},
		{"format", fmt.Sprint(v.m.Format), fmt.Sprint(format)},
	} {
		if c.want != c.got {
			v.defect("", c.what, c.want, c.got)
		}
	}
}

// containers checks every record of the block store's files.
func (v *verifier) containers() error {
	if !v.m.Blocks {
		return nil
	}
	if _, err := v.at.fs.Stat(v.at.blocks); errors.Is(err, fs.ErrNotExist) {
		return nil // an image without containers; missing ones were told
	}
	got, err := container.Verify(v.ctx, container.Options{FS: v.at.fs, Dir: v.at.blocks}, func(d container.Damage) error {
		v.defect(blocksDir+"/"+d.File, "container", "", d.String())
		return nil
	})
	v.out.Blocks = got.Blocks
	if err != nil && v.ctx.Err() == nil {
		return v.broken("container", err)
	}
	if err != nil || v.first != nil {
		return err
	}
	return v.references()
}

// references checks that every block that a row names is in the containers: one
// that was freed before the containers were copied is not.
func (v *verifier) references() error {
	s, err := openStore(v.at.fs, v.at.store, v.m.StoreName)
	if err != nil {
		return v.broken("store", err)
	}
	defer s.Close()
	blocks, err := container.OpenReadOnly(container.Options{FS: v.at.fs, Dir: v.at.blocks})
	if err != nil {
		return v.broken("container", err)
	}
	defer blocks.Close()
	snap := s.Snapshot()
	defer snap.Close()
	_, err = verify.Store(v.ctx, stoppable{ctx: v.ctx, Reader: snap}, verify.Options{Blocks: blocks, Problem: func(p verify.Problem) {
		v.defect("", p.Check, "", p.Subject+": "+p.Detail)
	}})
	if cerr := canceled(v.ctx); cerr != nil {
		return cerr
	}
	return err
}
