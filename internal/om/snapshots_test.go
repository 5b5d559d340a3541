package om_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/om"
)

// snapshotActs are the calls about snapshots of bucket private, with what
// permits each on the bucket, as acts has it: ALL is what its owner and admins
// have. Nobody does any of them without a signature.
var snapshotActs = []struct {
	name, may string
	req       proto.Message
}{
	{"create", "a", &o3v1.CreateSnapshotRequest{Volume: "vol", Bucket: "private"}},
	{"rename", "a", &o3v1.RenameSnapshotRequest{Volume: "vol", Bucket: "private", From: "s", To: "s"}},
	{"delete", "a", &o3v1.DeleteSnapshotRequest{Volume: "vol", Bucket: "private", Name: "absent"}},
	{"get", "ra", &o3v1.GetSnapshotRequest{Volume: "vol", Bucket: "private", Name: "s"}},
	{"list", "ra", &o3v1.ListSnapshotsRequest{Volume: "vol", Bucket: "private"}},
	{"list deleted", "ra", &o3v1.ListSnapshotsRequest{Volume: "vol", Bucket: "private", Deleted: true}},
	// Both to read and to write; to delete too where it may delete.
	{"restore", "a", &o3v1.RestoreSnapshotRequest{Volume: "vol", Bucket: "private", Name: "s"}},
	{"try to restore", "a", &o3v1.RestoreSnapshotRequest{Volume: "vol", Bucket: "private", Name: "s", DryRun: true}},
	{"restore exactly", "a", &o3v1.RestoreSnapshotRequest{Volume: "vol", Bucket: "private", Name: "s", Exact: true}},
}

// TestSnapshotPermissions grants each permission to a user, to all users and to
// everybody, and asks as owners, admins, strangers and nobody.
func TestSnapshotPermissions(t *testing.T) {
	check := func(n *node, what, user string, may func(need string) bool) {
		t.Helper()
		ctx := context.Background()
		if user != "" {
			ctx = as(user)
		}
		for _, a := range snapshotActs {
			before := n.log.applied
			err := n.call(ctx, proto.Clone(a.req))
			denied := errs.KindOf(err) == errs.Denied
			if denied == may(a.may) {
				t.Errorf("%s: %q: %s: %v, want denied: %v", what, user, a.name, err, !may(a.may))
			}
			if denied && n.log.applied != before {
				t.Errorf("%s: %q: %s was proposed, then denied", what, user, a.name)
			}
		}
	}
	snap := func(n *node) *node {
		n.must(n.CreateSnapshot(as("root"), &o3v1.CreateSnapshotRequest{Volume: "vol", Bucket: "private", Name: "s"}))
		return n
	}
	for p, initial := range initials {
		for grantee, reaches := range map[string]string{"ann": "ann", access.SignedIn: "ann bob", access.Anyone: "ann bob"} {
			grants := []*o3v1.Grant{{Grantee: grantee, Permissions: []o3v1.Permission{p}}}
			n := snap(granted(t, nil, grants))
			for _, user := range []string{"ann", "bob", ""} {
				check(n, fmt.Sprintf("%v to %s", p, grantee), user, func(need string) bool {
					return user != "" && strings.Contains(reaches, user) && strings.Contains(need, initial)
				})
			}
		}
	}
	n := snap(granted(t, nil, nil))
	for user, may := range map[string]bool{"owner": true, "vol-owner": true, "root": true, "stranger": false, "": false} {
		check(n, "no grants", user, func(string) bool { return may })
	}
	for user, perms := range map[string][]o3v1.Permission{"ann": {pRead, pWrite}, "bob": {pRead, pWrite, pDelete}, "cid": {pWrite, pDelete}} {
		n := snap(granted(t, nil, []*o3v1.Grant{{Grantee: user, Permissions: perms}}))
		for exact, may := range map[bool]bool{false: user != "cid", true: user != "cid"} { // WRITE permits deletions
			err := n.call(as(user), &o3v1.RestoreSnapshotRequest{Volume: "vol", Bucket: "private", Name: "s", Exact: exact})
			if got := errs.KindOf(err) != errs.Denied; got != may {
				t.Errorf("%s with %v restores, exact %v: %v", user, perms, exact, err)
			}
		}
	}
}

