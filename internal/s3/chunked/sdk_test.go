package chunked_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"o3/internal/s3/checksum"
	"o3/internal/s3/chunked"
	"o3/internal/s3/sigv4"
	"o3/internal/s3/xmlapi"
)

// awsError is what an error that names its own code has: the S3 front asks for
// exactly this.
type awsError interface {
	error
	AWSCode() string
	AWSMessage() string
	AWSElements() [][2]string
}

var _ = []awsError{(*sigv4.Error)(nil), (*chunked.Error)(nil), (*checksum.Error)(nil), (*xmlapi.Error)(nil)}

// sink receives uploads as the S3 front does: verify, decode, hash. It
// remembers what it read.
type sink struct {
	mu      sync.Mutex
	body    []byte
	payload sigv4.Payload
	result  checksum.Result
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.receive(r); err != nil {
		doc := xmlapi.ErrorDocument{Code: "InternalError", Message: err.Error()}
		if e, ok := errors.AsType[awsError](err); ok {
			doc.Code, doc.Message, doc.Elements = e.AWSCode(), e.AWSMessage(), e.AWSElements()
		}
		w.WriteHeader(http.StatusBadRequest)
		w.Write(doc.AppendXML(nil))
		return
	}
	w.Header().Set("ETag", `"`+s.result.ETag()+`"`)
}

func (s *sink) receive(r *http.Request) error {
	id, err := sigv4.NewVerifier(sigv4.Options{Region: "us-east-1"}).Verify(sigv4.FromHTTP(r), time.Now(), func(id string) (string, error) {
		return "secret of " + id, nil
	})
	if err != nil {
		return err
	}
	expected, err := checksum.FromHeader(r.Header, id.PayloadSHA256)
	if err != nil {
		return err
	}
	expected.Length = r.ContentLength
	var body io.Reader = r.Body
	var trailer func() http.Header
	if id.Payload.Streaming() {
		opts, err := chunked.OptionsFromHeader(r.Header, id.Payload)
		if err != nil {
			return err
		}
		decoder := chunked.NewReader(r.Body, id.Payload, id.Stream(), opts)
		body, trailer, expected.Length = decoder, decoder.Trailer, opts.DecodedLength
	}
	hashing := checksum.NewReader(body, expected, trailer)
	got, err := io.ReadAll(hashing)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body, s.payload, s.result = got, id.Payload, hashing.Result()
	return err
}

// damage flips a byte of the body on its way.
type damage struct{ http.RoundTripper }

func (d damage) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	body[bytes.Index(body, []byte("needle"))] ^= 1
	r.Body = io.NopCloser(bytes.NewReader(body))
	return d.RoundTripper.RoundTrip(r)
}

