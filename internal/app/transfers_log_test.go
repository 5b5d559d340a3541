package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/access"
	"o3/internal/consensus"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/image"
	"o3/internal/kv/memkv"
	"o3/internal/s3/sigv4"
	"o3/internal/transfer"
)

// eager makes a node cut its log as early as it may, and look at leases often.
func eager(ttl time.Duration) hooks {
	return hooks{
		log:       func(o *consensus.Options) { o.TruncateStep, o.TickInterval = 1, 10*time.Millisecond },
		transfers: func(o *transfer.ServerOptions) { o.LeaseTTL = ttl },
		holds:     20 * time.Millisecond,
	}
}

// short keeps five entries behind what is on the disk.
var short = []string{"ozone.om.db.flush.interval=100ms", "ozone.om.ratis.log.purge.preservation.log.num=5"}

// write commits n keys to the bucket photos.
func (s *server) write(n int) {
	s.t.Helper()
	for i := range n {
		if err := s.commit("photos", fmt.Sprint("key ", i), []byte("x")); err != nil {
			s.t.Fatal(err)
		}
	}
}

// cut waits until the log begins at its last five entries.
func (s *server) cut() {
	s.t.Helper()
	wait(s.t, "the log is cut", func() bool {
		st := s.node.log.Status()
		return st.Durable == st.Last && st.First >= st.Last-4
	})
}

// durable waits until all that is applied is on the disk, and the log was looked
// at since.
func (s *server) durable() {
	s.t.Helper()
	wait(s.t, "all is on the disk", func() bool { st := s.node.log.Status(); return st.Durable == st.Last })
	ticks := time.Now().Add(300 * time.Millisecond)
	wait(s.t, "the log was looked at", func() bool { return time.Now().After(ticks) })
}

// TestLogHold: for a receiver of an image the log after it is kept, whatever is
// on the disk, over a restart; until the receiver lets go, or is gone.
func TestLogHold(t *testing.T) {
	t.Parallel()
	set := append(slices.Clone(short), "ozone.om.address="+freeAddress(t))
	s := start(t, settings{set: set, hooks: eager(time.Hour)})
	s.bucket("photos", "")
	s.write(5)
	made := s.image()
	r, _ := s.fetchImage()
	s.write(30)
	s.durable()
	kept := func(s *server) {
		t.Helper()
		st := s.node.log.Status()
		if st.First > made.Index+1 || len(st.Holds) != 1 {
			t.Errorf("the log begins at %d with holds %v; the image is at %d", st.First, st.Holds, made.Index)
		}
		if err := s.shut(); err != nil {
			t.Fatal(err)
		}
	}
	kept(s)
	again := start(t, settings{dir: s.Data, set: set, hooks: eager(time.Hour)})
	again.write(30)
	again.durable()
	if n, age := again.metric("o3_transfer_log_held_entries"), again.metric("o3_transfer_log_hold_age_seconds"); n < 60 || age <= 0 {
		t.Errorf("%v entries held for %v s", n, age)
	}
	if st := again.node.log.Status(); st.First > made.Index+1 {
		t.Errorf("after the restart the log begins at %d; the image is at %d", st.First, made.Index)
	}
	if err := r.Lease.Release(t.Context()); err != nil { // the source forgot it; its row is there
		t.Fatal(err)
	}
	if n := len(again.node.log.Status().Holds); n != 1 {
		t.Errorf("%d holds after the release of a lease that the source forgot: it is for a renewal or its end to end it", n)
	}
	ctx, stop := context.WithCancel(t.Context())
	renewed := make(chan error, 1)
	go func() { renewed <- r.Lease.Run(ctx) }()
	stop()
	<-renewed
	r, _ = again.fetchImage() // takes the same lease again
	if err := r.Lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	again.cut()
	if n := again.metric("o3_transfer_log_holds"); n != 0 {
		t.Errorf("%v holds are left", n)
	}
}

