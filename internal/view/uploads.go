package view

import (
	"bytes"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/keys"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
)

// UploadOptions says what a page of multipart uploads holds.
type UploadOptions struct {
	Prefix, Delimiter       string
	KeyMarker, UploadMarker string // uploads strictly after them
	Limit                   int    // uploads and common prefixes; at least 1
}

// UploadPage is a page of uploads, by key and then by age.
type UploadPage struct {
	Uploads   []*o3v1.UploadInfo
	Prefixes  []string
	Truncated bool
	NextKey   string
	NextID    string
}

// Uploads returns a page of the unfinished multipart uploads of b. The work is
// bounded by Limit, whatever lies below the common prefixes.
func (v View) Uploads(b Bucket, o UploadOptions) (UploadPage, error) {
	var page UploadPage
	start, err := o.start(b)
	if err != nil {
		return page, err
	}
	lower, upper := schema.UploadsOf(b.ID())
	it, err := v.r.Iter(lower, upper)
	if err != nil {
		return page, err
	}
	defer it.Close()
	list := ListOptions{Prefix: o.Prefix, Delimiter: o.Delimiter}
	for ok := it.SeekGE(start); ok; {
		k, err := schema.Uploads.ParseKey(it.Key())
		if err != nil {
			return page, err
		}
		if !strings.HasPrefix(k.Name, o.Prefix) {
			break
		}
		common := list.common(k.Name)
		if common == "" || common != o.KeyMarker {
			if page.Truncated = len(page.Uploads)+len(page.Prefixes) >= o.Limit; page.Truncated {
				break
			}
			if err := page.add(it, k, common); err != nil {
				return page, err
			}
		}
		if common == "" {
			ok = it.Next()
			continue
		}
		end := keys.PrefixEnd([]byte(common))
		ok = end != nil && it.SeekGE(uploadsFrom(b, string(end)))
	}
	return page, it.Err()
}

// add notes the upload under the iterator, or the common prefix it falls under.
func (p *UploadPage) add(it kv.Iterator, k schema.UploadKey, common string) error {
	if common != "" {
		p.Prefixes = append(p.Prefixes, common)
		p.NextKey, p.NextID = common, ""
		return nil
	}
	value, err := it.Value()
	if err != nil {
		return err
	}
	row, err := schema.Uploads.Decode(it.Key(), value)
	if err != nil {
		return err
	}
	p.Uploads = append(p.Uploads, command.UploadInfo(k.Name, k.Upload, row))
	p.NextKey, p.NextID = k.Name, command.UploadID(k.Upload)
	return nil
}

// uploadsFrom returns the first key of the uploads whose names are at least name.
func uploadsFrom(b Bucket, name string) []byte {
	return schema.Uploads.Key(schema.UploadKey{Bucket: b.ID(), Name: name})
}

// start returns the first key that the page may hold.
func (o UploadOptions) start(b Bucket) ([]byte, error) {
	first := uploadsFrom(b, o.Prefix)
	if o.KeyMarker == "" {
		return first, nil
	}
	after := schema.UploadKey{Bucket: b.ID(), Name: o.KeyMarker, Upload: ^ns.ObjectID(0)}
	if o.UploadMarker != "" {
		id, err := command.ParseUploadID(o.UploadMarker)
		if err != nil {
			return nil, errs.New(errs.Invalid, "upload-id-marker "+o.UploadMarker, "is not an upload id")
		}
		after.Upload = id
	}
	key := append(schema.Uploads.Key(after), 0) // the next key there can be
	if bytes.Compare(key, first) < 0 {
		return first, nil
	}
	return key, nil
}