// TestSDK uploads with the official client, over plain HTTP and TLS, with each
// checksum it can compute, from bodies it can and cannot seek.
func TestSDK(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var s sink
	quiet := log.New(io.Discard, "", 0)
	plain := httptest.NewUnstartedServer(&s)
	plain.Config.ErrorLog = quiet
	plain.Start()
	defer plain.Close()
	tls := httptest.NewUnstartedServer(&s)
	tls.Config.ErrorLog = quiet
	tls.StartTLS()
	defer tls.Close()

	modes := make(map[sigv4.Payload]int)
	for _, server := range []*httptest.Server{plain, tls} {
		for _, algorithm := range append(checksum.Algorithms(), checksum.None) {
			for _, n := range []int{0, 10, 70_000} {
				body := append([]byte("needle"), make([]byte, n)...)
				for i := range n {
					body[6+i] = byte(rnd.Uint32())
				}
				put := func(transport http.RoundTripper, in s3.PutObjectInput) error {
					client := s3.New(s3.Options{
						BaseEndpoint: aws.String(server.URL), Region: "us-east-1", UsePathStyle: true, RetryMaxAttempts: 1,
						RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
						Credentials:                credentials.NewStaticCredentialsProvider("key", "secret of key", ""),
						HTTPClient:                 &http.Client{Transport: transport},
					})
					in.Bucket, in.Key = aws.String("bucket"), aws.String(fmt.Sprintf("a key/%d+ü", n))
					in.ChecksumAlgorithm = types.ChecksumAlgorithm(algorithm.String())
					in.Metadata = map[string]string{"a": "two  words"}
					_, err := client.PutObject(context.Background(), &in)
					return err
				}
				what := fmt.Sprintf("%s, %v, %d bytes", server.URL, algorithm, n)
				bodies := []io.Reader{bytes.NewReader(body)}
				if server == tls {
					bodies = append(bodies, struct{ io.Reader }{bytes.NewReader(body)})
				}
				for _, b := range bodies {
					in := s3.PutObjectInput{Body: b}
					if _, seeks := b.(io.Seeker); !seeks {
						in.ContentLength = aws.Int64(int64(len(body)))
					}
					if err := put(server.Client().Transport, in); err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					want := algorithm
					if want == checksum.None {
						want = checksum.CRC32 // the SDK's default
					}
					if !bytes.Equal(s.body, body) || s.result.Checksum.Algorithm != want {
						t.Fatalf("%s: %d bytes came, %v", what, len(s.body), s.result.Checksum)
					}
					modes[s.payload]++
				}
				err := put(damage{server.Client().Transport}, s3.PutObjectInput{Body: bytes.NewReader(body)})
				code := ""
				if e, ok := errors.AsType[smithy.APIError](err); ok {
					code = e.ErrorCode()
				}
				if want := map[bool]string{true: "BadDigest", false: "XAmzContentSHA256Mismatch"}[s.payload.Streaming()]; code != want {
					t.Fatalf("%s, damaged: %v, want %s", what, err, want)
				}
			}
		}
	}
	if modes[sigv4.PayloadHash] == 0 || modes[sigv4.PayloadStreamUnsignedTrailer] == 0 {
		t.Fatalf("not every kind of body was seen: %v", modes)
	}
	t.Log(modes)
}

// TestOwnClient uploads with our signer and encoder, in all streaming modes.
func TestOwnClient(t *testing.T) {
	var s sink
	server := httptest.NewServer(&s)
	defer server.Close()
	body := strings.Repeat("0123456789", 30_000)
	signer := sigv4.Signer{AccessKeyID: "key", Secret: "secret of key", Region: "us-east-1", Keys: new(sigv4.KeyCache)}
	for _, mode := range []sigv4.Payload{sigv4.PayloadStream, sigv4.PayloadStreamTrailer, sigv4.PayloadStreamUnsignedTrailer} {
		r, err := http.NewRequest("PUT", server.URL+"/bucket/a%20key", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Encoding", "aws-chunked")
		r.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(len(body)))
		expected := checksum.Expected{Length: checksum.NoLength, Checksum: checksum.Digest{Algorithm: checksum.CRC64NVME}}
		source := checksum.NewReader(strings.NewReader(body), expected, nil)
		opts := chunked.EncoderOptions{Length: int64(len(body))}
		if mode.Trailer() {
			name := checksum.CRC64NVME.Header()
			r.Header.Set("X-Amz-Trailer", name)
			opts.Trailer = func() [][2]string { return [][2]string{{name, source.Result().Checksum.String()}} }
			opts.TrailerLength, opts.TrailerCount = len(name)+12, 1
		}
		encoder := chunked.NewEncoder(source, mode, signer.Sign(r, mode.String(), time.Now()), opts)
		r.Body, r.ContentLength = io.NopCloser(encoder), encoder.EncodedLength()
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK || string(s.body) != body || s.payload != mode {
			t.Fatalf("%v: %d %s", mode, answer.StatusCode, text)
		}
		if mode.Trailer() != (s.result.Checksum.Algorithm == checksum.CRC64NVME) {
			t.Fatalf("%v: checksum %v", mode, s.result.Checksum)
		}
	}
}
