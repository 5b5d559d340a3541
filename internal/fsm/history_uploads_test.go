package fsm_test

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
)

func (h *history) createUpload() errs.Kind {
	name, b := h.anyBucket()
	path := h.keyPath(b)
	a := h.send(&o3v1.CreateUploadRequest{Volume: "s3v", Bucket: name, Key: path}, errs.OK)
	b.uploads[a.Body.(*o3v1.CreateUploadResponse).Upload.UploadId] = &mupload{key: path, parts: map[uint32]mpart{}}
	return a.Kind
}

// anyUpload returns an upload, or one that does not exist.
func (h *history) anyUpload() (bucket string, b *mbucket, id string, u *mupload) {
	for range 6 {
		bucket, b = h.anyBucket()
		if id = h.pick(slices.Sorted(maps.Keys(b.uploads))); id != "none" {
			return bucket, b, id, b.uploads[id]
		}
	}
	return bucket, b, "0000000000000001", nil
}

func (h *history) part() errs.Kind {
	name, _, id, u := h.anyUpload()
	data, extents, c := h.bytes()
	r := &o3v1.CommitPartRequest{
		Volume: "s3v", Bucket: name, Key: "none", UploadId: id, Number: uint32(h.rng.IntN(5)), Size: uint64(c.size()),
		Etag: h.etag(), Data: data, Extents: extents, DeadlineMs: 1 << 60,
	}
	want := errs.NoSuchUpload
	if u != nil {
		r.Key, want = u.key, errs.OK
		if r.Number == 0 {
			want = errs.Invalid
		} else {
			want = h.room(name, cost{bytes: c.size() - u.parts[r.Number].data.size()})
		}
	}
	a := h.send(r, want)
	if a.Kind == errs.OK {
		u.parts[r.Number] = mpart{r.Etag, c}
		b := h.buckets[name]
		h.again = func() proto.Message {
			if len(extents) == 0 || h.buckets[name] != b || b.uploads[id] == nil || !slices.Equal(u.parts[r.Number].data, c) {
				return nil
			}
			return r
		}
	}
	return a.Kind
}

func (h *history) copyPart() errs.Kind {
	name, _, id, u := h.anyUpload()
	fromName, from := h.anyBucket()
	above := ""
	if other, _, s := h.anySnapshot(); s != nil && h.rng.IntN(3) == 0 {
		fromName, from, above = other, s.then, ns.SnapshotPrefix+"/"+s.name+"/"
	}
	source := h.keyPath(from)
	r := &o3v1.CopyPartRequest{
		Volume: "s3v", Bucket: name, Key: "none", UploadId: id, Number: uint32(1 + h.rng.IntN(4)),
		FromVolume: "s3v", FromBucket: fromName, FromKey: above + source, Etag: h.etag(),
	}
	want := errs.NoSuchUpload
	var c content
	if u != nil {
		r.Key, want = u.key, errs.NoSuchKey
		if k := from.keys[source]; k != nil {
			want, c = errs.OK, k.data
			if h.rng.IntN(2) == 0 {
				r.RangeSet, r.Offset = true, h.rng.Uint64N(uint64(c.size())+1)
				r.Length = h.rng.Uint64N(uint64(c.size()) - r.Offset + 2)
				if r.Offset+r.Length > uint64(c.size()) {
					want = errs.InvalidRange
				} else {
					c = c.cut(int64(r.Offset), int64(r.Length))
				}
			}
			want = first(want, h.room(name, cost{bytes: c.size() - u.parts[r.Number].data.size()}))
		}
	}
	a := h.send(r, want)
	if a.Kind == errs.OK {
		u.parts[r.Number] = mpart{r.Etag, c}
	}
	return a.Kind
}

func (h *history) complete() errs.Kind {
	name, b, id, u := h.anyUpload()
	r := &o3v1.CompleteUploadRequest{Volume: "s3v", Bucket: name, Key: "none", UploadId: id, Etag: h.etag(), If: h.pre()}
	want := errs.NoSuchUpload
	var c content
	if u != nil {
		r.Key, want = u.key, errs.OK
		for _, n := range slices.Sorted(maps.Keys(u.parts)) {
			if p := u.parts[n]; h.rng.IntN(5) > 0 {
				r.Parts = append(r.Parts, &o3v1.CompletePart{Number: n, Etag: p.etag})
				c = c.join(p.data)
			}
		}
		if len(r.Parts) == 0 {
			want = errs.InvalidPart
		} else if h.rng.IntN(8) == 0 {
			r.Parts[0].Etag, want = "other", errs.InvalidPart
		}
		more := b.costOf(u.key, c.size())
		for _, p := range u.parts {
			more.bytes -= p.data.size()
		}
		want = first(want, precondition(r.If, b.keys[u.key]), b.place(u.key), h.room(name, more))
	}
	a := h.send(r, want)
	if a.Kind == errs.OK {
		delete(b.uploads, id)
		h.published(b, u.key, a.Body.(*o3v1.CompleteUploadResponse).Key, c, "")
	}
	return a.Kind
}

func (h *history) abort() errs.Kind {
	name, b, id, u := h.anyUpload()
	r := &o3v1.AbortUploadRequest{Volume: "s3v", Bucket: name, Key: "none", UploadId: id}
	want := errs.NoSuchUpload
	if u != nil {
		r.Key, want = u.key, errs.OK
	}
	a := h.send(r, want)
	if a.Kind == errs.OK {
		delete(b.uploads, id)
	}
	return a.Kind
}
