package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/audit"
	"o3/internal/consensus"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/leaktest"
	"o3/internal/om"
	"o3/internal/pebblekv"
	"o3/internal/replica"
	"o3/internal/schema"
	"o3/internal/transfer"
)

// withDefaults returns o as Run sees it.
func (o Options) withDefaults(t testing.TB) Options {
	t.Helper()
	if err := o.setDefaults(); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestMain(m *testing.M) { leaktest.Main(m) }

var admin = access.NewContext(context.Background(), access.Principal{User: "root", Role: access.RoleAdmin})

const storeName = "STORE1"

// source is a node that others are made of: the names only, in one process.
type source struct {
	t       testing.TB
	dir     string
	store   *pebblekv.Store
	replica *replica.Replica
	log     *consensus.Node
	om      *om.Service
	keeper  *image.Keeper
	srv     *transfer.Server
	http    *httptest.Server
	server  transfer.ServerOptions // hooks that tests set

	rewrites sync.RWMutex // held: the store rewrites no tables

	dieAt  int64        // bytes after which it dies; 0: never
	haltAt atomic.Int64 // bytes after which it sends no more until the receiver leaves; 0: never
	sent   atomic.Int64 // bytes

	mu        sync.Mutex
	made      int                  // images made for others
	held      int                  // leases taken
	refuse    func() error         // of every request, if not nil
	alter     func(*o3v1.LogState) // what it says of its state
	saysBytes bool                 // its images are said to have the bytes of objects
	truncate  bool                 // the log after an image is gone
}

// startSource starts a node whose images are served; both end with the test.
func startSource(t testing.TB) *source {
	t.Helper()
	s := &source{t: t, dir: t.TempDir()}
	var err error
	s.store, err = pebblekv.Open(pebblekv.Options{
		Dir: filepath.Join(s.dir, "om", "store"), FS: calm{vfs.Default, &s.rewrites}, Name: "om", Version: schema.Format, DisableWAL: true,
		MemTableBytes: 256 << 10, CacheBytes: 1 << 20, DiskSlowAfter: -1,
	})
	s.check(err)
	s.replica, err = replica.Open(s.store)
	s.check(err)
	s.log, err = consensus.Open(consensus.Options{
		ID: 1, Machine: s.replica, Dir: filepath.Join(s.dir, "om", "raft"), Bootstrap: []uint64{1},
		TickInterval: 5 * time.Millisecond, LogMemTableBytes: 256 << 10,
	})
	s.check(err)
	s.om = om.New(om.Options{Store: s.store, Log: s.log})
	s.keeper, err = image.Open(image.Options{
		Dir: filepath.Join(s.dir, "om", "images"), Store: s.store, Node: image.Node{ID: "om1", Number: 1, Store: storeName},
		FirstIndex: func() uint64 { return s.log.Status().First }, Rate: -1, Reserve: -1,
	})
	s.check(err)
	run, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.log.Run(run) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.replica.Flush(), s.log.Close(), s.store.Close()); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	for {
		role, changed := s.log.Role()
		if role.Leader == 1 {
			break
		}
		<-changed
	}
	s.check(s.om.Ready(admin))
	_, err = s.om.CreateVolume(admin, &o3v1.CreateVolumeRequest{Volume: "s3v"})
	s.check(err)
	_, err = s.om.CreateBucket(admin, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "bucket"})
	s.check(err)
	s.serve()
	return s
}

func (s *source) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// serve begins to serve images.
func (s *source) serve() {
	o := s.server
	o.Catalog = catalog{s}
	o.Authorize = func(*http.Request) (string, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.refuse != nil {
			if err := s.refuse(); err != nil {
				return "", err
			}
		}
		return "root", nil
	}
	o.Hold = func(context.Context, transfer.Hold) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held++
		return nil
	}
	var err error
	s.srv, err = transfer.NewServer(o)
	s.check(err)
	s.http = httptest.NewServer(s.mortal(http.StripPrefix("/transfer", s.srv)))
	srv, h := s.srv, s.http
	s.t.Cleanup(func() { h.CloseClientConnections(); srv.Close(); h.Close() })
}

// mortal serves h until dieAt bytes were sent.
func (s *source) mortal(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(&mortalWriter{w, s, r.Context()}, r) })
}

type mortalWriter struct {
	http.ResponseWriter
	s        *source
	receiver context.Context
}

func (w *mortalWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *mortalWriter) Write(p []byte) (int, error) {
	n := w.s.sent.Add(int64(len(p)))
	if w.s.dieAt > 0 && n >= w.s.dieAt {
		w.s.die()
		panic(http.ErrAbortHandler)
	}
	if at := w.s.haltAt.Load(); at > 0 && n >= at {
		<-w.receiver.Done()
		panic(http.ErrAbortHandler)
	}
	return w.ResponseWriter.Write(p)
}

