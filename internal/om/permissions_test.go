package om_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/om"
)

const (
	pRead   = o3v1.Permission_PERMISSION_READ
	pWrite  = o3v1.Permission_PERMISSION_WRITE
	pList   = o3v1.Permission_PERMISSION_LIST
	pCreate = o3v1.Permission_PERMISSION_CREATE
	pDelete = o3v1.Permission_PERMISSION_DELETE
	pAll    = o3v1.Permission_PERMISSION_ALL
)

// initials of the permissions, as the table writes them.
var initials = map[o3v1.Permission]string{pRead: "r", pWrite: "w", pList: "l", pCreate: "c", pDelete: "d", pAll: "a"}

// acts are calls on volume vol and its bucket private, with what permits each: any
// one of the permissions, granted on the bucket or on the volume. Each leaves
// things as they are, or as no other call minds.
var acts = []struct {
	name     string
	onBucket string // permissions on the bucket that suffice
	onVolume string // permissions on the volume that suffice
	signed   bool   // nobody does it without a signature
	req      proto.Message
}{
	{"get volume", "", "rwlca", false, &o3v1.GetVolumeRequest{Volume: "vol"}},
	{"update volume", "", "a", false, &o3v1.UpdateVolumeRequest{Volume: "vol"}},
	{"list buckets", "", "la", true, &o3v1.ListBucketsRequest{Volume: "vol"}},
	{"create bucket", "", "ca", true, &o3v1.CreateBucketRequest{Volume: "vol", Bucket: "private"}},
	{"get bucket", "rwlda", "rwlda", false, &o3v1.GetBucketRequest{Volume: "vol", Bucket: "private"}},
	{"tag bucket", "a", "a", false, &o3v1.UpdateBucketRequest{Volume: "vol", Bucket: "private", SetTags: true}},
	{"give bucket away", "", "a", false, &o3v1.UpdateBucketRequest{Volume: "vol", Bucket: "private", Owner: new("owner")}},
	{"set quota", "", "a", false, &o3v1.UpdateBucketRequest{Volume: "vol", Bucket: "private", QuotaBytes: new(uint64)}},
	{"delete bucket", "a", "a", false, &o3v1.DeleteBucketRequest{Volume: "vol", Bucket: "private"}},
	{"open key", "wa", "wa", false, &o3v1.OpenKeyRequest{Volume: "vol", Bucket: "private", Key: "x"}},
	{"commit key", "wa", "wa", false, &o3v1.CommitKeyRequest{Volume: "vol", Bucket: "private", Key: "x"}},
	{"abandon key", "wa", "wa", false, &o3v1.AbandonKeyRequest{Volume: "vol", Bucket: "private", Key: "x"}},
	{"get key", "ra", "ra", false, &o3v1.GetKeyRequest{Volume: "vol", Bucket: "private", Key: "k"}},
	{"get absent key", "rla", "rla", false, &o3v1.GetKeyRequest{Volume: "vol", Bucket: "private", Key: "absent"}},
	{"list keys", "la", "la", false, &o3v1.ListKeysRequest{Volume: "vol", Bucket: "private"}},
	{"delete keys", "wda", "wda", false, &o3v1.DeleteKeysRequest{Volume: "vol", Bucket: "private", Keys: []*o3v1.DeleteKey{{Key: "absent"}}}},
	{"rename key", "wa", "wa", false, &o3v1.RenameKeyRequest{Volume: "vol", Bucket: "private", From: "absent", To: "l"}},
	{"copy to", "wa", "wa", false, &o3v1.CopyKeyRequest{FromVolume: "vol", FromBucket: "public", FromKey: "k", Volume: "vol", Bucket: "private", Key: "copy"}},
	{"copy from", "ra", "ra", false, &o3v1.CopyKeyRequest{FromVolume: "vol", FromBucket: "private", FromKey: "k", Volume: "vol", Bucket: "public", Key: "copy"}},
	{"tag key", "wa", "wa", false, &o3v1.UpdateKeyRequest{Volume: "vol", Bucket: "private", Key: "k", SetTags: true}},
	{"grant on key", "a", "a", false, &o3v1.UpdateKeyRequest{Volume: "vol", Bucket: "private", Key: "k", SetGrants: true}},
	{"give key away", "a", "a", false, &o3v1.UpdateKeyRequest{Volume: "vol", Bucket: "private", Key: "k", Owner: new("owner")}},
	{"create directory", "wa", "wa", false, &o3v1.CreateDirectoryRequest{Volume: "vol", Bucket: "private", Path: "dir", MayExist: true}},
	{"create upload", "wa", "wa", false, &o3v1.CreateUploadRequest{Volume: "vol", Bucket: "private", Key: "u"}},
	{"commit part", "wa", "wa", false, &o3v1.CommitPartRequest{Volume: "vol", Bucket: "private", Key: "u", UploadId: someUpload, Number: 1}},
	{"copy part to", "wa", "wa", false, &o3v1.CopyPartRequest{FromVolume: "vol", FromBucket: "public", FromKey: "k", Volume: "vol", Bucket: "private", Key: "u", UploadId: someUpload, Number: 1}},
	{"copy part from", "ra", "ra", false, &o3v1.CopyPartRequest{FromVolume: "vol", FromBucket: "private", FromKey: "k", Volume: "vol", Bucket: "public", Key: "u", UploadId: someUpload, Number: 1}},
	{"get upload", "wa", "wa", false, &o3v1.GetUploadRequest{Volume: "vol", Bucket: "private", Key: "u", UploadId: someUpload}},
	{"list uploads", "la", "la", false, &o3v1.ListUploadsRequest{Volume: "vol", Bucket: "private"}},
	{"list parts", "wa", "wa", false, &o3v1.ListPartsRequest{Volume: "vol", Bucket: "private", Key: "u", UploadId: someUpload}},
	{"complete upload", "wa", "wa", false, &o3v1.CompleteUploadRequest{Volume: "vol", Bucket: "private", Key: "u", UploadId: someUpload}},
	{"abort upload", "wa", "wa", false, &o3v1.AbortUploadRequest{Volume: "vol", Bucket: "private", Key: "u", UploadId: someUpload}},
	// No grant is enough for these.
	{"create volume", "", "", true, &o3v1.CreateVolumeRequest{Volume: "new"}},
	{"delete volume", "", "", true, &o3v1.DeleteVolumeRequest{Volume: "vol"}},
	{"set volume quota", "", "", true, &o3v1.UpdateVolumeRequest{Volume: "vol", QuotaNames: new(uint64)}},
	{"status", "", "", true, &o3v1.StatusRequest{}},
}

