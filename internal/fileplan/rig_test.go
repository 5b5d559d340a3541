package fileplan

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

const root = "/r"

// shape is a root before a plan, the plan, and the root after it.
type shape struct {
	plan            Plan
	old, new, final tree // before; while the old things are kept; when they are forgotten
}

// tree is what a root holds: files by path, and directories with a slash at
// their end.
type tree map[string]string

func (t tree) String() string {
	var out []string
	for name, content := range t {
		out = append(out, fmt.Sprintf("%s=%q", name, content))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// node is the plan that puts a staged node into the place of another.
func node() shape {
	return shape{
		plan: Plan{
			ID: "1", Why: "a test", Keep: "previous", Drop: []string{"staged"},
			Steps: []Step{{"staged/node/om", "om"}, {"staged/node/node", "node"}, {"staged/node/blocks", "blocks"}},
		},
		old: tree{
			"audit/": "", "audit/log": "kept", "om/": "", "om/db/": "", "om/db/a": "old a", "node": "old node", "blocks/": "", "blocks/x": "old x",
			"staged/": "", "staged/fetch/": "", "staged/fetch/m": "m", "staged/node/": "", "staged/node/om/": "", "staged/node/om/b": "new b",
			"staged/node/node": "new node", "staged/node/blocks/": "", "staged/node/blocks/y": "new y",
		},
		new: tree{
			"audit/": "", "audit/log": "kept", "om/": "", "om/b": "new b", "node": "new node", "blocks/": "", "blocks/y": "new y",
			"staged/": "", "staged/fetch/": "", "staged/fetch/m": "m", "staged/node/": "",
			"previous/": "", "previous/om/": "", "previous/om/db/": "", "previous/om/db/a": "old a", "previous/node": "old node", "previous/blocks/": "", "previous/blocks/x": "old x",
		},
		final: tree{"audit/": "", "audit/log": "kept", "om/": "", "om/b": "new b", "node": "new node", "blocks/": "", "blocks/y": "new y"},
	}
}

// first is a plan whose places are empty but for one, deep in the tree.
func first() shape {
	return shape{
		plan:  Plan{ID: "2", Keep: "k/old", Steps: []Step{{"in/a", "a"}, {"in/b", "deep/er/b"}}},
		old:   tree{"k/": "", "in/": "", "in/a": "1", "in/b": "2", "deep/": "", "deep/er/": "", "deep/er/b": "0"},
		new:   tree{"in/": "", "a": "1", "deep/": "", "deep/er/": "", "deep/er/b": "2", "k/": "", "k/old/": "", "k/old/deep/": "", "k/old/deep/er/": "", "k/old/deep/er/b": "0"},
		final: tree{"in/": "", "a": "1", "deep/": "", "deep/er/": "", "deep/er/b": "2", "k/": ""},
	}
}

// make lays a tree out, durably.
func (t tree) make(tb testing.TB, mem *vfs.MemFS) {
	tb.Helper()
	dirs := []string{"/", root}
	check(tb, mem.MkdirAll(root, 0o700))
	for name := range t {
		dir := path.Dir(path.Join(root, name))
		if strings.HasSuffix(name, "/") {
			dir = path.Join(root, name)
		}
		for ; dir != root; dir = path.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	for _, dir := range dirs {
		check(tb, mem.MkdirAll(dir, 0o700))
	}
	for name, content := range t {
		if !strings.HasSuffix(name, "/") {
			put(tb, mem, path.Join(root, name), content)
		}
	}
	for _, dir := range dirs {
		syncDir(tb, mem, dir)
	}
}

func put(tb testing.TB, fs vfs.FS, name, content string) {
	tb.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	check(tb, err)
	_, err = f.Write([]byte(content))
	check(tb, errors.Join(err, f.Sync(), f.Close()))
}

func syncDir(tb testing.TB, fs vfs.FS, dir string) {
	tb.Helper()
	d, err := fs.OpenDir(dir)
	check(tb, err)
	check(tb, errors.Join(d.Sync(), d.Close()))
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// read returns what a root holds, without what is the plan's own.
func read(tb testing.TB, fs vfs.FS) tree {
	tb.Helper()
	out := tree{}
	var walk func(dir string)
	walk = func(dir string) {
		names, err := fs.List(path.Join(root, dir))
		check(tb, err)
		for _, name := range names {
			name = path.Join(dir, name)
			if slices.Contains([]string{markerName, markerName + partName, lockName}, name) || path.Base(name) == asideName {
				continue
			}
			st, err := fs.Stat(path.Join(root, name))
			check(tb, err)
			if st.IsDir() {
				out[name+"/"] = ""
				walk(name)
				continue
			}
			f, err := fs.Open(path.Join(root, name))
			check(tb, err)
			raw, err := io.ReadAll(f)
			check(tb, errors.Join(err, f.Close()))
			out[name] = string(raw)
		}
	}
	walk(".")
	return out
}

func open(tb testing.TB, fs vfs.FS) *Root {
	tb.Helper()
	r, err := Open(fs, root)
	check(tb, err)
	return r
}

// status is a root's state, alone.
func status(tb testing.TB, fs vfs.FS) State {
	tb.Helper()
	s, err := Read(fs, root)
	check(tb, err)
	return s.State
}

// counted passes what is done on to a file system, and tells of each operation
// before it: a power cut is any of these moments.
type counted struct {
	mem *vfs.MemFS
	rng *rand.Rand

	mu     sync.Mutex
	ops    []string
	clones []*vfs.MemFS // three of each operation: nothing that was not synced survives, any part, all
	fail   func(n int, op errorfs.Op) error
	n      int
}

func count(mem *vfs.MemFS) *counted {
	return &counted{mem: mem, rng: rand.New(rand.NewPCG(1, 2))}
}

func (c *counted) fs() vfs.FS {
	return errorfs.Wrap(c.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpLock || path.Base(op.Path) == lockName {
			return nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.n++
		if c.fail != nil {
			return c.fail(c.n, op)
		}
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			what := map[errorfs.OpKind]string{errorfs.OpRename: "rename", errorfs.OpFileSync: "sync", errorfs.OpFileWrite: "write", errorfs.OpRemove: "remove"}[op.Kind]
			c.cut(what + " " + op.Path)
		}
		return nil
	}))
}

func (c *counted) cut(op string) {
	for _, percent := range []int{0, 50, 100} {
		c.clones = append(c.clones, c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.rng}))
		c.ops = append(c.ops, fmt.Sprintf("%d %% before %s", percent, op))
	}
}

// cuts does something and returns the disks that a power cut leaves before each
// operation of it, and after the last.
func cuts(mem *vfs.MemFS, do func(fs vfs.FS)) *counted {
	c := count(mem)
	do(c.fs())
	c.cut("the end")
	return c
}

func clone(mem *vfs.MemFS) *vfs.MemFS {
	return mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
}
