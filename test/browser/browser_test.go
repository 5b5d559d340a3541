//go:build browser && linux

package browser

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// put stores objects of 1,000 to 16,000 bytes, and none of 8,000, in the server's
// bucket.
func put(ctx context.Context, s *server, from, n int) error {
	c := s.credentials()
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(s.s3), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, ""),
	})
	bucket := aws.String("photos")
	if from == 0 {
		if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}); err != nil {
			return err
		}
	}
	for i := from; i < from+n; i++ {
		body := strings.NewReader(strings.Repeat("x", 1000<<(i*i%7)))
		if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String(fmt.Sprintf("a/%d", i)), Body: body}); err != nil {
			return err
		}
	}
	return nil
}

// environment is what a script is told of the servers.
func environment(recon, om *server) []string {
	c := om.credentials()
	return []string{"RECON=" + recon.recon, "ACCESS_KEY=" + c.AccessKey, "SECRET_KEY=" + c.SecretKey}
}

// TestOverview: the page shows what the API says, follows it, and keeps it while
// the server is away.
func TestOverview(t *testing.T) {
	s := newServer(t, "ozone.recon.http-address="+freeAddress(t))
	s.start()
	stored := 20
	if err := put(t.Context(), s, 0, stored); err != nil {
		t.Fatal(err)
	}
	if err := s.ready(); err != nil { // before, the page is refused some things, and complains
		t.Fatal(err)
	}
	script(t, "overview.mjs", environment(s, s), map[string]func(arg string) error{
		"put": func(arg string) error {
			n, err := strconv.Atoi(arg)
			if err != nil {
				return err
			}
			defer func() { stored += n }()
			return put(t.Context(), s, stored, n)
		},
		"stop":  func(string) error { return s.stop() },
		"start": func(string) error { return s.start() },
	})
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

// TestAlone: Recon by itself has nothing to show until it found its OM, and shows
// what it has when the OM is gone.
func TestAlone(t *testing.T) {
	address := freeAddress(t)
	om := newServer(t, "ozone.server.roles=s3,om", "ozone.om.address="+address)
	om.start()
	if err := put(t.Context(), om, 0, 20); err != nil {
		t.Fatal(err)
	}
	if err := om.stop(); err != nil {
		t.Fatal(err)
	}
	root := om.credentials()
	recon := newServer(t, "ozone.server.roles=recon", "ozone.recon.http-address="+freeAddress(t), "ozone.recon.om.address=http://"+address,
		"ozone.recon.om.access.key="+root.AccessKey, "ozone.recon.om.retry.max.interval=500ms")
	recon.env = []string{"OZONE_RECON_OM_SECRET_KEY=" + root.SecretKey}
	recon.start()
	script(t, "alone.mjs", environment(recon, om), map[string]func(string) error{
		"stop":  func(string) error { return om.stop() },
		"start": func(string) error { return om.start() },
	})
	for _, s := range []*server{recon, om} {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}
}

// freeAddress returns an address of this machine that nobody listens at, for a
// server that comes back where it was. Its port is below those that systems give
// to connections, one of which might have it while the server is away.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000))))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// pictures is where a script leaves what it saw when it failed.
func pictures(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "o3-browser-pictures-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Logf("pictures: %s", strings.Join(left, " "))
			return
		}
		_ = os.Remove(dir)
	})
	return dir
}
