package app

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/audit"
	"o3/internal/block/container"
	"o3/internal/consensus"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/obs"
	"o3/internal/pebblekv"
	"o3/internal/s3/sigv4"
	"o3/internal/schema"
)

// TestFirstStart: the first start prints a root key, which works; later ones
// print none, and what was written is there.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, settings{dir: dir})
	text := s.out.String()
	for _, want := range []string{s.root.AccessKey, s.root.SecretKey, s.S3, s.OM, dir, "shown once"} {
		if strings.Count(text, want) == 0 {
			t.Errorf("%q was not printed:\n%s", want, text)
		}
	}
	if strings.Contains(s.log.String(), s.root.SecretKey) {
		t.Error("the secret is in the log")
	}
	s.must("PUT", "/photos", nil)
	s.must("PUT", "/photos/a", []byte("hello"))
	s.must("PUT", "/photos/b", make([]byte, 100<<10))
	before := s.status()
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	again := start(t, settings{dir: dir})
	if text := again.out.String(); strings.Contains(text, "secret") || !strings.Contains(text, again.S3) {
		t.Errorf("the second start prints:\n%s", text)
	}
	if again.root != s.root {
		t.Error("the root key has changed")
	}
	if a := again.must("GET", "/photos/a", nil); string(a.body) != "hello" {
		t.Errorf("%v", a)
	}
	if a := again.must("GET", "/photos/b", nil); len(a.body) != 100<<10 {
		t.Errorf("%d bytes", len(a.body))
	}
	if after := again.status(); after.Digest != before.Digest || after.Op != before.Op {
		t.Errorf("op %d, digest %s; before it was %d, %s", after.Op, after.Digest, before.Op, before.Digest)
	}
}

