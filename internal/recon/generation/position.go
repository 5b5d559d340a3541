package generation

import (
	"errors"

	"o3/internal/fsm"
	"o3/internal/pebblekv"
	"o3/internal/schema"
)

// PositionOf returns what the replica in dir, which nobody has open, has applied.
// Of o it takes the file system and the kind of the store.
func PositionOf(o Options, dir string) (fsm.Position, error) {
	name := o.StoreName
	if name == "" {
		name = "om"
	}
	s, err := pebblekv.Open(pebblekv.Options{
		Dir: dir, FS: o.FS, Name: name, Version: schema.Format, DisableWAL: true, ReadOnly: true, NoLock: true, CacheBytes: 1 << 20, DiskSlowAfter: -1,
	})
	if err != nil {
		return fsm.Position{}, err
	}
	pos, _, err := fsm.ReadPosition(s)
	return pos, errors.Join(err, s.Close())
}
