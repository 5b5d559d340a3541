package s3_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	o3v1 "o3/api/o3/v1"
	"o3/internal/block"
	"o3/internal/errs"
	"o3/internal/leaktest"
	"o3/internal/s3"
	"o3/internal/s3/chunked"
	"o3/internal/s3/s3test"
	"o3/internal/s3/sigv4"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// blocks is a block store in which a test can break things.
type blocks struct {
	block.Store
	mu      sync.Mutex
	put     func(nth int) error              // before the nth Put, from 1
	get     func(nth int) (io.Reader, error) // replaces what the nth Get reads, unless both are nil
	del     error
	puts    int
	gets    int
	dropped []block.ID
}

func (b *blocks) Put(ctx context.Context, r io.Reader, size int64) (block.Info, error) {
	b.mu.Lock()
	b.puts++
	n, fail := b.puts, b.put
	b.mu.Unlock()
	if fail != nil {
		if err := fail(n); err != nil {
			return block.Info{}, err
		}
	}
	return b.Store.Put(ctx, r, size)
}

func (b *blocks) Get(ctx context.Context, ref block.Ref) (io.ReadCloser, error) {
	b.mu.Lock()
	b.gets++
	n, fail := b.gets, b.get
	b.mu.Unlock()
	if fail != nil {
		if r, err := fail(n); err != nil {
			return nil, err
		} else if r != nil {
			return io.NopCloser(r), nil
		}
	}
	return b.Store.Get(ctx, ref)
}

func (b *blocks) Delete(ctx context.Context, ids []block.ID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.del != nil {
		return b.del
	}
	b.dropped = append(b.dropped, ids...)
	return b.Store.Delete(ctx, ids)
}

// count returns how many blocks there are.
func (b *blocks) count(t *testing.T) (n int) {
	t.Helper()
	check(t, b.List(t.Context(), func(block.Info) error { n++; return nil }))
	return n
}

// namespace is a namespace in which a test can break things.
type namespace struct {
	s3.Namespace
	commit func(context.Context, *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error)
	getKey func(context.Context) error
	copy   func()
	opens  atomic.Int32
	gone   atomic.Int32
}

func (n *namespace) CommitKey(ctx context.Context, r *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error) {
	if n.commit != nil {
		return n.commit(ctx, r)
	}
	return n.Namespace.CommitKey(ctx, r)
}

func (n *namespace) GetKey(ctx context.Context, r *o3v1.GetKeyRequest) (*o3v1.GetKeyResponse, error) {
	if n.getKey != nil {
		if err := n.getKey(ctx); err != nil {
			return nil, err
		}
	}
	return n.Namespace.GetKey(ctx, r)
}

func (n *namespace) CopyKey(ctx context.Context, r *o3v1.CopyKeyRequest) (*o3v1.CopyKeyResponse, error) {
	if n.copy != nil {
		n.copy()
	}
	return n.Namespace.CopyKey(ctx, r)
}

func (n *namespace) OpenKey(ctx context.Context, r *o3v1.OpenKeyRequest) (*o3v1.OpenKeyResponse, error) {
	n.opens.Add(1)
	return n.Namespace.OpenKey(ctx, r)
}

func (n *namespace) AbandonKey(ctx context.Context, r *o3v1.AbandonKeyRequest) (*o3v1.AbandonKeyResponse, error) {
	n.gone.Add(1)
	return n.Namespace.AbandonKey(ctx, r)
}

// bench is a service with parts that break, a client and a bucket.
type bench struct {
	*s3test.Service
	blocks *blocks
	ns     *namespace
	c      *awss3.Client
	done   chan s3.Request
	left   chan []block.ID
}

const bucket = "photos"