// TestGivenRootKey: a key from the environment is applied at every start, also
// to a store that has another, and to one whose root user was deleted.
func TestGivenRootKey(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	made := start(t, settings{dir: dir})
	made.user("boss", "admin")
	made.shut()
	works := func(s *server, c client.Credentials, status int) {
		t.Helper()
		if a, err := s.ask(c, "", "GET", "/", nil); err != nil || a.status != status {
			t.Errorf("%v %v, want %d", a, err, status)
		}
	}
	for _, secret := range []string{"first-secret-1", "second-secret-2"} {
		given := client.Credentials{AccessKey: "given", SecretKey: secret}
		s := start(t, settings{dir: dir, env: []string{"O3_ROOT_ACCESS_KEY=given", "O3_ROOT_SECRET_KEY=" + secret}})
		works(s, given, 200)
		if s.root.AccessKey != given.AccessKey || s.root.SecretKey != given.SecretKey {
			t.Errorf("the credentials file holds %v", s.root)
		}
		if secret == "second-secret-2" {
			works(s, client.Credentials{AccessKey: "given", SecretKey: "first-secret-1"}, 403)
			boss := "boss" // who owns something cannot be deleted
			if _, err := s.om.UpdateVolume(t.Context(), &o3v1.UpdateVolumeRequest{Volume: "s3v", Owner: &boss}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.om.DeleteUser(t.Context(), &o3v1.DeleteUserRequest{User: "root"}); err != nil {
				t.Fatal(err)
			}
		}
		s.shut()
	}
	given := client.Credentials{AccessKey: "given", SecretKey: "second-secret-2"}
	gone := start(t, settings{dir: dir})
	works(gone, given, 403) // who deleted root meant it
	gone.shut()
	back := start(t, settings{dir: dir, env: []string{"O3_ROOT_ACCESS_KEY=given", "O3_ROOT_SECRET_KEY=third-secret-3"}})
	works(back, client.Credentials{AccessKey: "given", SecretKey: "third-secret-3"}, 200)
}

// TestDisabledRoot: a store whose root user is disabled still starts, and it
// stays disabled.
func TestDisabledRoot(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, settings{dir: dir})
	boss, yes := s.user("boss", "admin"), true
	if _, err := s.om.UpdateUser(t.Context(), &o3v1.UpdateUserRequest{User: "root", Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	s.shut()
	for _, env := range [][]string{nil, {"O3_ROOT_ACCESS_KEY=given", "O3_ROOT_SECRET_KEY=first-secret"}} {
		s := start(t, settings{dir: dir, env: env})
		if a := s.s3("GET", "/", nil); a.status != 403 {
			t.Errorf("root: %v", a)
		}
		if a, err := s.ask(boss, "", "GET", "/", nil); err != nil || a.status != 200 {
			t.Errorf("another admin: %v %v", a, err)
		}
		s.shut()
	}
}

// TestInterruptedFirstStart cuts the first start at each sync of its log, and
// then starts again.
func TestInterruptedFirstStart(t *testing.T) {
	t.Parallel()
	cuts := 0
	for n := 1; ; n++ {
		dir := filepath.Join(t.TempDir(), "data")
		d := newDisk()
		d.failAt(n, errFault)
		s, err := try(t, settings{dir: dir, hooks: hooks{log: func(o *consensus.Options) { o.FS = d }}})
		if err == nil {
			s.shut()
			break
		}
		cuts++
		again := start(t, settings{dir: dir})
		again.must("PUT", "/photos", nil)
		if again.status().Volumes != 1 {
			t.Errorf("cut at sync %d: %v", n, again.status())
		}
		again.shut()
	}
	if cuts < 4 {
		t.Errorf("only %d cuts", cuts)
	}
}

// TestWrongIdentity: a data directory belongs to one node.
func TestWrongIdentity(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	start(t, settings{dir: dir}).shut()
	_, err := try(t, settings{dir: dir, set: []string{"ozone.om.node.id=om2"}})
	kind(t, err, errs.Invalid, "ozone.om.node.id = om2", "belongs to node om1")
	for _, content := range []string{"", "{}", "no JSON", `{"format":1,"id":"om1","number":0}`} {
		if err := os.WriteFile(filepath.Join(dir, "node"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := try(t, settings{dir: dir})
		kind(t, err, errs.FormatUnknown, filepath.Join(dir, "node"))
	}
	if err := os.Remove(filepath.Join(dir, "node")); err != nil {
		t.Fatal(err)
	}
	_, err = try(t, settings{dir: dir})
	kind(t, err, errs.Corrupt, "identity file is missing")
}

// TestInUse: neither a port nor a data directory has two owners.
func TestInUse(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	_, err := try(t, settings{dir: s.Data})
	if err == nil || !strings.Contains(err.Error(), s.Data) {
		t.Errorf("a second server of one directory: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, key := range []string{"ozone.s3g.http-address", "ozone.om.address"} {
		_, err := try(t, settings{set: []string{key + "=" + l.Addr().String()}})
		kind(t, err, errs.Unavailable, key+" = "+l.Addr().String(), "cannot listen")
	}
}

// TestDrain: a shutdown refuses new work, finishes what is in flight, and keeps it.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{"ozone.service.shutdown.timeout=1h"}})
	s.must("PUT", "/photos", nil)
	p := s.slowPut("/photos/a", 2)
	s.inside(1)
	s.stop()
	for _, url := range []string{s.S3, s.OM} {
		wait(t, "the listener closes", func() bool {
			c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err == nil {
				c.Close()
			}
			return err != nil
		})
	}
	select {
	case <-s.done:
		t.Error("it has ended with a request in flight")
	default:
	}
	if a := p.finish(); a.status != 200 {
		t.Errorf("the request in flight: %v", a)
	}
	if err := s.shut(); err != nil {
		t.Error(err)
	}
	again := start(t, settings{dir: s.Data})
	if a := again.must("GET", "/photos/a", nil); string(a.body) != "xy" {
		t.Errorf("%v", a)
	}
}

// TestFailedSync: a sync that fails anywhere stops the node, with that error.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	put := func(s *server, path string, data []byte) { // there may be no answer
		if _, err := s.ask(s.root, "", "PUT", path, data); err != nil {
			t.Log(err)
		}
	}
	for what, c := range map[string]struct {
		hooks func(*disk) hooks
		write func(*server)
	}{
		"raft": {
			func(d *disk) hooks { return hooks{log: func(o *consensus.Options) { o.FS = d }} },
			func(s *server) { put(s, "/photos", nil) },
		},
		"blocks": {
			func(d *disk) hooks { return hooks{blocks: func(o *container.Options) { o.FS = d }} },
			func(s *server) { put(s, "/photos/a", make([]byte, 8<<10)) },
		},
		"store": {
			func(d *disk) hooks { return hooks{store: func(o *pebblekv.Options) { o.FS = d }} },
			func(s *server) { s.node.replica.Flush() },
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d, dir := newDisk(), filepath.Join(t.TempDir(), "data")
			s, err := try(t, settings{dir: dir, hooks: c.hooks(d)})
			if err != nil {
				t.Fatal(err)
			}
			if what == "blocks" {
				s.must("PUT", "/photos", nil)
			}
			d.fail(errFault)
			c.write(s)
			if err := s.ended(); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), errFault.Error()) {
				t.Errorf("it ended with: %v", err)
			}
			if !strings.Contains(s.log.String(), "the node must stop") {
				t.Errorf("its log does not say why: %s", s.log)
			}
			s.http.CloseIdleConnections()
			start(t, settings{dir: dir}) // with a disk that works
		})
	}
}

