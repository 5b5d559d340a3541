package app

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/image/s3target"
)

// destination is where an export goes.
type destination struct {
	image.Target
	name  string // a clean path, or a URL without secrets
	close func() error
}

// Close lets go of it; it may be called more than once.
func (d *destination) Close() {
	if d.close != nil {
		_ = d.close() // connections that are idle
	}
}

// targetName is the name of a target as it may be shown: what is no good URL may
// hold a secret.
func targetName(name string) string {
	if !s3target.IsURL(name) {
		return name
	}
	place, err := s3target.Parse(name)
	if err != nil {
		return "s3://(not a valid URL)"
	}
	return place.URL()
}

// bucketCheck bounds the look at a bucket before an export is begun.
const bucketCheck = 15 * time.Second

// target opens the target of an export, or tells why nothing can be exported to
// it.
func (i *images) target(ctx context.Context, name string) (*destination, error) {
	if !s3target.IsURL(name) {
		dir, err := i.targetDir(name)
		if err != nil {
			return nil, err
		}
		return &destination{Target: image.Directory{Dir: dir, Reserve: i.reserve}, name: dir}, nil
	}
	place, err := s3target.Parse(name)
	if err != nil {
		return nil, err
	}
	at, err := s3target.New(s3target.Options{
		Place: place, AccessKey: i.exports.AccessKey, SecretKey: string(i.exports.SecretKey), Getenv: i.getenv, Owner: "node " + i.node, Alone: true,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, bucketCheck)
	defer cancel()
	if err := at.Check(ctx); err != nil {
		return nil, errors.Join(err, at.Close())
	}
	return &destination{Target: at, name: place.URL(), close: at.Close}, nil
}

// targetDir returns the directory to export to, which it makes if need be, or
// why nothing can be exported to it.
func (i *images) targetDir(dir string) (string, error) {
	bad := func(detail string, err error) (string, error) {
		return "", &errs.Error{Kind: errs.Invalid, Subject: "directory " + dir, Detail: detail, Err: err}
	}
	if !filepath.IsAbs(dir) {
		return bad("it must be an absolute path, on the node's machine", nil)
	}
	dir = filepath.Clean(dir)
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if real, err = filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
			real = filepath.Join(real, filepath.Base(dir))
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return bad("neither it nor the directory it is in exists on the node's machine; is the disk mounted?", nil)
	}
	if err != nil {
		return bad("the node cannot look at it: "+err.Error(), err)
	}
	for own, what := range i.own {
		if own, err = filepath.Abs(own); err == nil {
			own, err = filepath.EvalSymlinks(own)
		}
		if err != nil {
			return "", errs.Wrap(errs.Internal, own, err)
		}
		if rel, err := filepath.Rel(own, real); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return bad("it lies in the node's "+what+" "+own+": what is there is lost with the node", nil)
		}
	}
	if err := os.Mkdir(real, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return bad("the node cannot make it: "+err.Error(), err)
	}
	if st, err := os.Stat(real); err != nil || !st.IsDir() {
		return bad("it is not a directory", err)
	}
	f, err := os.CreateTemp(real, ".o3-export-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return bad("the node cannot write to it: "+err.Error(), err)
	}
	return dir, nil
}

// watched is a target that tells the export what is written.
type watched struct {
	*destination
	e *export
}

// Lock keeps other exports away where the target can.
func (w watched) Lock(ctx context.Context) (io.Closer, error) {
	if l, ok := w.Target.(interface {
		Lock(ctx context.Context) (io.Closer, error)
	}); ok {
		return l.Lock(ctx)
	}
	return io.NopCloser(nil), nil
}

// Room refuses what does not fit where the target can tell.
func (w watched) Room(need int64) error {
	if r, ok := w.Target.(interface{ Room(need int64) error }); ok {
		return r.Room(need)
	}
	return nil
}

// Put implements image.Target.
func (w watched) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	file := strings.HasPrefix(name, "files/")
	if !file {
		w.e.set(func() { w.e.phase = phaseManifest })
	}
	err := w.Target.Put(ctx, name, size, r)
	if err == nil && file {
		w.e.set(func() { w.e.files, w.e.written = w.e.files+1, w.e.written+size })
	}
	return err
}