func newBench(t *testing.T, opts s3.Options) *bench {
	b := &bench{blocks: &blocks{}, ns: &namespace{}, done: make(chan s3.Request, 1000), left: make(chan []block.ID, 10)}
	opts.Listener = s3.Listener{
		RequestDone: func(r s3.Request) { b.done <- r },
		BlocksLeft:  func(ids []block.ID, _ error) { b.left <- ids },
	}
	b.Service = s3test.New(t, opts, s3test.Deps{
		Namespace: func(n s3.Namespace) s3.Namespace { b.ns.Namespace = n; return b.ns },
		Blocks:    func(s block.Store) block.Store { b.blocks.Store = s; return b.blocks },
	})
	b.c = sdk(b.Service, s3test.Alice, styles[0])
	_, err := b.c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String(bucket)})
	check(t, err)
	b.last(t, "CreateBucket")
	return b
}

// last returns the report of the next request, which must be of an action.
func (b *bench) last(t *testing.T, action string) s3.Request {
	t.Helper()
	select {
	case r := <-b.done:
		equal(t, "action", r.Action, action)
		return r
	case <-t.Context().Done():
		t.Fatal("no request was reported")
	}
	panic("unreachable")
}

func (b *bench) put(t *testing.T, key string, body []byte) error {
	t.Helper()
	_, err := b.c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(body)})
	return err
}

func (b *bench) get(t *testing.T, key string) ([]byte, error) {
	t.Helper()
	out, err := b.c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: aws.String(bucket), Key: &key, ChecksumMode: "ENABLED"})
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

var blocky = s3.Options{InlineMax: 1 << 10, BlockSize: 300 << 10, OpenAbove: 1 << 20}

func readResponse(t *testing.T, conn net.Conn, r *http.Request) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	check(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// rotten gives good bytes up to n and then says that the rest is corrupt.
func rotten(good []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(good), failing{errs.New(errs.Corrupt, "block 1/1", "chunk 7")})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestDamage(t *testing.T) {
	b := newBench(t, blocky)
	body := randomBytes(700 << 10)
	check(t, b.put(t, "k", body))
	b.last(t, "PutObject")

	b.blocks.get = func(int) (io.Reader, error) { return rotten(body[:100<<10]), nil }
	_, err := b.get(t, "k")
	wantCode(t, err, "InternalError")
	if !strings.Contains(err.Error(), "checksum") {
		t.Fatalf("the message does not say what is wrong: %v", err)
	}
	equal(t, "kind", errs.KindOf(b.last(t, "GetObject").Err), errs.Corrupt)

	b.blocks.gets, b.blocks.get = 0, func(n int) (io.Reader, error) {
		if n == 2 {
			return rotten(body[300<<10 : 400<<10]), nil
		}
		return nil, nil
	}
	got, err := b.get(t, "k")
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("a damaged answer ended with %v", err)
	}
	if len(got) > 400<<10 || !bytes.Equal(got, body[:len(got)]) {
		t.Fatalf("%d bytes were served, and not those of the object", len(got))
	}
	r := b.last(t, "GetObject")
	equal(t, "aborted", fmt.Sprint(r.Aborted, r.Status, r.Code), "true 200InternalError")

	// A short block is no end.
	b.blocks.get = func(int) (io.Reader, error) { return bytes.NewReader(body[:10]), nil }
	_, err = b.get(t, "k")
	wantCode(t, err, "InternalError")

	// A block that is gone: once because the key was replaced, then for good.
	b.blocks.gets, b.blocks.get = 0, func(n int) (io.Reader, error) {
		if n == 1 {
			return nil, errs.New(errs.NoSuchKey, "block 1/1", "")
		}
		return nil, nil
	}
	got, err = b.get(t, "k")
	check(t, err)
	if !bytes.Equal(got, body) {
		t.Fatal("other bytes after the second look")
	}
	b.blocks.get = func(int) (io.Reader, error) { return nil, errs.New(errs.NoSuchKey, "block 1/1", "") }
	_, err = b.get(t, "k")
	wantCode(t, err, "InternalError")
}