// TestLogHoldExpires: a receiver that is gone keeps the log no longer than its
// lease, also where the source was restarted meanwhile and knows it no more.
func TestLogHoldExpires(t *testing.T) {
	t.Parallel()
	never := eager(time.Hour)
	never.holds = time.Hour
	s := start(t, settings{set: short, hooks: never})
	s.bucket("photos", "")
	made := s.image()
	err := s.node.holds.take(access.NewContext(t.Context(), access.System), holdName(transfer.Hold{Who: "root", Receiver: "gone", Image: made.Id}), made.Index, time.Now().Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	s.write(30)
	s.durable()
	if st := s.node.log.Status(); st.First > made.Index+1 {
		t.Errorf("the log begins at %d", st.First)
	}
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	again := start(t, settings{dir: s.Data, set: short, hooks: eager(time.Hour)})
	wait(t, "the lease expires", func() bool {
		return again.metric("o3_transfer_log_holds_lost_total", `reason="expired"`) == 1 && again.metric("o3_transfer_log_holds") == 0
	})
	again.cut()
}

func TestKeyLogHoldLimit(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.bootstrap.log.hold.limit"
	plain, changed := start(t, settings{set: short, hooks: eager(time.Hour)}), start(t, settings{set: append(slices.Clone(short), key+"=1MB"), hooks: eager(time.Hour)})
	for _, s := range []*server{plain, changed} {
		s.bucket("photos", "")
		made := s.image()
		r, _ := s.fetchImage()
		s.noise(80) // 4.8 MB
		if s == plain {
			s.durable()
			if st := s.node.log.Status(); st.First > made.Index+1 {
				t.Errorf("by default the log begins at %d", st.First)
			}
			continue
		}
		wait(t, "the lease is broken", func() bool { return s.metric("o3_transfer_log_holds_lost_total", `reason="broken"`) >= 1 })
		s.cut()
		_, err := transfer.Fetch(t.Context(), s.receiver(choose(made.Id)))
		if k := errs.KindOf(err); k != errs.Conflict && k != errs.TooMany { // gone, or too much to keep
			t.Errorf("a lease on an image whose log is gone: %v", err)
		}
		if !strings.Contains(s.log.String(), "kept too much and was ended") {
			t.Error("the log line is missing")
		}
		if err := r.Lease.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// reader applies what a reader of the log gets to a state of its own.
type reader struct {
	t       *testing.T
	m       *fsm.Machine
	states  int
	entries int
	conf    []byte
}

// newReader begins where a first voter begins.
func newReader(t *testing.T, s *server) *reader {
	conf := s.node.replica.Position().Conf
	m, err := fsm.Open(new(memkv.Store), fsm.Position{Index: 1, Term: 1, Conf: conf})
	if err != nil {
		t.Fatal(err)
	}
	return &reader{t: t, m: m, conf: conf}
}

// take applies a message; the state at which it says the source was must be that
// of the reader.
func (r *reader) take(msg *o3v1.ReadLogResponse) {
	r.t.Helper()
	for _, e := range msg.Entries {
		requests, err := consensus.DecodeRequests(e.Data)
		if err != nil || e.Type != o3v1.LogEntry_TYPE_NORMAL {
			r.t.Fatal(e.Type, err)
		}
		if _, err := r.m.Apply([]fsm.Entry{{Index: e.Index, Term: e.Term, Requests: requests}}); err != nil {
			r.t.Fatal(err)
		}
		r.entries++
		if s := msg.State; s != nil && s.Index == e.Index {
			r.same(s)
		}
	}
	if s := msg.State; s != nil && len(msg.Entries) == 0 && s.Index == r.m.Position().Index {
		r.same(s)
	}
}

func (r *reader) same(s *o3v1.LogState) {
	r.t.Helper()
	r.states++
	if p := r.m.Position(); p.Digest.String() != s.Digest || uint64(p.Op) != s.Op || p.Term != s.Term || s.NodeId != "om1" {
		r.t.Errorf("at %d the digest is %v, the source's is %v", s.Index, p.Digest, s)
	}
}

// TestReadLog: the log makes the source's state, in messages as small as asked
// for; and it is refused to all but admins, where it does not reach back, and
// where it is another's.
func TestReadLog(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	s.bucket("photos", "FILE_SYSTEM_OPTIMIZED")
	s.write(40)
	s.must("PUT", "/photos/large", make([]byte, 300<<10))
	for _, most := range []uint32{1, 1000, 0} {
		r := newReader(t, s)
		var last *o3v1.ReadLogResponse
		messages := 0
		for msg, err := range s.om.ReadLog(t.Context(), &o3v1.ReadLogRequest{MaxBytes: most}) {
			if err != nil {
				t.Fatal(err)
			}
			r.take(msg)
			last = msg
			messages++
		}
		if r.states != 1 || last.State.GetIndex() != r.m.Position().Index || last.FirstIndex != 2 || last.CommitIndex < last.State.Index || last.Leader != 1 || last.Term == 0 || last.TimeMs == 0 {
			t.Errorf("%d states, %d entries, the last message is %v", r.states, r.entries, last)
		}
		if most == 1 && messages != r.entries || most == 0 && messages > 2 {
			t.Errorf("at most %d bytes: %d messages for %d entries", most, messages, r.entries)
		}
		for msg, err := range s.om.ReadLog(t.Context(), &o3v1.ReadLogRequest{AfterIndex: last.State.Index, AfterTerm: last.State.Term}) {
			if err != nil || len(msg.Entries) > 0 && msg.Entries[0].Index <= last.State.Index {
				t.Errorf("after the end: %v, %v", msg, err)
			}
		}
	}
	pos := s.node.replica.Position()
	ann := s.client(s.user("ann", "user"))
	for _, c := range []struct {
		q    *o3v1.ReadLogRequest
		kind errs.Kind
		says string
	}{
		{&o3v1.ReadLogRequest{AfterIndex: pos.Index + 1000}, errs.PreconditionFailed, "it is committed up to"},
		{&o3v1.ReadLogRequest{AfterIndex: pos.Index, AfterTerm: pos.Term + 1}, errs.PreconditionFailed, "of another history"},
		{&o3v1.ReadLogRequest{MaxBytes: maxLogBytes + 1}, errs.Invalid, "at most"},
	} {
		kind(t, readAll(t.Context(), s.om.ReadLog(t.Context(), c.q)), c.kind, c.says)
	}
	kind(t, readAll(t.Context(), ann.ReadLog(t.Context(), &o3v1.ReadLogRequest{})), errs.Denied, "user ann")
	stranger := s.client(client.Credentials{AccessKey: s.root.AccessKey, SecretKey: "another"})
	kind(t, readAll(t.Context(), stranger.ReadLog(t.Context(), &o3v1.ReadLogRequest{})), errs.Unauthenticated)
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	got := s.transferred()
	if n := len(got); n != 11 || got[0] != "om:ReadLog after=0 follow=false root ok" || got[n-2] != "om:ReadLog after=0 follow=false ann denied" || got[n-1] != "om:ReadLog  unauthenticated" {
		t.Errorf("%d records\n%s", n, strings.Join(got, "\n"))
	}
}

// readAll returns the error at the end.
func readAll(_ context.Context, log func(func(*o3v1.ReadLogResponse, error) bool)) (last error) {
	for _, err := range log {
		last = err
	}
	return last
}

// TestReadLogTruncated: a log that does not reach back says so.
func TestReadLogTruncated(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: short, hooks: eager(time.Hour)})
	s.bucket("photos", "")
	s.write(30)
	s.cut()
	first := s.node.log.Status().First
	err := readAll(t.Context(), s.om.ReadLog(t.Context(), &o3v1.ReadLogRequest{}))
	kind(t, err, errs.Conflict, fmt.Sprintf("it begins with entry %d: a newer image is needed", first))
	kind(t, readAll(t.Context(), s.om.ReadLog(t.Context(), &o3v1.ReadLogRequest{AfterIndex: first - 2})), errs.Conflict)
	if err := readAll(t.Context(), s.om.ReadLog(t.Context(), &o3v1.ReadLogRequest{AfterIndex: first - 1})); err != nil {
		t.Error(err)
	}
}

// TestReadLogFollow: several readers follow a log that goes on, each at its own
// pace; a beat comes when there is nothing; the node does not wait for them when
// it stops.
func TestReadLogFollow(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{"ozone.service.shutdown.timeout=1h"}})
	s.bucket("photos", "")
	enough := errors.New("enough")
	done := make(chan error, 3)
	var goal uint64
	written := make(chan struct{})
	for range 3 {
		r := newReader(t, s)
		go func() {
			done <- func() error {
				beats := 0
				for msg, err := range s.om.ReadLog(t.Context(), &o3v1.ReadLogRequest{Follow: true, MaxBytes: 500}) {
					if err != nil {
						return err
					}
					r.take(msg)
					if len(msg.Entries) == 0 {
						beats++
					}
					select {
					case <-written:
						if r.m.Position().Index >= goal && beats > 0 && r.states > 1 {
							return enough
						}
					default:
					}
				}
				return io.EOF
			}()
		}()
	}
	wait(t, "all read", func() bool { return s.metric("o3_transfer_log_readers") == 3 })
	s.write(100)
	goal = s.node.replica.Position().Index
	close(written)
	for range 3 {
		if err := <-done; err != enough {
			t.Error(err)
		}
	}
	wait(t, "the readers are gone", func() bool { return s.metric("o3_transfer_log_readers") == 0 })
	ended := make(chan error, 1)
	here := make(chan struct{})
	go func() {
		once := here
		for _, err := range s.om.ReadLog(t.Context(), &o3v1.ReadLogRequest{Follow: true}) {
			if once != nil {
				close(once)
				once = nil
			}
			if err != nil {
				ended <- err
			}
		}
	}()
	<-here
	if err := s.shut(); err != nil { // which waits for less than the grace
		t.Fatal(err)
	}
	kind(t, <-ended, errs.Unavailable)
}

