package om_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv"
	"o3/internal/kv/memkv"
	"o3/internal/om"
)

// localLog is a log of one: a proposal is applied at once.
type localLog struct {
	mu      sync.Mutex
	m       *fsm.Machine
	before  func() // called once, before the next proposal is applied
	waited  []uint64
	applied int
}

func (l *localLog) Propose(_ context.Context, request []byte) ([]byte, error) {
	if f := l.before; f != nil {
		l.before = nil
		f()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied++
	answers, err := l.m.Apply([]fsm.Entry{{Index: l.m.Position().Index + 1, Term: 1, Requests: [][]byte{request}}})
	if err != nil {
		return nil, err
	}
	return answers[0][0], nil
}

func (l *localLog) ReadIndex(context.Context) (uint64, error) { return l.m.Position().Index, nil }

func (l *localLog) WaitApplied(_ context.Context, index uint64) error {
	l.waited = append(l.waited, index)
	return nil
}

// node is a service over a store in memory, with a volume, a bucket of each
// layout and a key in it.
type node struct {
	*om.Service
	t     *testing.T
	store kv.Store
	log   *localLog
}

func newNode(t *testing.T, o om.Options) *node {
	t.Helper()
	store := new(memkv.Store)
	m, err := fsm.Open(store, fsm.Position{})
	if err != nil {
		t.Fatal(err)
	}
	m.Strict()
	n := &node{t: t, store: store, log: &localLog{m: m}}
	o.Store, o.Log, o.Settings = store, n.log, m.Settings
	n.Service = om.New(o)
	ctx := as("root")
	for _, user := range []string{"root", "owner", "reader", "stranger"} {
		role := "user"
		if user == "root" {
			role = "admin"
		}
		n.must(n.CreateUser(ctx, &o3v1.CreateUserRequest{User: user, Role: role}))
	}
	n.must(n.CreateVolume(ctx, &o3v1.CreateVolumeRequest{Volume: "s3v"}))
	grants := []*o3v1.Grant{{Grantee: "reader", Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_READ, o3v1.Permission_PERMISSION_LIST}}}
	for bucket, layout := range map[string]string{"flat": "", "tree": "FSO"} {
		n.must(n.CreateBucket(ctx, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: bucket, Layout: layout, Owner: "owner", Grants: grants}))
		n.must(n.CommitKey(as("owner"), &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: bucket, Key: "k", Size: 5, Etag: "e", Data: []byte("hello")}))
	}
	return n
}