// TestReads: a read under way is a reason to keep what is deleted after it began.
func TestReads(t *testing.T) {
	op := ns.Op(5)
	r := reads{applied: func() ns.Op { return op }}
	want := func(at ns.Op, running bool) {
		t.Helper()
		if got, ok := r.oldest(); got != at || ok != running {
			t.Errorf("the oldest: %v %v, want %v %v", got, ok, at, running)
		}
	}
	want(0, false)
	first := r.begin()
	op = 9
	second := r.begin()
	want(5, true)
	first()
	first()
	want(9, true)
	second()
	want(0, false)
}

// TestGate: closing it waits for those inside and lets nobody in.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		entered, leave := make(chan struct{}), make(chan struct{})
		h := g.wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			entered <- struct{}{}
			<-leave
		}))
		for range 2 {
			go h.ServeHTTP(nil, nil)
			<-entered
		}
		closed := false
		go func() {
			g.close()
			closed = true
		}()
		for range 2 {
			synctest.Wait()
			if closed {
				t.Fatal("closed with somebody inside")
			}
			leave <- struct{}{}
		}
		synctest.Wait()
		if !closed {
			t.Error("not closed although it is empty")
		}
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("after it was closed: %v", v)
			}
		}()
		h.ServeHTTP(nil, nil)
	})
	new(gate).close() // nobody ever came
}

// TestSpace: writes stop below the reserve on either disk and go on with an
// eighth more.
func TestSpace(t *testing.T) {
	free := map[string]uint64{"data": 2000, "blocks": 2000}
	var failing error
	var told []bool
	s := space{
		dirs: []string{"data", "blocks"}, reserve: 800, tell: func(why string) { told = append(told, why != "") },
		free: func(dir string) (uint64, uint64, error) { return free[dir], 0, failing },
	}
	for i, step := range []struct {
		data, blocks uint64
		err          error
		refused      string
	}{
		{2000, 2000, nil, ""}, {800, 2000, nil, ""}, {799, 2000, nil, "data has"}, {899, 2000, nil, "data has"},
		{2000, 2000, errFault, "data has"}, {900, 2000, nil, ""}, {900, 2000, errFault, ""}, {900, 1, nil, "blocks has"}, {1, 1, nil, "and that of blocks"}, {900, 900, nil, ""},
	} {
		free["data"], free["blocks"], failing = step.data, step.blocks, step.err
		s.look()
		if got := s.refused(); (got == "") != (step.refused == "") || !strings.Contains(got, step.refused) {
			t.Errorf("step %d: %q, want %q", i, got, step.refused)
		}
	}
	if fmt.Sprint(told) != "[true false true false]" {
		t.Errorf("told %v", told)
	}
}

