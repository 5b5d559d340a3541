package app

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	o3v1 "o3/api/o3/v1"
	"o3/internal/audit"
	"o3/internal/errs"
	"o3/internal/fileplan"
)

// replaceable is the data directory of a stopped node with the objects old and
// new, and an image of it from before new was written.
func replaceable(t *testing.T) (dir, backup string, o settings) {
	t.Helper()
	backup = filepath.Join(t.TempDir(), "backup")
	s := start(t, settings{})
	s.bucket("bee", "OBJECT_STORE")
	s.must("PUT", "/bee/old", pattern("old", 30_000))
	if e := s.exports(&o3v1.ExportImageRequest{Directory: backup, WithBlocks: true}); e.State != exportDone {
		t.Fatalf("%v", e)
	}
	s.must("PUT", "/bee/new", pattern("new", 30_000))
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	return s.Data, backup, settings{dir: s.Data}
}

// has checks which state a server serves, with its bytes.
func (s *server) has(key string, yes bool) {
	s.t.Helper()
	a := s.s3("GET", "/bee/"+key, nil)
	if yes && (a.status != 200 || string(a.body) != string(pattern(key, 30_000))) || !yes && a.status != 404 {
		s.t.Errorf("%s: %v", key, a)
	}
}

func present(t *testing.T, yes bool, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if is, err := exists(filepath.Join(dir, name)); err != nil || is != yes {
			t.Errorf("%s in %s: %v, %v", name, dir, is, err)
		}
	}
}

func quiet(t *testing.T, s *server) {
	t.Helper()
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
}

// TestPreviousIsKeptUntilServed: a state that was replaced is there as long as
// the new one has not served, and can be put back; then it goes.
func TestPreviousIsKeptUntilServed(t *testing.T) {
	t.Parallel()
	dir, backup, o := replaceable(t)
	o3(t, 0, "admin", "om", "image", "import", backup, "--data", dir, "--replace")
	present(t, true, dir, "previous/om", "previous/node", "previous/blocks", "plan", "audit", "root-credentials")

	other := o
	other.set = []string{"ozone.om.node.id=om9"}
	_, err := try(t, other)
	kind(t, err, errs.Invalid, "belongs to node om1")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other.set = []string{"ozone.om.address=" + taken.Addr().String()} // it has opened all its parts
	if _, err = try(t, other); err == nil {
		t.Error("two servers at one address")
	}
	present(t, true, dir, "previous/om", "plan")

	o3(t, 0, "admin", "om", "rollback", "--data", dir)
	present(t, false, dir, "previous", "plan")
	s := start(t, o)
	s.has("old", true)
	s.has("new", true)
	present(t, true, dir, "staged/node/om") // beside a node it says nothing
	out := o3(t, 8, "admin", "om", "rollback", "--data", dir)
	if !strings.Contains(out, "in use by a running server") {
		t.Error(out)
	}
	quiet(t, s)

	if err := os.RemoveAll(filepath.Join(dir, "staged")); err != nil {
		t.Fatal(err)
	}
	o3(t, 0, "admin", "om", "image", "import", backup, "--data", dir, "--replace")
	s = start(t, o)
	s.has("old", true)
	s.has("new", false)
	s.must("PUT", "/bee/new", pattern("new", 30_000))
	wait(t, "the previous state is removed", func() bool { is, err := exists(filepath.Join(dir, "plan")); return err == nil && !is })
	present(t, false, dir, "previous", "staged")
	wait(t, "the audit log has it", func() bool {
		return len(s.records(filepath.Join(dir, "audit", "audit.log"), audit.Query{Action: "node:Switch"})) == 1
	})
	quiet(t, s)
	if out := o3(t, 6, "admin", "om", "rollback", "--data", dir); !strings.Contains(out, "no previous state is kept") {
		t.Error(out)
	}
	s = start(t, o)
	s.has("new", true)
}

// TestServedIsNotRolledBack: once a node has begun to serve the new state there is
// no way back, also when it was killed before the previous state was removed; the
// next start goes on with that.
func TestServedIsNotRolledBack(t *testing.T) {
	t.Parallel()
	dir, backup, o := replaceable(t)
	o3(t, 0, "admin", "om", "image", "import", backup, "--data", dir, "--replace")
	root, err := fileplan.Open(nil, dir)
	if err == nil {
		err = errors.Join(root.Confirm(), root.Close()) // as firstStart does
	}
	if err != nil {
		t.Fatal(err)
	}
	if out := o3(t, 6, "admin", "om", "rollback", "--data", dir); !strings.Contains(out, "the new state has served") {
		t.Error(out)
	}
	present(t, true, dir, "previous/om")
	s := start(t, o)
	s.has("new", false)
	wait(t, "the previous state is removed", func() bool { is, err := exists(filepath.Join(dir, "plan")); return err == nil && !is })
	present(t, false, dir, "previous", "staged")
}