// must ends the test when a call failed.
func (n *node) must(_ proto.Message, err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func as(user string) context.Context {
	p := access.Principal{User: user, Role: access.RoleUser}
	if user == "root" {
		p.Role = access.RoleAdmin
	}
	return access.NewContext(context.Background(), p)
}

// TestWhoMay calls every method as everybody: the table says who is not denied.
// What else goes wrong (a key that does not exist) does not matter here.
func TestWhoMay(t *testing.T) {
	const v, b = "s3v", "flat"
	who := []string{"root", "owner", "reader", "stranger", ""}
	grant := []*o3v1.Grant{{Grantee: "x", Permissions: []o3v1.Permission{1}}}
	upload := "0000000000000400"
	owner := "x"
	for _, c := range []struct {
		may string // initials of those who may: r(oot) o(wner) e(reader) s(tranger) -(nobody)
		req proto.Message
	}{
		{"r", &o3v1.CreateVolumeRequest{Volume: "new"}},
		{"r", &o3v1.GetVolumeRequest{Volume: v}},
		{"roes-", &o3v1.ListVolumesRequest{}},
		{"r", &o3v1.UpdateVolumeRequest{Volume: v, Owner: &owner}},
		{"r", &o3v1.DeleteVolumeRequest{Volume: v}},
		{"r", &o3v1.CreateBucketRequest{Volume: v, Bucket: "new"}},
		{"roe", &o3v1.GetBucketRequest{Volume: v, Bucket: b}},
		{"r", &o3v1.ListBucketsRequest{Volume: v}},
		{"roes", &o3v1.ListBucketsRequest{Volume: v, Owned: true}},
		{"ro", &o3v1.UpdateBucketRequest{Volume: v, Bucket: b, SetGrants: true, Grants: grant}},
		{"r", &o3v1.UpdateBucketRequest{Volume: v, Bucket: b, Owner: &owner}},
		{"ro", &o3v1.DeleteBucketRequest{Volume: v, Bucket: b}},
		{"ro", &o3v1.SetLifecycleRequest{Volume: v, Bucket: b}},
		{"ro", &o3v1.GetLifecycleRequest{Volume: v, Bucket: b}},
		{"ro", &o3v1.DeleteLifecycleRequest{Volume: v, Bucket: b}},
		{"ro", &o3v1.OpenKeyRequest{Volume: v, Bucket: b, Key: "x"}},
		{"ro", &o3v1.CommitKeyRequest{Volume: v, Bucket: b, Key: "x"}},
		{"ro", &o3v1.AbandonKeyRequest{Volume: v, Bucket: b, Key: "x"}},
		{"roe", &o3v1.GetKeyRequest{Volume: v, Bucket: b, Key: "k"}},
		{"roe", &o3v1.GetKeyRequest{Volume: v, Bucket: b, Key: "absent"}},
		{"roe", &o3v1.ListKeysRequest{Volume: v, Bucket: b}},
		{"ro", &o3v1.DeleteKeysRequest{Volume: v, Bucket: b, Keys: []*o3v1.DeleteKey{{Key: "x"}}}},
		{"ro", &o3v1.RenameKeyRequest{Volume: v, Bucket: b, From: "k", To: "l"}},
		{"ro", &o3v1.CopyKeyRequest{FromVolume: v, FromBucket: b, FromKey: "k", Volume: v, Bucket: b, Key: "l"}},
		{"ro", &o3v1.UpdateKeyRequest{Volume: v, Bucket: b, Key: "k", SetTags: true}},
		{"ro", &o3v1.UpdateKeyRequest{Volume: v, Bucket: b, Key: "k", Owner: &owner}},
		{"ro", &o3v1.CreateDirectoryRequest{Volume: v, Bucket: "tree", Path: "d"}},
		{"ro", &o3v1.CreateUploadRequest{Volume: v, Bucket: b, Key: "u"}},
		{"ro", &o3v1.CommitPartRequest{Volume: v, Bucket: b, Key: "u", UploadId: upload, Number: 1}},
		{"ro", &o3v1.CopyPartRequest{Volume: v, Bucket: b, Key: "u", UploadId: upload, Number: 1, FromVolume: v, FromBucket: b, FromKey: "k"}},
		{"ro", &o3v1.GetUploadRequest{Volume: v, Bucket: b, Key: "u", UploadId: upload}},
		{"roe", &o3v1.ListUploadsRequest{Volume: v, Bucket: b}},
		{"ro", &o3v1.ListPartsRequest{Volume: v, Bucket: b, Key: "u", UploadId: upload}},
		{"ro", &o3v1.CompleteUploadRequest{Volume: v, Bucket: b, Key: "u", UploadId: upload}},
		{"ro", &o3v1.AbortUploadRequest{Volume: v, Bucket: b, Key: "u", UploadId: upload}},
		{"r", &o3v1.CreateUserRequest{User: "new"}},
		{"r", &o3v1.ListUsersRequest{}},
		{"r", &o3v1.UpdateUserRequest{User: "reader"}},
		{"r", &o3v1.DeleteUserRequest{User: "reader"}},
		{"ro", &o3v1.CreateAccessKeyRequest{User: "owner"}},
		{"r", &o3v1.CreateAccessKeyRequest{User: "owner", Id: "given", Secret: "given-secret"}},
		{"ro", &o3v1.ListAccessKeysRequest{User: "owner"}},
		{"r", &o3v1.ListAccessKeysRequest{}},
		{"r", &o3v1.RevokeAccessKeyRequest{Id: "nobody's"}},
		{"r", &o3v1.StatusRequest{}},
		{"r", &o3v1.BlockStatusRequest{}},
		{"r", &o3v1.StartScrubRequest{}},
	} {
		for _, name := range who {
			n := newNode(t, om.Options{})
			ctx := as(name)
			if name == "" {
				ctx = context.Background()
			}
			initial := map[string]string{"root": "r", "owner": "o", "reader": "e", "stranger": "s", "": "-"}[name]
			before := n.log.applied
			err := n.call(ctx, proto.Clone(c.req))
			denied := errs.KindOf(err) == errs.Denied && !strings.Contains(err.Error(), "S3 clients need this volume")
			if want := !strings.Contains(c.may, initial); denied != want {
				t.Errorf("%T {%v} as %q: %v, want denied: %v", c.req, c.req, name, err, want)
			}
			if denied && n.log.applied != before {
				t.Errorf("%T as %q was proposed, then denied", c.req, name)
			}
		}
	}
}

// call calls the method that takes req.
func (n *node) call(ctx context.Context, req proto.Message) error {
	n.t.Helper()
	name := strings.TrimSuffix(string(req.ProtoReflect().Descriptor().Name()), "Request")
	m := reflect.ValueOf(n.Service).MethodByName(name)
	if !m.IsValid() {
		n.t.Fatalf("there is no method %s", name)
	}
	out := m.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(req)})
	err, _ := out[1].Interface().(error)
	return err
}

