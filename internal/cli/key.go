package cli

import (
	"context"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/errs"
	"o3/internal/ns"
)

type keyCmd struct {
	Put    keyPut    `cmd:"" help:"Store a file as a key."`
	Get    keyGet    `cmd:"" help:"Store a key as a file."`
	Cat    keyCat    `cmd:"" help:"Print the bytes of keys."`
	List   keyList   `cmd:"" help:"List keys, in byte order."`
	Info   keyInfo   `cmd:"" help:"Describe a key or directory."`
	Rename keyRename `cmd:"" help:"Rename a key or directory within its bucket."`
	Cp     keyCp     `cmd:"" help:"Copy a key inside the store; the bytes are shared."`
	Mkdir  keyMkdir  `cmd:"" help:"Create a directory and those above it."`
	Delete keyDelete `cmd:"" help:"Delete keys."`
}

type keyList struct {
	Path       string `arg:"" help:"/volume/bucket or /volume/bucket/prefix; what snapshots have is below .snapshot/NAME/"`
	Dirs       bool   `short:"d" help:"One level only: what lies below a directory counts as one line."`
	Delimiter  string `help:"Like --dirs with another separator than /."`
	StartAfter string `placeholder:"NAME" help:"Only names after this one."`
	Limit      uint64 `placeholder:"N" help:"At most so many; 0 is all."`
}

// Run lists keys.
func (c *keyList) Run(ctx context.Context, s *Session) error {
	depth := 2
	if strings.Count(strings.Trim(c.Path, "/"), "/") > 1 {
		depth = 3
	}
	p, err := parsePath(c.Path, depth)
	if err != nil {
		return err
	}
	if p.key == ns.SnapshotPrefix {
		p.key += "/" // no key is named so
	}
	if c.Dirs && c.Delimiter == "" {
		c.Delimiter = "/"
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	t := s.table("NAME", "BYTES", "MODIFIED", "ETAG")
	for item, err := range o3.Keys(ctx, &o3v1.ListKeysRequest{
		Volume: p.volume, Bucket: p.bucket, Prefix: p.key, Delimiter: c.Delimiter, StartAfter: c.StartAfter, Limit: pageOf(c.Limit),
	}) {
		if err != nil {
			return err
		}
		if c.Limit > 0 && uint64(t.rows) == c.Limit {
			s.remark("There are more: use --start-after or a larger --limit.")
			break
		}
		if item.Key == nil {
			err = t.row(&o3v1.KeyInfo{Name: item.Prefix, Kind: o3v1.EntryKind_ENTRY_KIND_DIRECTORY, Implicit: true}, item.Prefix, "-")
		} else {
			err = t.row(item.Key, item.Key.Name, item.Key.Size, when(item.Key.ModifiedMs), item.Key.Etag)
		}
		if err != nil {
			return err
		}
	}
	return t.end()
}

type keyInfo struct {
	Path string `arg:"" help:"/volume/bucket/key"`
}

// Run describes the key.
func (c *keyInfo) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 3)
	if err != nil {
		return err
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	k, err := find(ctx, o3, p)
	if err != nil {
		return err
	}
	h := k.Headers
	return s.describe(k,
		field{"Name", k.Name}, field{"Kind", strings.ToLower(strings.TrimPrefix(k.Kind.String(), "ENTRY_KIND_"))},
		field{"Bytes", k.Size}, field{"ETag", k.Etag}, field{"Owner", k.Owner},
		field{"Created", when(k.CreatedMs)}, field{"Modified", when(k.ModifiedMs)},
		field{"Object id", k.ObjectId}, field{"Written by op", k.Since},
		field{"Content type", h.GetContentType()}, field{"Content encoding", h.GetContentEncoding()},
		field{"Cache control", h.GetCacheControl()}, field{"Metadata", showPairs(h.GetUser())},
		field{"Tags", showPairs(k.Tags)}, field{"Grants", showGrants(k.Grants)},
	)
}

