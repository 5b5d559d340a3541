package app

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/audit"
	"o3/internal/config"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/s3/sigv4"
	"o3/internal/schema"
	"o3/internal/tlsconf"
	"o3/internal/transfer"
)

// source is the server as a receiver knows it; who "" signs nothing.
func (s *server) source(who client.Credentials) transfer.Source {
	out := transfer.Source{URL: s.OM + "/transfer"}
	if who.AccessKey != "" {
		signer := sigv4.Signer{AccessKeyID: who.AccessKey, Secret: who.SecretKey, Region: "us-east-1", Service: "o3"}
		out.Sign = func(r *http.Request) error {
			signer.Sign(r, sigv4.EmptySHA256, time.Now())
			return nil
		}
	}
	return out
}

// receiver is how root fetches images of s to a directory of its own, without
// retries.
func (s *server) receiver(edits ...func(*transfer.Options)) transfer.Options {
	o := transfer.Options{
		Dir: filepath.Join(s.t.TempDir(), "fetched"), Manifest: image.ManifestFile, Sources: []transfer.Source{s.source(s.root)},
		Parse: image.ParseSpec, Retries: -1, Reserve: -1, ProgressEvery: 10 * time.Millisecond,
	}
	for _, edit := range edits {
		edit(&o)
	}
	return o
}