// TestMaxSnapshots: the bound is of the whole store, and counts those that are
// deleted and not reclaimed yet.
func TestMaxSnapshots(t *testing.T) {
	n := newNode(t, om.Options{MaxSnapshots: 3})
	create := func(bucket, name string) error {
		_, err := n.CreateSnapshot(as("owner"), &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: name, MaxTotal: 1 << 40})
		return err
	}
	n.must(nil, create("flat", "a"))
	n.must(nil, create("tree", "a"))
	n.must(nil, create("flat", "b"))
	full := func(what string) {
		t.Helper()
		for _, bucket := range []string{"flat", "tree"} {
			if err := create(bucket, "c"); errs.KindOf(err) != errs.TooMany || !strings.Contains(err.Error(), "ozone.om.fs.snapshot.max.limit is 3") {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	full("three")
	info, err := n.GetSnapshot(as("owner"), &o3v1.GetSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "a"})
	n.must(info, err)
	bucket, err := n.GetBucket(as("owner"), &o3v1.GetBucketRequest{Volume: "s3v", Bucket: "flat"})
	n.must(bucket, err)
	n.must(n.DeleteSnapshot(as("owner"), &o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "a"}))
	full("two and one deleted")
	_, err = om.Execute[commandpb.ReclaimSnapshotReply](context.Background(), n.Service, command.ReclaimSnapshot,
		&commandpb.ReclaimSnapshot{BucketId: bucket.Bucket.ObjectId, SnapshotOp: info.Snapshot.Op, Limit: 1000})
	n.must(nil, err)
	if err := create("flat", "a"); err != nil {
		t.Errorf("two: %v", err)
	}
}

// restoreAll restores page by page, of limit names each, and returns the sum.
func (n *node) restoreAll(r *o3v1.RestoreSnapshotRequest) (sum *o3v1.RestoreSnapshotResponse, pages int) {
	n.t.Helper()
	sum = &o3v1.RestoreSnapshotResponse{}
	for pages = 1; ; pages++ {
		resp, err := n.RestoreSnapshot(as("owner"), r)
		n.must(resp, err)
		sum.Restored, sum.Unchanged, sum.Removed = sum.Restored+resp.Restored, sum.Unchanged+resp.Unchanged, sum.Removed+resp.Removed
		sum.Bytes += resp.Bytes
		sum.Refused = append(sum.Refused, resp.Refused...)
		if r.Token = resp.NextToken; r.Token == "" {
			return sum, pages
		}
		if pages > 1000 {
			n.t.Fatal("no end of pages")
		}
	}
}

// tree returns what a bucket has, live or at a snapshot ("" is live), as path=bytes.
func (n *node) tree(bucket, snapshot string) string {
	n.t.Helper()
	prefix := ""
	if snapshot != "" {
		prefix = ".snapshot/" + snapshot + "/"
	}
	resp, err := n.ListKeys(as("owner"), &o3v1.ListKeysRequest{Volume: "s3v", Bucket: bucket, Prefix: prefix})
	n.must(resp, err)
	var out []string
	for _, k := range resp.Keys {
		got, err := n.GetKey(as("owner"), &o3v1.GetKeyRequest{Volume: "s3v", Bucket: bucket, Key: k.Name, WithData: true})
		n.must(got, err)
		out = append(out, strings.TrimPrefix(k.Name, prefix)+"="+string(got.Key.Data))
	}
	return strings.Join(out, " ")
}

func (n *node) put(bucket, key, data string) {
	n.t.Helper()
	n.must(n.CommitKey(as("owner"), &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: bucket, Key: key, Data: []byte(data), Size: uint64(len(data)), Etag: strings.ReplaceAll(data, " ", "_")}))
}

func (n *node) remove(bucket string, keys ...string) {
	n.t.Helper()
	req := &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: bucket, Recursive: true}
	for _, k := range keys {
		req.Keys = append(req.Keys, &o3v1.DeleteKey{Key: k})
	}
	n.must(n.DeleteKeys(as("owner"), req))
}

// changed returns a node whose buckets have a snapshot s and were changed since:
// of what was there before, something is gone, something is other and something
// is the same, and there are new things.
func changed(t *testing.T) *node {
	n := newNode(t, om.Options{}) // key k is there
	for _, bucket := range []string{"flat", "tree"} {
		for _, key := range []string{"a/1", "a/2", "a/3", "a/deep/er/4", "b/1", "same"} {
			n.put(bucket, key, "was "+key)
		}
		n.put(bucket, "empty/", "")
		n.must(n.CreateSnapshot(as("owner"), &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: "s"}))
		n.put(bucket, "a/2", "is other")
		n.remove(bucket, "a/1", "b/1", "empty/")
		n.put(bucket, "a/new", "new")
		n.put(bucket, "c/d/new", "new")
		n.put(bucket, "z/", "")
	}
	n.remove("flat", "a/deep/er/4")
	n.remove("tree", "a/deep/")
	return n
}

