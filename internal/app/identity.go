package app

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"o3/internal/durable"
	"o3/internal/errs"
)

// identity is who owns a data directory, in its file "node": JSON, format 1.
type identity struct {
	Format int    `json:"format"`
	ID     string `json:"id"`     // ozone.om.node.id
	Number uint16 `json:"number"` // of the node in Raft and in container ids; for ever

	// Store is a random number that the block directory's file "node" repeats:
	// names and bytes belong together. Empty: the node is older than this field.
	Store string `json:"store,omitempty"`
	// Blocks is the block directory, where it is not "blocks" in the data directory.
	Blocks string `json:"blocks,omitempty"`
	// Begun is set when the first start is complete: from then on a directory
	// without a log has lost it.
	Begun bool `json:"begun,omitempty"`
}

const identityFormat = 1

// importMark is the file in om that an import of an image leaves when it is cut
// off. With an identity, which is written last, the import was complete.
const importMark = "IMPORT"

// openIdentity makes the data directory, or checks that it is this node's, and
// that the block directory belongs to it: an empty one in the place of a lost
// one (a disk that is not mounted) would give block ids out again.
func (n *node) openIdentity() error {
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
	if n.id.Store != "" {
		if err := n.checkBlocks(); err != nil {
			return err
		}
	}
	if err := n.checkLog(); err != nil {
		return err
	}
	if err := os.Remove(n.dir("om", importMark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errs.Wrap(errs.Internal, n.dir("om", importMark), err)
	}
	blocks, err := n.blocksPath()
	if err != nil {
		return err
	}
	if n.id.Store != "" && n.id.Blocks == blocks {
		return nil
	}
	return n.writeIdentity(path)
}

// checkBlocks refuses a block directory that is not this node's.
func (n *node) checkBlocks() error {
	subject := "ozone.block.dir = " + n.cfg.Block.Dir
	var marker identity
	err := marker.read(filepath.Join(n.cfg.Block.Dir, "node"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errs.New(errs.Corrupt, subject, `it does not hold this node's blocks: its file "node" is missing. Is the disk mounted?`)
	case err != nil:
		return err
	case marker.Store != n.id.Store:
		return errs.New(errs.Corrupt, subject, fmt.Sprintf("it holds the blocks of another node (store %s, this is %s)", marker.Store, n.id.Store))
	}
	return nil
}

// checkLog refuses to begin anew in the place of a lost namespace.
func (n *node) checkLog() error {
	log := n.dir("om", "raft")
	if left, err := os.ReadDir(log); err == nil && len(left) > 0 {
		return nil
	}
	if n.id.Begun {
		return errs.New(errs.Corrupt, log, "the Raft log is missing; restore the whole data directory")
	}
	return n.noContainers("the Raft log " + log + " is missing")
}

// begun notes that the first start is complete.
func (n *node) begun() error {
	if n.id.Begun {
		return nil
	}
	n.id.Begun = true
	return n.writeIdentity(n.dir("node"))
}

// noContainers refuses a block directory with containers, for the reason given.
func (n *node) noContainers(why string) error {
	found, err := filepath.Glob(filepath.Join(n.cfg.Block.Dir, "c-*"))
	if err == nil && len(found) > 0 {
		err = errs.New(errs.Corrupt, n.cfg.Node.DataDir,
			fmt.Sprintf("%s, but %s holds containers: restore the whole directory", why, n.cfg.Block.Dir))
	}
	return err
}

// newIdentity takes an empty data directory into possession.
func (n *node) newIdentity(path string) error {
	if left, err := os.ReadDir(n.dir("om")); err == nil && len(left) > 0 {
		if _, err := os.Stat(n.dir("om", importMark)); err == nil {
			return errs.New(errs.Corrupt, path, "an import of an image was begun here and not finished: run o3 admin om image import again")
		}
		return errs.New(errs.Corrupt, path, "the identity file is missing, but the directory holds a node's data")
	}
	if err := n.staged(); err != nil {
		return err
	}
	if err := n.noContainers("the identity file " + path + " is missing"); err != nil {
		return err
	}
	n.id = identity{Format: identityFormat, ID: n.cfg.OM.NodeID, Number: 1}
	return n.writeIdentity(path)
}

// writeIdentity marks the block directory and then the data directory as this
// node's; it makes them if need be. A crash between leaves a node that is not
// there yet, or one whose block directory is marked already.
func (n *node) writeIdentity(path string) (err error) {
	for key, dir := range map[string]string{"ozone.metadata.dirs": n.dir("om"), "ozone.block.dir": n.cfg.Block.Dir} {
		if err := durable.MakeDir(dir); err != nil {
			return errs.Wrap(errs.Invalid, key+" = "+dir, err)
		}
	}
	if n.id.Store == "" {
		n.id.Store = rand.Text()
	}
	if n.id.Blocks, err = n.blocksPath(); err != nil {
		return err
	}
	marker := n.id
	marker.Blocks, marker.Begun = "", false
	for _, f := range []struct {
		path string
		id   identity
	}{{filepath.Join(n.cfg.Block.Dir, "node"), marker}, {path, n.id}} {
		raw, err := json.Marshal(f.id)
		if err != nil {
			return err
		}
		if err := writeFile(f.path, append(raw, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// blocksPath returns the block directory as the identity notes it.
func (n *node) blocksPath() (string, error) {
	if n.cfg.Block.Dir == n.dir("blocks") {
		return "", nil
	}
	return filepath.Abs(n.cfg.Block.Dir)
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
	var version struct{ Format int } // of a later one nothing else is known
	if json.Unmarshal(raw, &version) == nil && version.Format > identityFormat {
		return errs.New(errs.FormatTooNew, path, fmt.Sprintf("has format %d, this program knows formats up to %d", version.Format, identityFormat))
	}
	if err := json.Unmarshal(raw, id); err != nil || id.Format < 1 || id.Number == 0 {
		return errs.New(errs.FormatUnknown, path, "is not the identity of a node")
	}
	return nil
}

// writeFile replaces a file durably and at once.
func writeFile(path string, content []byte) error {
	if err := durable.WriteFile(path, content); err != nil {
		return errs.Wrap(errs.Internal, path, err)
	}
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, errs.Wrap(errs.Internal, path, err)
	}
	return true, nil
}