func TestKeyBootstrapEnabled(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.bootstrap.enabled"
	plain, changed := start(t, settings{}), start(t, settings{set: []string{key + "=false"}})
	for _, s := range []*server{plain, changed} {
		made := s.image()
		_, err := transfer.Fetch(t.Context(), s.receiver())
		log := readAll(t.Context(), s.om.ReadLog(t.Context(), &o3v1.ReadLogRequest{}))
		hold, herr := s.ask(s.root, "o3", "POST", s.OM+"/transfer/images/"+made.Id+"/hold", nil)
		if s == plain {
			if err != nil || log != nil || herr != nil || hold.status != 200 {
				t.Errorf("%v, %v, %v, %v", err, log, hold, herr)
			}
			continue
		}
		kind(t, err, errs.Denied, key+" is false")
		kind(t, log, errs.Denied, key+" is false")
		if herr != nil || hold.status != 403 || !strings.Contains(string(hold.body), key) {
			t.Errorf("%v, %v", hold, herr)
		}
	}
}

// TestKeyTransferInsecure: who comes from another machine needs TLS.
func TestKeyTransferInsecure(t *testing.T) {
	t.Parallel()
	plain, changed := start(t, settings{}), start(t, settings{set: []string{"ozone.om.snapshot.transfer.insecure=true"}})
	for _, s := range []*server{plain, changed} {
		for from, served := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "192.0.2.1:1": s == changed} {
			r := httptest.NewRequest("GET", "http://om.example/transfer/images", nil)
			r.RemoteAddr = from
			signer := sigv4.Signer{AccessKeyID: s.root.AccessKey, Secret: s.root.SecretKey, Region: "us-east-1", Service: "o3"}
			signer.Sign(r, sigv4.EmptySHA256, time.Now())
			w := httptest.NewRecorder()
			s.node.api.ServeHTTP(w, r)
			if w.Code == 200 != served {
				t.Errorf("%s: %d %s, served %v", from, w.Code, w.Body, served)
			}
			var seen error
			withRemote(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = s.node.transfers.secure(r.Context()) })).ServeHTTP(w, r)
			if (seen == nil) != served {
				t.Errorf("the log to %s: %v, served %v", from, seen, served)
			}
		}
	}
}

