//go:build e2e && linux

package e2e

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// region is the one servers are configured for by default.
const region = "us-east-1"

// sdk returns a client of the official SDK that reaches the server wherever it
// listens after a restart, and does not retry. Its defaults (checksums,
// streaming signatures) are the SDK's.
func (s *server) sdk(options ...func(*s3.Options)) *s3.Client {
	c := s.credentials()
	o := s3.Options{
		Region:       region,
		Credentials:  credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, ""),
		BaseEndpoint: aws.String("http://s3.local"),
		UsePathStyle: true,
		Retryer:      aws.NopRetryer{},
		HTTPClient:   &http.Client{Transport: s.transport()},
	}
	return s3.New(o, options...)
}

// transport sends every request to the server's S3 listener, whatever host it
// names.
func (s *server) transport() *http.Transport {
	tr := &http.Transport{
		MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.s3addr.Load().(string))
		},
	}
	s.t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// makeBucket makes a bucket; layout "" is the server's default.
func makeBucket(t testing.TB, c *s3.Client, name, layout string) {
	t.Helper()
	_, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}, func(o *s3.Options) {
		if layout != "" {
			o.APIOptions = append(o.APIOptions, smithyhttp.AddHeaderValue("x-o3-layout", layout))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

const fso = "FILE_SYSTEM_OPTIMIZED"

// code returns the error code that the server answered, "" when the request
// succeeded, and the error's text when there was no answer.
func code(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	default:
		return err.Error()
	}
}

// wantCode fails unless err is the server's answer of that code.
func wantCode(t testing.TB, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Fatalf("got %q (%v), want %q", got, err, want)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content is a stream of bytes that its seed and size determine. It reads
// without memory, so it may be as large as it likes.
type content struct {
	seed uint64
	size int64
}

func (c content) reader() io.Reader {
	var key [32]byte
	copy(key[:], fmt.Sprintf("o3 e2e %d", c.seed))
	return io.LimitReader(rand.NewChaCha8(key), c.size)
}

func (c content) bytes() []byte {
	b := make([]byte, c.size)
	if _, err := io.ReadFull(c.reader(), b); err != nil {
		panic(err) // unreachable: the reader never ends early
	}
	return b
}

func (c content) sum() string {
	h := sha256.New()
	_, _ = io.Copy(h, c.reader())
	return hexSum(h)
}

func (c content) writeFile(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	ok(t, err)
	_, err = io.Copy(f, c.reader())
	ok(t, errors.Join(err, f.Close()))
}

func hexSum(h hash.Hash) string { return fmt.Sprintf("%x", h.Sum(nil)) }

// sumOf returns the SHA-256 of everything r yields.
func sumOf(r io.Reader) (string, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return hexSum(h), err
}

func sumFile(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	ok(t, err)
	defer f.Close()
	sum, err := sumOf(f)
	ok(t, err)
	return sum
}

// newSeed returns a seed for a random test and prints it.
func newSeed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("O3_E2E_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		ok(t, err)
		seed = n
	}
	t.Logf("seed: O3_E2E_SEED=%d", seed)
	return seed
}
