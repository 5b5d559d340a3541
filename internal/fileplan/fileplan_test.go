package fileplan

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/errs"
)

// TestTwoFileSystems: a rename that cannot be done ends in an error that says
// why, and in the root as it was.
func TestTwoFileSystems(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{syscall.EXDEV: "different file systems", syscall.EBUSY: "a disk is mounted there", syscall.ENOSPC: "the disk is full"} {
		s := node()
		mem := disk(t, s)
		c := count(mem)
		c.fail = func(_ int, op errorfs.Op) error {
			if op.Kind == errorfs.OpRename && op.Path == root+"/staged/node/blocks" {
				return errno
			}
			return nil
		}
		r := open(t, c.fs())
		err := r.Begin(s.plan)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "staged/node/blocks") || errs.KindOf(err) == errs.Internal {
			t.Errorf("%v: %v", errno, err)
		}
		if whole(t, errno.Error(), mem, s) != None {
			t.Errorf("%v: not as before", errno)
		}
		check(t, r.Close())
	}
}

// TestPreconditions: what is refused is refused before anything is moved.
func TestPreconditions(t *testing.T) {
	s := node()
	type change func(t *testing.T, mem *vfs.MemFS, p *Plan)
	for name, c := range map[string]struct {
		do   change
		kind errs.Kind
		says string
	}{
		"no id":             {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.ID = "" }, errs.Invalid, "needs an id"},
		"no steps":          {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Steps = nil }, errs.Invalid, "and a step"},
		"outside":           {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Steps[0].To = "../om" }, errs.Invalid, `"../om" is no path below`},
		"absolute":          {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Steps[0].From = "/om" }, errs.Invalid, "is no path below"},
		"not clean":         {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Keep = "previous/" }, errs.Invalid, "is no path below"},
		"the marker":        {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Steps[0].To = "plan" }, errs.Invalid, "the plan's own"},
		"the lock":          {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Drop = []string{"LOCK"} }, errs.Invalid, "the plan's own"},
		"twice":             {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Steps[1].To = "om" }, errs.Invalid, "in each other"},
		"one in another":    {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Steps[1].To = "om/node" }, errs.Invalid, "in each other"},
		"kept in a place":   {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Keep = "om/previous" }, errs.Invalid, "in each other"},
		"dropping a place":  {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Drop = []string{"om"} }, errs.Invalid, "cannot be dropped"},
		"dropping the kept": {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Drop = []string{"previous/om"} }, errs.Invalid, "cannot be dropped"},
		"no source":         {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Steps[2].From = "staged/node/none" }, errs.PreconditionFailed, "nothing to move"},
		"no place":          {func(_ *testing.T, _ *vfs.MemFS, p *Plan) { p.Steps[2].To = "none/blocks" }, errs.PreconditionFailed, "no such directory"},
		"something kept":    {func(t *testing.T, mem *vfs.MemFS, _ *Plan) { put(t, mem, root+"/previous", "?") }, errs.NotEmpty, "move it away"},
		"another plan":      {func(t *testing.T, mem *vfs.MemFS, _ *Plan) { begun(t, first(), mem) }, errs.Conflict, "plan 2 () is applied"},
	} {
		mem := disk(t, s)
		first().old.make(t, mem)
		p := s.plan
		p.Steps = slices.Clone(p.Steps)
		c.do(t, mem, &p)
		was := read(t, mem)
		r := open(t, mem)
		if err := r.Begin(p); errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if got := read(t, mem); got.String() != was.String() {
			t.Errorf("%s: %v", name, got)
		}
		check(t, r.Close())
	}
}

// TestLife goes through the states, and through those of a second plan.
func TestLife(t *testing.T) {
	s := node()
	mem := disk(t, s)
	r := open(t, mem)
	if _, err := Open(mem, root); errs.KindOf(err) != errs.Unavailable || !strings.Contains(err.Error(), "running server") {
		t.Errorf("opened twice: %v", err)
	}
	if err := r.Rollback(); errs.KindOf(err) != errs.PreconditionFailed {
		t.Errorf("nothing was rolled back: %v", err)
	}
	check(t, errors.Join(r.Confirm(), r.Forget(t.Context()))) // do nothing
	for range 2 {
		check(t, r.Begin(s.plan))
		if whole(t, "begun", mem, s) != Applied {
			t.Fatal("not applied")
		}
		check(t, r.Forget(t.Context())) // not confirmed: does nothing
		if st, err := r.Status(); err != nil || st.State != Applied || st.Plan.Why != "a test" || len(st.Plan.Steps) != 3 {
			t.Fatalf("%+v, %v", st, err)
		}
		check(t, r.Rollback())
		if whole(t, "rolled back", mem, s) != None {
			t.Fatal("not as before")
		}
	}
	check(t, r.Begin(s.plan))
	check(t, r.Confirm())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Forget(ended); errs.KindOf(err) != errs.Canceled || status(t, mem) != Forgetting {
		t.Errorf("%v, %v", err, status(t, mem))
	}
	// A new plan ends the old one's business first.
	s.old.make(t, mem)
	put(t, mem, root+"/om/b", "the second time")
	check(t, r.Begin(Plan{ID: "2", Keep: "previous", Steps: []Step{{"audit", "om"}}}))
	if got := read(t, mem); got["om/log"] != "kept" || got["previous/om/b"] != "the second time" || got["staged/"] != "" || len(got["previous/node"]) > 0 {
		t.Errorf("%v", got)
	}
	check(t, r.Close())
	check(t, open(t, mem).Close())
}