func TestKeyTransferChunk(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.snapshot.transfer.chunk.size"
	plain, changed := start(t, settings{}), start(t, settings{set: []string{key + "=4KB"}})
	overhead := map[*server]float64{}
	for _, s := range []*server{plain, changed} {
		s.noise(10)
		s.image()
		s.fetchImage()
		overhead[s] = s.metric("o3_transfer_sent_bytes_total") - s.metric("o3_transfer_file_bytes_total")
	}
	if overhead[changed] < 10*overhead[plain] { // a frame each 4 KB
		t.Errorf("frames take %v, in small chunks %v", overhead[plain], overhead[changed])
	}
	before := plain.metric("o3_transfer_sent_bytes_total") - plain.metric("o3_transfer_file_bytes_total")
	plain.fetchImage(configured(t, key+"=4KB"))
	if more := plain.metric("o3_transfer_sent_bytes_total") - plain.metric("o3_transfer_file_bytes_total") - before; more < 10*overhead[plain] {
		t.Errorf("a target that wants small chunks: frames take %v, else %v", more, overhead[plain])
	}
}

func TestKeyTransferParallelism(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.snapshot.transfer.parallelism"
	const slow = "ozone.om.snapshot.transfer.bandwidth=1MB"
	most := func(target func(*transfer.Options), set ...string) int {
		var mu sync.Mutex
		now, top := 0, 0
		s := start(t, settings{set: append(set, slow), hooks: hooks{transfers: func(o *transfer.ServerOptions) {
			begin, end := o.Listener.StreamBegin, o.Listener.StreamEnd
			o.Listener.StreamBegin = func(s transfer.Stream) {
				mu.Lock()
				now++
				top = max(top, now)
				mu.Unlock()
				begin(s)
			}
			o.Listener.StreamEnd = func(s transfer.Stream, err error) {
				mu.Lock()
				now--
				mu.Unlock()
				end(s, err)
			}
		}}})
		s.noise(20)
		s.image()
		if _, err := transfer.Fetch(t.Context(), s.receiver(target, func(o *transfer.Options) { o.Batch, o.Chunk = 64<<10, 64<<10 })); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		return top
	}
	eight := func(o *transfer.Options) { o.Streams = 8 }
	if n := most(eight, key+"=2"); n != 2 {
		t.Errorf("%v streams at once, want 2", n)
	}
	if n := most(eight); n < 4 {
		t.Errorf("%v streams at once by default", n)
	}
	if n := most(configured(t, key+"=2")); n != 1 {
		t.Errorf("%v streams at once to a target with 2", n)
	}
}