func TestFailedWrites(t *testing.T) {
	b := newBench(t, blocky)
	body := randomBytes(1500 << 10) // five blocks, announced
	full := errs.New(errs.ReadOnly, "block store", "disk reserve")
	b.blocks.put = func(n int) error {
		if n == 3 {
			return full
		}
		return nil
	}
	err := b.put(t, "k", body)
	wantCode(t, err, "StorageFull")
	equal(t, "blocks left", b.blocks.count(t), 0)
	equal(t, "sessions", fmt.Sprint(b.ns.opens.Load(), b.ns.gone.Load()), "1 1")
	b.blocks.put = nil

	quota := errs.New(errs.QuotaExceeded, "bucket", "10 bytes")
	b.ns.commit = func(context.Context, *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error) { return nil, quota }
	wantCode(t, b.put(t, "k", body), "QuotaExceeded")
	equal(t, "blocks left after a refusal", b.blocks.count(t), 0)
	equal(t, "sessions", fmt.Sprint(b.ns.opens.Load(), b.ns.gone.Load()), "2 2")

	b.blocks.del = full
	wantCode(t, b.put(t, "k", body), "QuotaExceeded")
	equal(t, "reported as left", len(<-b.left), 5)
	b.blocks.del = nil
	left := b.blocks.count(t)

	// Applied, but the answer is lost: the blocks must stay.
	b.ns.commit = func(ctx context.Context, r *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error) {
		if _, err := b.ns.Namespace.CommitKey(ctx, r); err != nil {
			return nil, err
		}
		return nil, errs.New(errs.Unavailable, "log", "leader lost")
	}
	wantCode(t, b.put(t, "k", body), "ServiceUnavailable")
	equal(t, "blocks after an unknown outcome", b.blocks.count(t), left+5)
	got, err := b.get(t, "k")
	check(t, err)
	if !bytes.Equal(got, body) {
		t.Fatal("other bytes")
	}
}

