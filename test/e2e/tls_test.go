//go:build e2e && linux

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"o3/internal/tlsconf"
)

// TestTLS: both listeners speak TLS with generated certificates, to every
// client and to none that does not trust them.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca, err := tlsconf.NewCA("o3 e2e", time.Hour)
	ok(t, err)
	caFile := filepath.Join(dir, "ca.pem")
	ok(t, os.WriteFile(caFile, ca.Pair().Cert, 0o600))
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pair, err := ca.Issue(tlsconf.Request{Name: "o3", Hosts: []string{"127.0.0.1", "s3.local", "*.s3.local"}, Valid: time.Hour})
	ok(t, err)
	ok(t, pair.Write(cert, key))
	s := startServer(t, "ozone.s3g.domain.name=s3.local", "ozone.s3g.tls.cert="+cert, "ozone.s3g.tls.key="+key, "ozone.om.tls.cert="+cert, "ozone.om.tls.key="+key)
	if !strings.HasPrefix(s.s3, "https://127.0.0.1:") || !strings.HasPrefix(s.om, "https://127.0.0.1:") {
		t.Fatalf("it listens at %s and %s", s.s3, s.om)
	}

	file := filepath.Join(dir, "file")
	content{1, 9 << 20}.writeFile(t, file)
	s.aws(dir, "--ca-bundle", caFile, "s3", "mb", "s3://tls")
	s.aws(dir, "--ca-bundle", caFile, "s3", "cp", "--only-show-errors", file, "s3://tls/file")
	s.client(dir, "rclone", "--ca-cert", caFile, "copyto", "o3:tls/file", file+".rclone")
	if sumFile(t, file) != sumFile(t, file+".rclone") {
		t.Fatal("rclone got something else")
	}
	s.must("--ca", caFile, "sh", "key", "get", "/s3v/tls/file", file+".o3")
	if sumFile(t, file) != sumFile(t, file+".o3") {
		t.Fatal("o3 got something else")
	}

	// The SDK, addressing the bucket by host, over HTTP/2.
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca.Pair().Cert) {
		t.Fatal("the CA is no certificate")
	}
	tr := s.transport()
	tr.TLSClientConfig, tr.ForceAttemptHTTP2 = &tls.Config{RootCAs: roots}, true
	c := s.sdk(func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle, o.HTTPClient = aws.String("https://s3.local"), false, &http.Client{Transport: tr}
	})
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("tls"), Key: aws.String("file")})
	ok(t, err)
	sum, err := sumOf(out.Body)
	ok(t, err)
	out.Body.Close()
	if sum != sumFile(t, file) {
		t.Fatal("the SDK got something else")
	}

	// Who does not trust the certificate does not talk.
	untrusting := exec.Command(find(t, "aws"), "--endpoint-url", s.s3, "s3", "ls")
	untrusting.Env = s.clientEnv(dir)
	if said, err := untrusting.CombinedOutput(); err == nil || !strings.Contains(string(said), "CERTIFICATE_VERIFY_FAILED") {
		t.Fatalf("aws without --ca-bundle: %v\n%s", err, said)
	}
	if said, exit := s.o3("sh", "volume", "list", "--timeout", "1ms"); exit == 0 || !strings.Contains(said, "certificate") {
		t.Fatalf("o3 without --ca: exit code %d\n%s", exit, said)
	}
	// Plain text and old versions are not answered.
	if resp, err := http.Get("http://" + hostOf(s.s3)); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("plain HTTP to a TLS listener: %s", resp.Status)
		}
	}
	for _, url := range []string{s.s3, s.om} {
		conn, err := tls.DialWithDialer(new(net.Dialer), "tcp", hostOf(url), &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11})
		if err == nil {
			conn.Close()
			t.Errorf("%s speaks TLS 1.1", url)
		}
	}
	s.stop()
	s.verify()
}
