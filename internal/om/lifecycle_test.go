package om_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/lifecycle/rule"
	"o3/internal/om"
)

// daily is a rule that expires what is below a prefix after days.
func daily(id, prefix string, days int32) *o3v1.LifecycleRule {
	return &o3v1.LifecycleRule{Id: id, Enabled: true, Prefix: &prefix, ExpireDays: &days}
}

func (n *node) setRules(bucket string, rules ...*o3v1.LifecycleRule) *o3v1.SetLifecycleResponse {
	n.t.Helper()
	got, err := n.SetLifecycle(as("owner"), &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: bucket, Configuration: &o3v1.LifecycleConfiguration{Rules: rules}})
	n.must(got, err)
	return got
}

// expiresBy returns which rule makes the key k expire, "" for none.
func (n *node) expiresBy(bucket string) string {
	n.t.Helper()
	got, err := n.GetKey(as("owner"), &o3v1.GetKeyRequest{Volume: "s3v", Bucket: bucket, Key: "k"})
	n.must(got, err)
	if (got.Key.ExpiresMs == nil) != (got.Key.ExpiresBy == "") {
		n.t.Errorf("%v by %q", got.Key.ExpiresMs, got.Key.ExpiresBy)
	}
	return got.Key.ExpiresBy
}

// TestRulesTakeEffectAtOnce: what is kept of a configuration ends with it, and
// with the bucket.
func TestRulesTakeEffectAtOnce(t *testing.T) {
	n := newNode(t, om.Options{})
	want := func(what, bucket, want string) {
		t.Helper()
		if got := n.expiresBy(bucket); got != want {
			t.Errorf("%s: expires by %q, want %q", what, got, want)
		}
	}
	want("none", "flat", "")
	n.setRules("flat", daily("first", "", 1))
	want("set", "flat", "first")
	want("another bucket", "tree", "")
	n.setRules("flat", daily("second", "", 1), daily("first", "", 2))
	want("replaced", "flat", "second")
	n.must(n.CreateUser(as("root"), &o3v1.CreateUserRequest{User: "new", Role: "user"}))
	want("other settings changed", "flat", "second")
	n.must(n.DeleteLifecycle(as("owner"), &o3v1.DeleteLifecycleRequest{Volume: "s3v", Bucket: "flat"}))
	want("deleted", "flat", "")
	n.setRules("flat", daily("third", "", 1))
	want("set again", "flat", "third")
	n.must(n.DeleteKeys(as("root"), &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "flat", Keys: []*o3v1.DeleteKey{{Key: "k"}}}))
	n.must(n.DeleteBucket(as("root"), &o3v1.DeleteBucketRequest{Volume: "s3v", Bucket: "flat"}))
	n.must(n.CreateBucket(as("root"), &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "flat", Owner: "owner"}))
	n.must(n.CommitKey(as("owner"), &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: "k"}))
	want("bucket made anew", "flat", "")
	_, err := n.GetLifecycle(as("owner"), &o3v1.GetLifecycleRequest{Volume: "s3v", Bucket: "flat"})
	if errs.KindOf(err) != errs.NoSuchConfiguration {
		t.Error(err)
	}
}

// TestLengthOfDay is that of the options.
func TestLengthOfDay(t *testing.T) {
	n := newNode(t, om.Options{LifecycleDay: time.Second})
	n.setRules("flat", daily("r", "", 2))
	got, err := n.GetKey(as("owner"), &o3v1.GetKeyRequest{Volume: "s3v", Bucket: "flat", Key: "k"})
	n.must(got, err)
	if life := *got.Key.ExpiresMs - got.Key.ModifiedMs; life < 2000 || life > 3000 {
		t.Errorf("it lives %d ms", life)
	}
}

// TestSetLifecycle gives ids, keeps the caller's request as it was, and refuses
// what rules may not say.
func TestSetLifecycle(t *testing.T) {
	n := newNode(t, om.Options{})
	req := &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: "flat", Configuration: &o3v1.LifecycleConfiguration{Rules: []*o3v1.LifecycleRule{daily("", "a", 1), daily("b", "b", 1)}}}
	before := proto.CloneOf(req)
	first, err := n.SetLifecycle(as("owner"), req)
	n.must(first, err)
	if !proto.Equal(req, before) {
		t.Errorf("the request became %v", req)
	}
	if first.UpdateId == 0 || first.Configuration.Rules[0].Id == "" || first.Configuration.Rules[1].Id != "b" {
		t.Errorf("%v", first)
	}
	again, err := n.SetLifecycle(as("owner"), req)
	n.must(again, err)
	if !proto.Equal(again, first) {
		t.Errorf("the same once more is %v, was %v", again, first)
	}
	got, err := n.GetLifecycle(as("owner"), &o3v1.GetLifecycleRequest{Volume: "s3v", Bucket: "flat"})
	n.must(got, err)
	if got.UpdateId != first.UpdateId || got.UpdatedMs == 0 || !proto.Equal(got.Configuration, first.Configuration) {
		t.Errorf("%v", got)
	}
	before.Configuration.Rules[1].ExpireDays = proto.Int32(0)
	applied := n.log.applied
	if _, err := n.SetLifecycle(as("owner"), before); errs.KindOf(err) != errs.Invalid || n.log.applied != applied {
		t.Error(err, n.log.applied-applied)
	}
}

// TestTrashIsTheSame to those who fill it and to the rules that leave it alone.
func TestTrashIsTheSame(t *testing.T) {
	if command.TrashPrefix != rule.Trash {
		t.Errorf("%q and %q", command.TrashPrefix, rule.Trash)
	}
}