// torn carries a replacement out until the nth rename of the plan, where the
// power fails.
func torn(t *testing.T, dir string, nth int) {
	t.Helper()
	renames := 0
	cut := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpRename && !strings.HasSuffix(op.Path, "plan.part") {
			renames++
		}
		if renames >= nth && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
			return syscall.EIO
		}
		return nil
	}))
	root, err := fileplan.Open(cut, dir)
	if err != nil {
		t.Fatal(err)
	}
	err = root.Begin(fileplan.Plan{
		ID: "torn", Why: "a test", Keep: "previous", Drop: []string{"staged"},
		Steps: []fileplan.Step{{From: "staged/node/om", To: "om"}, {From: "staged/node/node", To: "node"}, {From: "staged/node/blocks", To: "blocks"}},
	})
	if err = errors.Join(err, root.Close()); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}

// TestStartRecovers: a start brings a replacement that was cut off anywhere to
// its end, or back, and says so in both logs.
func TestStartRecovers(t *testing.T) {
	t.Parallel()
	dir, backup, o := replaceable(t)
	made := filepath.Join(t.TempDir(), "made")
	o3(t, 0, "admin", "om", "image", "import", backup, "--data", made)
	stage := func(names ...string) {
		t.Helper()
		err := errors.Join(os.RemoveAll(filepath.Join(dir, "staged")), os.MkdirAll(filepath.Join(dir, "staged", "node"), 0o700))
		for _, name := range names {
			if st, serr := os.Stat(filepath.Join(made, name)); serr == nil && st.IsDir() {
				err = errors.Join(err, os.CopyFS(filepath.Join(dir, "staged", "node", name), os.DirFS(filepath.Join(made, name))))
				continue
			}
			raw, rerr := os.ReadFile(filepath.Join(made, name))
			err = errors.Join(err, rerr, os.WriteFile(filepath.Join(dir, "staged", "node", name), raw, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	recovered := func(s *server, outcome string, result errs.Kind) {
		t.Helper()
		wait(t, "the audit log has it", func() bool {
			list := s.records(filepath.Join(dir, "audit", "audit.log"), audit.Query{Action: "node:RecoverSwitch"})
			return len(list) > 0 && list[len(list)-1].Params["outcome"] == outcome && list[len(list)-1].Result == result.String() && list[len(list)-1].Params["plan"] == "torn"
		})
	}

	stage("om", "node", "blocks")
	torn(t, dir, 6)
	present(t, false, dir, "blocks")
	if err := os.RemoveAll(filepath.Join(dir, "staged", "node", "blocks")); err != nil { // what is to come is lost
		t.Fatal(err)
	}
	s := start(t, o)
	if !strings.Contains(s.log.String(), "the previous state is in force") {
		t.Errorf("%s", s.log)
	}
	s.has("old", true)
	s.has("new", true)
	recovered(s, "rolled back", errs.Corrupt)
	present(t, false, dir, "plan", "previous")
	quiet(t, s)

	stage("om", "node", "blocks")
	torn(t, dir, 3)
	if out := o3(t, 6, "debug", "db", "verify", "--data", dir); !strings.Contains(out, "the switch to a test was cut off here") {
		t.Error(out)
	}
	s = start(t, o)
	if !strings.Contains(s.log.String(), "was cut off is complete now") {
		t.Errorf("%s", s.log)
	}
	s.has("old", true)
	s.has("new", false)
	recovered(s, "completed", errs.OK)
	wait(t, "the previous state is removed", func() bool { is, err := exists(filepath.Join(dir, "plan")); return err == nil && !is })
	quiet(t, s)

	raw := []byte(`{"magic":"o3 plan","format":7}`)
	if err := os.WriteFile(filepath.Join(dir, "plan"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := try(t, o)
	kind(t, err, errs.FormatTooNew, filepath.Join(dir, "plan"), "format 7")
}

// TestStagedAlone: a directory in which a state was only being made is not taken
// for an empty one.
func TestStagedAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "staged", "fetch"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := try(t, settings{dir: dir})
	kind(t, err, errs.Corrupt, filepath.Join(dir, "staged"), "run it again, or remove")
	present(t, false, dir, "node", "om")
	if err := os.Remove(filepath.Join(dir, "staged", "fetch")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "staged")); err != nil {
		t.Fatal(err)
	}
	s := start(t, settings{dir: dir})
	_, err = try(t, settings{dir: dir})
	kind(t, err, errs.Unavailable, dir, "in use by a running server")
	s.bucket("bee", "OBJECT_STORE")
}

// TestAfterwards: what frees blocks waits until a new state serves, so that the
// previous one can still be put back.
func TestAfterwards(t *testing.T) {
	n := &node{takeover: takeover{pending: true, served: make(chan struct{})}}
	ran := make(chan struct{})
	run := n.afterwards(func(context.Context) error { close(ran); return errFault })
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := run(ctx); err != nil {
		t.Error(err)
	}
	select {
	case <-ran:
		t.Error("it ran before")
	default:
	}
	close(n.takeover.served)
	if err := run(t.Context()); err != errFault {
		t.Error(err)
	}
	n.takeover = takeover{}
	if err := n.afterwards(func(context.Context) error { return errFault })(ctx); err != errFault {
		t.Errorf("a start without a switch: %v", err)
	}
}
