package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command/commandpb"
	"o3/internal/consensus"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/pebblekv"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/recon/web"
	"o3/internal/schema"
)

// rig is a namespace, Recon's generation of it, and the API.
type rig struct {
	t *testing.T
	d *fsmtest.Driver
	g *generation.Generation
	o web.Options
	h http.Handler

	mu     sync.Mutex
	blank  bool // there is nothing yet
	busy   bool // a generation is being made
	digest bool // that of the state is told; else one that is always the same
	status recon.Status
	reads  *counter // nil: reads are not counted
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	s, err := pebblekv.Open(pebblekv.Options{Dir: filepath.Join(dir, "om"), Name: "om", Version: schema.Format, DisableWAL: true, DiskSlowAfter: -1, CacheBytes: 4 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, d: fsmtest.New(t, s)}
	r.status = recon.Status{State: recon.StateFollowing, Source: "om1", Generation: "generation-0000000001"}
	r.d.Must(t, &o3v1.CreateVolumeRequest{Volume: "vol"})
	if err := s.Checkpoint(filepath.Join(dir, "g", generation.ReplicaDir)); err != nil {
		t.Fatal(err)
	}
	if r.g, err = generation.Open(t.Context(), generation.Options{Dir: filepath.Join(dir, "g"), CacheBytes: 4 << 20, MemoryBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.g.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := r.g.Rebuild(t.Context(), task.RebuildOptions{Memory: 1 << 16}); err != nil {
		t.Fatal(err)
	}
	r.o = web.Options{Source: r, Now: func() time.Time { return time.UnixMilli(r.d.Now + 2500) }, Auth: byHeader}
	r.serve()
	return r
}

func (r *rig) serve() { r.h = web.New(r.o) }

// byHeader takes the role that a test says: an admin if none.
func byHeader(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p := access.Principal{User: "u", Role: access.RoleAdmin}
		switch who := req.Header.Get("X-Who"); who {
		case "":
		case "nobody":
			p = access.Principal{}
		default:
			p.Role = access.Role(who)
		}
		next.ServeHTTP(w, req.WithContext(access.NewContext(req.Context(), p)))
	})
}

// View implements web.Source.
func (r *rig) View(ctx context.Context) (*generation.View, error) {
	if r.blank {
		return nil, errs.New(errs.Unavailable, "Recon", "it has not read the namespace yet: IMAGE")
	}
	v, err := r.g.View(ctx)
	if err == nil && r.reads != nil {
		v = r.reads.over(v)
	}
	return v, err
}

// Status implements web.Source.
func (r *rig) Status() recon.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.status
	if !r.blank {
		pos := r.g.Position()
		st.Index, st.Op, st.Digest, st.Time = pos.Index, uint64(pos.Op), "d", time.UnixMilli(pos.TimeMs)
		if r.digest {
			st.Digest = pos.Digest.String()
		}
		if st.Commit == 0 {
			st.Commit, st.Compared, st.Heard = pos.Index, pos.Index, time.UnixMilli(r.d.Now+1000)
		}
	}
	return st
}

// Sync implements web.Source.
func (r *rig) Sync() bool { return !r.busy }

// Reinit implements web.Source.
func (r *rig) Reinit() bool { return !r.busy }

// catchUp applies to the generation what the namespace has more.
func (r *rig) catchUp() {
	r.t.Helper()
	var entries []consensus.Entry
	for _, e := range r.d.Log[r.g.Position().Index:] {
		entries = append(entries, consensus.Entry{Index: e.Index, Term: e.Term, Requests: e.Requests})
	}
	if err := r.g.Apply(entries); err != nil {
		r.t.Fatal(err)
	}
}

// look takes a look, until the test ends.
func (r *rig) look() *generation.View {
	r.t.Helper()
	v, err := r.g.View(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = v.Close() })
	return v
}