// TestBucketMadeAnew: between the leader's check and apply the bucket becomes
// another one: the change is refused, not made to the new bucket.
func TestBucketMadeAnew(t *testing.T) {
	n := newNode(t, om.Options{})
	ctx := as("root")
	n.log.before = func() {
		n.must(n.DeleteKeys(ctx, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "flat", Keys: []*o3v1.DeleteKey{{Key: "k"}}}))
		n.must(n.DeleteBucket(ctx, &o3v1.DeleteBucketRequest{Volume: "s3v", Bucket: "flat"}))
		n.must(n.CreateBucket(ctx, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "flat", Owner: "stranger"}))
	}
	_, err := n.CommitKey(as("owner"), &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: "mine"})
	if errs.KindOf(err) != errs.Conflict {
		t.Errorf("%v", err)
	}
	page, err := n.ListKeys(ctx, &o3v1.ListKeysRequest{Volume: "s3v", Bucket: "flat"})
	if err != nil || len(page.Keys) != 0 {
		t.Errorf("%v, %v", page, err)
	}
}

// TestReadOnly: a node without space takes nothing that needs some, and says why.
func TestReadOnly(t *testing.T) {
	why := ""
	n := newNode(t, om.Options{ReadOnly: func() string { return why }})
	why = "the disk reserve is reached"
	ctx := as("root")
	for _, req := range []proto.Message{
		&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: "x"},
		&o3v1.OpenKeyRequest{Volume: "s3v", Bucket: "flat", Key: "x"},
		&o3v1.CopyKeyRequest{FromVolume: "s3v", FromBucket: "flat", FromKey: "k", Volume: "s3v", Bucket: "flat", Key: "x"},
		&o3v1.CreateDirectoryRequest{Volume: "s3v", Bucket: "tree", Path: "x"},
		&o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "flat", Key: "x"},
		&o3v1.CommitPartRequest{Volume: "s3v", Bucket: "flat", Key: "x"},
	} {
		if err := n.call(ctx, req); errs.KindOf(err) != errs.ReadOnly || !strings.Contains(err.Error(), why) {
			t.Errorf("%T: %v", req, err)
		}
	}
	for _, req := range []proto.Message{
		&o3v1.GetKeyRequest{Volume: "s3v", Bucket: "flat", Key: "k"},
		&o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "flat", Keys: []*o3v1.DeleteKey{{Key: "k"}}},
		&o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "tree", From: "k", To: "l"},
	} {
		if err := n.call(ctx, req); err != nil {
			t.Errorf("%T: %v", req, err)
		}
	}
	s, err := n.Status(ctx, &o3v1.StatusRequest{})
	if err != nil || !s.ReadOnly || len(s.Problems) != 1 || s.Problems[0].Value != why {
		t.Errorf("%v, %v", s, err)
	}
}

