package lifecycle_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/lifecycle"
)

// all adds up the parts of a preview.
func (r *rig) preview(req *o3v1.PreviewLifecycleRequest) (sum map[uint32]*o3v1.LifecyclePreview, parts int) {
	r.t.Helper()
	req, sum = proto.CloneOf(req), map[uint32]*o3v1.LifecyclePreview{}
	for {
		resp, err := r.s.PreviewLifecycle(root, req)
		r.ok(err)
		parts++
		for _, p := range resp.Rules {
			c := sum[p.Rule]
			if c == nil {
				c = &o3v1.LifecyclePreview{Rule: p.Rule, Id: p.Id}
				sum[p.Rule] = c
			}
			c.Keys += p.Keys
			c.Bytes += p.Bytes
			c.Directories += p.Directories
			c.Uploads += p.Uploads
			c.UploadBytes += p.UploadBytes
			c.First = append(c.First, p.First...)
		}
		if resp.NextToken == "" {
			return sum, parts
		}
		req.Token, req.AtMs = resp.NextToken, resp.AtMs
	}
}

// TestPreviewEqualsScan: a preview, in one part or in many, tells what the scan
// then does, rule by rule, and changes nothing.
func TestPreviewEqualsScan(t *testing.T) {
	runs := 40
	if os.Getenv("O3_NIGHTLY") != "" {
		runs = 1000
	}
	first, many, found := rand.Uint64(), 0, uint64(0)
	for i := range runs {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(first+uint64(i), 7))
			slice := time.Duration(-1) // over as soon as it is looked at
			if i%2 == 0 {
				slice = hour
			}
			r := newRig(t, lifecycle.Options{Day: modelDay, Batch: 3, TrashKeep: -1, PreviewSlice: slice, PreviewRows: 1 + uint64(rng.IntN(5))})
			bucket := []string{"flat", "tree"}[i/2%2]
			r.fill(rng, bucket)
			rules := anyRules(rng)
			r.rules(bucket, rules...)
			r.leads.Store(false)
			r.start()
			if now := time.Now(); now.Add(time.Minute).Truncate(modelDay).After(now) {
				time.Sleep(time.Minute) // nothing becomes due between the preview and the scan
			}
			digest := r.digest()
			at := time.Now().UnixMilli()
			sum, parts := r.preview(&o3v1.PreviewLifecycleRequest{Volume: "s3v", Bucket: bucket, AtMs: at})
			if r.digest() != digest {
				t.Error("a preview changed what is stored")
			}
			if parts > 1 {
				many++
			}
			unsaved, _ := r.preview(&o3v1.PreviewLifecycleRequest{Volume: "s3v", Bucket: bucket, AtMs: at, Configuration: &o3v1.LifecycleConfiguration{Rules: rules}})
			if fmt.Sprint(unsaved) != fmt.Sprint(sum) {
				t.Errorf("as unsaved rules: %v, else %v", unsaved, sum)
			}
			r.leads.Store(true)
			r.await(bucket)
			r.end()
			row := r.state(bucket)
			for _, c := range row.Rules {
				p := sum[c.Rule]
				if p.GetKeys() != c.DeletedKeys || p.GetBytes() != c.DeletedBytes || p.GetDirectories() != c.DeletedDirs ||
					p.GetUploads() != c.AbortedUploads || p.GetUploadBytes() != c.AbortedBytes || c.Skipped > 0 || p.Id != c.Id {
					t.Errorf("%s: preview %v, scan %v", bucket, p, c)
				}
				delete(sum, c.Rule)
				found += c.DeletedKeys
			}
			if len(sum) > 0 {
				t.Errorf("only the preview found %v", sum)
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", first+uint64(i))
		}
	}
	if many == 0 || found == 0 {
		t.Errorf("%d previews had many parts, %d keys expired", many, found)
	}
}

// TestPreview: a preview shows a snapshot, another time, and names what it finds;
// a token is good for what it was made for only.
func TestPreview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lifecycle.Options{PreviewSlice: -1, PreviewRows: 1, Workers: 1})
		r.put("flat", "a", "b", "c")
		_, err := r.user.CreateSnapshot(root, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "s"})
		r.ok(err)
		_, err = r.user.DeleteKeys(root, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "flat", Keys: []*o3v1.DeleteKey{{Key: "b"}}})
		r.ok(err)
		r.start()
		defer r.end()
		req := &o3v1.PreviewLifecycleRequest{
			Volume: "s3v", Bucket: "flat", Samples: 5, Configuration: &o3v1.LifecycleConfiguration{Rules: []*o3v1.LifecycleRule{age("", "", 3)}},
		}
		paths := func(req *o3v1.PreviewLifecycleRequest) (out []string) {
			sum, _ := r.preview(req)
			for _, p := range sum {
				for _, item := range p.First {
					out = append(out, item.Path)
				}
			}
			return out
		}
		if got := paths(req); got != nil {
			t.Errorf("nothing is due now, not %v", got)
		}
		req.AtMs = time.Now().Add(96 * hour).UnixMilli()
		if got := paths(req); !slices.Equal(got, []string{"a", "c"}) {
			t.Errorf("in four days: %v", got)
		}
		req.Snapshot = "s"
		if got := paths(req); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("in the snapshot: %v", got)
		}
		part, err := r.s.PreviewLifecycle(root, req)
		if err != nil || part.NextToken == "" || part.Rules[0].Id == "" {
			t.Fatal(part, err)
		}
		for name, change := range map[string]func(*o3v1.PreviewLifecycleRequest){
			"bucket":   func(q *o3v1.PreviewLifecycleRequest) { q.Bucket, q.Snapshot = "tree", "" },
			"snapshot": func(q *o3v1.PreviewLifecycleRequest) { q.Snapshot = "" },
			"rules":    func(q *o3v1.PreviewLifecycleRequest) { q.Configuration.Rules[0].Id = "other" },
			"time":     func(q *o3v1.PreviewLifecycleRequest) { q.AtMs++ },
			"token":    func(q *o3v1.PreviewLifecycleRequest) { q.Token = "nonsense" },
			"samples":  func(q *o3v1.PreviewLifecycleRequest) { q.Token, q.Samples = "", 1001 },
			"no rules": func(q *o3v1.PreviewLifecycleRequest) { q.Token, q.Configuration.Rules = "", nil },
		} {
			q := proto.CloneOf(req)
			q.Token = part.NextToken
			change(q)
			if _, err := r.s.PreviewLifecycle(root, q); errs.KindOf(err) != errs.Invalid {
				t.Errorf("with another %s: %v", name, err)
			}
		}
		if _, err := r.s.PreviewLifecycle(root, &o3v1.PreviewLifecycleRequest{Volume: "s3v", Bucket: "flat"}); errs.KindOf(err) != errs.NoSuchConfiguration {
			t.Errorf("without rules: %v", err)
		}
	})
}