// fetchImage fetches an image, which is then checked.
func (s *server) fetchImage(edits ...func(*transfer.Options)) (*transfer.Result, transfer.Options) {
	s.t.Helper()
	o := s.receiver(edits...)
	r, err := transfer.Fetch(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	sound(s.t, o.Dir, r)
	return r, o
}

// sound checks an image that was fetched, to the last row.
func sound(t testing.TB, dir string, r *transfer.Result) {
	t.Helper()
	img, err := image.ReadDir(nil, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if image.FetchID(img.Manifest) != r.Spec.ID || !bytes.Equal(img.Raw, r.Spec.Manifest) {
		t.Errorf("%s was fetched, %s is there", r.Spec.ID, img.Manifest.ID)
	}
	report, err := image.Verify(t.Context(), dir, img.Manifest, image.VerifyOptions{Mode: image.Strict})
	if err != nil {
		t.Errorf("%+v: %v", report, err)
	}
}

// choose asks for one image.
func choose(id string) func(*transfer.Options) {
	return func(o *transfer.Options) { o.Choose = func(string, []transfer.Info, string) string { return id } }
}

// calls returns the audit records of transfers and of reading the log, as text.
func (s *server) transferred() (out []string) {
	s.t.Helper()
	for _, r := range s.records(filepath.Join(s.Data, "audit", "audit.log"), audit.Query{}) {
		if !strings.HasPrefix(r.Action, "om:Transfer") && r.Action != "om:ReadLog" {
			continue
		}
		delete(r.Params, "millis")
		if n := r.Params["sentBytes"]; n != "" && n != "0" {
			r.Params["sentBytes"] = "some"
		}
		line := strings.TrimSpace(r.Action + " " + r.Resource)
		for _, name := range slices.Sorted(maps.Keys(r.Params)) {
			line += " " + name + "=" + r.Params[name]
		}
		out = append(out, line+" "+r.Principal+" "+r.Result)
	}
	return out
}

// TestTransfer: an admin fetches the newest image of a running node, and nobody
// else does. Begin, end and refusals are in the audit log.
func TestTransfer(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	s.noise(20)
	old := s.image()
	if err := s.commit("noise", "more", []byte("more")); err != nil {
		t.Fatal(err)
	}
	made := s.image()
	offers, err := transfer.Offers(t.Context(), s.receiver())
	if err != nil || len(offers) != 1 || len(offers[0].Listed) != 2 || offers[0].Chosen != made.Id || offers[0].Listed[1].ID != old.Id {
		t.Fatalf("%+v, %v", offers, err)
	}
	first := offers[0].Listed[0]
	for name, want := range map[string]string{
		"index": fmt.Sprint(made.Index), "term": fmt.Sprint(made.Term), "op": fmt.Sprint(made.Op), "digest": made.Digest, "blocks": "no",
		"node": "om1", "number": "1", "store": s.node.id.Store, "format": fmt.Sprint(schema.Format), "first_index": "2",
	} {
		if first.Attributes[name] != want {
			t.Errorf("%s is %q, want %q", name, first.Attributes[name], want)
		}
	}
	if first.Bytes != int64(made.Bytes) || first.Files != int(made.Files) || first.Created != made.CreatedMs {
		t.Errorf("%+v, want %v", first, made)
	}
	r, _ := s.fetchImage(func(o *transfer.Options) { o.Receiver = "node b" })
	if r.Spec.ID != made.Id || r.Spec.Bytes() != int64(made.Bytes) {
		t.Errorf("%s of %d bytes, want %v", r.Spec.ID, r.Spec.Bytes(), made)
	}
	if n := s.metric("o3_transfer_file_bytes_total"); n != float64(made.Bytes) {
		t.Errorf("%v bytes were sent, of %d", n, made.Bytes)
	}
	if n, held := s.metric("o3_transfer_leases"), s.metric("o3_transfer_log_holds"); n != 1 || held != 1 {
		t.Errorf("%v leases, %v of the log", n, held)
	}
	if err := r.Lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if n, held := s.metric("o3_transfer_leases"), s.metric("o3_transfer_log_holds"); n != 0 || held != 0 {
		t.Errorf("released: %v leases, %v of the log", n, held)
	}
	ann := s.user("ann", "user")
	for _, c := range []struct {
		who  client.Credentials
		kind errs.Kind
		says string
	}{
		{client.Credentials{}, errs.Unauthenticated, "the request is not signed"},
		{client.Credentials{AccessKey: s.root.AccessKey, SecretKey: "another"}, errs.Unauthenticated, ""},
		{ann, errs.Denied, "user ann: needs the role admin"},
	} {
		_, err := transfer.Fetch(t.Context(), s.receiver(func(o *transfer.Options) { o.Sources[0] = s.source(c.who) }))
		kind(t, err, c.kind, c.says)
	}
	_, err = transfer.Fetch(t.Context(), s.receiver(choose("77-1-00000000")))
	kind(t, err, errs.NoSuchSnapshot)
	if n, m := s.metric("o3_transfer_refused_total", `reason="unauthenticated"`), s.metric("o3_transfer_refused_total", `reason="denied"`); n != 2 || m != 1 {
		t.Errorf("%v were refused as nobody, %v as another", n, m)
	}
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"om:TransferBegin " + made.Id + " receiver=node b root ok",
		"om:TransferEnd " + made.Id + " ended=released receiver=node b sentBytes=some streams=" + s.streams(made.Id) + " root ok",
		"om:Transfer GET /images  unauthenticated",
		"om:Transfer GET /images  unauthenticated",
		"om:Transfer GET /images ann denied",
		"om:Transfer POST /images/77-1-00000000/hold root no such snapshot",
	}
	if got := s.transferred(); !slices.Equal(got, want) {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// streams returns how many streams the audit log says an image took.
func (s *server) streams(id string) string {
	for _, r := range s.records(filepath.Join(s.Data, "audit", "audit.log"), audit.Query{}) {
		if r.Action == "om:TransferEnd" && r.Resource == id {
			return r.Params["streams"]
		}
	}
	return "none"
}

// TestTransferTLS: over TLS, by signature and by the certificate of an admin.
func TestTransferTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, err := tlsconf.NewCA("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []tlsconf.Request{
		{Name: "server", Hosts: []string{"127.0.0.1"}, Valid: time.Hour},
		{Name: "root", Client: true, Valid: time.Hour}, {Name: "stranger", Client: true, Valid: time.Hour},
	} {
		p, err := ca.Issue(r)
		if err == nil {
			err = p.Write(filepath.Join(dir, r.Name+".crt"), filepath.Join(dir, r.Name+".pem"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	authority := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(authority, ca.Pair().Cert, 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, settings{set: []string{
		"ozone.om.tls.cert=" + filepath.Join(dir, "server.crt"), "ozone.om.tls.key=" + filepath.Join(dir, "server.pem"), "ozone.om.tls.client.ca=" + authority,
	}})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.Pair().Cert)
	as := func(name string) *tls.Config {
		conf := &tls.Config{RootCAs: pool}
		if name != "" {
			cert, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".pem"))
			if err != nil {
				t.Fatal(err)
			}
			conf.Certificates = []tls.Certificate{cert}
		}
		return conf
	}
	om, err := client.New(client.Options{Address: s.OM, TLS: as("root"), RetryFor: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer om.Close()
	if _, err := om.CreateImage(t.Context(), &o3v1.CreateImageRequest{}); err != nil {
		t.Fatal(err)
	}
	for range om.ReadLog(t.Context(), &o3v1.ReadLogRequest{}) {
	}
	with := func(name string, signed bool) func(*transfer.Options) {
		transport := &http.Transport{TLSClientConfig: as(name)}
		t.Cleanup(transport.CloseIdleConnections)
		return func(o *transfer.Options) {
			if !signed {
				o.Sources[0] = s.source(client.Credentials{})
			}
			o.Sources[0].Client = &http.Client{Transport: transport}
		}
	}
	s.fetchImage(with("root", false))
	s.fetchImage(with("stranger", true)) // a signature, where there is one, counts
	_, err = transfer.Fetch(t.Context(), s.receiver(with("stranger", false)))
	kind(t, err, errs.Unauthenticated, "stranger", "there is no such user")
	_, err = transfer.Fetch(t.Context(), s.receiver())
	if err == nil {
		t.Error("fetched without the authority's certificate")
	}
}

// TestTransferTen: ten receivers at once get the same, with the streams that the
// source has.
func TestTransferTen(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{"ozone.om.snapshot.transfer.parallelism=3"}})
	s.noise(30)
	made := s.image()
	var all sync.WaitGroup
	for i := range 10 {
		o := s.receiver(func(o *transfer.Options) { o.Receiver, o.Retries = fmt.Sprint(i), 20 })
		all.Go(func() {
			r, err := transfer.Fetch(t.Context(), o)
			if err != nil {
				t.Error(i, err)
				return
			}
			if r.Spec.ID != made.Id {
				t.Errorf("%d: %s", i, r.Spec.ID)
			}
			sound(t, o.Dir, r)
			if err := r.Lease.Release(t.Context()); err != nil {
				t.Error(i, err)
			}
		})
	}
	all.Wait()
	if n := s.metric("o3_transfer_file_bytes_total"); n < 10*float64(made.Bytes) {
		t.Errorf("%v bytes of files were sent, of %d", n, made.Bytes)
	}
	if n := s.metric("o3_transfer_leases_total", `ended="released"`); n != 10 {
		t.Errorf("%v leases were released", n)
	}
}

// begun waits until a Fetch has some of the bytes.
func begun(o *transfer.Options) (some <-chan struct{}) {
	out := make(chan struct{})
	once := sync.OnceFunc(func() { close(out) })
	o.Listener.Progress = func(p transfer.Progress) {
		if p.Sent > 300<<10 {
			once()
		}
	}
	return out
}

// TestTransferRestart: a source that is stopped and comes back is gone on with
// where it was cut; a slow fetch does not hold its shutdown up.
func TestTransferRestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	address := "ozone.om.address=" + freeAddress(t)
	s := start(t, settings{dir: dir, set: []string{address, "ozone.om.snapshot.transfer.bandwidth=256KB", "ozone.om.snapshot.transfer.chunk.size=32KB", "ozone.service.shutdown.timeout=1h"}})
	s.noise(40)
	made := s.image()
	o := s.receiver(func(o *transfer.Options) {
		o.Retries, o.Backoff, o.MaxBackoff, o.Batch = 1000, 10*time.Millisecond, 100*time.Millisecond, 256<<10
		o.Chunk = 32 << 10
	})
	some := begun(&o)
	type result struct {
		r   *transfer.Result
		err error
	}
	done := make(chan result, 1)
	go func() {
		r, err := transfer.Fetch(t.Context(), o)
		done <- result{r, err}
	}()
	<-some
	if err := s.shut(); err != nil { // which waits for less than the grace
		t.Fatal(err)
	}
	select {
	case r := <-done:
		t.Fatalf("it was over before the source stopped: %+v", r)
	default:
	}
	again := start(t, settings{dir: dir, set: []string{address}})
	if n := again.metric("o3_transfer_log_holds"); n != 1 {
		t.Errorf("%v leases on the log after the restart", n)
	}
	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	sound(t, o.Dir, got.r)
	if n := again.metric("o3_transfer_file_bytes_total"); n <= 0 || n >= float64(made.Bytes) || got.r.Spec.ID != made.Id {
		t.Errorf("%v bytes came after the restart, of %d: %+v", n, made.Bytes, got.r.Progress)
	}
}

// TestTransferRetention: an image that is being fetched stays, however many newer
// ones are made; then it goes.
func TestTransferRetention(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{"ozone.om.snapshot.retention.count=1", "ozone.om.snapshot.transfer.bandwidth=1MB"}})
	s.noise(20)
	made := s.image()
	o := s.receiver(func(o *transfer.Options) { o.Batch = 256 << 10 })
	some := begun(&o)
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		<-some
		for i := range 3 {
			if err := s.commit("noise", fmt.Sprint("more ", i), []byte("more")); err != nil {
				failed <- err
				return
			}
			if _, err := s.om.CreateImage(t.Context(), &o3v1.CreateImageRequest{}); err != nil {
				failed <- err
				return
			}
		}
	}()
	r, err := transfer.Fetch(t.Context(), o)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	sound(t, o.Dir, r)
	if got := s.images(); r.Spec.ID != made.Id || len(got) != 2 || got[1].Id != made.Id {
		t.Errorf("%v; %s was fetched", got, r.Spec.ID)
	}
	if err := r.Lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.images(); len(got) != 1 || got[0].Id == made.Id {
		t.Errorf("after the lease there are %v", got)
	}
}