// crashed returns a disk on which the plan was cut off after a part of it.
func crashed(t *testing.T, s shape, before string) *vfs.MemFS {
	t.Helper()
	c := cuts(disk(t, s), func(fs vfs.FS) { begun(t, s, fs) })
	for i, op := range c.ops {
		if op == "100 % before "+before {
			return c.clones[i]
		}
	}
	t.Fatalf("no operation %q in %q", before, c.ops)
	return nil
}

// TestSourceIsLost: a plan that cannot go on goes back, and says why.
func TestSourceIsLost(t *testing.T) {
	s := node()
	mem := crashed(t, s, "rename "+root+"/blocks")
	check(t, mem.RemoveAll(root+"/staged/node/blocks"))
	r := open(t, mem)
	defer r.Close()
	out, err := r.Recover()
	if err != nil || out.Did != RolledBack || out.Plan.ID != "1" || out.Cause == nil || !strings.Contains(out.Cause.Error(), "staged/node/blocks") {
		t.Fatalf("%+v, %v", out, err)
	}
	for name := range s.old {
		if strings.HasPrefix(name, "staged/node/blocks") {
			delete(s.old, name)
		}
	}
	if whole(t, "a source is lost", mem, s) != None {
		t.Error("not as before")
	}
	if again, err := r.Recover(); err != nil || again.Did != Nothing {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestStagedIsLost: the directory that the new things came from may be gone too.
func TestStagedIsLost(t *testing.T) {
	s := node()
	mem := disk(t, s)
	begun(t, s, mem)
	check(t, mem.RemoveAll(root+"/staged"))
	r := open(t, mem)
	defer r.Close()
	check(t, r.Rollback())
	delete(s.old, "staged/fetch/")
	delete(s.old, "staged/fetch/m")
	if whole(t, "rolled back", mem, s) != None {
		t.Error("not as before")
	}
}

// TestKeptIsLost: when an old thing is gone nothing claims that it is back, until
// it is.
func TestKeptIsLost(t *testing.T) {
	s := node()
	mem := disk(t, s)
	begun(t, s, mem)
	check(t, mem.Rename(root+"/previous/node", root+"/elsewhere"))
	r := open(t, mem)
	defer r.Close()
	err := r.Rollback()
	if errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), root+"/previous/node") {
		t.Fatal(err)
	}
	if _, err := r.Recover(); errs.KindOf(err) != errs.Corrupt || status(t, mem) != RollingBack {
		t.Fatal(err)
	}
	check(t, mem.Rename(root+"/elsewhere", root+"/previous/node"))
	if out, err := r.Recover(); err != nil || out.Did != RolledBack {
		t.Fatalf("%+v, %v", out, err)
	}
	if whole(t, "rolled back", mem, s) != None {
		t.Error("not as before")
	}
}

// TestRollbackLeavesOthers: a file that somebody put to the kept things stays.
func TestRollbackLeavesOthers(t *testing.T) {
	s := node()
	mem := disk(t, s)
	begun(t, s, mem)
	put(t, mem, path.Join(root, "previous", "mine"), "important")
	r := open(t, mem)
	defer r.Close()
	check(t, r.Rollback())
	s.old["previous/"], s.old["previous/mine"] = "", "important"
	if whole(t, "rolled back", mem, s) != None {
		t.Error("not as before")
	}
}

// TestOnDisk does it once on a real disk, where directories cannot be renamed
// over others.
func TestOnDisk(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"om/old", "staged/node/om/new"} {
		check(t, vfs.Default.MkdirAll(dir+"/"+name, 0o700))
	}
	put(t, vfs.Default, dir+"/staged/node/node", "new")
	r, err := Open(nil, dir)
	check(t, err)
	if _, err := Open(nil, dir); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("opened twice: %v", err)
	}
	p := Plan{ID: "1", Keep: "previous", Drop: []string{"staged"}, Steps: []Step{{"staged/node/om", "om"}, {"staged/node/node", "node"}}}
	list := func(of string) []string {
		names, err := vfs.Default.List(dir + "/" + of)
		check(t, err)
		slices.Sort(names)
		return names
	}
	check(t, r.Begin(p))
	if !slices.Equal(list("."), []string{"LOCK", "node", "om", "plan", "previous", "staged"}) || !slices.Equal(list("om"), []string{"new"}) || !slices.Equal(list("previous/om"), []string{"old"}) {
		t.Error(list("."))
	}
	check(t, r.Rollback())
	if !slices.Equal(list("."), []string{"LOCK", "om", "staged"}) || !slices.Equal(list("om"), []string{"old"}) {
		t.Error(list("."))
	}
	check(t, r.Begin(p))
	check(t, errors.Join(r.Confirm(), r.Forget(t.Context()), r.Close()))
	if !slices.Equal(list("."), []string{"LOCK", "node", "om"}) {
		t.Error(list("."))
	}
	if _, err := Open(nil, dir+"/none"); errs.KindOf(err) != errs.Internal {
		t.Errorf("no such directory: %v", err)
	}
}