// find returns the key of p, or the directory where p names one without its
// slash.
func find(ctx context.Context, o3 *client.Client, p path) (*o3v1.KeyInfo, error) {
	r, err := o3.GetKey(ctx, &o3v1.GetKeyRequest{Volume: p.volume, Bucket: p.bucket, Key: p.key})
	kind := errs.KindOf(err)
	if (kind == errs.NoSuchKey || kind == errs.IsDirectory) && !strings.HasSuffix(p.key, "/") {
		dir, err2 := o3.GetKey(ctx, &o3v1.GetKeyRequest{Volume: p.volume, Bucket: p.bucket, Key: p.key + "/"})
		if err2 == nil {
			return dir.Key, nil
		}
	}
	return r.GetKey(), err
}

type keyRename struct {
	From      string `arg:"" help:"/volume/bucket/key"`
	To        string `arg:"" help:"/volume/bucket/key, in the same bucket"`
	Overwrite bool   `help:"Replace a key (never a directory) that is there already."`
}

// Run renames the key.
func (c *keyRename) Run(ctx context.Context, s *Session) error {
	from, err := parsePath(c.From, 3)
	if err != nil {
		return err
	}
	to, err := parsePath(c.To, 3)
	if err != nil {
		return err
	}
	if from.volume != to.volume || from.bucket != to.bucket {
		return errs.New(errs.Invalid, "rename to "+c.To, "a rename stays within its bucket; use cp and delete")
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.RenameKey(ctx, &o3v1.RenameKeyRequest{Volume: from.volume, Bucket: from.bucket, From: from.key, To: to.key, Overwrite: c.Overwrite})
	if err != nil {
		return err
	}
	return s.done(r.Key, "Renamed to /%s/%s/%s.", to.volume, to.bucket, r.Key.Name)
}

type keyCp struct {
	From     string `arg:"" help:"/volume/bucket/key"`
	To       string `arg:"" help:"/volume/bucket/key; with a slash at the end, the name is kept"`
	IfAbsent bool   `help:"Only if there is no such key yet."`
}

// Run copies the key.
func (c *keyCp) Run(ctx context.Context, s *Session) error {
	from, err := parsePath(c.From, 3)
	if err != nil {
		return err
	}
	if strings.HasSuffix(c.To, "/") {
		c.To += from.key[strings.LastIndexByte(from.key, '/')+1:]
	}
	to, err := parsePath(c.To, 3)
	if err != nil {
		return err
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	q := &o3v1.CopyKeyRequest{
		FromVolume: from.volume, FromBucket: from.bucket, FromKey: from.key, Volume: to.volume, Bucket: to.bucket, Key: to.key,
	}
	if c.IfAbsent {
		q.If = &o3v1.Preconditions{IfAbsent: true}
	}
	r, err := o3.CopyKey(ctx, q)
	if err != nil {
		return err
	}
	return s.done(r.Key, "Copied to %s, %s.", to, size(r.Key.Size))
}

type keyMkdir struct {
	Path    string `arg:"" help:"/volume/bucket/directory"`
	Parents bool   `short:"p" help:"No error if it exists."`
}

// Run creates the directory.
func (c *keyMkdir) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 3)
	if err != nil {
		return err
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	dir := p
	dir.key = strings.TrimSuffix(p.key, "/") + "/"
	_, err = find(ctx, o3, dir)
	existed := err == nil // any other answer is for CreateDirectory to give
	r, err := o3.CreateDirectory(ctx, &o3v1.CreateDirectoryRequest{Volume: p.volume, Bucket: p.bucket, Path: p.key, MayExist: c.Parents})
	if err != nil {
		return err
	}
	if existed {
		return s.done(r.Key, "Directory /%s/%s/%s is there already.", p.volume, p.bucket, r.Key.Name)
	}
	return s.done(r.Key, "Created directory /%s/%s/%s.", p.volume, p.bucket, r.Key.Name)
}
