package image

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/consensus/raftlog"
	"o3/internal/errs"
	"o3/internal/fileplan"
	"o3/internal/fsm"
)

// What is in a data directory while its state is replaced.
const (
	StagedDir   = "staged"   // the new state is made here
	PreviousDir = "previous" // the old state is kept here until the new one has served
)

// StagedNode is the directory in a data directory where a node is made complete
// before Switch puts it into its place.
func StagedNode(fsys vfs.FS, dir string) string {
	return dirFS(fsys).PathJoin(dir, StagedDir, "node")
}

// NodeState is a node that does not run.
type NodeState struct {
	Node
	BlockDir string // where its blocks are, when not in the data directory
	HasBytes bool   // there is a block store in the data directory

	Index, Term    uint64 // of its store
	Digest         string
	Last, LastTerm uint64 // of its log: what is beyond Index is replayed at its start
}

// NodeAt looks at the node in a data directory; ok is false when there is no
// complete one. Kinds: Corrupt, FormatTooNew, FormatUnknown.
func NodeAt(fsys vfs.FS, dir string) (n NodeState, ok bool, err error) {
	fsys = dirFS(fsys)
	id, ok, err := readIdentity(fsys, dir)
	if err != nil || !ok {
		return n, false, err
	}
	n = NodeState{Node: Node{ID: id.ID, Number: id.Number, Store: id.Store}, BlockDir: id.Blocks}
	if _, n.HasBytes, err = readIdentity(fsys, fsys.PathJoin(dir, blocksDir)); err != nil {
		return n, false, err
	}
	if n.Index, n.Term, n.Digest, err = positionAt(fsys, fsys.PathJoin(dir, "om", "store")); err != nil {
		return n, false, err
	}
	n.Last, n.LastTerm, err = raftlog.End(raftlog.Options{FS: fsys, Dir: fsys.PathJoin(dir, "om", "raft"), CacheBytes: 1 << 20})
	return n, err == nil, err
}

func positionAt(fsys vfs.FS, store string) (index, term uint64, digest string, err error) {
	s, err := openStore(fsys, store, "om")
	if err != nil {
		return 0, 0, "", err
	}
	pos, _, err := fsm.ReadPosition(s)
	return pos.Index, pos.Term, pos.Digest.String(), errors.Join(err, s.Close())
}

// Place is the data directory of a node that does not run, held so that none can
// be started and nobody else changes it. It belongs to one goroutine.
type Place struct {
	fs   vfs.FS
	dir  string
	root *fileplan.Root
	out  fileplan.Outcome
}

// ReconFile is in the data directory of a server that has the role recon alone: no
// node is made there.
const ReconFile = "recon-node"

// Take holds a data directory, which is made when it is absent, and brings a
// switch that was cut off there to its end. fsys nil means the operating system's.
// The kind is Unavailable when a server or another command has it, Invalid when it
// is Recon's.
func Take(fsys vfs.FS, dir string) (*Place, error) {
	fsys = dirFS(fsys)
	if err := makeDir(fsys, dir); err != nil {
		return nil, diskFault("Take", dir, err)
	}
	root, err := fileplan.Open(fsys, dir)
	if err != nil {
		return nil, err
	}
	p := &Place{fs: fsys, dir: dir, root: root}
	if _, there := fsys.Stat(fsys.PathJoin(dir, ReconFile)); there == nil {
		err = fault(errs.Invalid, "Take", dir, "it is the data directory of a server with ozone.server.roles = recon; a node needs one of its own")
	}
	if err == nil {
		err = p.idle()
	}
	if err == nil {
		p.out, err = root.Recover()
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return p, nil
}

// Clear removes what a switch that has served has left, if the node has not done
// so. It comes before anything is staged: the next switch would do it, and take
// what is staged along.
func (p *Place) Clear() error {
	st, err := p.root.Status()
	if err != nil || st.State != fileplan.Forgetting {
		return err
	}
	return p.root.Forget(context.Background())
}

// idle checks that nobody reads the store: o3 debug holds its lock alone.
func (p *Place) idle() error {
	store := p.fs.PathJoin(p.dir, "om", "store")
	if _, err := p.fs.Stat(store); err != nil {
		return nil // there is none, or whoever needs it will tell
	}
	lock, err := p.fs.Lock(p.fs.PathJoin(store, lockName))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return diskFault("Take", store, err)
	}
	if err != nil {
		return &errs.Error{Kind: errs.Unavailable, Op: "image.Take", Subject: p.dir, Detail: "in use by a running server or another command: stop it first", Err: err}
	}
	return lock.Close()
}

// Close gives the directory back.
func (p *Place) Close() error { return p.root.Close() }