// raw is a signed request on a connection of its own.
func (b *bench) raw(t *testing.T, method, target, body string, header ...string) (net.Conn, *http.Request) {
	t.Helper()
	r := &http.Request{Method: method, RequestURI: target, Host: "127.0.0.1", Header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	signer := sigv4.Signer{AccessKeyID: s3test.Alice.ID, Secret: s3test.Alice.Secret, Region: "us-east-1"}
	signer.Sign(r, "UNSIGNED-PAYLOAD", time.Now())
	conn, err := net.Dial("tcp", b.Server.Listener.Addr().String())
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", method, target)
	check(t, r.Header.Write(&out))
	out.WriteString("\r\n" + body)
	_, err = conn.Write(out.Bytes())
	check(t, err)
	return conn, r
}

func TestCutBody(t *testing.T) {
	b := newBench(t, blocky)
	body := string(randomBytes(700 << 10))
	conn, _ := b.raw(t, "PUT", "/photos/k", body, "Content-Length", "1000000")
	conn.Close()
	r := b.last(t, "PutObject")
	equal(t, "code", r.Code, "IncompleteBody")
	equal(t, "blocks left", b.blocks.count(t), 0)
	_, err := b.get(t, "k")
	wantCode(t, err, "NoSuchKey")
}

func TestIdle(t *testing.T) {
	o := blocky
	o.IdleTimeout = 400 * time.Millisecond
	b := newBench(t, o)
	conn, _ := b.raw(t, "PUT", "/photos/k", "half", "Content-Length", "100000")
	text, err := io.ReadAll(conn)
	check(t, err)
	if !strings.Contains(string(text), "400 Bad Request") || !strings.Contains(string(text), "<Code>RequestTimeout</Code>") {
		t.Fatalf("a client that sends nothing got %s", text)
	}
	equal(t, "code", b.last(t, "PutObject").Code, "RequestTimeout")

	big := randomBytes(16 << 20)
	for err := b.put(t, "big", big); err != nil; err = b.put(t, "big", big) { // on a machine that stands still itself
		equal(t, fmt.Sprint("why it failed with ", err), b.last(t, "PutObject").Code, "RequestTimeout")
	}
	b.last(t, "PutObject")
	b.raw(t, "GET", "/photos/big", "") // and nobody reads
	if r := b.last(t, "GetObject"); !r.Aborted || r.BytesOut >= 16<<20 {
		t.Fatalf("a client that reads nothing: %+v", r)
	}

	// A timeout of the body is no timeout of what comes after.
	conn, req := b.raw(t, "PUT", "/photos/k", "whole", "Content-Length", "5")
	resp := readResponse(t, conn, req)
	equal(t, "status", resp.StatusCode, 200)
}

func TestExpectContinue(t *testing.T) {
	b := newBench(t, blocky)
	check(t, b.put(t, "k", []byte("there")))
	ask := func(target string, header ...string) string {
		conn, _ := b.raw(t, "PUT", target, "", append(header, "Content-Length", "100000", "Expect", "100-continue")...)
		line := make([]byte, len("HTTP/1.1 100"))
		_, err := io.ReadFull(conn, line)
		check(t, err)
		return string(line)
	}
	equal(t, "good", ask("/photos/new"), "HTTP/1.1 100")
	equal(t, "no bucket", ask("/nowhere/new"), "HTTP/1.1 404")
	equal(t, "exists", ask("/photos/k", "If-None-Match", "*"), "HTTP/1.1 412")
	equal(t, "other etag", ask("/photos/k", "If-Match", `"other"`), "HTTP/1.1 412")
	equal(t, "no upload", ask("/photos/k?partNumber=1&uploadId=no"), "HTTP/1.1 404")
	equal(t, "bad signature", ask("/photos/k", "X-Amz-Date", "x"), "HTTP/1.1 100") // the signer replaces it
}

// A client that waits for leave to send no bytes is given it: boto clients
// misread the next answer on a connection where they were not.
func TestExpectContinueOfNothing(t *testing.T) {
	b := newBench(t, blocky)
	check(t, b.put(t, "k", []byte("there")))
	ask := func(header ...string) string {
		conn, _ := b.raw(t, "PUT", "/photos/k", "", append(header, "Content-Length", "0", "Expect", "100-continue")...)
		const first = "HTTP/1.1 100 Continue\r\n\r\n"
		got := make([]byte, len(first+"HTTP/1.1 200"))
		_, err := io.ReadFull(conn, got)
		check(t, err)
		equal(t, "first answer", string(got[:len(first)]), first)
		return string(got[len(first):])
	}
	equal(t, "good", ask(), "HTTP/1.1 200")
	equal(t, "refused", ask("If-None-Match", "*"), "HTTP/1.1 412")
}

// TestNoLength: a body whose end nothing marks is not taken for an empty object.
func TestNoLength(t *testing.T) {
	b := newBench(t, blocky)
	check(t, b.put(t, "k", []byte("there")))
	for _, target := range []string{"/photos/k", "/photos/k?partNumber=1&uploadId=" + *upload(t, b.c, bucket, "k", nil)} {
		conn, r := b.raw(t, "PUT", target, "", "Connection", "close")
		equal(t, target, readResponse(t, conn, r).StatusCode, 411)
	}
	got, err := b.get(t, "k")
	check(t, err)
	equal(t, "the key", string(got), "there")
}

func TestInFlight(t *testing.T) {
	o := blocky
	o.MaxInFlight = 1
	b := newBench(t, o)
	entered, leave := make(chan bool), make(chan bool)
	b.ns.getKey = func(context.Context) error { entered <- true; <-leave; return nil }
	first := make(chan error, 1)
	go func() {
		_, err := b.c.HeadObject(context.WithoutCancel(t.Context()), &awss3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String("k")})
		first <- err
	}()
	<-entered
	equal(t, "in flight", b.Gateway.InFlight(), 1)
	_, err := b.c.ListBuckets(t.Context(), nil)
	wantCode(t, err, "SlowDown")
	leave <- true
	wantCode(t, <-first, "NotFound")
	for b.Gateway.InFlight() > 0 { // a client may have its answer just before the place is free
		runtime.Gosched()
	}
	_, err = b.c.ListBuckets(t.Context(), nil)
	check(t, err)
}

