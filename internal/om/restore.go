package om

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/view"
)

// A restore that is exact has two passes, the first of which removes. A token
// says which pass, from which snapshot, and where: a snapshot that has got the
// name since is another one.
const (
	passRemove  = "remove"
	passRestore = "restore"
)

func restoreToken(pass string, at ns.Op, rest string) string {
	return fmt.Sprintf("%s:%d:%s", pass, at, rest)
}

// parseRestoreToken returns the parts of r's token; an empty one begins.
func parseRestoreToken(r *o3v1.RestoreSnapshotRequest) (removing bool, at ns.Op, rest string, err error) {
	if r.Token == "" {
		return r.Exact, 0, "", nil
	}
	pass, tail, _ := strings.Cut(r.Token, ":")
	op, rest, ok := strings.Cut(tail, ":")
	n, err := strconv.ParseUint(op, 10, 64)
	removing = pass == passRemove
	if err != nil || !ok || n == 0 || pass != passRestore && !(removing && r.Exact) || r.Key != "" {
		return false, 0, "", errs.New(errs.Invalid, fmt.Sprintf("token %.64q", r.Token), "is not one that this restore returned")
	}
	return removing, ns.Op(n), rest, nil
}

// RestoreSnapshot restores one page: a key, or the names that start with a
// prefix. A restore is not one change: others may write in between, and what
// they write after the page that covers it stays. Blocks are shared, so the cost
// is rows, not bytes.
func (s *Service) RestoreSnapshot(ctx context.Context, r *o3v1.RestoreSnapshotRequest) (*o3v1.RestoreSnapshotResponse, error) {
	if r.Key != "" && (r.Prefix != "" || r.Exact) {
		return nil, errs.New(errs.Invalid, "restore of key "+r.Key, "takes neither a prefix nor exact")
	}
	removing, at, token, err := parseRestoreToken(r)
	if err != nil {
		return nil, err
	}
	if err := s.writable(); err != nil && !r.DryRun {
		return nil, err
	}
	id, err := s.mayKeep(ctx, nil, r.Volume, r.Bucket, write)
	if err != nil {
		return nil, err
	}
	if r.Exact {
		if _, err := s.bucketFor(ctx, r.Volume, r.Bucket, remove); err != nil {
			return nil, err
		}
	}
	j := &restore{s: s, r: r, bucket: id, at: at, limit: limit(r.Limit, command.MaxRestores), resp: &o3v1.RestoreSnapshotResponse{}}
	if removing {
		return j.resp, j.removePage(ctx, token)
	}
	return j.resp, j.restorePage(ctx, token)
}

// restore is the work of one page.
type restore struct {
	s      *Service
	r      *o3v1.RestoreSnapshotRequest
	bucket ns.ObjectID
	at     ns.Op // the snapshot; 0: that which has the name
	limit  int
	resp   *o3v1.RestoreSnapshotResponse
}

// restorePage puts back what the snapshot has otherwise than the bucket.
func (j *restore) restorePage(ctx context.Context, token string) error {
	var paths []string
	var bytes uint64
	err := j.s.read(ctx, func(v view.View) error {
		b, err := j.open(ctx, v)
		if err != nil {
			return err
		}
		page, err := j.page(v.At(j.at), b, token)
		if err != nil {
			return err
		}
		if page.Truncated {
			j.resp.NextToken = restoreToken(passRestore, j.at, page.NextToken)
		}
		for _, e := range page.Entries {
			same, err := isThere(v, b, e)
			if err != nil {
				return err
			}
			if same {
				j.resp.Unchanged++
				continue
			}
			paths = append(paths, e.Path)
			bytes += e.Row.Size
		}
		return nil
	})
	if err != nil {
		return err
	}
	if j.r.DryRun {
		j.resp.Restored, j.resp.Bytes = uint64(len(paths)), bytes
		return nil
	}
	for len(paths) > 0 {
		n, err := j.put(ctx, paths)
		if err != nil {
			return err
		}
		paths = paths[n:]
	}
	return nil
}

// open finds the bucket, which the caller may read too, and the snapshot.
func (j *restore) open(ctx context.Context, v view.View) (view.Bucket, error) {
	b, err := j.s.bucketFor(ctx, j.r.Volume, j.r.Bucket, read)
	if err != nil {
		return b, err
	}
	found, err := v.Snapshot(b, j.r.Name)
	if err != nil {
		return b, err
	}
	if j.at != 0 && j.at != found.Op {
		return b, errs.New(errs.NoSuchSnapshot, j.r.Volume+"/"+j.r.Bucket+"/"+ns.SnapshotPrefix+"/"+j.r.Name,
			"another one has that name now; the one that the restore began with is deleted or renamed")
	}
	j.at = found.Op
	return b, nil
}