// TestTransferShelf: an image with the bytes of objects is fetched from the
// shelf. What is sealed lies there as a link; the newest is kept, and those that
// are fetched.
func TestTransferShelf(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{"ozone.block.container.size=1MB"}})
	s.must("PUT", "/photos", nil)
	for i := range 24 {
		s.must("PUT", fmt.Sprintf("/photos/%d", i), bytes.Repeat([]byte{byte(i)}, 256<<10))
	}
	wait(t, "containers are sealed, and old enough to be known to be", func() bool {
		return s.metric("o3_block_containers", `state="sealed"`) >= 4 && settled(filepath.Join(s.Data, "blocks"), 4)
	})
	shelve := func() *o3v1.ImageInfo {
		t.Helper()
		i := s.imageOf(&o3v1.CreateImageRequest{WithBlocks: true})
		if !i.Blocks || !strings.HasSuffix(i.Id, image.BlocksSuffix) {
			t.Fatal(i)
		}
		return i
	}
	first := shelve()
	shelf := filepath.Join(s.Data, "blocks", shelfDir, "files", "blocks")
	if n := linked(t, shelf); n < 4 {
		t.Errorf("%d containers are linked", n)
	}
	r, o := s.fetchImage(choose(first.Id))
	if got, err := filepath.Glob(filepath.Join(o.Dir, "blocks", "c-*")); err != nil || len(got) < 4 {
		t.Errorf("%v, %v", got, err)
	}
	plain := s.image()
	if listed, err := transfer.Offers(t.Context(), s.receiver()); err != nil || len(listed[0].Listed) != 3 || listed[0].Listed[0].ID != plain.Id || listed[0].Listed[2].ID != first.Id || listed[0].Listed[2].Attributes["blocks"] != "yes" {
		t.Errorf("%+v, %v", listed, err)
	}
	s.must("DELETE", "/photos/1", nil)
	second := shelve()
	blocks := func() (out []string) {
		for _, i := range s.images() {
			if i.Blocks {
				out = append(out, i.Id)
			}
		}
		return out
	}
	if got := blocks(); !slices.Equal(got, []string{second.Id, first.Id}) {
		t.Errorf("while the first is fetched: %v", got)
	}
	_, err := s.om.DeleteImage(t.Context(), &o3v1.DeleteImageRequest{Id: first.Id})
	kind(t, err, errs.Conflict, "it is being read")
	if err := r.Lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := blocks(); !slices.Equal(got, []string{second.Id}) {
		t.Errorf("afterwards: %v", got)
	}
	r, _ = s.fetchImage(choose(second.Id))
	if err := r.Lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	again := start(t, settings{dir: s.Data})
	if n := again.metric("o3_shelf_images"); n != 1 {
		t.Errorf("%v on the shelf after a restart", n)
	}
	if _, err := again.om.DeleteImage(t.Context(), &o3v1.DeleteImageRequest{Id: second.Id}); err != nil {
		t.Error(err)
	}
	if n := linked(t, shelf); n != 0 {
		t.Errorf("%d files are left on the shelf", n)
	}
}

// settled reports whether n containers were not changed for a while.
func settled(dir string, n int) bool {
	files, _ := filepath.Glob(filepath.Join(dir, "c-*"))
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && time.Since(st.ModTime()) > 2100*time.Millisecond {
			n--
		}
	}
	return n <= 0
}

// linked counts the files of the shelf that are files of the block store too.
func linked(t *testing.T, shelf string) (n int) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(shelf, "*"))
	for _, f := range files {
		name, _, _ := strings.Cut(filepath.Base(f), "@")
		a, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.Stat(filepath.Join(shelf, "..", "..", "..", name)); err == nil && os.SameFile(a, b) {
			n++
		}
	}
	return n
}

// configured is what a target asks for under a configuration.
func configured(t *testing.T, set ...string) func(*transfer.Options) {
	t.Helper()
	c, err := config.Load(config.Sources{Data: t.TempDir(), Set: append(set, "ozone.block.reserve=0")})
	if err != nil {
		t.Fatal(err)
	}
	f, err := FetchOptions(c)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *transfer.Options) {
		o.Chunk, o.Streams, o.Rate, o.Compression, o.Insecure = f.Chunk, f.Streams, f.Rate, f.Compression, f.Insecure
	}
}
