package command

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// The bounds of a lifecycle configuration.
const (
	MaxLifecycleRules = 1000
	MaxLifecycleID    = 255     // characters of a rule's id
	MaxLifecycleBytes = 2 << 20 // of the encoded configuration
)

// setLifecycle gives a bucket its rules. The caller has checked what they say.
// Those that the bucket has already change nothing, so that a scan goes on.
func setLifecycle(t *Tx, c *o3v1.SetLifecycleRequest) (*o3v1.SetLifecycleResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	rules := c.Configuration.GetRules()
	if err := checkRules(b, rules); err != nil {
		return nil, err
	}
	old, ok, err := schema.Lifecycles.Get(t.w, b.id())
	if err != nil {
		return nil, err
	}
	reply := &o3v1.SetLifecycleResponse{Configuration: c.Configuration}
	row := &schemapb.LifecycleConfiguration{
		Rules: rules, UpdateId: uint64(t.op), CreatedMs: t.now, ModifiedMs: t.now, Owner: t.principal,
		Volume: b.volume.name, Bucket: b.key.Name,
	}
	if ok {
		if sameRules(old.Rules, rules) {
			reply.UpdateId = old.UpdateId
			return reply, nil
		}
		row.CreatedMs = old.CreatedMs
	}
	reply.UpdateId = row.UpdateId
	b.row.LifecycleUpdateId, b.dirty = row.UpdateId, true
	t.wrote()
	return reply, schema.Lifecycles.Put(t.w, b.id(), row)
}

func checkRules(b *bucketState, rules []*o3v1.LifecycleRule) error {
	subject := "lifecycle configuration of " + b.path()
	if n := len(rules); n == 0 || n > MaxLifecycleRules {
		return errs.New(errs.Invalid, subject, fmt.Sprintf("%d rules; 1 to %d are allowed", n, MaxLifecycleRules))
	}
	if n := proto.Size(&o3v1.LifecycleConfiguration{Rules: rules}); n > MaxLifecycleBytes {
		return errs.New(errs.TooLarge, subject, fmt.Sprintf("%d bytes, at most %d are allowed", n, MaxLifecycleBytes))
	}
	seen := map[string]bool{}
	for i, r := range rules {
		switch {
		case r.Id == "" || utf8.RuneCountInString(r.Id) > MaxLifecycleID || !utf8.ValidString(r.Id):
			return errs.New(errs.Invalid, subject,
				fmt.Sprintf("the id of rule %d has %d characters; 1 to %d of UTF-8 are allowed", i+1, utf8.RuneCountInString(r.Id), MaxLifecycleID))
		case seen[r.Id]:
			return errs.New(errs.Invalid, subject, fmt.Sprintf("two rules have the id %q", r.Id))
		}
		seen[r.Id] = true
	}
	return nil
}

func sameRules(a, b []*o3v1.LifecycleRule) bool {
	return proto.Equal(&o3v1.LifecycleConfiguration{Rules: a}, &o3v1.LifecycleConfiguration{Rules: b})
}

// deleteLifecycle takes a bucket's rules away, and where the scan by them stood.
// A suspension stays: it is of the bucket.
func deleteLifecycle(t *Tx, c *o3v1.DeleteLifecycleRequest) (*o3v1.DeleteLifecycleResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	if b.row.LifecycleUpdateId == 0 {
		return &o3v1.DeleteLifecycleResponse{}, nil
	}
	b.row.LifecycleUpdateId, b.dirty = 0, true
	return &o3v1.DeleteLifecycleResponse{}, t.dropRules(b)
}

func (t *Tx) dropRules(b *bucketState) error {
	t.wrote()
	if err := schema.LifecycleScans.Delete(t.w, b.id()); err != nil {
		return err
	}
	return schema.Lifecycles.Delete(t.w, b.id())
}

// forgetLifecycle drops all that lifecycle knows of a bucket that is going away.
func (t *Tx) forgetLifecycle(b *bucketState) error {
	if err := t.dropRules(b); err != nil {
		return err
	}
	return schema.LifecycleSuspensions.Delete(t.w, b.id())
}