func (n *node) sound() {
	n.t.Helper()
	if _, err := fsmtest.Check(n.store); err != nil {
		n.t.Error(err)
	}
}

// TestRestore restores a key, a prefix and a bucket, adding and exactly, in
// pages of every size, tried first: the trial changes nothing and says the same.
func TestRestore(t *testing.T) {
	for _, c := range []struct {
		name                                  string
		req                                   *o3v1.RestoreSnapshotRequest
		want                                  string // in the end, of both layouts
		restored, unchanged, removed, inBytes uint64
	}{
		{"key that is gone", &o3v1.RestoreSnapshotRequest{Key: "a/1"},
			"a/1=was a/1 a/2=is other a/3=was a/3 a/new=new c/d/new=new k=hello same=was same z/=", 1, 0, 0, 7},
		{"key that is other", &o3v1.RestoreSnapshotRequest{Key: "a/2"},
			"a/2=was a/2 a/3=was a/3 a/new=new c/d/new=new k=hello same=was same z/=", 1, 0, 0, 7},
		{"key that is the same", &o3v1.RestoreSnapshotRequest{Key: "same"},
			"a/2=is other a/3=was a/3 a/new=new c/d/new=new k=hello same=was same z/=", 0, 1, 0, 0},
		{"key below what is gone", &o3v1.RestoreSnapshotRequest{Key: "a/deep/er/4"},
			"a/2=is other a/3=was a/3 a/deep/er/4=was a/deep/er/4 a/new=new c/d/new=new k=hello same=was same z/=", 1, 0, 0, 15},
		{"directory", &o3v1.RestoreSnapshotRequest{Key: "empty/"},
			"a/2=is other a/3=was a/3 a/new=new c/d/new=new empty/= k=hello same=was same z/=", 1, 0, 0, 0},
		{"prefix", &o3v1.RestoreSnapshotRequest{Prefix: "a/"},
			"a/1=was a/1 a/2=was a/2 a/3=was a/3 a/deep/er/4=was a/deep/er/4 a/new=new c/d/new=new k=hello same=was same z/=", 3, 1, 0, 29},
		{"prefix exactly", &o3v1.RestoreSnapshotRequest{Prefix: "a/", Exact: true},
			"a/1=was a/1 a/2=was a/2 a/3=was a/3 a/deep/er/4=was a/deep/er/4 c/d/new=new k=hello same=was same z/=", 3, 1, 1, 29},
		{"prefix of no directory", &o3v1.RestoreSnapshotRequest{Prefix: "a/d", Exact: true},
			"a/2=is other a/3=was a/3 a/deep/er/4=was a/deep/er/4 a/new=new c/d/new=new k=hello same=was same z/=", 1, 0, 0, 15},
		{"bucket", &o3v1.RestoreSnapshotRequest{},
			"a/1=was a/1 a/2=was a/2 a/3=was a/3 a/deep/er/4=was a/deep/er/4 a/new=new b/1=was b/1 c/d/new=new empty/= k=hello same=was same z/=", 5, 3, 0, 36},
		{"bucket exactly", &o3v1.RestoreSnapshotRequest{Exact: true},
			"a/1=was a/1 a/2=was a/2 a/3=was a/3 a/deep/er/4=was a/deep/er/4 b/1=was b/1 empty/= k=hello same=was same", 5, 3, 3, 36},
	} {
		for _, bucket := range []string{"flat", "tree"} {
			for _, limit := range []uint32{1, 3, 0} {
				n := changed(t)
				before, then := n.tree(bucket, ""), n.tree(bucket, "s")
				what := fmt.Sprintf("%s in %s by %d", c.name, bucket, limit)
				for _, dry := range []bool{true, false} {
					req := proto.CloneOf(c.req)
					req.Volume, req.Bucket, req.Name, req.Limit, req.DryRun = "s3v", bucket, "s", limit, dry
					sum, pages := n.restoreAll(req)
					if sum.Restored != c.restored || sum.Unchanged != c.unchanged || sum.Removed != c.removed || sum.Bytes != c.inBytes || len(sum.Refused) != 0 {
						t.Errorf("%s, dry %v: %v", what, dry, sum)
					}
					if limit == 1 && c.req.Key == "" && pages < int(c.restored) {
						t.Errorf("%s: %d pages", what, pages)
					}
					if dry && n.tree(bucket, "") != before {
						t.Errorf("%s: the trial has changed the bucket to %s", what, n.tree(bucket, ""))
					}
				}
				if got := n.tree(bucket, ""); got != c.want {
					t.Errorf("%s: got\n%s, want\n%s", what, got, c.want)
				}
				if got := n.tree(bucket, "s"); got != then {
					t.Errorf("%s: the snapshot is another: %s", what, got)
				}
				n.sound()
			}
		}
	}
}