func TestKeyTransferBandwidth(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.snapshot.transfer.bandwidth"
	took := func(target func(*transfer.Options), set ...string) time.Duration {
		s := start(t, settings{set: set})
		s.noise(40) // 2.4 MB
		s.image()
		r, _ := s.fetchImage(target)
		quiet(t, s)
		return r.Took
	}
	if plain, ok := quick(time.Second, func() time.Duration { return took(configured(t)) }); !ok {
		t.Errorf("%v where neither is slow", plain)
	}
	if source := took(configured(t), key+"=1MB"); source < time.Second {
		t.Errorf("%v with a slow source", source)
	}
	if target := took(configured(t, key+"=1MB")); target < time.Second {
		t.Errorf("%v with a slow target", target)
	}
}

// TestKeyTransferCompression: targets that ask for it get it compressed, unless
// the source does not compress.
func TestKeyTransferCompression(t *testing.T) {
	t.Parallel()
	const key, enabled = "ozone.om.snapshot.compression", "ozone.om.snapshot.compression.enabled"
	share := func(target []string, source ...string) float64 {
		s := start(t, settings{set: source})
		s.bucket("photos", "")
		s.write(20)
		s.image()
		s.must("PUT", "/photos/large", make([]byte, 4<<20))
		shelf := s.imageOf(&o3v1.CreateImageRequest{WithBlocks: true})
		if !strings.HasSuffix(shelf.Id, image.BlocksSuffix) {
			t.Fatal(shelf)
		}
		s.fetchImage(configured(t, target...), choose(shelf.Id))
		return s.metric("o3_transfer_sent_bytes_total") / s.metric("o3_transfer_file_bytes_total")
	}
	if n := share(nil); n < 1 {
		t.Errorf("by default it is compressed: %v", n)
	}
	for _, how := range []string{"s2", "zstd:1"} {
		if n := share([]string{key + "=" + how}); n > 0.1 {
			t.Errorf("%s: %v", how, n)
		}
	}
	if n := share([]string{key + "=zstd"}, enabled+"=false"); n < 1 {
		t.Errorf("the source compressed: %v", n)
	}
}

// TestReadLogGathers: entries that come without a pause come together, and one
// that comes after a pause comes at once.
func TestReadLogGathers(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	s.bucket("photos", "")
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	defer func() { stop(); writers.Wait() }()
	writers.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if a, err := s.ask(s.root, "", "PUT", fmt.Sprintf("/photos/%d", i), []byte("x")); err != nil || a.status != 200 {
				t.Errorf("%v %v", a, err)
				return
			}
		}
	})
	gathered, all := 0, false // all: the last message left nothing to send
	var last int64
	for msg, err := range s.om.ReadLog(ctx, &o3v1.ReadLogRequest{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if all && len(msg.Entries) > 0 {
			if gathered++; msg.TimeMs-last < logGather.Milliseconds()-1 {
				t.Errorf("message %d comes %d ms after the one before", gathered, msg.TimeMs-last)
			}
		}
		if n := len(msg.Entries); n > 0 {
			all, last = msg.Entries[n-1].Index >= msg.CommitIndex, msg.TimeMs
		}
		if gathered >= 8 {
			break
		}
	}
	stop()
}