// TestRetryIsAnswered: the same stamp gives the same answer, whatever happened since.
func TestRetryIsAnswered(t *testing.T) {
	n := newNode(t, om.Options{})
	stamp := &o3v1.Stamp{ClientId: 9, Sequence: 1}
	req := &o3v1.CommitKeyRequest{Stamp: stamp, Volume: "s3v", Bucket: "flat", Key: "r", Data: []byte("x"), Size: 1, If: &o3v1.Preconditions{IfAbsent: true}}
	first, err := n.CommitKey(as("owner"), proto.Clone(req).(*o3v1.CommitKeyRequest))
	if err != nil {
		t.Fatal(err)
	}
	n.must(n.DeleteKeys(as("owner"), &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "flat", Keys: []*o3v1.DeleteKey{{Key: "r"}}}))
	again, err := n.CommitKey(as("owner"), proto.Clone(req).(*o3v1.CommitKeyRequest))
	if err != nil || !proto.Equal(first, again) {
		t.Errorf("%v, %v, want %v", again, err, first)
	}
	if _, err := n.GetKey(as("owner"), &o3v1.GetKeyRequest{Volume: "s3v", Bucket: "flat", Key: "r"}); errs.KindOf(err) != errs.NoSuchKey {
		t.Errorf("the retry was repeated: %v", err)
	}
}

// TestOldBlocksAreRefused: blocks that the sweep may have freed, or may free
// soon, cannot be named; a client whose clock is ahead gets no more time.
// TestSettingsTakeEffectAtOnce: what the service keeps of settings ends with
// the command that changes them.
func TestSettingsTakeEffectAtOnce(t *testing.T) {
	n := newNode(t, om.Options{})
	root, reader := as("root"), as("reader")
	get := func() errs.Kind {
		_, err := n.GetKey(reader, &o3v1.GetKeyRequest{Volume: "s3v", Bucket: "flat", Key: "k"})
		return errs.KindOf(err)
	}
	want := func(what string, have, want errs.Kind) {
		t.Helper()
		if have != want {
			t.Errorf("%s: %v, want %v", what, have, want)
		}
	}
	want("granted", get(), errs.OK)
	n.must(n.UpdateBucket(root, &o3v1.UpdateBucketRequest{Volume: "s3v", Bucket: "flat", SetGrants: true}))
	want("grant taken away", get(), errs.Denied)
	n.must(n.UpdateVolume(root, &o3v1.UpdateVolumeRequest{Volume: "s3v", SetGrants: true,
		Grants: []*o3v1.Grant{{Grantee: "reader", Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_READ}}}}))
	want("granted on the volume", get(), errs.OK)
	n.must(n.DeleteKeys(root, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "flat", Keys: []*o3v1.DeleteKey{{Key: "k"}}}))
	n.must(n.DeleteBucket(root, &o3v1.DeleteBucketRequest{Volume: "s3v", Bucket: "flat"}))
	want("bucket deleted", get(), errs.NoSuchBucket)
	n.must(n.CreateBucket(root, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "flat", Layout: "FSO"}))
	n.must(n.CommitKey(root, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: "k", Size: 1, Data: []byte("x")}))
	want("bucket made anew", get(), errs.OK)

	key, err := n.CreateAccessKey(root, &o3v1.CreateAccessKeyRequest{User: "reader"})
	n.must(key, err)
	secret := func() errs.Kind {
		_, _, err := n.Secret(root, key.Key.Id)
		return errs.KindOf(err)
	}
	want("key made", secret(), errs.OK)
	n.must(n.UpdateUser(root, &o3v1.UpdateUserRequest{User: "reader", Disabled: proto.Bool(true)}))
	want("user disabled", secret(), errs.NoSuchPrincipal)
	n.must(n.UpdateUser(root, &o3v1.UpdateUserRequest{User: "reader", Disabled: proto.Bool(false)}))
	want("user enabled", secret(), errs.OK)
	n.must(n.RevokeAccessKey(root, &o3v1.RevokeAccessKeyRequest{Id: key.Key.Id}))
	want("key revoked", secret(), errs.NoSuchPrincipal)
}