// ask sends a request; headers are "Name: value".
func (r *rig) ask(method, target string, headers ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	req := httptest.NewRequest(method, target, nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	r.h.ServeHTTP(w, req)
	if err := conforms(req, w); err != nil {
		r.t.Errorf("%s %s is not answered as the OpenAPI document says: %v", method, target, err)
	}
	return w
}

// get asks for a path below /api/v1 and decodes the answer.
func get[T any](r *rig, target string) (body T) {
	r.t.Helper()
	w := r.ask("GET", "/api/v1"+target)
	if w.Code == http.StatusNoContent {
		return body
	}
	if w.Code != http.StatusOK {
		r.t.Fatalf("%s: %d %s", target, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		r.t.Fatalf("%s: %v: %s", target, err, w.Body)
	}
	return body
}

var numbers = regexp.MustCompile(`\[[\s\d,-]*\]`)

// show prints an answer: its status, the headers that matter, its body.
func show(w *httptest.ResponseRecorder) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", w.Code)
	for _, name := range []string{"X-O3-Index", "X-O3-Age-Ms", "X-O3-Last-Key", "Retry-After", "Allow", "Content-Type"} {
		if v := w.Header().Get(name); v != "" && v != "application/json" {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	if w.Header().Get("Content-Type") != "application/json" || w.Body.Len() == 0 {
		return b.String() + w.Body.String()
	}
	var v json.RawMessage = w.Body.Bytes()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return b.String() + err.Error()
	}
	b.Write(numbers.ReplaceAllFunc(text, func(list []byte) []byte {
		return []byte(strings.ReplaceAll(strings.Join(strings.Fields(string(list)), ""), ",", ", "))
	}))
	return b.String() + "\n"
}

// do carries out a line of a script and returns what it answered, "" for well.
func (r *rig) do(line string) string {
	w := strings.Fields(line)
	arg := func(i int) string {
		if i < len(w) && (i == 1 || !strings.Contains(w[i], "=")) {
			return w[i]
		}
		return ""
	}
	num := func(name string) (n uint64) {
		for _, x := range w {
			if s, ok := strings.CutPrefix(x, name+"="); ok {
				if _, err := fmt.Sscan(s, &n); err != nil {
					r.t.Fatalf("%s: %v", line, err)
				}
			}
		}
		return n
	}
	volume, rest, _ := strings.Cut(arg(1), "/")
	bucket, key, _ := strings.Cut(rest, "/")
	var body proto.Message
	switch w[0] {
	case "wait":
		r.d.Now += int64(num("ms"))
		return ""
	case "volume":
		body = &o3v1.CreateVolumeRequest{Volume: arg(1), Owner: "ann", QuotaBytes: num("bytes"), QuotaNames: num("names")}
	case "bucket":
		body = &o3v1.CreateBucketRequest{Volume: volume, Bucket: bucket, Layout: arg(2), Owner: "bob", QuotaBytes: num("bytes"), Grants: []*o3v1.Grant{
			{Grantee: "*", Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_READ, o3v1.Permission_PERMISSION_LIST}},
		}}
	case "put":
		q := &o3v1.CommitKeyRequest{Volume: volume, Bucket: bucket, Key: key, Size: num("size"), Etag: "e", Session: num("session"), DeadlineMs: r.d.Now + 60_000}
		if q.Size > 0 {
			q.Extents = []*o3v1.Extent{{Container: max(num("container"), 1), Local: uint64(r.d.Machine.Position().Op) + 1, Length: int64(q.Size)}}
		}
		if c := num("second"); c > 0 { // a byte more, in another container
			q.Size++
			q.Extents = append(q.Extents, &o3v1.Extent{Container: c, Local: uint64(r.d.Machine.Position().Op) + 1, Length: 1})
		}
		body = q
	case "open":
		body = &o3v1.OpenKeyRequest{Volume: volume, Bucket: bucket, Key: key, ExpectedSize: num("size")}
	case "mkdir":
		body = &o3v1.CreateDirectoryRequest{Volume: volume, Bucket: bucket, Path: key}
	case "delete":
		body = &o3v1.DeleteKeysRequest{Volume: volume, Bucket: bucket, Keys: []*o3v1.DeleteKey{{Key: key}}, Recursive: true, MustExist: true}
	case "rename":
		body = &o3v1.RenameKeyRequest{Volume: volume, Bucket: bucket, From: key, To: arg(2)}
	case "upload": // with one part
		a := r.d.Must(r.t, &o3v1.CreateUploadRequest{Volume: volume, Bucket: bucket, Key: key})
		id := a.Body.(*o3v1.CreateUploadResponse).Upload.UploadId
		body = &o3v1.CommitPartRequest{Volume: volume, Bucket: bucket, Key: key, UploadId: id, Number: 1, Size: num("size"), Etag: "e", DeadlineMs: r.d.Now + 60_000,
			Extents: []*o3v1.Extent{{Container: 9, Local: uint64(r.d.Machine.Position().Op) + 1, Length: int64(num("size"))}}}
	case "snapshot":
		body = &o3v1.CreateSnapshotRequest{Volume: volume, Bucket: bucket, Name: key, MaxTotal: 1000}
	case "unsnapshot":
		body = &o3v1.DeleteSnapshotRequest{Volume: volume, Bucket: bucket, Name: key}
	case "diff":
		from, to := r.snapshot(volume, bucket, key), r.snapshot(volume, bucket, arg(2))
		body = &commandpb.CreateDiffJob{Volume: volume, Bucket: bucket, From: key, FromOp: from, To: arg(2), ToOp: to, Ordered: true, Options: num("options")}
	case "rules", "unrules", "scan", "step", "suspend", "resume":
		body = r.lifecycle(w[0], volume, bucket, arg(2), num)
	case "purge":
		body = &commandpb.PurgeDirectories{Limit: uint32(num("limit"))}
	default:
		r.t.Fatalf("unknown line %q", line)
	}
	if a := r.d.Do(r.t, body); a.Kind != errs.OK {
		return a.String()
	} else if d, ok := a.Body.(*o3v1.DeleteKeysResponse); ok && d.Results[0].Kind != 0 {
		return errs.Kind(d.Results[0].Kind).String()
	}
	return ""
}

// snapshot returns the op of a snapshot, 0 for the live bucket.
func (r *rig) snapshot(volume, bucket, name string) uint64 {
	if name == "" {
		return 0
	}
	r.catchUp()
	v := r.look()
	b, err := v.Bucket(volume, bucket)
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := v.Snapshot(b, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return uint64(s.Op)
}
