package bootstrap

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/fileplan"
	"o3/internal/image"
)

// nodePlace is the place there is: package image's.
type nodePlace struct{}

type nodeHeld struct{ *image.Place }

func (nodePlace) take(dir string) (held, error) {
	p, err := image.Take(nil, dir)
	if err != nil {
		return nil, err
	}
	if err := p.Clear(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return nodeHeld{p}, nil
}

func (nodePlace) look(dir string) (looked, error) {
	st, err := fileplan.Read(nil, dir)
	if err != nil {
		return looked{}, err
	}
	l := looked{plan: stateOf(st.State), id: st.Plan.ID}
	path := filepath.Join(dir, "LOCK")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	lock, err := vfs.Default.Lock(path)
	if err != nil {
		l.running = true
		return l, nil
	}
	return l, lock.Close()
}

func stateOf(s fileplan.State) planState {
	switch s {
	case fileplan.None:
		return planNone
	case fileplan.Applied:
		return planApplied
	case fileplan.Forgetting:
		return planServed
	}
	return planPending
}

func (nodePlace) nodeAt(dir string) (image.Node, bool, error) {
	n, ok, err := image.NodeAt(nil, dir)
	return n.Node, ok, err
}

func (nodePlace) adopt(ctx context.Context, a adoption) error {
	o := image.AdoptOptions{Verified: true}
	o.DataDir, o.NodeID, o.Reserve = a.to, a.nodeID, -1
	_, err := image.Adopt(ctx, a.from, o)
	return err
}

func (h nodeHeld) state() (planState, string, error) {
	st, err := h.Status()
	return stateOf(st.State), st.Plan.ID, err
}

func (h nodeHeld) may(m *image.Manifest, blockDir string) error {
	return h.May(image.Want{Bytes: m.Blocks, Store: m.Node.Store, BlockDir: blockDir})
}

func (h nodeHeld) swap(blockDir, id, why string) error {
	return h.Switch(id, why, image.Want{BlockDir: blockDir})
}
