package image

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// identityFile says whose data directory it is, and in the block directory whose
// blocks (docs/formats/node.md).
const identityFile = "node"

// identity is that file, of format 1.
type identity struct {
	Format int    `json:"format"`
	ID     string `json:"id"`
	Number uint16 `json:"number"`
	Store  string `json:"store,omitempty"`
	Blocks string `json:"blocks,omitempty"`
	Begun  bool   `json:"begun,omitempty"`
}

// identify makes the restored directories a node's: the block directory first,
// the data directory last. With its blocks the node is a new one of the old
// names: a new number says which names and bytes belong together. Without, it
// takes up the block directory that the old one had.
func (i *importing) identify() error {
	id := identity{Format: 1, ID: i.nodeID, Number: i.m.Node.Number, Store: i.m.Node.Store}
	if i.m.Blocks {
		id.Store = rand.Text()
		if err := writeIdentity(i.fs, i.at.blocks, id); err != nil {
			return err
		}
	}
	if i.o.BlockDir != "" && i.at.blocks != i.fs.PathJoin(i.o.DataDir, blocksDir) {
		id.Blocks = i.at.blocks
	}
	id.Begun = true
	return writeIdentity(i.fs, i.o.DataDir, id)
}

func writeIdentity(fsys vfs.FS, dir string, id identity) error {
	raw, err := json.Marshal(id)
	if err != nil {
		return err
	}
	path := fsys.PathJoin(dir, identityFile)
	return diskFault("Import", path, replaceFile(fsys, path, bytes.NewReader(append(raw, '\n'))))
}

// readIdentity reads the identity file of a directory; ok is false when there is
// none.
func readIdentity(fsys vfs.FS, dir string) (id identity, ok bool, err error) {
	path := fsys.PathJoin(dir, identityFile)
	raw, err := readSmall(fsys, path, 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, diskFault("Adopt", path, err)
	}
	switch err := json.Unmarshal(raw, &id); {
	case id.Format > 1:
		return id, false, fault(errs.FormatTooNew, "Adopt", path, "it has format %d, this program knows formats up to 1", id.Format)
	case err != nil || id.Format < 1 || id.Number == 0:
		return id, false, fault(errs.FormatUnknown, "Adopt", path, "it is not the identity of a node")
	}
	return id, true, nil
}
