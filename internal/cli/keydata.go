package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"path/filepath"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/errs"
	"o3/internal/progress"
)

// barFrom is the size, in bytes, from which a transfer shows its progress.
const barFrom = 8 << 20

// bar shows the progress of a transfer; total -1 is unknown.
func (s *Session) bar(label string, total int64) *progress.Bar {
	quiet := s.Quiet || s.JSON || total >= 0 && total < barFrom
	return progress.Start(progress.Options{Label: label, Total: max(total, 0), Bytes: true, Out: s.Stderr, Quiet: quiet})
}

type keyPut struct {
	Path        string            `arg:"" help:"/volume/bucket/key; with a slash at the end, the file's name is added"`
	File        string            `arg:"" help:"File to store; - is standard input"`
	ContentType string            `placeholder:"TYPE" help:"Content type (default: by the name)."`
	Meta        map[string]string `placeholder:"NAME=VALUE" help:"User metadata."`
	Tag         map[string]string `placeholder:"NAME=VALUE" help:"Tags."`
	IfAbsent    bool              `help:"Only if there is no such key yet."`
	IfMatch     string            `placeholder:"ETAG" help:"Only if the key has this ETag."`
}

// Run stores the file.
func (c *keyPut) Run(ctx context.Context, s *Session) error {
	if strings.HasSuffix(c.Path, "/") && c.File != "-" {
		c.Path += filepath.Base(c.File)
	}
	p, err := parsePath(c.Path, 3)
	if err != nil {
		return err
	}
	in, total, err := s.open(c.File)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	o3, err := s.Client()
	if err != nil {
		return err
	}
	if c.ContentType == "" {
		c.ContentType = mime.TypeByExtension(filepath.Ext(p.key))
	}
	bar := s.bar("put "+p.String(), total)
	var sent int64
	counted := &counter{r: in, n: &sent}
	etag, err := o3.Put(ctx, p.volume, p.bucket, p.key, counted, total, client.PutOptions{
		ContentType: c.ContentType, User: c.Meta, Tags: c.Tag, IfAbsent: c.IfAbsent, IfMatch: c.IfMatch, Sent: bar.Add,
	})
	bar.Close()
	if err != nil {
		return err
	}
	return s.done(&o3v1.KeyInfo{Name: p.key, Kind: o3v1.EntryKind_ENTRY_KIND_KEY, Size: uint64(sent), Etag: etag}, "Stored %s, %s, ETag %s.", p, size(uint64(sent)), etag)
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n *int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}

// open opens a file to be stored; its size is -1 where it cannot be known.
func (s *Session) open(name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(s.Stdin), -1, nil
	}
	f, err := os.Open(s.path(name))
	if err != nil {
		return nil, 0, errs.New(errs.Invalid, "file "+name, plain(err))
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = errors.New("is a directory: put stores one file; use an S3 client such as rclone for trees")
	case !info.Mode().IsRegular():
		return f, -1, nil
	}
	if err != nil {
		return nil, 0, errs.New(errs.Invalid, "file "+name, plain(errors.Join(err, f.Close())))
	}
	return f, info.Size(), nil
}

// plain returns the message of an error of package os without the path, which
// stands before it already.
func plain(err error) string {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

type keyGet struct {
	Path   string `arg:"" help:"/volume/bucket/key"`
	File   string `arg:"" optional:"" help:"File to write (default: the last part of the key's name); - is standard output"`
	Force  bool   `short:"f" help:"Replace the file if it exists."`
	Offset int64  `placeholder:"N" help:"First byte to read."`
	Length int64  `placeholder:"N" help:"Bytes to read; 0 is to the end."`
}

// Run stores the key as a file: under another name first, so that there is
// never half a file under its own.
func (c *keyGet) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 3)
	if err != nil {
		return err
	}
	name := first(c.File, p.key[strings.LastIndexByte(p.key, '/')+1:])
	if name == "-" {
		return s.print(ctx, p, c.Offset, c.Length)
	}
	if name == "" || name == "." || name == ".." {
		return errs.New(errs.Invalid, "key "+p.key, "has no name for a file: give one")
	}
	name = s.path(name)
	if info, err := os.Stat(name); err == nil {
		if info.IsDir() {
			return errs.New(errs.Invalid, "file "+name, "is a directory")
		}
		if !c.Force {
			return errs.New(errs.PreconditionFailed, "file "+name, "exists; --force replaces it")
		}
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	o, err := o3.Get(ctx, p.volume, p.bucket, p.key, client.GetOptions{Offset: c.Offset, Length: c.Length})
	if err != nil {
		return err
	}
	defer o.Close() // only read
	bar := s.bar("get "+p.String(), o.Length)
	n, err := s.download(name, bar, o)
	bar.Close()
	if err != nil {
		return err
	}
	return s.done(&o3v1.KeyInfo{Name: p.key, Kind: o3v1.EntryKind_ENTRY_KIND_KEY, Size: uint64(n), Etag: o.ETag, ModifiedMs: o.Modified.UnixMilli()}, "Wrote %s, %s.", name, size(uint64(n)))
}

func (s *Session) download(name string, bar *progress.Bar, from io.Reader) (int64, error) {
	f, err := s.create(name)
	if err != nil {
		return 0, err
	}
	n, err := s.copyTo(bar.Writer(f), from)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it may be gone
		if _, ok := errors.AsType[*errs.Error](err); !ok {
			err = errs.New(errs.Internal, "file "+name, plain(err))
		}
	}
	return n, err
}

