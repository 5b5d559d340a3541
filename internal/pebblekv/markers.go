package pebblekv

import (
	"errors"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// isMarker reports whether a file is one of those with which the engine says
// which manifest and format are current.
func isMarker(name string) bool { return strings.HasPrefix(name, "marker.") }

// settle syncs the directory before a marker comes or goes: the engine makes a
// manifest, its marker, removes the old marker, and syncs once; a power cut
// before that may keep any part of it.
func settle(fs vfs.FS, path string) error {
	if !isMarker(fs.PathBase(path)) {
		return nil
	}
	d, err := fs.OpenDir(fs.PathDir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// OrderMarkers returns fs with the order that the engine leaves out when it
// changes which manifest is current, for those who open a database of their own.
// A Store has it already.
func OrderMarkers(fs vfs.FS) vfs.FS { return orderedFS{fs} }

type orderedFS struct{ vfs.FS }

// Create implements vfs.FS.
func (o orderedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := settle(o.FS, name); err != nil {
		return nil, err
	}
	return o.FS.Create(name, c)
}

// Remove implements vfs.FS.
func (o orderedFS) Remove(name string) error {
	if err := settle(o.FS, name); err != nil {
		return err
	}
	return o.FS.Remove(name)
}

// Unwrap implements vfs.FS.
func (o orderedFS) Unwrap() vfs.FS { return o.FS }