const someUpload = "0000000000000400"

// granted returns a node whose volume vol and bucket private have the grants. Bucket
// public is open to everybody. Volume and bucket have the owners vol-owner and owner.
func granted(t *testing.T, onVolume, onBucket []*o3v1.Grant) *node {
	n, root := newNode(t, om.Options{}), as("root")
	n.must(n.CreateVolume(root, &o3v1.CreateVolumeRequest{Volume: "vol", Owner: "vol-owner", Grants: onVolume}))
	open := []*o3v1.Grant{{Grantee: "*", Permissions: []o3v1.Permission{pRead, pWrite}}}
	for bucket, grants := range map[string][]*o3v1.Grant{"private": onBucket, "public": open} {
		n.must(n.CreateBucket(root, &o3v1.CreateBucketRequest{Volume: "vol", Bucket: bucket, Layout: "FSO", Owner: "owner", Grants: grants}))
		n.must(n.CommitKey(root, &o3v1.CommitKeyRequest{Volume: "vol", Bucket: bucket, Key: "k", Size: 1, Data: []byte("1")}))
	}
	return n
}

// check calls every act as a user and compares who is denied.
func (n *node) check(what, user string, may func(i int) bool) {
	n.t.Helper()
	ctx := context.Background()
	if user != "" {
		ctx = as(user)
	}
	for i, a := range acts {
		err := n.call(ctx, proto.Clone(a.req))
		denied := errs.KindOf(err) == errs.Denied
		if denied == may(i) {
			n.t.Errorf("%s: %q: %s: %v, want denied: %v", what, user, a.name, err, !may(i))
		}
	}
}

