package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"o3/internal/errs"
	"o3/internal/fileplan"
	"o3/internal/image"
)

// replace restores the image beside the node that is in the data directory, and
// puts it into that one's place.
func (c *imageImport) replace(ctx context.Context, s *Session, t image.Target, id string, o image.ImportOptions) (err error) {
	m, err := image.ReadManifest(ctx, t, id)
	if err != nil {
		return err
	}
	dir := o.DataDir
	at, err := image.Take(nil, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.Close()) }()
	s.recovered(at.Recovered())
	want := image.Want{Bytes: m.Blocks, Store: m.Node.Store, BlockDir: o.BlockDir}
	if err := at.May(want); err != nil {
		return err
	}
	if err := at.Clear(); err != nil {
		return err
	}
	old, node, err := at.Node()
	if err != nil {
		return err
	}
	if node && o.NodeID == "" {
		o.NodeID = old.ID
	}
	o.DataDir, o.BlockDir = image.StagedNode(nil, dir), ""
	if err := onlyNode(filepath.Join(dir, image.StagedDir)); err != nil {
		return err
	}
	got, err := c.stage(ctx, s, t, m, o)
	if err != nil {
		return err
	}
	if err := at.Switch(rand.Text(), "image "+m.ID+" of "+t.String(), want); err != nil {
		return err
	}
	n, _, err := image.NodeAt(nil, dir)
	if err != nil {
		return err
	}
	o.DataDir, o.BlockDir = dir, n.BlockDir
	c.made = !node
	return c.tell(s, o, got)
}

// onlyNode refuses a staged state that another command is making.
func onlyNode(staged string) error {
	entries, err := os.ReadDir(staged)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return errs.Wrap(errs.Internal, staged, err)
	}
	for _, e := range entries {
		if e.Name() != "node" {
			return errs.New(errs.NotEmpty, staged, fmt.Sprintf("it holds %q: a bootstrap was begun here; run that again, or remove the directory", e.Name()))
		}
	}
	return nil
}

// stage makes the new node complete, or finds that an import before this one has.
func (c *imageImport) stage(ctx context.Context, s *Session, t image.Target, m *image.Manifest, o image.ImportOptions) (image.Imported, error) {
	n, made, err := image.NodeAt(nil, o.DataDir)
	if err != nil {
		return image.Imported{}, err
	}
	if !made {
		bar := s.bytesBar("import")
		o.Progress = func(done, total int64) { bar.SetTotal(total); bar.Set(done) }
		defer bar.Close()
		return image.Import(ctx, t, m.ID, o)
	}
	if n.Index != m.Index || n.Digest != m.Digest || n.Last != m.Index || o.NodeID != "" && n.ID != o.NodeID {
		return image.Imported{}, errs.New(errs.NotEmpty, o.DataDir,
			fmt.Sprintf("another state is complete there, node %s at index %d: remove %s to drop it", n.ID, n.Last, filepath.Dir(o.DataDir)))
	}
	return image.Imported{Manifest: m}, nil
}

// recovered remarks what was found of a switch that was cut off.
func (s *Session) recovered(out fileplan.Outcome) {
	switch out.Did {
	case fileplan.Completed:
		s.remark("The switch to %s was cut off before; it is complete now.", out.Plan.Why)
	case fileplan.RolledBack:
		s.remark("The switch to %s was cut off before and could not be completed; the previous state is in force.", out.Plan.Why)
	}
}

// replaced is what follows when a node has made way.
func (c *imageImport) replaced(b *strings.Builder, data string) {
	if c.made {
		return // there was none before
	}
	fmt.Fprintf(b, "The state that was there is kept in %s until a server has started on the new one; before that,\no3 admin om rollback --data %s puts it back.\n", filepath.Join(data, image.PreviousDir), data)
}