// TestRestoreRefusals: what cannot be put back is told, path by path, and the
// rest is put back.
func TestRestoreRefusals(t *testing.T) {
	n := changed(t)
	n.remove("tree", "a/", "same")
	n.put("tree", "a", "a key where a directory was")
	n.put("tree", "same/d", "a directory where a key was")
	sum, _ := n.restoreAll(&o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: "tree", Name: "s"})
	got := map[string]errs.Kind{}
	for _, r := range sum.Refused {
		got[r.Path] = errs.Kind(r.Kind)
	}
	want := map[string]errs.Kind{
		"a/1": errs.ParentIsKey, "a/2": errs.ParentIsKey, "a/3": errs.ParentIsKey, "a/deep/er/4": errs.ParentIsKey, "same": errs.IsDirectory,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || sum.Restored != 2 {
		t.Errorf("%v: refused %v, want %v", sum, got, want)
	}
	n.sound()
	// Exactly removes first, so nothing is in the way.
	sum, _ = n.restoreAll(&o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: "tree", Name: "s", Exact: true, Limit: 2})
	if len(sum.Refused) != 0 || n.tree("tree", "") != n.tree("tree", "s") {
		t.Errorf("%v: %s", sum, n.tree("tree", ""))
	}
	n.sound()

	// What the quota has no room for.
	bytes := uint64(60)
	n = changed(t)
	b, err := n.GetBucket(as("owner"), &o3v1.GetBucketRequest{Volume: "s3v", Bucket: "flat"})
	n.must(b, err)
	bytes = b.Bucket.UsedBytes + b.Bucket.SnapshotBytes + 10
	n.must(n.UpdateBucket(as("root"), &o3v1.UpdateBucketRequest{Volume: "s3v", Bucket: "flat", QuotaBytes: &bytes}))
	sum, _ = n.restoreAll(&o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "s"})
	if len(sum.Refused) == 0 || errs.Kind(sum.Refused[0].Kind) != errs.QuotaExceeded {
		t.Errorf("%v", sum)
	}
	n.sound()
}

// TestRestoreBadRequests are refused with why.
func TestRestoreBadRequests(t *testing.T) {
	n := changed(t)
	first, err := n.RestoreSnapshot(as("owner"), &o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "s", Exact: true, Limit: 1})
	n.must(first, err)
	for _, c := range []struct {
		req   *o3v1.RestoreSnapshotRequest
		kind  errs.Kind
		words string
	}{
		{&o3v1.RestoreSnapshotRequest{Name: "nope"}, errs.NoSuchSnapshot, "nope"},
		{&o3v1.RestoreSnapshotRequest{Name: ""}, errs.NoSuchSnapshot, ""},
		{&o3v1.RestoreSnapshotRequest{Name: "s", Key: "a", Prefix: "a"}, errs.Invalid, "neither a prefix nor exact"},
		{&o3v1.RestoreSnapshotRequest{Name: "s", Key: "a", Exact: true}, errs.Invalid, "neither a prefix nor exact"},
		{&o3v1.RestoreSnapshotRequest{Name: "s", Key: "absent"}, errs.NoSuchKey, "absent"},
		{&o3v1.RestoreSnapshotRequest{Name: "s", Key: ".snapshot/s/a"}, errs.Invalid, ".snapshot"},
		{&o3v1.RestoreSnapshotRequest{Name: "s", Prefix: ".snapshot/s/a"}, errs.Invalid, ".snapshot"},
		{&o3v1.RestoreSnapshotRequest{Name: "s", Token: "nonsense"}, errs.Invalid, "token"},
		{&o3v1.RestoreSnapshotRequest{Name: "s", Token: "restore:x:"}, errs.Invalid, "token"},
		{&o3v1.RestoreSnapshotRequest{Name: "s", Token: "restore:0:"}, errs.Invalid, "token"},
		{&o3v1.RestoreSnapshotRequest{Name: "s", Token: "restore:1:"}, errs.NoSuchSnapshot, "another one has that name now"},
		// What says that it only adds does not remove, whatever token it comes with.
		{&o3v1.RestoreSnapshotRequest{Name: "s", Token: first.NextToken}, errs.Invalid, "token"},
		{&o3v1.RestoreSnapshotRequest{Name: "s", Key: "same", Token: first.NextToken}, errs.Invalid, "token"},
	} {
		c.req.Volume, c.req.Bucket = "s3v", "flat"
		before := n.log.applied
		_, err := n.RestoreSnapshot(as("owner"), c.req)
		if errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%v: %v, want %v %q", c.req, err, c.kind, c.words)
		}
		if n.log.applied != before {
			t.Errorf("%v was proposed", c.req)
		}
	}
}