// TestGrants grants each permission, on the volume and on the bucket, to a
// user, to all users and to everybody.
func TestGrants(t *testing.T) {
	for p, initial := range initials {
		for grantee, reaches := range map[string]string{"ann": "ann", access.SignedIn: "ann bob", access.Anyone: "ann bob -"} {
			grants := []*o3v1.Grant{{Grantee: grantee, Permissions: []o3v1.Permission{p}}}
			for where, n := range map[string]*node{"volume": granted(t, grants, nil), "bucket": granted(t, nil, grants)} {
				for _, user := range []string{"ann", "bob", ""} {
					reached := strings.Contains(reaches, user) && user != "" || user == "" && strings.Contains(reaches, "-")
					n.check(fmt.Sprintf("%v on the %s to %s", p, where, grantee), user, func(i int) bool {
						enough := acts[i].onBucket
						if where == "volume" {
							enough = acts[i].onVolume
						}
						return reached && strings.Contains(enough, initial) && !(acts[i].signed && user == "")
					})
				}
			}
		}
	}
}

// TestOwners: the owner of a bucket may what ALL on it permits, the owner of a
// volume what ALL on that does, an admin anything, others nothing.
func TestOwners(t *testing.T) {
	n := granted(t, nil, nil)
	n.check("no grants", "stranger", func(int) bool { return false })
	n.check("no grants", "", func(int) bool { return false })
	n.check("no grants", "owner", func(i int) bool { return strings.Contains(acts[i].onBucket, "a") })
	n.check("no grants", "vol-owner", func(i int) bool { return strings.Contains(acts[i].onVolume, "a") })
	n.check("no grants", "root", func(int) bool { return true })
}

// TestKeyGrants: a key's own grants and owner let read it, and no more.
func TestKeyGrants(t *testing.T) {
	n := granted(t, nil, nil)
	n.must(n.UpdateKey(as("owner"), &o3v1.UpdateKeyRequest{
		Volume: "vol", Bucket: "private", Key: "k", SetGrants: true, Owner: new("bob"),
		Grants: []*o3v1.Grant{{Grantee: "ann", Permissions: []o3v1.Permission{pRead}}, {Grantee: "eve", Permissions: []o3v1.Permission{pWrite}}},
	}))
	readers := map[string]bool{"get key": true, "copy from": true, "copy part from": true}
	for user, reads := range map[string]bool{"ann": true, "bob": true, "eve": false, "": false} {
		n.check("grants on the key", user, func(i int) bool { return reads && readers[acts[i].name] })
	}
	public := granted(t, nil, nil)
	public.must(public.UpdateKey(as("owner"), &o3v1.UpdateKeyRequest{
		Volume: "vol", Bucket: "private", Key: "k", SetGrants: true, Grants: []*o3v1.Grant{{Grantee: "*", Permissions: []o3v1.Permission{pRead}}},
	}))
	public.check("the key is public", "", func(i int) bool { return readers[acts[i].name] })
}

// TestListings show only what the caller has something to do with.
func TestListings(t *testing.T) {
	n := granted(t, nil, []*o3v1.Grant{{Grantee: "ann", Permissions: []o3v1.Permission{pRead}}})
	for user, want := range map[string]string{"root": "s3v vol", "vol-owner": "vol", "owner": "", "ann": ""} {
		resp, err := n.ListVolumes(as(user), &o3v1.ListVolumesRequest{})
		var got []string
		for _, v := range resp.GetVolumes() {
			got = append(got, v.Name)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("volumes of %s: %q %v, want %q", user, got, err, want)
		}
	}
	for user, want := range map[string]string{"root": "private public", "vol-owner": "private public", "owner": "private public", "ann": "private public", "bob": "public"} {
		resp, err := n.ListBuckets(as(user), &o3v1.ListBucketsRequest{Volume: "vol", Owned: true})
		var got []string
		for _, b := range resp.GetBuckets() {
			got = append(got, b.Name)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("buckets of %s: %q %v, want %q", user, got, err, want)
		}
	}
}