// die cuts all connections and takes no new ones.
func (s *source) die() {
	s.http.Listener.Close()
	s.http.CloseClientConnections()
}

// put writes n keys of 3 KB each, which do not compress.
func (s *source) put(from, n int) {
	s.t.Helper()
	for i := from; i < from+n; i++ {
		data := make([]byte, 3000)
		random := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)})
		_, _ = random.Read(data) // it never fails
		_, err := s.om.CommitKey(admin, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "bucket", Key: fmt.Sprintf("k%06d", i), Size: 3000, Data: data, Etag: "e"})
		s.check(err)
	}
}

// calm is a disk on which a store rewrites its tables only while nobody holds
// them.
type calm struct {
	vfs.FS
	held *sync.RWMutex
}

func (c calm) Create(name string, w vfs.DiskWriteCategory) (vfs.File, error) {
	if w == "pebble-compaction" {
		c.held.RLock()
		defer c.held.RUnlock()
	}
	return c.FS.Create(name, w)
}

// settle waits until the store has nothing to rewrite, and then holds its tables
// until the test ends: those of one image are there for the next one.
func (s *source) settle() {
	s.t.Helper()
	s.check(s.store.Flush())
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for m := s.store.Metrics(); m.Levels[0].Files > 0 || m.CompactionsRunning > 0; m = s.store.Metrics() {
		<-tick.C
	}
	s.rewrites.Lock()
	s.t.Cleanup(s.rewrites.Unlock)
}

// image makes an image.
func (s *source) image() *image.Manifest {
	s.t.Helper()
	img, err := s.keeper.Create(s.t.Context())
	s.check(err)
	defer img.Close()
	return img.Manifest
}

// asSource is how a bootstrap finds it, through url if that is not empty.
func (s *source) asSource(name, url string) Source {
	if url == "" {
		url = s.http.URL
	}
	return Source{Source: transfer.Source{Name: name, URL: url + "/transfer"}, Peer: s}
}

// Status implements Peer.
func (s *source) Status(context.Context, *o3v1.StatusRequest) (*o3v1.StatusResponse, error) {
	return &o3v1.StatusResponse{Version: "test", NodeId: "om1", Role: "leader", AppliedIndex: s.replica.Position().Index, Format: schema.Format, NowMs: time.Now().UnixMilli()}, nil
}

// CreateImage implements Peer.
func (s *source) CreateImage(ctx context.Context, _ *o3v1.CreateImageRequest) (*o3v1.CreateImageResponse, error) {
	s.mu.Lock()
	s.made++
	s.truncate = false
	s.mu.Unlock()
	img, err := s.keeper.Create(ctx)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	return &o3v1.CreateImageResponse{Image: &o3v1.ImageInfo{Id: img.Manifest.ID}}, nil
}

// ReadLog implements Peer.
func (s *source) ReadLog(ctx context.Context, q *o3v1.ReadLogRequest) iter.Seq2[*o3v1.ReadLogResponse, error] {
	return func(yield func(*o3v1.ReadLogResponse, error) bool) {
		s.mu.Lock()
		gone := s.truncate
		s.mu.Unlock()
		if gone {
			yield(nil, errs.New(errs.Conflict, "log", "it does not reach back"))
			return
		}
		at := s.replica.Position()
		for after, term := q.AfterIndex, q.AfterTerm; ; {
			part, err := s.log.ReadLog(after, term, 10_000)
			if err != nil {
				yield(nil, err)
				return
			}
			r := &o3v1.ReadLogResponse{CommitIndex: part.Commit, FirstIndex: part.First}
			for _, e := range part.Entries {
				if e.GetIndex() > at.Index {
					break
				}
				r.Entries = append(r.Entries, &o3v1.LogEntry{Index: e.GetIndex(), Term: e.GetTerm(), Type: o3v1.LogEntry_Type(e.GetType()), Data: e.GetData()})
				after, term = e.GetIndex(), e.GetTerm()
			}
			if after >= at.Index {
				r.State = &o3v1.LogState{Index: at.Index, Term: at.Term, Op: uint64(at.Op), Digest: at.Digest.String(), NodeId: "om1"}
				if s.alter != nil {
					s.alter(r.State)
				}
			}
			if !yield(r, ctx.Err()) || r.State != nil {
				return
			}
		}
	}
}

// bytes is what it says of its images: whether they have the bytes of objects.
func (s *source) bytes() string {
	if s.saysBytes {
		return "yes"
	}
	return "no"
}

// catalog has the images that the source keeps.
type catalog struct{ s *source }

