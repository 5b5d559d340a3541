package command

import (
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"

	"google.golang.org/protobuf/proto"
)

// DirectExtents returns extents with indirect ones replaced by the lists they
// stand for. An indirect extent always stands for its whole list.
func DirectExtents(r kv.Reader, extents []*o3v1.Extent) ([]*o3v1.Extent, error) {
	indirect := false
	for _, e := range extents {
		indirect = indirect || e.Indirect
	}
	if !indirect {
		return extents, nil
	}
	var out []*o3v1.Extent
	for _, e := range extents {
		if !e.Indirect {
			out = append(out, e)
			continue
		}
		row, ok, err := schema.Smalls.Get(r, e.Local)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, errs.New(errs.Corrupt, fmt.Sprintf("block %v", blockOf(e)), "the list of extents is missing")
		}
		var list schemapb.Extents
		if err := proto.Unmarshal(row.Data, &list); err != nil {
			return nil, errs.New(errs.Corrupt, fmt.Sprintf("block %v", blockOf(e)), err.Error())
		}
		out = append(out, list.Extents...)
	}
	return out, nil
}

// Slice returns the extents of the range [offset, offset+length) of direct
// extents; the range must lie within them.
func Slice(extents []*o3v1.Extent, offset, length int64) []*o3v1.Extent {
	var out []*o3v1.Extent
	for _, e := range extents {
		if length <= 0 {
			break
		}
		if offset >= e.Length {
			offset -= e.Length
			continue
		}
		n := min(e.Length-offset, length)
		out = append(out, &o3v1.Extent{Container: e.Container, Local: e.Local, Offset: e.Offset + offset, Length: n})
		offset, length = 0, length-n
	}
	return out
}
