// Package image makes, checks, keeps and carries images of a node. An image is
// the namespace's store at one index, as hard-linked files, and a manifest that
// names each file with its size and checksum, and the position, membership and
// state digest they stand for (docs/formats/image.md). It may hold the bytes of
// the block store too.
//
// What it guarantees: a directory that Keeper lists is complete and durable, at
// whatever moment the power failed; nothing that differs from its manifest by a
// byte passes Verify; Export and Import leave either all or nothing that is
// taken for a whole, and go on where they were cut off. An image that is read is
// not removed.
//
// The package starts no goroutines but those that Import waits for: Create,
// Export, Import and Verify run in their caller, the schedule in Keeper.Run.
package image

import (
	"fmt"
	"path"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// What is in an image's directory.
const (
	ManifestFile = "manifest.json"
	storeDir     = "store"
	blocksDir    = "blocks"
)

// lockName is made by whoever opens a store or block store to write; it is no
// part of an image.
const lockName = "LOCK"

// places says where the directories of an image lie.
type places struct {
	fs            vfs.FS
	store, blocks string
}

// of returns where the file of a manifest lies.
func (p places) of(name string) string {
	dir, base := path.Split(name)
	if dir == blocksDir+"/" {
		return p.fs.PathJoin(p.blocks, base)
	}
	return p.fs.PathJoin(p.store, base)
}

// inImage returns the places of an image's directory.
func inImage(fs vfs.FS, dir string) places {
	return places{fs: fs, store: fs.PathJoin(dir, storeDir), blocks: fs.PathJoin(dir, blocksDir)}
}

// dirFS returns fs, or the operating system's.
func dirFS(fs vfs.FS) vfs.FS {
	if fs == nil {
		return vfs.Default
	}
	return fs
}

// Progress is told how many of total bytes are done, now and then.
type Progress func(done, total int64)

func fault(kind errs.Kind, op, subject, format string, a ...any) *errs.Error {
	return &errs.Error{Kind: kind, Op: "image." + op, Subject: subject, Detail: fmt.Sprintf(format, a...)}
}