// TestRetryOutlivesItsEffect repeats requests whose effect makes the checks
// before a proposal fail: the answer is the first one, nothing is done again.
func TestRetryOutlivesItsEffect(t *testing.T) {
	n := newNode(t, om.Options{})
	stamp := func(seq uint64) *o3v1.Stamp { return &o3v1.Stamp{ClientId: 9, Sequence: seq} }
	root := as("root")
	n.must(n.CreateBucket(root, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "gone", Layout: "OBS"}))
	del := &o3v1.DeleteBucketRequest{Stamp: stamp(1), Volume: "s3v", Bucket: "gone"}
	n.must(n.DeleteBucket(root, del))
	n.must(n.DeleteBucket(root, del))
	if _, err := n.DeleteBucket(root, &o3v1.DeleteBucketRequest{Stamp: stamp(2), Volume: "s3v", Bucket: "gone"}); errs.KindOf(err) != errs.NoSuchBucket {
		t.Errorf("another request: %v", err)
	}
	n.must(n.CreateBucket(root, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "copies", Layout: "OBS"}))
	n.must(n.CommitKey(root, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "copies", Key: "a", Size: 1, Data: []byte("a")}))
	copied := &o3v1.CopyKeyRequest{Stamp: stamp(3), FromVolume: "s3v", FromBucket: "copies", FromKey: "a", Volume: "s3v", Bucket: "copies", Key: "b"}
	n.must(n.CopyKey(root, copied))
	n.must(n.DeleteKeys(root, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "copies", Keys: []*o3v1.DeleteKey{{Key: "a"}, {Key: "b"}}}))
	n.must(n.CopyKey(root, copied))
	if _, err := n.GetKey(root, &o3v1.GetKeyRequest{Volume: "s3v", Bucket: "copies", Key: "b"}); errs.KindOf(err) != errs.NoSuchKey {
		t.Errorf("the copy was made again: %v", err)
	}
}

func TestOldBlocksAreRefused(t *testing.T) {
	n := newNode(t, om.Options{SweepGrace: 2 * time.Hour})
	commit := func(local uint64, written time.Time) error {
		_, err := n.CommitKey(as("owner"), &o3v1.CommitKeyRequest{
			Volume: "s3v", Bucket: "flat", Key: fmt.Sprint(local), Size: 1,
			Extents: []*o3v1.Extent{{Container: 1, Local: local, Length: 1}}, DataMs: written.UnixMilli(), DeadlineMs: 1 << 60,
		})
		return err
	}
	if err := commit(1, time.Now().Add(-59*time.Minute)); err != nil {
		t.Error(err)
	}
	if err := commit(2, time.Now().Add(-61*time.Minute)); errs.KindOf(err) != errs.Conflict {
		t.Error(err)
	}
	if err := commit(3, time.Time{}.AddDate(9000, 0, 0)); err != nil {
		t.Error(err)
	}
}

// TestDirectoriesThroughS3: an empty key that ends in a slash is a directory of
// a tree, and a key of a flat bucket.
func TestDirectoriesThroughS3(t *testing.T) {
	n := newNode(t, om.Options{})
	ctx := as("owner")
	for bucket, kind := range map[string]o3v1.EntryKind{"flat": o3v1.EntryKind_ENTRY_KIND_KEY, "tree": o3v1.EntryKind_ENTRY_KIND_DIRECTORY} {
		for range 2 {
			r, err := n.CommitKey(ctx, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: bucket, Key: "d/"})
			if err != nil || r.Key.Kind != kind || r.Key.Name != "d/" {
				t.Errorf("%s: %v, %v", bucket, r, err)
			}
		}
	}
	_, err := n.CommitKey(ctx, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "tree", Key: "d/", Size: 1, Data: []byte("x")})
	if errs.KindOf(err) != errs.Invalid {
		t.Errorf("a directory with bytes: %v", err)
	}
}

// TestReadsWait: a read waits until what was answered before is applied here.
func TestReadsWait(t *testing.T) {
	n := newNode(t, om.Options{})
	index := n.log.m.Position().Index
	r, err := n.GetKey(as("owner"), &o3v1.GetKeyRequest{Volume: "s3v", Bucket: "flat", Key: "k", WithData: true})
	if err != nil || string(r.Key.Data) != "hello" || len(r.Key.Extents) != 0 {
		t.Fatalf("%v, %v", r, err)
	}
	if w := n.log.waited; len(w) == 0 || w[len(w)-1] != index {
		t.Errorf("waited for %v, want %d", w, index)
	}
}