// print copies a key to the output.
func (s *Session) print(ctx context.Context, p path, offset, length int64) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	o, err := o3.Get(ctx, p.volume, p.bucket, p.key, client.GetOptions{Offset: offset, Length: length})
	if err != nil {
		return err
	}
	defer o.Close() // only read
	_, err = s.copyTo(s.Stdout, o)
	return err
}

type keyCat struct {
	Paths []string `arg:"" name:"path" help:"/volume/bucket/key"`
}

// Run prints the keys, one after the other.
func (c *keyCat) Run(ctx context.Context, s *Session) error {
	for _, text := range c.Paths {
		p, err := parsePath(text, 3)
		if err != nil {
			return err
		}
		if err := s.print(ctx, p, 0, 0); err != nil {
			return err
		}
	}
	return nil
}

type keyDelete struct {
	Paths     []string `arg:"" name:"path" help:"/volume/bucket/key"`
	Recursive bool     `short:"r" help:"A directory with all that is below it."`
	IfExists  bool     `help:"No error for keys that do not exist."`
}

// Run deletes the keys, and goes on after a failure.
func (c *keyDelete) Run(ctx context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	var failed error
	for _, text := range c.Paths {
		p, err := parsePath(text, 3)
		if err == nil {
			err = c.one(ctx, s, o3, p)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return err
		case failed == nil:
			failed = err
		case s.JSON:
			s.jsonError(err)
		default:
			fmt.Fprintln(s.Stderr, "o3:", message(err))
		}
	}
	return failed
}

// deleted is what --json prints of each path.
type deleted struct {
	Volume  string `json:"volume"`
	Bucket  string `json:"bucket"`
	Key     string `json:"key,omitempty"`    // a directory's ends in a slash
	Prefix  string `json:"prefix,omitempty"` // of the keys of a flat bucket, with --recursive
	Existed bool   `json:"existed"`
	Deleted int    `json:"deleted"` // names; a directory is one
}

func (c *keyDelete) one(ctx context.Context, s *Session, o3 *client.Client, p path) error {
	if c.Recursive {
		b, err := o3.GetBucket(ctx, &o3v1.GetBucketRequest{Volume: p.volume, Bucket: p.bucket})
		if err != nil {
			return err
		}
		if b.Bucket.Layout == "OBJECT_STORE" && strings.HasSuffix(p.key, "/") {
			return c.prefix(ctx, s, o3, p)
		}
	}
	key := p.key
	if !strings.HasSuffix(key, "/") {
		if k, err := find(ctx, o3, p); err == nil {
			key = k.Name
		}
	}
	r, err := remove(ctx, o3, p, []string{key}, c.Recursive, !c.IfExists)
	if err != nil {
		return err
	}
	out := deleted{Volume: p.volume, Bucket: p.bucket, Key: key, Existed: r.Results[0].Existed}
	if !out.Existed {
		return s.doneAs(out, "There is no %s.", p)
	}
	out.Deleted = 1
	return s.doneAs(out, "Deleted /%s/%s/%s.", p.volume, p.bucket, key)
}

// remove deletes keys of one bucket; the error is the first there was.
func remove(ctx context.Context, o3 *client.Client, p path, keys []string, recursive, mustExist bool) (*o3v1.DeleteKeysResponse, error) {
	q := &o3v1.DeleteKeysRequest{Volume: p.volume, Bucket: p.bucket, Recursive: recursive, MustExist: mustExist}
	for _, k := range keys {
		q.Keys = append(q.Keys, &o3v1.DeleteKey{Key: k})
	}
	r, err := o3.DeleteKeys(ctx, q)
	if err != nil {
		return nil, err
	}
	if len(r.Results) != len(keys) {
		return nil, errs.New(errs.Internal, p.String(), fmt.Sprintf("%d answers for %d keys", len(r.Results), len(keys)))
	}
	for i, result := range r.Results {
		if result.Kind != 0 {
			return nil, errs.New(errs.Kind(result.Kind), "/"+p.volume+"/"+p.bucket+"/"+keys[i], result.Detail)
		}
	}
	return r, nil
}

// deleteBatch is how many keys one request deletes.
const deleteBatch = 1000

// prefix deletes every key of a flat bucket that begins with p.key.
func (c *keyDelete) prefix(ctx context.Context, s *Session, o3 *client.Client, p path) error {
	bar := progress.Start(progress.Options{Label: "delete " + p.String(), Unit: "keys", Out: s.Stderr, Quiet: s.Quiet || s.JSON})
	defer bar.Close()
	var batch []string
	total := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		_, err := remove(ctx, o3, p, batch, false, false)
		total += len(batch)
		bar.Add(int64(len(batch)))
		batch = batch[:0]
		return err
	}
	for item, err := range o3.Keys(ctx, &o3v1.ListKeysRequest{Volume: p.volume, Bucket: p.bucket, Prefix: p.key}) {
		if err != nil {
			return err
		}
		if batch = append(batch, item.Name()); len(batch) == deleteBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if total == 0 && !c.IfExists {
		return errs.New(errs.NoSuchKey, p.String(), "no key begins so")
	}
	return s.doneAs(deleted{Volume: p.volume, Bucket: p.bucket, Prefix: p.key, Existed: total > 0, Deleted: total}, "Deleted %d keys below %s.", total, p)
}