// TestRestoreBesideWriters: an exact restore does not remove what was written
// after it looked; what was written after a page stays.
func TestRestoreBesideWriters(t *testing.T) {
	for _, bucket := range []string{"flat", "tree"} {
		n := changed(t)
		n.log.before = func() { // between the look and the removal
			n.put(bucket, "a/new", "newer")
			n.put(bucket, "z/inside", "newer")
		}
		sum, _ := n.restoreAll(&o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: "s", Exact: true})
		got := n.tree(bucket, "")
		if !strings.Contains(got, "a/new=newer") || !strings.Contains(got, "z/inside=newer") {
			t.Errorf("%s: what was written meanwhile is gone: %s", bucket, got)
		}
		if len(sum.Refused) != 1 || sum.Refused[0].Path != "a/new" || errs.Kind(sum.Refused[0].Kind) != errs.PreconditionFailed {
			t.Errorf("%s: %v", bucket, sum)
		}
		n.sound()
	}
}

// TestRestoreLosesSnapshot: a snapshot that is deleted in the middle of a
// restore, or replaced by another of its name, ends it; it is never mixed.
func TestRestoreLosesSnapshot(t *testing.T) {
	for _, exact := range []bool{false, true} {
		n := changed(t)
		del := &o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "s"}
		req := &o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "s", Limit: 2, Exact: exact}
		page, err := n.RestoreSnapshot(as("owner"), req)
		n.must(page, err)
		req.Token = page.NextToken
		before := n.tree("flat", "")
		n.must(n.DeleteSnapshot(as("owner"), del))
		if _, err := n.RestoreSnapshot(as("owner"), req); errs.KindOf(err) != errs.NoSuchSnapshot {
			t.Errorf("deleted: %v", err)
		}
		n.must(n.CreateSnapshot(as("owner"), &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "s"}))
		if _, err := n.RestoreSnapshot(as("owner"), req); errs.KindOf(err) != errs.NoSuchSnapshot || !strings.Contains(err.Error(), "another one has that name now") {
			t.Errorf("replaced: %v", err)
		}
		if got := n.tree("flat", ""); got != before {
			t.Errorf("it went on: %s", got)
		}
		n.sound()
	}
	n := changed(t) // between the look and the change
	n.log.before = func() {
		n.must(n.DeleteSnapshot(as("owner"), &o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "s"}))
	}
	before := n.tree("flat", "")
	if _, err := n.RestoreSnapshot(as("owner"), &o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "s"}); errs.KindOf(err) != errs.NoSuchSnapshot {
		t.Errorf("%v", err)
	}
	if got := n.tree("flat", ""); got != before {
		t.Errorf("it was restored: %s", got)
	}
}

// TestRestoreReadOnly: a node without space restores nothing, but says what it
// would.
func TestRestoreReadOnly(t *testing.T) {
	why := ""
	n := newNode(t, om.Options{ReadOnly: func() string { return why }})
	n.must(n.CreateSnapshot(as("owner"), &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "s"}))
	n.remove("flat", "k")
	why = "the disk is full"
	req := &o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "s"}
	if _, err := n.RestoreSnapshot(as("owner"), req); errs.KindOf(err) != errs.ReadOnly || !strings.Contains(err.Error(), why) {
		t.Errorf("%v", err)
	}
	req.DryRun = true
	if resp, err := n.RestoreSnapshot(as("owner"), req); err != nil || resp.Restored != 1 {
		t.Errorf("%v, %v", resp, err)
	}
	why = ""
	req.DryRun = false
	if resp, err := n.RestoreSnapshot(as("owner"), req); err != nil || resp.Restored != 1 {
		t.Errorf("%v, %v", resp, err)
	}
}
