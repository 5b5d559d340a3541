package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"o3/internal/errs"
)

// identity is who owns a data directory, in its file "node": JSON, format 1.
type identity struct {
	Format int    `json:"format"`
	ID     string `json:"id"`     // ozone.om.node.id
	Number uint16 `json:"number"` // of the node in Raft and in container ids; for ever
}

const identityFormat = 1

// openIdentity makes the data directory, or checks that it is this node's.
func (n *node) openIdentity() error {
	for key, dir := range map[string]string{"ozone.metadata.dirs": n.dir("om"), "ozone.block.dir": n.cfg.Block.Dir} {
		if err := makeDir(dir); err != nil {
			return errs.Wrap(errs.Invalid, key+" = "+dir, err)
		}
	}
	path := n.dir("node")
	if err := n.id.read(path); errors.Is(err, fs.ErrNotExist) {
		return n.newIdentity(path)
	} else if err != nil {
		return err
	}
	if n.id.ID != n.cfg.OM.NodeID {
		return errs.New(errs.Invalid, "ozone.om.node.id = "+n.cfg.OM.NodeID,
			fmt.Sprintf("the data directory %s belongs to node %s; a node's id never changes", n.cfg.Node.DataDir, n.id.ID))
	}
	return nil
}

// read reads the identity at path. An absent file is an error that matches
// fs.ErrNotExist.
func (id *identity) read(path string) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &errs.Error{Kind: errs.FormatUnknown, Subject: path, Detail: "there is no such file: the directory does not hold a node's data", Err: err}
	}
	if err != nil {
		return errs.Wrap(errs.Internal, path, err)
	}
	if err := json.Unmarshal(raw, id); err != nil || id.Format < 1 || id.Number == 0 {
		return errs.New(errs.FormatUnknown, path, "is not the identity of a node")
	}
	if id.Format > identityFormat {
		return errs.New(errs.FormatTooNew, path, fmt.Sprintf("has format %d, this program knows formats up to %d", id.Format, identityFormat))
	}
	return nil
}

// newIdentity takes an empty data directory into possession.
func (n *node) newIdentity(path string) error {
	if left, err := os.ReadDir(n.dir("om")); err == nil && len(left) > 0 {
		return errs.New(errs.Corrupt, path, "the identity file is missing, but the directory holds a node's data")
	}
	n.id = identity{Format: identityFormat, ID: n.cfg.OM.NodeID, Number: 1}
	raw, err := json.Marshal(n.id)
	if err != nil {
		return err
	}
	return writeFile(path, append(raw, '\n'))
}

// writeFile replaces a file durably and at once.
func writeFile(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return errs.Wrap(errs.Internal, path, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errs.Wrap(errs.Internal, path, errors.Join(err, os.Remove(f.Name())))
	}
	return syncDir(filepath.Dir(path))
}

// makeDir makes a directory and those above it, durably: a power cut must not
// take away the entry that leads to synced files.
func makeDir(path string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return errs.Wrap(errs.Internal, path, err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}
