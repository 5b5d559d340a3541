package image

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
	"o3/internal/fileplan"
)

// place is a data directory /d with a node, and the fetched image of another one
// that is to replace it.
type place struct {
	mem                *vfs.MemFS
	m                  *Manifest
	oldDigest          string
	oldView, otherView string
}

// grown makes a node at dir, with its identity, and returns what it shows.
func grown(t *testing.T, mem *vfs.MemFS, dir, store string, rounds int) (view, digest string) {
	t.Helper()
	r := start(t, mem, dir)
	for round := range rounds {
		r.fill(round)
	}
	view, digest = r.picture(), r.replica.Position().Digest.String()
	r.stop()
	id := identity{Format: 1, ID: "om1", Number: 1, Store: store, Begun: true}
	r.check(errors.Join(writeIdentity(mem, dir, id), writeIdentity(mem, mem.PathJoin(dir, blocksDir), id)))
	return view, digest
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{mem: vfs.NewCrashableMem()}
	p.oldView, p.oldDigest = grown(t, p.mem, "/d", "OLD", 1)
	p.otherView, _ = grown(t, p.mem, "/data", "STORE1", 2)
	p.m = exported(t, p.mem, "/data", true)
	lay(t, p.mem, "/backup", p.m.ID, "/d/staged/fetch")
	write1(t, p.mem, "/d/root-credentials", []byte("secret"))
	for _, dir := range []string{"/data", "/data-images", "/backup"} { // a clone copies everything
		if err := p.mem.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"/d/staged", "/d", "/"} { // the stores make files that they do not sync
		if err := syncDir(p.mem, dir); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// replace adopts the image and switches to it, as an import or a bootstrap does.
func (p *place) replace(t *testing.T, fs vfs.FS) {
	t.Helper()
	at, err := Take(fs, "/d")
	if err != nil {
		t.Fatal(err)
	}
	_, made, err := NodeAt(fs, StagedNode(fs, "/d"))
	if err == nil && !made {
		_, err = Adopt(t.Context(), "/d/staged/fetch", AdoptOptions{ImportOptions: ImportOptions{FS: fs, DataDir: StagedNode(fs, "/d"), Parallel: 1}, Verified: true})
	}
	if err == nil {
		err = at.Switch("plan-1", "image "+p.m.ID, Want{})
	}
	if err = errors.Join(err, at.Close()); err != nil {
		t.Fatal(err)
	}
}

// standing takes the directory, which recovers it, and says which state is in
// force: it checks that it is a whole one.
func (p *place) standing(t *testing.T, op string, mem *vfs.MemFS) string {
	t.Helper()
	at, err := Take(mem, "/d")
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	defer at.Close()
	st, err := at.Status()
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	n, ok, err := NodeAt(mem, "/d")
	if err != nil || !ok || !n.HasBytes {
		t.Fatalf("%s: %s: %+v, %v, %v", op, st.State, n, ok, err)
	}
	blocks, _, err := readIdentity(mem, "/d/blocks")
	if err != nil || blocks.Store != n.Store {
		t.Fatalf("%s: %s: names of store %s with bytes of store %s, %v", op, st.State, n.Store, blocks.Store, err)
	}
	if raw, err := readSmall(mem, "/d/root-credentials", 100); err != nil || string(raw) != "secret" {
		t.Fatalf("%s: %q, %v", op, raw, err)
	}
	switch {
	case st.State == fileplan.None && n.Digest == p.oldDigest && n.Store == "OLD":
		return "old"
	case st.State == fileplan.Applied && n.Digest == p.m.Digest && n.Store != "OLD":
		return "new"
	}
	t.Fatalf("%s: %s: %+v", op, st.State, n)
	return ""
}

// shows starts the node and compares what it shows.
func (p *place) shows(t *testing.T, op string, mem *vfs.MemFS, state string) {
	t.Helper()
	r := start(t, mem, "/d")
	if got := r.picture(); got != map[string]string{"old": p.oldView, "new": p.otherView}[state] {
		t.Errorf("%s: %s shows\n%s", op, state, got)
	}
	r.sound()
	r.stop()
}

func (p *place) rollback(t *testing.T, op string, fs vfs.FS) {
	t.Helper()
	at, err := Take(fs, "/d")
	if err == nil {
		err = errors.Join(at.Rollback(), at.Close())
	}
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
}

// TestReplaceIsCut: a power cut at any moment of replacing a node leaves the old
// node or the new one, whole; and from the new one the old one can be put back,
// by a rollback that may be cut off too.
func TestReplaceIsCut(t *testing.T) {
	p := newPlace(t)
	c := newCuts(p.mem, "/d")
	c.record(func() { p.replace(t, c.fs()) })
	first := 0 // of the plan: what is before is of Adopt
	for first < len(c.ops) && !strings.Contains(c.ops[first], " /d/plan") {
		first++
	}
	plan := &cuts{clones: c.clones[first:], ops: c.ops[first:]}
	t.Logf("%d clones of making the new state, %d of the plan", first, len(plan.clones))
	seen := map[string]int{}
	look := func(op string, last bool, mem *vfs.MemFS) {
		mem = mem.CrashClone(vfs.CrashCloneCfg{}) // each may look at it again
		state := p.standing(t, op, mem)
		seen[state]++
		if last && state != "new" {
			t.Errorf("%s: the %s state", op, state)
		}
		if seen[state] == 3 || last {
			p.shows(t, op, mem.CrashClone(vfs.CrashCloneCfg{}), state)
		}
		if state == "new" {
			p.rollback(t, op, mem)
			if state = p.standing(t, op, mem); state != "old" {
				t.Errorf("%s: the %s state after a rollback", op, state)
			}
		}
	}
	plan.each(30, look)
	if seen["old"] == 0 || seen["new"] == 0 {
		t.Errorf("%v: the test has lost its reach", seen)
	}
	c.clones, c.ops = c.clones[:first], c.ops[:first]
	c.each(8, func(op string, _ bool, mem *vfs.MemFS) {
		mem = mem.CrashClone(vfs.CrashCloneCfg{})
		if state := p.standing(t, op, mem); state != "old" {
			t.Errorf("%s: the %s state", op, state)
		}
		p.replace(t, mem) // goes on
		if state := p.standing(t, op, mem); state != "new" {
			t.Errorf("%s: the %s state in the end", op, state)
		}
	})

	back := newCuts(p.mem, "/d")
	back.record(func() { p.rollback(t, "", back.fs()) })
	seen = map[string]int{}
	back.each(20, func(op string, last bool, mem *vfs.MemFS) {
		mem = mem.CrashClone(vfs.CrashCloneCfg{})
		state := p.standing(t, op, mem)
		seen[state]++
		if last && state != "old" {
			t.Errorf("%s: the %s state", op, state)
		}
		if seen[state] == 3 || last {
			p.shows(t, op, mem, state)
		}
	})
	if seen["old"] == 0 || seen["new"] == 0 {
		t.Errorf("%v: the test has lost its reach", seen)
	}
}

// switchCase is a replacement, and what comes of it.
type switchCase struct {
	from string // of the staged state; "": none
	do   func(mem *vfs.MemFS) error
	dir  string // BlockDir
	kind errs.Kind
	says string
}

// switchCases are of a node with bytes of store OLD, and staged states of store
// STORE1: with bytes in /with, without in names.
func switchCases(names string) map[string]switchCase {
	farAway := identity{Format: 1, ID: "om1", Number: 1, Store: "OLD", Blocks: "/far"}
	return map[string]switchCase{
		"nothing is staged":      {"", nil, "", errs.PreconditionFailed, "no complete node"},
		"bytes of another store": {names, nil, "", errs.PreconditionFailed, `(store "OLD", wanted "STORE1")`},
		"no bytes":               {names, func(mem *vfs.MemFS) error { return mem.RemoveAll("/d/blocks") }, "", errs.PreconditionFailed, "does not hold the bytes"},
		"its blocks elsewhere":   {"/with", func(mem *vfs.MemFS) error { return writeIdentity(mem, "/d", farAway) }, "", errs.PreconditionFailed, "--block-dir NEW-BLOCKS"},
		"configured elsewhere":   {"/with", nil, "/far", errs.PreconditionFailed, "the node has its blocks in /far"},
		"the same, by its path":  {"/with", nil, "/d/blocks", errs.OK, ""},
		"bytes of the same store": {names, func(mem *vfs.MemFS) error {
			return writeIdentity(mem, "/d/blocks", identity{Format: 1, ID: "om1", Number: 1, Store: "STORE1"})
		}, "", errs.OK, ""},
		"the same store elsewhere": {names, func(mem *vfs.MemFS) error {
			return errors.Join(writeIdentity(mem, "/d", farAway), mem.MkdirAll("/far", 0o700), writeIdentity(mem, "/far", identity{Format: 1, ID: "om1", Number: 1, Store: "STORE1"}))
		}, "", errs.OK, ""},
		"an empty directory": {names, func(mem *vfs.MemFS) error {
			return errors.Join(mem.RemoveAll("/d/om"), mem.Remove("/d/node"), mem.RemoveAll("/d/blocks"))
		}, "", errs.OK, ""},
		"a previous state": {"/with", func(mem *vfs.MemFS) error { return makeDir(mem, "/d/previous") }, "", errs.NotEmpty, "move it away"},
	}
}

// TestSwitchRefuses: what cannot be replaced is refused before anything is moved.
func TestSwitchRefuses(t *testing.T) {
	base := vfs.NewMem()
	_, digest := grown(t, base, "/d", "OLD", 1)
	grown(t, base, "/data", "STORE1", 1)
	with := exported(t, base, "/data", true)
	lay(t, base, "/backup", with.ID, "/with")
	s := openRaw(t, base, "/data/om/store")
	img := create(t, keep(t, base, s, Options{Dir: "/names"}))
	img.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range switchCases(img.Dir) {
		mem := vfs.NewMem()
		for _, dir := range []string{"/d", "/with", "/names"} {
			if _, err := vfs.Clone(base, mem, dir, dir); err != nil {
				t.Fatal(err)
			}
		}
		if c.from != "" {
			if _, err := Adopt(t.Context(), c.from, AdoptOptions{ImportOptions: ImportOptions{FS: mem, DataDir: "/d/staged/node"}}); err != nil {
				t.Fatal(err)
			}
		}
		if c.do != nil {
			if err := c.do(mem); err != nil {
				t.Fatal(err)
			}
		}
		at, err := Take(mem, "/d")
		if err != nil {
			t.Fatal(err)
		}
		err = at.Switch("1", "a test", Want{BlockDir: c.dir})
		if errs.KindOf(err) != c.kind || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		n, ok, nerr := NodeAt(mem, "/d")
		if nerr != nil {
			t.Fatal(nerr)
		}
		switch {
		case c.kind == errs.OK && (!ok || n.Digest != with.Digest || n.BlockDir != map[string]string{"the same store elsewhere": "/far"}[name]):
			t.Errorf("%s: %+v", name, n)
		case c.kind != errs.OK && (!ok || n.Digest != digest):
			t.Errorf("%s: %+v", name, n)
		}
		if c.kind == errs.OK {
			if err := at.May(Want{Bytes: true}); errs.KindOf(err) != errs.Conflict || !strings.Contains(err.Error(), "has not served yet") {
				t.Errorf("%s: a second switch: %v", name, err)
			}
			if err := at.Rollback(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if n, ok, err := NodeAt(mem, "/d"); err != nil || ok != (name != "an empty directory") || ok && n.Digest != digest {
				t.Errorf("%s: %+v, %v", name, n, err)
			}
		}
		if err := at.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTakeRefuses: one at a time has a data directory.
func TestTakeRefuses(t *testing.T) {
	mem := vfs.NewMem()
	grown(t, mem, "/d", "OLD", 1)
	for what, hold := range map[string]func() (interface{ Close() error }, error){
		"a command": func() (interface{ Close() error }, error) { return Take(mem, "/d") },
		"a server":  func() (interface{ Close() error }, error) { return fileplan.Open(mem, "/d") },
		"a debugger": func() (interface{ Close() error }, error) {
			return openRaw(t, mem, "/d/om/store"), nil
		},
	} {
		held, err := hold()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Take(mem, "/d"); errs.KindOf(err) != errs.Unavailable || !strings.Contains(fmt.Sprint(err), "stop it first") {
			t.Errorf("%s: %v", what, err)
		}
		if err := held.Close(); err != nil {
			t.Fatal(err)
		}
	}
	at, err := Take(mem, "/d")
	if err != nil {
		t.Fatal(err)
	}
	if n, ok, err := at.Node(); err != nil || !ok || n.Store != "OLD" {
		t.Errorf("%+v, %v, %v", n, ok, err)
	}
	if err := at.Rollback(); errs.KindOf(err) != errs.PreconditionFailed {
		t.Error(err)
	}
	if out := at.Recovered(); out.Did != fileplan.Nothing {
		t.Errorf("%+v", out)
	}
	if err := at.Close(); err != nil {
		t.Fatal(err)
	}
}
