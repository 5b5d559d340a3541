package view

import (
	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/kv"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Named calls f with the direct extents of every row of r that names blocks, or
// that still has to free them, and with the rows' indirect extents themselves.
func Named(r kv.Reader, f func([]*o3v1.Extent) error) error {
	each := func(extents []*o3v1.Extent) (bool, error) {
		if len(extents) == 0 {
			return true, nil
		}
		direct, err := command.DirectExtents(r, extents)
		if err != nil {
			return false, err
		}
		if len(direct) != len(extents) || &direct[0] != &extents[0] {
			if err := f(extents); err != nil {
				return false, err
			}
		}
		return true, f(direct)
	}
	lower, upper := schema.Entries.All()
	err := schema.Entries.Scan(r, lower, upper, func(_ schema.EntryKey, e *schemapb.Entry) (bool, error) {
		return each(e.Extents)
	})
	if err != nil {
		return err
	}
	lower, upper = schema.History.All()
	err = schema.History.Scan(r, lower, upper, func(_ schema.HistoryKey, e *schemapb.Entry) (bool, error) {
		return each(e.Extents)
	})
	if err != nil {
		return err
	}
	lower, upper = schema.Parts.All()
	err = schema.Parts.Scan(r, lower, upper, func(_ schema.PartKey, p *schemapb.Part) (bool, error) {
		return each(p.Extents)
	})
	if err != nil {
		return err
	}
	lower, upper = schema.Deleted.All()
	return schema.Deleted.Scan(r, lower, upper, func(_ schema.OpKey, d *schemapb.DeletedBlocks) (bool, error) {
		return true, f(d.Extents)
	})
}