func TestClientLeaves(t *testing.T) {
	b := newBench(t, blocky)
	entered := make(chan bool)
	b.ns.getKey = func(ctx context.Context) error {
		entered <- true
		<-ctx.Done()
		return errs.Wrap(errs.Canceled, "k", ctx.Err())
	}
	conn, _ := b.raw(t, "GET", "/photos/k", "")
	<-entered
	conn.Close()
	r := b.last(t, "GetObject")
	equal(t, "report", fmt.Sprint(r.Status, r.Code), "499RequestCanceled")
}

// A client that leaves while its bytes are being published leaves no blocks
// that nobody names: the commit goes on.
func TestClientLeavesDuringCommit(t *testing.T) {
	for _, refused := range []bool{false, true} {
		b := newBench(t, blocky)
		committing, gone := make(chan bool), make(chan bool)
		b.ns.commit = func(ctx context.Context, r *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error) {
			committing <- true
			<-gone
			if refused {
				return nil, errs.New(errs.QuotaExceeded, "bucket", "")
			}
			return b.ns.Namespace.CommitKey(ctx, r)
		}
		body := randomBytes(700 << 10)
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := b.c.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), Body: bytes.NewReader(body)})
			done <- err
		}()
		<-committing
		leave()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatalf("the client got %v", err)
		}
		close(gone)
		b.last(t, "PutObject")
		got, err := b.get(t, "k")
		if refused {
			wantCode(t, err, "NoSuchKey")
			equal(t, "blocks left", b.blocks.count(t), 0)
			continue
		}
		check(t, err)
		if !bytes.Equal(got, body) {
			t.Fatal("the key holds other bytes")
		}
	}
}

func TestUnknownLength(t *testing.T) {
	b := newBench(t, blocky)
	for _, size := range []int{0, 1, 1 << 10, 1<<10 + 1, 300 << 10, 300<<10 + 1, 900 << 10} {
		body := randomBytes(size)
		chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, body)
		if size == 0 {
			chunk = "0\r\n\r\n"
		}
		before := b.ns.opens.Load()
		conn, r := b.raw(t, "PUT", "/photos/k", chunk, "Transfer-Encoding", "chunked")
		equal(t, "status", readResponse(t, conn, r).StatusCode, 200)
		got, err := b.get(t, "k")
		check(t, err)
		if !bytes.Equal(got, body) {
			t.Fatalf("%d bytes came back other", size)
		}
		equal(t, fmt.Sprintf("announced %d", size), b.ns.opens.Load() > before, size > 1<<10)
	}
}