func (c catalog) Images(context.Context) ([]transfer.Info, error) {
	var out []transfer.Info
	first := c.s.log.Status().First
	for _, i := range c.s.keeper.List() {
		m := i.Manifest
		out = append(out, transfer.Info{ID: image.FetchID(m), Created: m.CreatedMs, Files: len(m.Files), Bytes: m.Bytes, Attributes: map[string]string{
			"index": strconv.FormatUint(m.Index, 10), "term": strconv.FormatUint(m.Term, 10), "digest": m.Digest, "blocks": c.s.bytes(),
			"store": m.Node.Store, "format": strconv.Itoa(m.Format), "first_index": strconv.FormatUint(first, 10),
		}})
	}
	return out, nil
}

func (c catalog) Open(_ context.Context, id string) (transfer.Image, error) {
	img, err := c.s.keeper.Get(id)
	if err != nil {
		return nil, err
	}
	spec, err := image.NewSpec(img.Manifest, img.Raw)
	if err != nil {
		img.Close()
		return nil, err
	}
	return &opened{img, &spec}, nil
}

type opened struct {
	img  *image.Image
	spec *transfer.Spec
}

func (o *opened) Spec() *transfer.Spec { return o.spec }
func (o *opened) Close() error         { o.img.Close(); return nil }
func (o *opened) OpenFile(path string) (transfer.Content, error) {
	return os.Open(filepath.Join(o.img.Dir, filepath.FromSlash(path)))
}

// options are those of a bootstrap into a new directory, with short waits.
func options(t testing.TB, sources ...Source) Options {
	t.Helper()
	o := Options{
		DataDir: filepath.Join(t.TempDir(), "data"), Sources: sources, Timeout: 10 * time.Minute, Backoff: time.Millisecond, Chunk: 16 << 10,
		Reserve: -1, SpaceEvery: 5 * time.Millisecond,
	}
	for _, dir := range []string{o.DataDir, o.blockDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	marker := fmt.Sprintf(`{"format":1,"id":"om1","number":1,"store":%q}`, storeName)
	if err := os.WriteFile(filepath.Join(o.blockDir(), "node"), []byte(marker), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.DataDir, "audit", "audit.log")
	o.Audit = func() (*audit.Log, error) {
		return audit.Open(audit.Options{Path: path, Sync: audit.SyncAlways, Strict: true})
	}
	o.Operator = "ann"
	return o
}

// must runs a bootstrap that succeeds.
func must(t testing.TB, o Options) *Result {
	t.Helper()
	got, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// fails runs a bootstrap that fails for a reason, which its record tells too.
func fails(t testing.TB, o Options, why Reason, texts ...string) error {
	t.Helper()
	_, err := Run(t.Context(), o)
	if err == nil {
		t.Fatalf("it succeeds; it should fail: %s", why)
	}
	rec, rerr := ReadRecord(o.DataDir)
	if rerr != nil {
		t.Fatal(rerr)
	}
	last := rec.Last()
	if last == nil || last.Result != Failed || last.Reason != why {
		t.Errorf("the record says %+v, expected reason %s; the error: %v", last, why, err)
	}
	for _, x := range texts {
		if !strings.Contains(err.Error(), x) {
			t.Errorf("%q lacks %q", err, x)
		}
	}
	return err
}

// node opens the node in a data directory and returns where it stands, as its
// own start would: what the log has is applied.
func nodeAt(t testing.TB, dir string) (index uint64, digest string) {
	t.Helper()
	tail, err := openTail(dir, "om", 1)
	if err != nil {
		t.Fatal(err)
	}
	pos := tail.machine.Position()
	if err := tail.close(); err != nil {
		t.Fatal(err)
	}
	return pos.Index, pos.Digest.String()
}

// same fails unless the node in dir stands where the source does.
func (s *source) same(dir string) {
	s.t.Helper()
	want := s.replica.Position()
	if index, digest := nodeAt(s.t, dir); index != want.Index || digest != want.Digest.String() {
		s.t.Errorf("the node is at index %d, digest %s; the source at %d, %s", index, digest, want.Index, want.Digest)
	}
}

// heard collects what a bootstrap tells.
type heard struct {
	mu     sync.Mutex
	phases []Phase
	notes  []string
	onProg func(Progress)
}

func (h *heard) listener() Listener {
	return Listener{
		End: func(e End) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.phases = append(h.phases, e.Phase)
		},
		Note: func(text string, err error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.notes = append(h.notes, fmt.Sprint(text, " ", err))
		},
		Progress: func(p Progress) {
			if h.onProg != nil {
				h.onProg(p)
			}
		},
	}
}

func (h *heard) noted(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.notes, func(n string) bool { return strings.Contains(n, text) })
}
