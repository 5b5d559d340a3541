package web_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/fsm/fsmtest"
	"o3/internal/image"
	"o3/internal/pebblekv"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/query"
	"o3/internal/recon/task"
	"o3/internal/recon/web"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// om is an Ozone Manager that a Service follows: a rig's namespace with its log,
// and how many keys of how many bytes there were at each entry.
type om struct {
	*rig
	store *pebblekv.Store

	log   sync.Mutex
	grown chan struct{}
	keys  []int64 // by index
	bytes []int64
	lie   bool // about the digest, from now on
}

func newOM(t *testing.T) *om {
	s, err := pebblekv.Open(pebblekv.Options{Dir: filepath.Join(t.TempDir(), "om"), Name: "om", Version: schema.Format, DisableWAL: true, DiskSlowAfter: -1, CacheBytes: 4 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &om{rig: &rig{t: t, d: fsmtest.New(t, s)}, store: s, grown: make(chan struct{}), keys: []int64{0}, bytes: []int64{0}}
}

// carryOut does a line of a script and notes what there is then.
func (o *om) carryOut(line string) {
	o.log.Lock()
	defer o.log.Unlock()
	o.do(line)
	keys, bytes := int64(0), int64(0)
	err := fsmtest.Scan(o.store, schema.Entries, func(_ schema.EntryKey, e *schemapb.Entry) error {
		if e.Kind == o3v1.EntryKind_ENTRY_KIND_KEY {
			keys, bytes = keys+1, bytes+int64(e.Size)
		}
		return nil
	})
	if err != nil {
		o.t.Error(err)
	}
	for len(o.keys) <= len(o.d.Log) {
		o.keys, o.bytes = append(o.keys, keys), append(o.bytes, bytes)
	}
	close(o.grown)
	o.grown = make(chan struct{})
}

func (o *om) at(index uint64) (keys, bytes int64) {
	o.log.Lock()
	defer o.log.Unlock()
	return o.keys[index], o.bytes[index]
}

// Name implements recon.Source.
func (o *om) Name() string { return "om1" }

// Follow implements recon.Source.
func (o *om) Follow(ctx context.Context, after, _ uint64, f func(*o3v1.ReadLogResponse) error) error {
	for first := true; ; first = false {
		m, grown := o.message(after, first)
		if m == nil {
			select {
			case <-grown:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		after += uint64(len(m.Entries))
		if err := f(m); err != nil {
			return err
		}
	}
}

func (o *om) message(after uint64, first bool) (*o3v1.ReadLogResponse, <-chan struct{}) {
	o.log.Lock()
	defer o.log.Unlock()
	last := uint64(len(o.d.Log))
	if after == last && !first {
		return nil, o.grown
	}
	m := &o3v1.ReadLogResponse{CommitIndex: last, FirstIndex: 1}
	for _, e := range o.d.Log[after:min(last, after+5)] {
		data := make([]byte, 25)
		data[0] = 1
		for _, r := range e.Requests {
			data = append(binary.AppendUvarint(data, uint64(len(r))), r...)
		}
		m.Entries = append(m.Entries, &o3v1.LogEntry{Index: e.Index, Term: e.Term, Data: data})
	}
	if pos := o.d.Machine.Position(); pos.Index == after+uint64(len(m.Entries)) {
		m.State = &o3v1.LogState{Index: pos.Index, Digest: pos.Digest.String(), NodeId: "om1"}
		if o.lie {
			m.State.Digest, o.lie = "another", false
		}
	}
	return m, nil
}

// Image implements recon.Source.
func (o *om) Image(_ context.Context, dir string, _ []string, progress func(done, total int64)) (*image.Manifest, error) {
	o.log.Lock()
	defer o.log.Unlock()
	progress(1, 1)
	pos := o.d.Machine.Position()
	return &image.Manifest{ID: fmt.Sprint(pos.Index), Index: pos.Index, Digest: pos.Digest.String()}, o.store.Checkpoint(dir)
}

// TestNeverBlank: clients read every endpoint as fast as they can while the
// namespace changes, is synced anew, is found to differ, and the tables are
// rebuilt. No answer is an error, none is empty, and each is that of the index it
// names.
func TestNeverBlank(t *testing.T) {
	o := newOM(t)
	for _, line := range []string{"volume vol", "bucket vol/flat OBS", "bucket vol/tree FSO", "put vol/flat/first size=1", "put vol/tree/a/first size=1", "open vol/flat/o", "snapshot vol/flat/s"} {
		o.carryOut(line)
	}
	s := recon.New(recon.Options{
		Dir: filepath.Join(t.TempDir(), "recon"), Sources: []recon.Source{o}, FlushInterval: time.Millisecond, Backoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
		Generation: generation.Options{CacheBytes: 4 << 20, MemoryBytes: 1 << 20}, Rebuild: task.RebuildOptions{Memory: 1 << 16},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var stopped atomic.Bool
	h := web.New(web.Options{Source: s, Auth: byHeader})
	var wg sync.WaitGroup
	var answers atomic.Int64
	defer func() {
		stopped.Store(true)
		wg.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	until(t, "something to answer from", func() bool { return s.Status().Generation != "" })
	rounds, clients := 3, 1
	if os.Getenv("O3_NIGHTLY") == "1" {
		rounds, clients = 30, 4
	}
	for range clients {
		wg.Go(func() {
			for !stopped.Load() && !t.Failed() {
				for _, target := range everything {
					o.ask1(h, target)
					answers.Add(1)
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range rounds {
		before := s.Status().Syncs
		trigger := [][2]string{{"GET", "/api/v1/triggerdbsync/om"}, {"POST", "/api/v1/triggerdbsync/om/reinit"}}[i%2]
		if i%3 == 2 {
			o.log.Lock()
			o.lie = true
			o.log.Unlock()
		} else {
			until(t, "a trigger", func() bool {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(trigger[0], trigger[1], nil))
				return strings.Contains(w.Body.String(), "true") || w.Code == http.StatusAccepted
			})
		}
		for n := range 25 {
			bucket := []string{"vol/flat", "vol/tree"}[rng.IntN(2)]
			o.carryOut(fmt.Sprintf("put %s/d%d/k%d size=%d", bucket, rng.IntN(3), rng.IntN(20), rng.IntN(5000)))
			if n%5 == 4 {
				o.carryOut(fmt.Sprintf("delete %s/d%d/k%d", bucket, rng.IntN(3), rng.IntN(20)))
			}
		}
		until(t, fmt.Sprintf("a new generation in round %d", i), func() bool { return s.Status().Syncs > before })
	}
	until(t, "enough answers", func() bool { return answers.Load() > 100 })
	t.Logf("%d answers", answers.Load())
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s does not come to be", what)
		}
	}
}

// everything are requests that have something to answer all the time.
var everything = []string{
	"/clusterState", "/namespace/summary?path=/", "/namespace/usage?path=/vol", "/namespace/quota?path=/vol", "/namespace/dist?path=/",
	"/utilization/fileCount", "/pendingDeletion?component=om", "/volumes", "/buckets", "/containers", "/containers/1/keys", "/keys/open",
	"/keys/open/summary", "/keys/listKeys?startPrefix=/vol/flat", "/snapshots", "/snapshots/buckets", "/insights/largest/directories",
	"/insights/age", "/search?name=first", "/task/status", "/sync/status",
}

// ask1 sends one request and checks its answer against what there was at its
// index.
func (o *om) ask1(h http.Handler, target string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1"+target, nil))
	index, err := strconv.ParseUint(w.Header().Get("X-O3-Index"), 10, 64)
	if w.Code != http.StatusOK || err != nil || w.Body.Len() < 10 {
		o.t.Errorf("%s: %d %v %s", target, w.Code, w.Header(), w.Body)
		return
	}
	keys, bytes := o.at(index)
	got := [2]int64{keys, bytes}
	switch target {
	case "/clusterState":
		got[0] = parsed[query.ClusterStateResponse](o, w).Keys
	case "/namespace/summary?path=/":
		got[0] = parsed[summary](o, w).CountStats.NumKey
	case "/namespace/usage?path=/vol":
		got[1] = parsed[query.UsageResponse](o, w).Size
	case "/utilization/fileCount":
		got[0] = 0
		for _, f := range parsed[[]query.FileCount](o, w) {
			got[0] += f.Count
		}
	case "/insights/age":
		got = [2]int64{}
		for _, a := range parsed[query.AgeResponse](o, w).Ages {
			got[0], got[1] = got[0]+a.Files, got[1]+a.Bytes
		}
	case "/containers":
		got[0] = parsed[query.ContainersResponse](o, w).Data.Containers[0].NumberOfKeys
		if got[0] > keys || got[0] < 2 {
			o.t.Errorf("%s at %d: %d keys of %d", target, index, got[0], keys)
		}
		return
	}
	if got != [2]int64{keys, bytes} {
		o.t.Errorf("%s at %d: %d keys, %d bytes; there were %d, %d", target, index, got[0], got[1], keys, bytes)
	}
}

func parsed[T any](o *om, w *httptest.ResponseRecorder) (body T) {
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		o.t.Errorf("%v: %s", err, w.Body)
	}
	return body
}
