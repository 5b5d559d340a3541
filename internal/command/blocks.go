package command

import (
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/block"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"

	"google.golang.org/protobuf/proto"
)

// directExtents is how many extents a row holds itself; a longer list goes into
// a block of its own, so that listings stay fast.
const directExtents = 32

func blockOf(e *o3v1.Extent) block.ID { return block.ID{Container: e.Container, Local: e.Local} }

// share adds one to the count of each block the extents name: another row is
// about to name them too. An extent named twice counts twice.
func (t *Tx) share(extents []*o3v1.Extent) error {
	for _, e := range extents {
		row, ok, err := schema.Refs.Get(t.w, blockOf(e))
		if err != nil {
			return err
		}
		if !ok {
			row = &schemapb.Refs{Count: 1}
		}
		row.Count++
		t.wrote()
		if err := schema.Refs.Put(t.w, blockOf(e), row); err != nil {
			return err
		}
	}
	return nil
}

// drop takes one from the count of each block the extents name and frees those
// that no row names any more.
func (t *Tx) drop(bucket ns.ObjectID, extents []*o3v1.Extent) error {
	for _, e := range extents {
		row, ok, err := schema.Refs.Get(t.w, blockOf(e))
		if err != nil {
			return err
		}
		t.wrote()
		switch {
		case !ok:
			err = t.free(bucket, e)
		case row.Count > 2:
			row.Count--
			err = schema.Refs.Put(t.w, blockOf(e), row)
		default:
			err = schema.Refs.Delete(t.w, blockOf(e))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// free gives up a block that no row names: a row of smalls goes at once, the
// bytes of a container when reclaim gets to them.
func (t *Tx) free(bucket ns.ObjectID, e *o3v1.Extent) error {
	if e.Container != 0 {
		t.freed = append(t.freed, freedBlock{bucket, e})
		return nil
	}
	if e.Indirect {
		list, err := DirectExtents(t.w, []*o3v1.Extent{e})
		if err != nil {
			return err
		}
		if err := t.drop(bucket, list); err != nil {
			return err
		}
	}
	return schema.Smalls.Delete(t.w, e.Local)
}

// keep stores data in the store itself and returns the extent that names it.
func (t *Tx) keep(data []byte) (*o3v1.Extent, error) {
	id, err := t.newID()
	if err != nil {
		return nil, err
	}
	t.wrote()
	if err := schema.Smalls.Put(t.w, uint64(id), &schemapb.Small{Data: data}); err != nil {
		return nil, err
	}
	return &o3v1.Extent{Local: uint64(id), Length: int64(len(data))}, nil
}

// pack returns extents as a row may hold them: a long list becomes one indirect
// extent, whose block holds the list.
func (t *Tx) pack(extents []*o3v1.Extent) ([]*o3v1.Extent, error) {
	if len(extents) <= directExtents {
		return extents, nil
	}
	list, err := proto.MarshalOptions{Deterministic: true}.Marshal(&schemapb.Extents{Extents: extents})
	if err != nil {
		return nil, errs.Wrap(errs.Internal, "extents", err)
	}
	e, err := t.keep(list)
	if err != nil {
		return nil, err
	}
	e.Indirect, e.Length = true, total(extents)
	return []*o3v1.Extent{e}, nil
}

func total(extents []*o3v1.Extent) (n int64) {
	for _, e := range extents {
		n += e.Length
	}
	return n
}

// MaxInline is the most bytes of an object that travel in a command, in bytes.
const MaxInline = 1 << 20

// checkExtents refuses a list that does not make up size bytes of blocks that
// are the caller's own: direct, in containers, each named once.
func checkExtents(subject string, extents []*o3v1.Extent, data []byte, size uint64) error {
	bad := func(format string, args ...any) error {
		return errs.New(errs.Invalid, subject, fmt.Sprintf(format, args...))
	}
	if len(data) > 0 && len(extents) > 0 {
		return bad("has both data and extents")
	}
	if len(data) > MaxInline {
		return bad("brings %d bytes along, at most %d are allowed; store them as blocks", len(data), MaxInline)
	}
	var seen map[block.ID]bool // not needed for one
	if len(extents) > 1 {
		seen = make(map[block.ID]bool, len(extents))
	}
	for _, e := range extents {
		switch {
		case e.Container == 0 || e.Indirect || len(e.Data) > 0:
			return bad("extent %v is not a block of a container", blockOf(e))
		case e.Length <= 0 || e.Offset < 0 || e.Length > block.MaxSize:
			return bad("extent %v has offset %d and length %d", blockOf(e), e.Offset, e.Length)
		case seen[blockOf(e)]:
			return bad("block %v is named twice", blockOf(e))
		}
		if seen != nil {
			seen[blockOf(e)] = true
		}
	}
	if n := uint64(total(extents)) + uint64(len(data)); n != size {
		return bad("size is %d but the extents hold %d bytes", size, n)
	}
	return nil
}
