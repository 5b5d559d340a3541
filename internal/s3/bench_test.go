package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/block/memblock"
	"o3/internal/s3"
	"o3/internal/s3/s3test"
	"o3/internal/s3/sigv4"
)

// still answers the calls of a small PUT and GET without doing anything, so
// that a benchmark measures the gateway alone.
type still struct {
	s3.Namespace
	key *o3v1.KeyInfo
}

func (s still) CommitKey(context.Context, *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error) {
	return &o3v1.CommitKeyResponse{Key: s.key}, nil
}

func (s still) GetKey(context.Context, *o3v1.GetKeyRequest) (*o3v1.GetKeyResponse, error) {
	return &o3v1.GetKeyResponse{Key: s.key}, nil
}

// Secret implements s3.Credentials.
func (still) Secret(context.Context, string) (string, access.Principal, error) {
	return s3test.Alice.Secret, access.Principal{User: "alice"}, nil
}

// silent is a ResponseWriter that keeps nothing.
type silent struct {
	h      http.Header
	status int
}

func (s *silent) Header() http.Header         { return s.h }
func (s *silent) Write(p []byte) (int, error) { return len(p), nil }
func (s *silent) WriteHeader(status int)      { s.status = status }

func benchmark(b *testing.B, method string, body []byte) {
	key := &o3v1.KeyInfo{Name: "k", Etag: "0123456789abcdef0123456789abcdef", Data: make([]byte, 4<<10), Size: 4 << 10}
	g, err := s3.New(still{key: key}, memblock.New(), still{}, s3.Options{InlineMax: 8 << 10})
	check(b, err)
	r := httptest.NewRequest(method, "/photos/dir/key-0001", nil)
	sum := sha256.Sum256(body)
	signer := sigv4.Signer{AccessKeyID: s3test.Alice.ID, Secret: s3test.Alice.Secret, Region: "us-east-1"}
	r.Header.Set("Content-Type", "application/octet-stream")
	signer.Sign(r, hex.EncodeToString(sum[:]), time.Now())
	r.ContentLength = int64(len(body))
	reader := bytes.NewReader(body)
	w := &silent{}
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		r.Body = io.NopCloser(reader)
		w.h = http.Header{}
		g.ServeHTTP(w, r)
		if w.status != http.StatusOK {
			b.Fatal(w.status)
		}
	}
}

func BenchmarkPut4K(b *testing.B)  { benchmark(b, "PUT", make([]byte, 4<<10)) }
func BenchmarkGet4K(b *testing.B)  { benchmark(b, "GET", nil) }
func BenchmarkHead(b *testing.B)   { benchmark(b, "HEAD", nil) }
func BenchmarkPut64K(b *testing.B) { benchmark(b, "PUT", make([]byte, 64<<10)) }