// TestMetricsPage: after some traffic every sampled row of the table is on the page.
func TestMetricsPage(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{withRecon}})
	s.follows(s) // what Recon does by itself is done
	s.fill(2, 8<<10)
	s.drop(0, 1)
	s.must("GET", "/photos/1", nil)
	s.flushed()
	if a := s.page("/healthz"); a.status != 200 {
		t.Errorf("%v", a)
	}
	page := string(s.page("/metrics").body)
	for _, m := range obs.Table() {
		switch {
		case strings.Contains(page, "\n"+m.Name+"{") || strings.Contains(page, "\n"+m.Name+" ") || strings.Contains(page, "\n"+m.Name+"_count"):
		case strings.HasPrefix(m.Name, "o3_tls_"), m.Name == "o3_recon_staging_table_rows": // no TLS, and the stage is over
		case m.Sampled, len(m.Labels) == 0:
			t.Errorf("%s is not on the page", m.Name)
		}
	}
	for name, want := range map[string]float64{
		"o3_raft_is_leader": 1, "o3_block_live_blocks": 2, "o3_store_failed": 0, "o3_block_read_only": 0,
		"o3_raft_queued_requests": 0, "o3_block_puts_total": 2, "o3_block_gets_total": 1,
	} {
		if n := s.metric(name); n != want {
			t.Errorf("%s is %v, want %v", name, n, want)
		}
	}
	for _, route := range []string{`listener="s3",route="PutObject"`, `listener="om",route="/metrics"`} {
		if !strings.Contains(page+string(s.page("/metrics").body), route) {
			t.Errorf("no requests of %s", route)
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	s.fill(3, 8<<10)
	s.bucket("tree", "FILE_SYSTEM_OPTIMIZED")
	if err := s.commit("tree", "a/b/c", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	s.drop(2, 3)
	s.flushed()
	st := s.status()
	now := time.Now().UnixMilli()
	checks := map[string]bool{
		"who": st.Version == Version && st.NodeId == "om1" && st.Role == "leader" && st.Leader == 1 && st.Term > 0,
		"log": st.AppliedIndex == st.CommitIndex && st.FirstIndex == 2 && st.LogDiskBytes > 0 && st.Op > 5,
		"counts": st.Volumes == 1 && st.Buckets == 2 && st.Keys == 3 && st.Directories == 2 && st.Bytes == 2*8192+5 &&
			st.PendingBlockDeletes == 1 && st.PendingDirectories == 0,
		"time":      st.StartedMs <= st.NowMs && st.NowMs <= now,
		"disk":      st.StoreDiskBytes > 0 && st.DiskFreeBytes > 0 && st.DiskTotalBytes >= st.DiskFreeBytes,
		"endpoints": fmt.Sprint(st.Endpoints) == fmt.Sprintf("[%s %s]", s.S3, s.OM),
		"blocks":    st.Blocks.Engine == "container" && st.Blocks.Blocks == 3 && st.Blocks.LiveBytes == 3*8192 && !st.Blocks.Failed,
		"well":      !st.ReadOnly && len(st.Problems) == 0 && len(st.Digest) > 0 && st.Format == schema.Format,
	}
	for what, ok := range checks {
		if !ok {
			t.Errorf("%s: %v", what, st)
		}
	}
	_, err := s.client(s.user("ann", "user")).Status(t.Context(), &o3v1.StatusRequest{})
	kind(t, err, errs.Denied)
}

// TestAudit: changes through S3 and RPC are written down, done or refused;
// reads are not.
func TestAudit(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	ann := s.user("ann", "user")
	s.must("PUT", "/photos", nil)
	s.must("PUT", "/photos/dir/a", []byte("1"))
	s.must("GET", "/photos/dir/a", nil)
	s.s3("PUT", "/absent/a", []byte("1"))
	s.s3("PUT", "/photos/dir/a?retention=", nil)
	if _, err := s.ask(ann, "", "DELETE", "/photos/dir/a", nil); err != nil {
		t.Fatal(err)
	}
	wrong := client.Credentials{AccessKey: ann.AccessKey, SecretKey: "wrong-secret"}
	for _, who := range []client.Credentials{wrong, {}} {
		if _, err := s.ask(who, "", "PUT", "/photos/b", nil); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.client(ann).CreateVolume(t.Context(), &o3v1.CreateVolumeRequest{Volume: "mine"})
	kind(t, err, errs.Denied)
	_, err = s.client(wrong).DeleteUser(t.Context(), &o3v1.DeleteUserRequest{User: "root"})
	kind(t, err, errs.Unauthenticated)
	if _, err := s.om.StartScrub(t.Context(), &o3v1.StartScrubRequest{}); err != nil {
		t.Fatal(err)
	}
	s.status()
	s.shut()
	var got []string
	for _, r := range s.records(filepath.Join(s.Data, "audit", "audit.log"), audit.Query{}) {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Principal, r.Action, r.Resource, r.Result)))
		if r.RequestID == "" || r.From == "" || r.Time.IsZero() || (r.Result != "ok") != (r.Detail != "") {
			t.Errorf("incomplete: %+v", r)
		}
	}
	want := []string{
		"root om:CreateUser ann ok",
		"root om:CreateAccessKey ann ok",
		"root s3:CreateBucket /s3v/photos ok",
		"root s3:PutObject /s3v/photos/dir/a ok",
		"root s3:PutObject /s3v/absent/a no such bucket",
		"root s3:PutObjectRetention /s3v/photos/dir/a not implemented",
		"ann s3:DeleteObject /s3v/photos/dir/a denied",
		"s3:PutObject /s3v/photos/b unauthenticated",
		"s3:PutObject /s3v/photos/b denied",
		"ann om:CreateVolume /mine denied",
		"om:DeleteUser  unauthenticated",
		"root om:StartScrub  ok",
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("have\n%s\nwant\n%s", a, b)
	}
}

