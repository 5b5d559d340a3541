package app

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/s3/sigv4"
	"o3/internal/tlsconf"
)

// Each key of package config names the test in which changing it changes what
// is observed: most start a server with the key's default and one without.

// pair starts a server as it is by default and one with what set says.
func pair(t *testing.T, set ...string) (plain, changed *server) {
	t.Helper()
	t.Parallel()
	return start(t, settings{}), start(t, settings{set: set})
}

func TestKeyAddresses(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"ozone.s3g.http-address", "ozone.om.address"} {
		address := freeAddress(t)
		s := start(t, settings{set: []string{key + "=" + address}})
		got := map[string]string{"ozone.s3g.http-address": s.S3, "ozone.om.address": s.OM}
		if got[key] != "http://"+address {
			t.Errorf("%s=%s: %v", key, address, got)
		}
		if c, err := net.Dial("tcp", address); err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
	}
}

func TestKeyDomainName(t *testing.T) {
	plain, changed := pair(t, "ozone.s3g.domain.name=s3.example.com,b.example")
	for _, s := range []*server{plain, changed} {
		s.must("PUT", "/photos", nil)
		s.must("PUT", "/photos/a", []byte("1"))
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	if a := plain.s3("GET", "/a", nil, host("photos.s3.example.com")); a.status == 200 {
		t.Errorf("without a domain: %v", a)
	}
	for _, h := range []string{"photos.s3.example.com", "photos.b.example"} {
		if a := changed.s3("GET", "/a", nil, host(h)); string(a.body) != "1" {
			t.Errorf("%s: %v", h, a)
		}
	}
}

func TestKeyRegion(t *testing.T) {
	plain, changed := pair(t, "ozone.s3g.region=eu-1")
	for region, s := range map[string]*server{"us-east-1": plain, "eu-1": changed} {
		for _, signed := range []string{"us-east-1", "eu-1"} {
			a := s.s3("GET", "/", nil, header("Test-Region", signed))
			if (a.status == 200) != (signed == region) {
				t.Errorf("region %s, signed for %s: %v", region, signed, a)
			}
		}
	}
}

func TestKeyS3Layout(t *testing.T) {
	plain, changed := pair(t, "ozone.s3g.default.bucket.layout=FILE_SYSTEM_OPTIMIZED")
	for want, s := range map[string]*server{"OBJECT_STORE": plain, "FILE_SYSTEM_OPTIMIZED": changed} {
		s.must("PUT", "/photos", nil)
		got, err := s.om.GetBucket(t.Context(), &o3v1.GetBucketRequest{Volume: "s3v", Bucket: "photos"})
		if err != nil || got.Bucket.Layout != want {
			t.Errorf("%v, %v; want %s", got, err, want)
		}
	}
}

// slowPut is a PUT whose body the test sends bit by bit.
type slowPut struct {
	body   *io.PipeWriter
	result chan answer // status 0: it was cut
}

// finish sends the rest of a body of two bytes and returns the answer.
func (p slowPut) finish() answer {
	p.body.Write([]byte("y")) // fails when the request was cut: the answer tells
	p.body.Close()
	return <-p.result
}

func (s *server) slowPut(path string, size int) slowPut {
	s.t.Helper()
	r, w := io.Pipe()
	req, err := http.NewRequest("PUT", s.S3+path, r)
	if err != nil {
		s.t.Fatal(err)
	}
	req.ContentLength = int64(size)
	signer := sigv4.Signer{AccessKeyID: s.root.AccessKey, Secret: s.root.SecretKey, Region: "us-east-1"}
	signer.Sign(req, "UNSIGNED-PAYLOAD", time.Now())
	p := slowPut{w, make(chan answer, 1)}
	s.t.Cleanup(func() { w.Close() })
	go func() {
		resp, err := s.http.Do(req)
		if err != nil {
			r.CloseWithError(err)
			p.result <- answer{body: []byte(err.Error())}
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body) // a cut one tells as much
		p.result <- answer{status: resp.StatusCode, body: body}
	}()
	if _, err := w.Write([]byte("x")); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// inside waits until n requests are being served through S3.
func (s *server) inside(n int64) {
	s.t.Helper()
	wait(s.t, fmt.Sprintf("%d requests inside", n), func() bool { return s.node.gateway.InFlight() == n })
}

func TestKeyMaxInFlight(t *testing.T) {
	plain, changed := pair(t, "ozone.s3g.max.inflight.requests=1")
	for want, s := range map[string]*server{"": plain, "SlowDown": changed} {
		s.must("PUT", "/photos", nil)
		s.inside(0)
		p := s.slowPut("/photos/a", 2)
		s.inside(1)
		if a := s.s3("GET", "/photos", nil); a.code != want && want != "" || want == "" && a.status != 200 {
			t.Errorf("want %q: %v", want, a)
		}
		if a := p.finish(); a.status != 200 {
			t.Errorf("the one inside: %v", a)
		}
	}
}

// connection is a client that knows only bytes.
func (s *server) connection(send string) (net.Conn, *bufio.Reader) {
	s.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.S3, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, send); err != nil {
		s.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// gone waits until the server closes a connection.
func gone(t *testing.T, r io.Reader) {
	t.Helper()
	if _, err := io.Copy(io.Discard, r); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection stays: %v", err)
	}
}

// answered reads one answer.
func answered(t *testing.T, r *bufio.Reader) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

func TestKeyHeaderTimeout(t *testing.T) {
	plain, changed := pair(t, "ozone.s3g.request.header.timeout=150ms")
	long, patient := plain.connection("GET / HTTP/1.1\r\nHost: a\r\n")
	_, short := changed.connection("GET / HTTP/1.1\r\nHost: a\r\n")
	gone(t, short)
	io.WriteString(long, "\r\n")
	answered(t, patient)
}

func TestKeyConnectionIdle(t *testing.T) {
	plain, changed := pair(t, "ozone.s3g.connection.idle.timeout=150ms")
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	long, patient := plain.connection(request)
	_, short := changed.connection(request)
	answered(t, patient)
	answered(t, short)
	gone(t, short)
	io.WriteString(long, request)
	answered(t, patient)
}

func TestKeyBodyIdleTimeout(t *testing.T) {
	plain, changed := pair(t, "ozone.s3g.request.body.idle.timeout=150ms")
	for _, s := range []*server{plain, changed} {
		s.must("PUT", "/photos", nil)
	}
	long, short := plain.slowPut("/photos/a", 2), changed.slowPut("/photos/a", 2)
	if a := <-short.result; !strings.Contains(string(a.body), "RequestTimeout") {
		t.Errorf("%v", a)
	}
	if a := long.finish(); a.status != 200 {
		t.Errorf("%v", a)
	}
}

func TestKeyClockSkew(t *testing.T) {
	plain, changed := pair(t, "ozone.s3g.clock.skew=5m")
	late := header("Test-Time", time.Now().Add(-10*time.Minute).Format(time.RFC3339))
	for want, s := range map[string]*server{"": plain, "RequestTimeTooSkewed": changed} {
		if a := s.s3("GET", "/", nil, late); a.code != want && want != "" || want == "" && a.status != 200 {
			t.Errorf("S3: want %q: %v", want, a)
		}
		a, err := s.ask(s.root, "o3", "POST", s.OM+"/o3.v1.OM/Status", []byte("{}"), late, header("Content-Type", "application/json"))
		if err != nil || (a.status == 200) != (want == "") {
			t.Errorf("OM: want %q: %v %v", want, a, err)
		}
	}
}

func TestKeyListMaxKeys(t *testing.T) {
	plain, changed := pair(t, "ozone.s3g.list.max.keys.limit=3")
	for want, s := range map[int]*server{5: plain, 3: changed} {
		s.must("PUT", "/photos", nil)
		for i := range 5 {
			s.must("PUT", fmt.Sprintf("/photos/%d", i), nil)
		}
		a := s.must("GET", "/photos?list-type=2&max-keys=1000", nil)
		if n := strings.Count(string(a.body), "<Key>"); n != want {
			t.Errorf("%d keys, want %d", n, want)
		}
	}
}

// uploadID begins a multipart upload.
func (s *server) uploadID(path string) string {
	s.t.Helper()
	a := s.must("POST", path+"?uploads=", nil)
	_, rest, _ := strings.Cut(string(a.body), "<UploadId>")
	id, _, _ := strings.Cut(rest, "<")
	return id
}

func TestKeyMultipartLimits(t *testing.T) {
	plain, changed := pair(t, "ozone.s3g.multipart.min.part.size=1", "ozone.s3g.multipart.max.parts=3")
	for _, s := range []*server{plain, changed} {
		s.must("PUT", "/photos", nil)
		id := s.uploadID("/photos/a")
		var list strings.Builder
		for n := 1; n <= 2; n++ {
			a := s.must("PUT", fmt.Sprintf("/photos/a?partNumber=%d&uploadId=%s", n, id), []byte("part"))
			fmt.Fprintf(&list, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", n, a.header.Get("Etag"))
		}
		over := s.s3("PUT", "/photos/a?partNumber=4&uploadId="+id, []byte("part"))
		done := s.s3("POST", "/photos/a?uploadId="+id, []byte("<CompleteMultipartUpload>"+list.String()+"</CompleteMultipartUpload>"))
		if s == plain && (over.status != 200 || done.code != "EntityTooSmall") {
			t.Errorf("by default: part 4: %v, complete: %v", over, done)
		}
		if s == changed && (over.code != "InvalidArgument" || done.status != 200) {
			t.Errorf("changed: part 4: %v, complete: %v", over, done)
		}
	}
}

func TestKeyTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, err := tlsconf.NewCA("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []tlsconf.Request{{Name: "server", Hosts: []string{"127.0.0.1"}, Valid: time.Hour}, {Name: "root", Client: true, Valid: time.Hour}} {
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
	crt, pem := filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.pem")
	set := []string{"ozone.s3g.tls.cert=" + crt, "ozone.s3g.tls.key=" + pem, "ozone.om.tls.cert=" + crt, "ozone.om.tls.key=" + pem,
		"ozone.recon.tls.cert=" + crt, "ozone.recon.tls.key=" + pem, withRecon}
	mutual := start(t, settings{set: append(set, "ozone.s3g.tls.client.ca="+authority, "ozone.om.tls.client.ca="+authority, "ozone.recon.tls.client.ca="+authority)})
	open := start(t, settings{set: set})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.Pair().Cert)
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "root.crt"), filepath.Join(dir, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	stranger, root := &tls.Config{RootCAs: pool}, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}
	for _, c := range []struct {
		s      *server
		who    *tls.Config
		served bool
	}{{mutual, stranger, false}, {mutual, root, true}, {open, stranger, true}} {
		if !strings.HasPrefix(c.s.S3, "https://") || !strings.HasPrefix(c.s.OM, "https://") {
			t.Fatalf("%+v", c.s.Endpoints)
		}
		c.s.http.Transport.(*http.Transport).TLSClientConfig = c.who
		a, err := c.s.ask(c.s.root, "", "GET", "/", nil)
		if (err == nil && a.status == 200) != c.served {
			t.Errorf("S3: %v %v, served %v", a, err, c.served)
		}
		a, err = c.s.ask(c.s.root, "o3", "POST", c.s.OM+"/o3.v1.OM/Status", []byte("{}"), header("Content-Type", "application/json"))
		if (err == nil && a.status == 200) != c.served {
			t.Errorf("OM: %v %v, served %v", a, err, c.served)
		}
		if c.served {
			wait(t, "Recon serves", func() bool { return c.s.sync().Generation != "" })
		}
		a, err = c.s.ask(c.s.root, "o3", "GET", c.s.Recon+"/api/v1/clusterState", nil)
		if (err == nil && a.status == 200) != c.served {
			t.Errorf("Recon: %v %v, served %v", a, err, c.served)
		}
		c.s.http.CloseIdleConnections()
	}
	if a, err := mutual.ask(client.Credentials{}, "", "GET", mutual.Recon+"/api/v1/clusterState", nil); err != nil || a.status != 200 {
		t.Errorf("Recon by certificate: %v %v", a, err)
	}
	// A certificate speaks for its user, without a signature.
	a, err := mutual.ask(client.Credentials{}, "o3", "POST", mutual.OM+"/o3.v1.OM/Status", []byte("{}"), header("Content-Type", "application/json"))
	if err != nil || a.status != 200 || !json.Valid(a.body) {
		t.Errorf("by certificate: %v %v", a, err)
	}
	if n := mutual.node.s3TLS.NotAfter(); n.Before(time.Now()) {
		t.Errorf("expires %v", n)
	}
}