// TestQuotas: bytes and names of a bucket and of a volume are bounded, and room
// comes back with a deletion.
func TestQuotas(t *testing.T) {
	for name, set := range map[string]func(n *node, bytes, names uint64) error{
		"bucket": func(n *node, bytes, names uint64) error {
			return n.call(as("root"), &o3v1.UpdateBucketRequest{Volume: "vol", Bucket: "private", QuotaBytes: &bytes, QuotaNames: &names})
		},
		"volume": func(n *node, bytes, names uint64) error { // beside what bucket public holds
			if bytes > 0 {
				bytes, names = bytes+1, names+1
			}
			return n.call(as("root"), &o3v1.UpdateVolumeRequest{Volume: "vol", QuotaBytes: &bytes, QuotaNames: &names})
		},
	} {
		n := granted(t, nil, nil) // one key of one byte
		put := func(key string, size int) errs.Kind {
			_, err := n.CommitKey(as("owner"), &o3v1.CommitKeyRequest{Volume: "vol", Bucket: "private", Key: key, Size: uint64(size), Data: make([]byte, size)})
			return errs.KindOf(err)
		}
		expect := func(what string, got, want errs.Kind) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %s: %v, want %v", name, what, got, want)
			}
		}
		n.must(nil, set(n, 10, 3))
		expect("to the last byte", put("a", 9), errs.OK)
		expect("a byte too many", put("b", 1), errs.QuotaExceeded)
		_, err := n.OpenKey(as("owner"), &o3v1.OpenKeyRequest{Volume: "vol", Bucket: "private", Key: "b", ExpectedSize: 1})
		expect("to be announced", errs.KindOf(err), errs.QuotaExceeded)
		expect("a smaller one in its place", put("a", 8), errs.OK)
		expect("the third name", put("b", 1), errs.OK)
		expect("the fourth name", put("c", 0), errs.QuotaExceeded)
		n.must(n.DeleteKeys(as("owner"), &o3v1.DeleteKeysRequest{Volume: "vol", Bucket: "private", Keys: []*o3v1.DeleteKey{{Key: "a"}}}))
		expect("two names for one", put("dir/c", 0), errs.QuotaExceeded)
		expect("after a deletion", put("c", 8), errs.OK)
		n.must(nil, set(n, 0, 0))
		expect("without quotas", put("d", 100), errs.OK)
		n.must(nil, set(n, 5, 1))
		expect("a smaller one above the quota", put("d", 50), errs.OK)
		expect("a new one above the quota", put("e", 0), errs.QuotaExceeded)
	}
	n := granted(t, nil, nil)
	for user, want := range map[string]errs.Kind{"owner": errs.Denied, "vol-owner": errs.OK, "root": errs.OK} {
		err := n.call(as(user), &o3v1.UpdateBucketRequest{Volume: "vol", Bucket: "private", QuotaBytes: new(uint64)})
		if errs.KindOf(err) != want {
			t.Errorf("%s sets a quota: %v", user, err)
		}
	}
	err := n.call(as("vol-owner"), &o3v1.CreateBucketRequest{Volume: "vol", Bucket: "mine", QuotaBytes: 1})
	if errs.KindOf(err) != errs.Denied {
		t.Errorf("a quota at creation: %v", err)
	}
}

// TestGuard: every change of a caller asks the guard and is refused with its
// error, unproposed; reads and the node's own services do not.
func TestGuard(t *testing.T) {
	var refuse error
	asked := ""
	n := newNode(t, om.Options{Guard: func(ctx context.Context) error {
		asked = access.FromContext(ctx).User
		return refuse
	}})
	n.must(n.CreateVolume(as("root"), &o3v1.CreateVolumeRequest{Volume: "vol"}))
	n.must(n.CreateBucket(as("root"), &o3v1.CreateBucketRequest{Volume: "vol", Bucket: "private", Layout: "FSO"}))
	n.must(n.CreateBucket(as("root"), &o3v1.CreateBucketRequest{Volume: "vol", Bucket: "public"}))
	n.must(n.CommitKey(as("root"), &o3v1.CommitKeyRequest{Volume: "vol", Bucket: "private", Key: "k"}))
	n.must(n.CommitKey(as("root"), &o3v1.CommitKeyRequest{Volume: "vol", Bucket: "public", Key: "k"}))
	refuse = errs.New(errs.Unavailable, "audit log", "planted")
	before := n.log.applied
	for _, a := range acts {
		asked = ""
		err := n.call(as("root"), proto.Clone(a.req))
		write := a.req.ProtoReflect().Descriptor().Fields().ByName("stamp") != nil
		if got := errors.Is(err, refuse); got != write || (asked == "root") != write {
			t.Errorf("%s: %v, asked %q", a.name, err, asked)
		}
	}
	if n.log.applied != before {
		t.Error("a change was proposed although the guard refused it")
	}
	if _, err := om.Execute[commandpb.PurgeDirectoriesReply](context.Background(), n.Service, command.PurgeDirs, &commandpb.PurgeDirectories{Limit: 1}); err != nil {
		t.Errorf("a service of the node: %v", err)
	}
}