// TestRemote: callers of the OM API cannot name blocks, even their own, nor
// fill the store with bytes.
func TestRemote(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	s.fill(1, 8<<10)
	key, err := s.om.GetKey(t.Context(), &o3v1.GetKeyRequest{Volume: "s3v", Bucket: "photos", Key: "0"})
	if err != nil || len(key.Key.Extents) != 1 {
		t.Fatalf("%v %v", key, err)
	}
	_, err = s.om.CommitKey(t.Context(), &o3v1.CommitKeyRequest{
		Volume: "s3v", Bucket: "photos", Key: "stolen", Extents: key.Key.Extents, Size: key.Key.Size, DataMs: time.Now().UnixMilli(),
	})
	kind(t, err, errs.Denied, "stolen")
	kind(t, s.commit("photos", "long", make([]byte, maxData+1)), errs.TooLarge, "/s3/")
	if err := s.commit("photos", "long", make([]byte, maxData)); err != nil {
		t.Error(err)
	}
	up, err := s.om.CreateUpload(t.Context(), &o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "photos", Key: "stolen"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.om.CommitPart(t.Context(), &o3v1.CommitPartRequest{
		Volume: "s3v", Bucket: "photos", Key: "stolen", UploadId: up.Upload.UploadId, Number: 1,
		Extents: key.Key.Extents, Size: key.Key.Size, DataMs: time.Now().UnixMilli(),
	})
	kind(t, err, errs.Denied, "stolen")
	_, err = s.om.CommitPart(t.Context(), &o3v1.CommitPartRequest{
		Volume: "s3v", Bucket: "photos", Key: "stolen", UploadId: up.Upload.UploadId, Number: 1, Data: []byte("1"), Size: 1,
	})
	if err != nil {
		t.Error(err)
	}
}

// TestReadUnderDelete: what is being read is not freed, even without a grace.
func TestReadUnderDelete(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{"ozone.block.free.grace=0s"}})
	const size = 32 << 20 // more than the sockets hold
	s.fill(1, size)
	free := func() uint64 {
		s.flushed()
		if err := s.node.reclaim.Free(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s.status().Blocks.Blocks
	}
	req, err := http.NewRequest("GET", s.S3+"/photos/0", nil)
	if err != nil {
		t.Fatal(err)
	}
	signer := sigv4.Signer{AccessKeyID: s.root.AccessKey, Secret: s.root.SecretKey, Region: "us-east-1"}
	signer.Sign(req, sigv4.EmptySHA256, time.Now())
	resp, err := s.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.drop(0, 1)
	if n := free(); n != 1 {
		t.Errorf("%d blocks while it is read", n)
	}
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size {
		t.Errorf("%d bytes, %v", n, err)
	}
	s.inside(0)
	if n := free(); n != 0 {
		t.Errorf("%d blocks when it was read", n)
	}
}