// page returns the entries that v has of what is to be restored.
func (j *restore) page(v view.View, b view.Bucket, token string) (view.Page, error) {
	if j.r.Key == "" {
		if strings.HasPrefix(j.r.Prefix, ns.SnapshotPrefix+"/") {
			return view.Page{}, errs.New(errs.Invalid, "prefix "+j.r.Prefix, "is reserved for snapshots")
		}
		return v.List(b, view.ListOptions{Prefix: j.r.Prefix, Token: token, Limit: j.limit, MaxRows: j.s.o.MaxListRows, Full: true})
	}
	if err := ns.CheckKeyName(b.Layout(), j.r.Key); err != nil {
		return view.Page{}, err
	}
	e, err := v.Key(b, j.r.Key)
	return view.Page{Entries: []view.Entry{e}}, err
}

// isThere reports whether the live view has e as it is.
func isThere(v view.View, b view.Bucket, e view.Entry) (bool, error) {
	live, err := v.Key(b, e.Path)
	if isKind(err, errs.NoSuchKey) {
		return false, nil
	}
	return err == nil && command.ContentTag(live.Row) == command.ContentTag(e.Row), err
}

// put restores the first of paths, and returns how many it got to.
func (j *restore) put(ctx context.Context, paths []string) (int, error) {
	c := &commandpb.RestoreKeys{Volume: j.r.Volume, Bucket: j.r.Bucket, SnapshotOp: uint64(j.at), Paths: paths}
	reply, err := propose[commandpb.RestoreKeysReply](ctx, j.s, request{kind: command.RestoreKeys, body: c, bucket: j.bucket})
	if err != nil {
		return 0, err
	}
	for i, result := range reply.Results {
		switch {
		case result.Kind != uint32(errs.OK):
			j.resp.Refused = append(j.resp.Refused, &o3v1.RestoreRefusal{Path: paths[i], Kind: result.Kind, Detail: result.Detail})
		case result.Restored:
			j.resp.Restored++
			j.resp.Bytes += result.Bytes
		default:
			j.resp.Unchanged++
		}
	}
	if len(reply.Results) == 0 {
		return 0, errs.New(errs.Internal, paths[0], "nothing was restored, nothing refused")
	}
	return len(reply.Results), nil
}

// removePage deletes what the bucket has and the snapshot does not.
func (j *restore) removePage(ctx context.Context, token string) error {
	c := &o3v1.DeleteKeysRequest{Volume: j.r.Volume, Bucket: j.r.Bucket}
	err := j.s.read(ctx, func(v view.View) error {
		b, err := j.open(ctx, v)
		if err != nil {
			return err
		}
		page, err := j.page(v, b, token)
		if err != nil {
			return err
		}
		j.resp.NextToken = restoreToken(passRestore, j.at, "")
		if page.Truncated {
			j.resp.NextToken = restoreToken(passRemove, j.at, page.NextToken)
		}
		for _, e := range page.Entries {
			_, err := v.At(j.at).Key(b, e.Path)
			if err == nil {
				continue
			}
			if !isKind(err, errs.NoSuchKey) {
				return err
			}
			c.Keys = append(c.Keys, &o3v1.DeleteKey{Key: e.Path, If: unlessWritten(e)})
		}
		return nil
	})
	if err != nil || len(c.Keys) == 0 {
		return err
	}
	if j.r.DryRun {
		j.resp.Removed = uint64(len(c.Keys))
		return nil
	}
	reply, err := propose[o3v1.DeleteKeysResponse](ctx, j.s, request{kind: command.DeleteKeys, body: c, bucket: j.bucket})
	if err != nil {
		return err
	}
	for i, result := range reply.Results {
		switch {
		case result.Kind != uint32(errs.OK):
			j.resp.Refused = append(j.resp.Refused, &o3v1.RestoreRefusal{Path: c.Keys[i].Key, Kind: result.Kind, Detail: result.Detail})
		case result.Existed:
			j.resp.Removed++
		}
	}
	return nil
}

// unlessWritten keeps a delete from hitting what was written meanwhile.
func unlessWritten(e view.Entry) *o3v1.Preconditions {
	if strings.HasSuffix(e.Path, "/") {
		return nil // a directory's marker
	}
	return &o3v1.Preconditions{IfSince: e.Row.Since}
}
