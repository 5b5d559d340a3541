package lifecycle

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/lifecycle/rule"
	"o3/internal/ns"
	"o3/internal/view"
)

// The most things of a rule that a preview names, by default and at all.
const (
	defaultSamples = 10
	maxSamples     = 1000
)

// PreviewLifecycle tells what a scan would do, by the rules that a bucket has or by
// others, to the live bucket or to what a snapshot saw, now or at another time. It
// looks at as much as fits into PreviewSlice and returns a token to go on with.
// For who controls the bucket. Kind SlowDown: others are being made.
func (s *Service) PreviewLifecycle(ctx context.Context, r *o3v1.PreviewLifecycleRequest) (*o3v1.PreviewLifecycleResponse, error) {
	if err := s.o.Namespace.Controls(ctx, r.Volume, r.Bucket); err != nil {
		return nil, err
	}
	if r.Configuration != nil {
		if err := rule.Validate(r.Configuration.Rules); err != nil {
			return nil, err
		}
	}
	if r.AtMs < 0 || r.Samples > maxSamples {
		return nil, errs.New(errs.Invalid, "preview of "+r.Volume+"/"+r.Bucket, fmt.Sprintf("the time must not be negative, and of each rule at most %d things are named", maxSamples))
	}
	select {
	case s.preview <- struct{}{}:
		defer func() { <-s.preview }()
	default:
		return nil, errs.New(errs.SlowDown, "preview of "+r.Volume+"/"+r.Bucket, fmt.Sprintf("%d others are being made; try again", cap(s.preview)))
	}
	p := &preview{ctx: ctx, s: s, r: r, end: time.Now().Add(s.o.PreviewSlice), resp: &o3v1.PreviewLifecycleResponse{Trash: s.o.Trash}}
	err := s.o.Namespace.Read(ctx, p.look)
	if err != nil {
		return nil, err
	}
	return p.resp, nil
}

// preview is one part of a preview. It implements visitor.
type preview struct {
	ctx  context.Context
	s    *Service
	r    *o3v1.PreviewLifecycleRequest
	end  time.Time
	set  *rule.Set
	resp *o3v1.PreviewLifecycleResponse
	of   map[uint32]*o3v1.LifecyclePreview
}

// previewToken is where a part of a preview ended.
type previewToken struct {
	Of      uint64 `json:"o"` // bucket, point in time and rules
	AtMs    int64  `json:"t"`
	Uploads bool   `json:"u,omitempty"`
	Key     string `json:"k,omitempty"`
	Kept    string `json:"h,omitempty"`
	Mpu     string `json:"m,omitempty"`
}

func (t previewToken) String() string {
	raw, _ := json.Marshal(t)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func (p *preview) token(of uint64) (t previewToken, err error) {
	if p.r.Token == "" {
		t = previewToken{Of: of, AtMs: p.r.AtMs}
		if t.AtMs == 0 {
			t.AtMs = time.Now().UnixMilli()
		}
		return t, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.r.Token)
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	if err != nil || t.Of != of || t.AtMs <= 0 || p.r.AtMs != 0 && p.r.AtMs != t.AtMs {
		return t, errs.New(errs.Invalid, fmt.Sprintf("token %.64q", p.r.Token), "is not one that a preview of this bucket by these rules returned")
	}
	return t, nil
}

// look walks the bucket from the token on.
func (p *preview) look(v view.View) error {
	b, err := v.Bucket(p.r.Volume, p.r.Bucket)
	if err != nil {
		return err
	}
	rules, update := p.r.Configuration.GetRules(), uint64(0)
	if p.r.Configuration == nil {
		row, ok, err := v.Lifecycle(b.ID())
		if err == nil && !ok {
			err = errs.New(errs.NoSuchConfiguration, p.r.Volume+"/"+p.r.Bucket, "the bucket has no lifecycle configuration; name one to preview")
		}
		if err != nil {
			return err
		}
		rules, update = row.Rules, row.UpdateId
	} else {
		rules = rule.WithIDs(rules)
	}
	if p.r.Snapshot != "" {
		snap, err := v.Snapshot(b, p.r.Snapshot)
		if err != nil {
			return err
		}
		v = v.At(snap.Op)
	}
	t, err := p.token(identity(b.ID(), p.r.Snapshot, update, rules))
	if err != nil {
		return err
	}
	p.set, p.of = rule.Compile(rules, rule.Options{Day: p.s.o.Day}), map[uint32]*o3v1.LifecyclePreview{}
	p.resp.AtMs = t.AtMs
	if p.r.Snapshot == "" {
		p.resp.EstimatedRows = estimate(p.set, b, nil)
	}
	w := newWalk(p.set, b, t.AtMs, p.s.o.Trash)
	w.key, w.kept, w.mpu, w.every = t.Key, t.Kept, t.Mpu, p.s.o.PreviewRows
	end, err := p.walk(v, b, w, &t)
	if err != nil {
		return err
	}
	p.resp.Rows = w.rows
	if !end {
		t.Key, t.Kept, t.Mpu = w.key, w.kept, w.mpu
		p.resp.NextToken = t.String()
	}
	return nil
}

func (p *preview) walk(v view.View, b view.Bucket, w *walk, t *previewToken) (end bool, err error) {
	if !t.Uploads {
		if end, err = w.keys(v, b, p); err != nil || !end {
			return false, err
		}
		t.Uploads = true
	}
	if p.r.Snapshot != "" { // it sees no uploads
		return true, nil
	}
	return w.uploads(v, b, p)
}

// identity tells previews apart that cannot go on with each other's tokens.
func identity(bucket ns.ObjectID, snapshot string, update uint64, rules []*o3v1.LifecycleRule) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d\x00%s\x00%d\x00", bucket, snapshot, update)
	if update == 0 {
		raw, _ := proto.MarshalOptions{Deterministic: true}.Marshal(&o3v1.LifecycleConfiguration{Rules: rules})
		h.Write(raw)
	}
	return h.Sum64()
}

// found implements visitor.
func (p *preview) found(f found) (bool, error) {
	v := f.victim
	c := p.of[v.Rule]
	if c == nil {
		c = &o3v1.LifecyclePreview{Rule: v.Rule, Id: p.set.ID(int(v.Rule))}
		p.of[v.Rule] = c
		p.resp.Rules = append(p.resp.Rules, c)
	}
	item := &o3v1.LifecyclePreviewItem{Path: v.Path, Size: f.size, ModifiedMs: f.modifiedMs, ExpiredMs: f.expiredMs}
	switch {
	case v.Action == commandpb.LifecycleAction_LIFECYCLE_ACTION_ABORT:
		c.Uploads++
		c.UploadBytes += f.size
		item.UploadId = command.UploadID(ns.ObjectID(v.UploadId))
	case f.directory:
		c.Directories++
	default:
		c.Keys++
		c.Bytes += f.size
	}
	samples := int(p.r.Samples)
	if samples == 0 {
		samples = defaultSamples
	}
	if len(c.First) < samples {
		c.First = append(c.First, item)
	}
	return true, nil
}

// tick implements visitor.
func (p *preview) tick() (bool, error) { return time.Now().Before(p.end), p.ctx.Err() }
