package command_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

const (
	actionTrash  = commandpb.LifecycleAction_LIFECYCLE_ACTION_TRASH
	actionDelete = commandpb.LifecycleAction_LIFECYCLE_ACTION_DELETE
)

// TestScanAfter: in the order of a scan, what is covered grows.
func TestScanAfter(t *testing.T) {
	for layout, order := range map[ns.Layout][]string{
		ns.ObjectStore: {"", "a", "a\x00", "a/", "a/b", "a0", "b"},
		ns.FileSystem:  {"", "a", "a-", "a/b", "a/b/c", "a/b/d/", "a/b/", "a/b0", "a/", "a0", "a0/", "b"},
	} {
		for i := 1; i < len(order); i++ {
			if x, y := command.ScanAfter(layout, order[i-1]), command.ScanAfter(layout, order[i]); x >= y {
				t.Errorf("%v: behind %q is %q, behind %q %q", layout, order[i-1], x, order[i], y)
			}
		}
	}
	if got := command.ScanAfter(ns.FileSystem, "a/b/"); got <= "a/b/zzz\xff" || got > "a/b0" {
		t.Errorf("%q", got)
	}
}

func TestUploadPosition(t *testing.T) {
	for _, name := range []string{"k", "a/b", "/", "é\x00"} {
		k, err := command.ParseUploadPosition(7, command.UploadPosition(name, 1<<40))
		if err != nil || k.Bucket != 7 || k.Name != name || k.Upload != 1<<40 {
			t.Errorf("%+v, %v", k, err)
		}
	}
	for _, bad := range []string{"", "k", "k/", "k/1", "k/000000000000400", "k/zzzzzzzzzzzzzzzz"} {
		if _, err := command.ParseUploadPosition(7, bad); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestTrashCheckpoint(t *testing.T) {
	name := command.TrashCheckpoint(fsmtest.Start)
	if ms, ok := command.ParseTrashCheckpoint(name); name != "231114221320" || !ok || ms != fsmtest.Start {
		t.Errorf("%s is %d, %v", name, ms, ok)
	}
	for _, bad := range []string{"", "Current", "23111422132", "2311142213200", "231314221320", "x31114221320", "231114221320.5"} {
		if _, ok := command.ParseTrashCheckpoint(bad); ok {
			t.Errorf("%q is one", bad)
		}
	}
	for owner, want := range map[string]string{"bob": ".Trash/bob/", "..": ".Trash/_/", ".": ".Trash/_/", "": ".Trash/_/", "a/b": ".Trash/_/", "@o3": ".Trash/_/"} {
		if got := command.TrashOf(owner); got != want {
			t.Errorf("trash of %q is %s", owner, got)
		}
	}
}

// TestStepSize: a step takes so many victims, new directories and bytes.
func TestStepSize(t *testing.T) {
	fill := func(layout ns.Layout, action commandpb.LifecycleAction, path func(int) string) (n int) {
		var s command.StepSize
		for s.Add(layout, &commandpb.LifecycleVictim{Action: action, Path: path(n)}) && n < 5000 {
			n++
		}
		return n
	}
	long := strings.Repeat("x", 1000)
	for what, c := range map[string]struct {
		layout ns.Layout
		action commandpb.LifecycleAction
		path   func(int) string
		want   int
	}{
		"keys":                           {ns.FileSystem, actionTrash, func(i int) string { return fmt.Sprint(i) }, 1000},
		"deep keys of one directory":     {ns.FileSystem, actionTrash, func(i int) string { return fmt.Sprint("a/b/c/d/", i) }, 1000},
		"keys two directories below":     {ns.FileSystem, actionTrash, func(i int) string { return fmt.Sprintf("d%04d/e/k", i) }, 500},
		"directories":                    {ns.FileSystem, actionTrash, func(i int) string { return fmt.Sprintf("p%04d/e/", i) }, 1000},
		"the last of one directory each": {ns.FileSystem, actionTrash, func(i int) string { return []string{"a/b/1", "a/b/c/1", "a/b/c/", "a/b/", "a/"}[min(i, 4)] }, 1000},
		"deletions":                      {ns.FileSystem, actionDelete, func(i int) string { return fmt.Sprintf("d%04d/e/k", i) }, 1000},
		"of an object store":             {ns.ObjectStore, actionTrash, func(i int) string { return fmt.Sprintf("d%04d/e/k", i) }, 1000},
		"long names":                     {ns.ObjectStore, actionDelete, func(int) string { return long }, 524},
	} {
		if got := fill(c.layout, c.action, c.path); got != c.want {
			t.Errorf("%s: %d, want %d", what, got, c.want)
		}
	}
}

// scanRig is a bucket with a scan under way.
type scanRig struct {
	*fsmtest.Driver
	t    *testing.T
	scan *commandpb.LifecycleScan
}

func newScanRig(t *testing.T, layout string) *scanRig {
	r := &scanRig{Driver: fsmtest.New(t, new(memkv.Store)), t: t}
	r.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
	b := r.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "bkt", Layout: layout}).Body.(*o3v1.CreateBucketResponse).Bucket
	c := &o3v1.LifecycleConfiguration{Rules: []*o3v1.LifecycleRule{ageRule("r", 1)}}
	rules := r.Must(t, &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: "bkt", Configuration: c}).Op
	r.scan = &commandpb.LifecycleScan{Volume: "s3v", Bucket: "bkt", BucketId: b.ObjectId, ConfigurationId: uint64(rules)}
	r.scan.ScanId = r.Must(t, &commandpb.StartLifecycleScan{Scan: r.scan}).Body.(*commandpb.StartLifecycleScanReply).State.ScanID
	return r
}