func TestSignedChunks(t *testing.T) {
	b := newBench(t, blocky)
	body := randomBytes(500 << 10)
	for _, mode := range []sigv4.Payload{sigv4.PayloadStream, sigv4.PayloadStreamTrailer} {
		r, err := http.NewRequestWithContext(t.Context(), "PUT", b.Server.URL+"/photos/"+fmt.Sprint(mode), nil)
		check(t, err)
		r.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(len(body)))
		r.Header.Set("Content-Encoding", "aws-chunked,gzip")
		opts := chunked.EncoderOptions{Length: int64(len(body))}
		if mode.Trailer() {
			const name, value = "x-amz-checksum-crc64nvme", "AAAAAAAAAAA="
			r.Header.Set("X-Amz-Trailer", name)
			opts.Trailer = func() [][2]string { return [][2]string{{name, value}} }
			opts.TrailerLength, opts.TrailerCount = len(name+value), 1
		}
		signer := sigv4.Signer{AccessKeyID: s3test.Alice.ID, Secret: s3test.Alice.Secret, Region: "us-east-1"}
		e := chunked.NewEncoder(bytes.NewReader(body), mode, signer.Sign(r, mode.String(), time.Now()), opts)
		r.Body, r.ContentLength = io.NopCloser(e), e.EncodedLength()
		resp, err := b.Client().Do(r)
		check(t, err)
		resp.Body.Close()
		if mode.Trailer() {
			equal(t, "wrong trailer", resp.StatusCode, 400)
			equal(t, "blocks", b.blocks.count(t), 2) // of the request before
			continue
		}
		equal(t, "status", resp.StatusCode, 200)
		got, err := b.get(t, fmt.Sprint(mode))
		check(t, err)
		if !bytes.Equal(got, body) {
			t.Fatal("other bytes")
		}
		head, err := b.c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String(fmt.Sprint(mode))})
		check(t, err)
		equal(t, "encoding", *head.ContentEncoding, "gzip")
	}
}

// TestCopyRace: a copy is of one version of its source, whatever happens.
func TestCopyRace(t *testing.T) {
	b := newBench(t, blocky)
	check(t, b.put(t, "source", []byte("old")))
	once := sync.Once{}
	b.ns.copy = func() { once.Do(func() { check(t, b.put(t, "source", []byte("new bytes"))) }) }
	out, err := b.c.CopyObject(t.Context(), &awss3.CopyObjectInput{Bucket: aws.String(bucket), Key: aws.String("copy"), CopySource: aws.String("photos/source")})
	check(t, err)
	equal(t, "etag", *out.CopyObjectResult.ETag, etag([]byte("new bytes")))
	got, err := b.get(t, "copy")
	check(t, err)
	equal(t, "bytes", string(got), "new bytes")
}

// TestConcurrent: readers of a key that is overwritten all the time see one
// version or another, never a mixture.
func TestConcurrent(t *testing.T) {
	b := newBench(t, s3.Options{InlineMax: 1 << 10, BlockSize: 64 << 10})
	b.done = make(chan s3.Request, 1<<16)
	version := func(n int) []byte { return bytes.Repeat([]byte{byte('a' + n)}, 200<<(n*3)) } // in the row, one block, many
	check(t, b.put(t, "k", version(0)))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 20 {
				if err := b.put(t, "k", version((w+i)%4)); err != nil {
					t.Error(err)
				}
				got, err := b.get(t, "k")
				if err != nil || len(got) == 0 || !bytes.Equal(got, version(int(got[0]-'a'))) {
					t.Errorf("read %d bytes, %v: no version", len(got), err)
				}
			}
		})
	}
	wg.Wait()
}

func TestReport(t *testing.T) {
	b := newBench(t, blocky)
	body := randomBytes(5000)
	check(t, b.put(t, "dir/k", body))
	r := b.last(t, "PutObject")
	equal(t, "who and what", fmt.Sprint(r.Principal.User, r.Principal.AccessKey, r.Volume, r.Bucket, r.Key, r.Method, r.Status, r.Code, r.Changes),
		"aliceALICEKEYs3vphotosdir/kPUT200true")
	if r.BytesIn < 5000 || r.Duration <= 0 || len(r.ID) != 16 || r.RemoteAddr == "" || r.UserAgent == "" {
		t.Fatalf("%+v", r)
	}
	_, err := b.get(t, "dir/k")
	check(t, err)
	r = b.last(t, "GetObject")
	equal(t, "bytes out", r.BytesOut, 5000)
	equal(t, "reads", r.Changes, false)
	_, err = b.get(t, "absent")
	wantCode(t, err, "NoSuchKey")
	r = b.last(t, "GetObject")
	equal(t, "code", fmt.Sprint(r.Status, r.Code, errs.KindOf(r.Err)), "404NoSuchKeyno such key")
}