// TestAccessKeys: secrets are told once, users keep their own keys, bad ones
// are refused.
func TestAccessKeys(t *testing.T) {
	n := newNode(t, om.Options{})
	made, err := n.CreateAccessKey(as("owner"), &o3v1.CreateAccessKeyRequest{User: "owner", Description: "laptop"})
	if err != nil || len(made.Key.Secret) != 40 || len(made.Key.Id) != 20 {
		t.Fatalf("%v, %v", made, err)
	}
	secret, p, err := n.Secret(context.Background(), made.Key.Id)
	if err != nil || secret != made.Key.Secret || p.User != "owner" || p.Admin() {
		t.Errorf("%q, %+v, %v", secret, p, err)
	}
	list, err := n.ListAccessKeys(as("owner"), &o3v1.ListAccessKeysRequest{User: "owner"})
	if err != nil || len(list.Keys) != 1 || list.Keys[0].Secret != "" || list.Keys[0].Description != "laptop" {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := n.RevokeAccessKey(as("reader"), &o3v1.RevokeAccessKeyRequest{Id: made.Key.Id}); errs.KindOf(err) != errs.Denied {
		t.Errorf("another user revokes: %v", err)
	}
	if _, err := n.RevokeAccessKey(as("owner"), &o3v1.RevokeAccessKeyRequest{Id: made.Key.Id}); err != nil {
		t.Error(err)
	}
	if _, _, err := n.Secret(context.Background(), made.Key.Id); errs.KindOf(err) != errs.NoSuchPrincipal {
		t.Errorf("a revoked key: %v", err)
	}
	for _, bad := range []*o3v1.CreateAccessKeyRequest{
		{User: "owner", Id: "ab"}, {User: "owner", Id: strings.Repeat("a", 129)}, {User: "owner", Id: "a b c"}, {User: "owner", Id: "abc", Secret: "short"},
		{User: "owner", Id: "abc", Secret: strings.Repeat("s", 257)},
	} {
		if _, err := n.CreateAccessKey(as("root"), bad); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestBadGrants are refused before they are proposed.
func TestBadGrants(t *testing.T) {
	n := newNode(t, om.Options{})
	for _, g := range []*o3v1.Grant{
		{Grantee: "", Permissions: []o3v1.Permission{1}}, {Grantee: "a b", Permissions: []o3v1.Permission{1}},
		{Grantee: "bob"}, {Grantee: "bob", Permissions: []o3v1.Permission{0}}, {Grantee: "bob", Permissions: []o3v1.Permission{99}}, {Grantee: "@all", Permissions: []o3v1.Permission{1}},
	} {
		grants := []*o3v1.Grant{g}
		for _, req := range []proto.Message{
			&o3v1.CreateVolumeRequest{Volume: "new", Grants: grants},
			&o3v1.UpdateVolumeRequest{Volume: "s3v", SetGrants: true, Grants: grants},
			&o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "new", Grants: grants},
			&o3v1.UpdateBucketRequest{Volume: "s3v", Bucket: "flat", SetGrants: true, Grants: grants},
			&o3v1.UpdateKeyRequest{Volume: "s3v", Bucket: "flat", Key: "k", SetGrants: true, Grants: grants},
		} {
			if err := n.call(as("root"), req); errs.KindOf(err) != errs.Invalid {
				t.Errorf("%T with %v: %v", req, g, err)
			}
		}
	}
}

// TestStatus counts what is there, and the store passes every check.
func TestStatus(t *testing.T) {
	n := newNode(t, om.Options{})
	s, err := n.Status(as("root"), &o3v1.StatusRequest{})
	if err != nil || s.Volumes != 1 || s.Buckets != 2 || s.Keys != 2 || s.Bytes != 10 || s.AppliedIndex == 0 || len(s.Digest) != 32 {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := n.BlockStatus(as("root"), &o3v1.BlockStatusRequest{}); errs.KindOf(err) != errs.NotImplemented {
		t.Error(err)
	}
	if err := n.Ready(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := fsmtest.Check(n.store); err != nil {
		t.Error(err)
	}
}