// victims returns keys and directories as they are, in the order of a scan.
func (r *scanRig) victims(action commandpb.LifecycleAction, paths ...string) (out []*commandpb.LifecycleVictim) {
	v := view.New(r.Store)
	b, err := v.Bucket("s3v", "bkt")
	if err != nil {
		r.t.Fatal(err)
	}
	slices.SortFunc(paths, func(x, y string) int {
		return strings.Compare(command.ScanAfter(b.Layout(), x), command.ScanAfter(b.Layout(), y))
	})
	for _, p := range paths {
		e, err := v.Key(b, p)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, &commandpb.LifecycleVictim{Action: action, Path: p, ParentId: uint64(e.Parent), Since: e.Row.Since})
	}
	return out
}

func (r *scanRig) step(victims []*commandpb.LifecycleVictim) fsmtest.Answer {
	r.t.Helper()
	last := victims[len(victims)-1]
	a := r.Do(r.t, &commandpb.LifecycleStep{
		Scan: r.scan, Phase: schemapb.LifecyclePhase_LIFECYCLE_PHASE_KEYS, LastScannedKey: last.Path, LastScannedParent: last.ParentId, Victims: victims,
	})
	if a.Kind == errs.OK {
		r.scan.Sequence++
	}
	if _, err := fsmtest.Check(r.Store); err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *scanRig) names() (out []string) {
	v := view.New(r.Store)
	b, err := v.Bucket("s3v", "bkt")
	if err != nil {
		r.t.Fatal(err)
	}
	page, err := v.List(b, view.ListOptions{Limit: 10_000})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range page.Entries {
		out = append(out, e.Path)
	}
	return out
}

// TestLongPathsInTrash: what has the longest name there may be can be moved to
// the trash, set aside and named there; two that differ at the end stay two.
func TestLongPathsInTrash(t *testing.T) {
	for _, layout := range []string{"OBS", "FSO"} {
		r := newScanRig(t, layout)
		long := strings.Repeat("é/", 300) // 900 bytes
		var paths []string
		for _, end := range []string{"1", "2"} {
			p := long + strings.Repeat("ö", 61) + end
			p += strings.Repeat("x", ns.MaxKeyName-len(p)-1) + end
			r.Must(t, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "bkt", Key: p})
			paths = append(paths, p)
		}
		if layout == "FSO" {
			dir := strings.Repeat("d/", ns.MaxKeyName/2)
			r.Must(t, &o3v1.CreateDirectoryRequest{Volume: "s3v", Bucket: "bkt", Path: dir})
			paths = append(paths, dir)
		}
		a := r.step(r.victims(actionTrash, paths...))
		if a.Kind != errs.OK || len(a.Body.(*commandpb.LifecycleStepReply).Skips) > 0 {
			t.Fatalf("%s: %v, %v", layout, a, a.Body)
		}
		for more := true; more; {
			a := r.Must(t, &commandpb.CheckpointTrash{Volume: "s3v", Bucket: "bkt", BucketId: r.scan.BucketId, Owner: "root", Checkpoint: "231114221320", Limit: 1})
			c, _ := a.Body.(*commandpb.CheckpointTrashReply)
			more = c.GetMore()
		}
		got := r.names()
		if len(got) != len(paths) {
			t.Fatalf("%s: %q", layout, got)
		}
		for _, p := range got {
			l, _ := ns.ParseLayout(layout)
			if err := ns.CheckKeyName(l, p); err != nil || !strings.HasPrefix(p, ".Trash/root/231114221320/") {
				t.Errorf("%s: %q: %v", layout, p, err)
			}
		}
	}
}

// TestFullStep: a step as large as there may be is applied, and its directories
// get ids; one victim more is refused before anything is done.
func TestFullStep(t *testing.T) {
	r := newScanRig(t, "FSO")
	var paths []string
	for i := range 501 {
		p := fmt.Sprintf("d%04d/e/k", i)
		r.Must(t, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "bkt", Key: p})
		paths = append(paths, p)
	}
	if a := r.step(r.victims(actionTrash, paths...)); a.Kind != errs.Invalid || !strings.Contains(a.Detail, "more than a step takes") {
		t.Fatal(a)
	}
	a := r.step(r.victims(actionTrash, paths[:500]...))
	if a.Kind != errs.OK || a.Body.(*commandpb.LifecycleStepReply).Done.MovedKeys != 500 {
		t.Fatal(a, a.Body)
	}
	if got := r.names(); len(got) != 501 || got[0] != ".Trash/root/Current/d0000/e/k" || got[500] != paths[500] {
		t.Errorf("%d names, from %s to %s", len(got), got[0], got[len(got)-1])
	}
}
