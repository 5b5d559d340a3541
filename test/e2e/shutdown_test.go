//go:build e2e && linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// halting yields half of a content, says so, and goes on when told.
type halting struct {
	io.Reader
	left    int64 // until the halt
	reached chan struct{}
	goOn    chan struct{}
}

func (h *halting) Read(p []byte) (int, error) {
	if h.left == 0 {
		close(h.reached)
		<-h.goOn
		h.left = 1 << 62
	}
	n, err := h.Reader.Read(p[:min(int64(len(p)), h.left)])
	h.left -= int64(n)
	return n, err
}

// TestShutdown: SIGTERM during a slow upload and a slow download: both are
// finished, nothing new is let in, and the process ends with 0.
func TestShutdown(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	makeBucket(t, c, "shut", "")
	v := content{1, 64 << 20}
	up, down := aws.String("up"), aws.String("down")
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("shut"), Key: down, Body: strings.NewReader(string(v.bytes()))})
	ok(t, err)

	slow := &halting{Reader: v.reader(), left: v.size / 2, reached: make(chan struct{}), goOn: make(chan struct{})}
	uploaded := make(chan error, 1)
	go func() {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("shut"), Key: up, Body: slow, ContentLength: aws.Int64(v.size)},
			s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware), func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
		uploaded <- err
	}()
	<-slow.reached
	got, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("shut"), Key: down})
	ok(t, err)
	defer got.Body.Close()
	_, err = io.CopyN(io.Discard, got.Body, 1000)
	ok(t, err)

	s.terminate()
	eventually(t, func() error {
		conn, err := net.Dial("tcp", hostOf(s.s3))
		if err != nil {
			return nil
		}
		conn.Close()
		return errors.New("it still takes connections")
	})
	if !s.running() {
		t.Fatal("it ended with requests in flight")
	}
	if resp, err := http.Get(s.om + "/readyz"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("/readyz says that it serves")
		}
	}
	n, err := io.Copy(io.Discard, got.Body)
	if err != nil || n != v.size-1000 {
		t.Fatalf("the download ended after %d more bytes: %v", n, err)
	}
	close(slow.goOn)
	if err := <-uploaded; err != nil {
		t.Fatalf("the upload: %v", err)
	}
	s.wait()
	if s.err != nil {
		t.Fatalf("it ended with %v", s.err)
	}
	s.start()
	for _, key := range []*string{up, down} {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("shut"), Key: key})
		ok(t, err)
		sum, err := sumOf(out.Body)
		ok(t, errors.Join(err, out.Body.Close()))
		if sum != v.sum() {
			t.Fatalf("%s differs", *key)
		}
	}
	s.stop()
	s.verify()
}

// TestShutdownCutsOff: a request that does not end is cut off when the time is
// over, and the process still ends well.
func TestShutdownCutsOff(t *testing.T) {
	s := startServer(t, "ozone.service.shutdown.timeout=300ms")
	c := s.sdk()
	makeBucket(t, c, "cut", "")
	slow := &halting{Reader: content{1, 8 << 20}.reader(), left: 1 << 20, reached: make(chan struct{}), goOn: make(chan struct{})}
	uploaded := make(chan error, 1)
	go func() {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("cut"), Key: aws.String("never"), Body: slow, ContentLength: aws.Int64(8 << 20)},
			s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware), func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
		uploaded <- err
	}()
	<-slow.reached
	begun := time.Now()
	s.stop()
	if d := time.Since(begun); d > 30*time.Second {
		t.Errorf("it took %v", d)
	}
	close(slow.goOn)
	if err := <-uploaded; err == nil {
		t.Fatal("the upload that was cut off succeeded")
	}
	s.start()
	_, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("cut"), Key: aws.String("never")})
	wantCode(t, err, "NotFound")
	s.stop()
	s.verify()
}

// TestSignals: SIGTERM while the node starts ends it well, too.
func TestSignals(t *testing.T) {
	s := startServer(t)
	s.stop()
	for range 5 {
		s.launch()
		eventually(t, func() error { // as soon as it can have installed its handler
			if s.log.String() == "" && s.out.String() == "" && s.running() {
				return fmt.Errorf("not a word yet")
			}
			return nil
		})
		s.terminate()
		s.wait()
		if s.err != nil {
			t.Fatalf("%v\n%s", s.err, s.log)
		}
	}
}