// Recovered tells what Take found of a switch that was cut off.
func (p *Place) Recovered() fileplan.Outcome { return p.out }

// Status tells whether a switch was made and its old state is kept.
func (p *Place) Status() (fileplan.Status, error) { return p.root.Status() }

// Node is whose directory it is; ok is false when no node has it.
func (p *Place) Node() (n Node, ok bool, err error) {
	id, ok, err := readIdentity(p.fs, p.dir)
	return Node{ID: id.ID, Number: id.Number, Store: id.Store}, ok, err
}

// Want is a state that is to replace the one in a Place.
type Want struct {
	Bytes bool   // it has the bytes of objects
	Store string // whose names it has, as Node.Store; of no matter with bytes

	// BlockDir is the block directory of the node, absolute; "" means where the
	// old one's identity says, else blocks in the data directory.
	BlockDir string
}

// May checks whether Switch would be refused for the state wanted; it changes
// nothing. Kinds: Conflict (the last switch has not served yet),
// PreconditionFailed (the block directory does not belong to the names, or is not
// one that can be replaced, and the error says what to do).
func (p *Place) May(w Want) error {
	_, err := p.blockDir(w)
	return err
}

// blockDir returns the block directory that the new state will have, as its
// identity notes it.
func (p *Place) blockDir(w Want) (string, error) {
	st, err := p.root.Status()
	if err != nil {
		return "", err
	}
	if st.State == fileplan.Applied {
		return "", fault(errs.Conflict, "Switch", p.dir,
			"%s was switched to and has not served yet: start the server, or put the previous state back with o3 admin om rollback", st.Plan.Why)
	}
	old, node, err := readIdentity(p.fs, p.dir)
	if err != nil {
		return "", err
	}
	own := p.fs.PathJoin(p.dir, blocksDir)
	dir := w.BlockDir
	if dir == "" {
		dir = old.Blocks
	}
	if dir == own {
		dir = ""
	}
	if w.Bytes {
		if dir != "" {
			return "", fault(errs.PreconditionFailed, "Switch", p.dir,
				"the node has its blocks in %s, and directories of one file system only are replaced: import into a new directory instead (--data NEW --block-dir NEW-BLOCKS), and start the server on it", dir)
		}
		return "", nil
	}
	at := dir
	if at == "" {
		at = own
	}
	blocks, marked, err := readIdentity(p.fs, at)
	if err != nil {
		return "", err
	}
	if _, err := p.fs.Stat(at); errors.Is(err, fs.ErrNotExist) && !node {
		return dir, nil // it is put there before the start, which checks it
	}
	if !marked || blocks.Store != w.Store {
		return "", fault(errs.PreconditionFailed, "Switch", at,
			"it does not hold the bytes that belong to the new names (store %q, wanted %q); take an image with the bytes of objects, or put the block directory of the image's node there", blocks.Store, w.Store)
	}
	return dir, nil
}

// Switch puts the complete node in StagedNode into its place, and the state that
// was there into PreviousDir, where it is kept until a server has started on the
// new one: its om, node and, when the new state has bytes, blocks. Everything
// else of the directory stays. why is for people. After an error, and after a
// crash and the next Take or start, the old state is in force or the new one,
// whole. Kinds: those of May and fileplan.Root.Begin.
func (p *Place) Switch(id, why string, w Want) error {
	staged := StagedNode(p.fs, p.dir)
	n, ok, err := NodeAt(p.fs, staged)
	if err != nil {
		return err
	}
	if !ok {
		return fault(errs.PreconditionFailed, "Switch", staged, "there is no complete node to switch to")
	}
	w.Bytes, w.Store = n.HasBytes, n.Store
	blocks, err := p.blockDir(w)
	if err != nil {
		return err
	}
	if n.BlockDir != blocks {
		new, _, err := readIdentity(p.fs, staged)
		if err != nil {
			return err
		}
		new.Blocks = blocks
		if err := writeIdentity(p.fs, staged, new); err != nil {
			return err
		}
	}
	names := []string{"om", identityFile}
	if n.HasBytes {
		names = append(names, blocksDir)
	}
	plan := fileplan.Plan{ID: id, Why: why, Keep: PreviousDir, Drop: []string{StagedDir}}
	for _, name := range names {
		plan.Steps = append(plan.Steps, fileplan.Step{From: StagedDir + "/node/" + name, To: name})
	}
	return p.root.Begin(plan)
}

// Rollback puts the state from before the last switch back; the new one goes to
// StagedNode again. Kinds: PreconditionFailed (nothing is kept, or a server has
// served the new state), Corrupt (what was kept is lost).
func (p *Place) Rollback() error { return p.root.Rollback() }
