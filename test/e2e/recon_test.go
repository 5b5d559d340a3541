//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"
)

// freeAddress returns an address of this machine that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 { // below those that connections are given, which may take it while nobody listens
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// consoleOf describes a server with the role recon alone, not started, that
// follows om.
func consoleOf(t *testing.T, om *server, address string) *server {
	t.Helper()
	root := om.credentials()
	s := newServer(t, "ozone.server.roles=recon", "ozone.recon.om.address=http://"+address, "ozone.recon.om.access.key="+root.AccessKey,
		"ozone.recon.db.flush.interval=200ms", "ozone.recon.om.retry.max.interval=500ms")
	s.env = []string{"OZONE_RECON_OM_SECRET_KEY=" + root.SecretKey}
	return s
}

// agrees compares what Recon at the address says of a bucket with what the OM
// itself says, once nothing changes any more.
func (s *server) agrees(recon, bucket string) {
	s.t.Helper()
	type usage struct{ bytes, keys, directories int64 }
	eventually(s.t, func() error {
		var om struct{ UsedBytes, UsedKeys, UsedDirectories string }
		var summary struct {
			CountStats struct{ NumDir, NumKey int64 }
			Status     string
		}
		var du struct{ Size int64 }
		for _, ask := range []struct {
			args []string
			into any
		}{
			{[]string{"--json", "sh", "bucket", "info", "/s3v/" + bucket}, &om},
			{[]string{"--json", "admin", "namespace", "summary", "/s3v/" + bucket, "--recon-endpoint", recon}, &summary},
			{[]string{"--json", "admin", "namespace", "du", "/s3v/" + bucket, "--recon-endpoint", recon}, &du},
		} {
			out, code := s.o3(ask.args...)
			if code != 0 {
				return fmt.Errorf("o3 %v: %d %s", ask.args, code, out)
			}
			if err := json.Unmarshal([]byte(out), ask.into); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
		}
		var want usage
		want.bytes, _ = strconv.ParseInt(om.UsedBytes, 10, 64)
		want.keys, _ = strconv.ParseInt(om.UsedKeys, 10, 64)
		want.directories, _ = strconv.ParseInt(om.UsedDirectories, 10, 64)
		if got := (usage{du.Size, summary.CountStats.NumKey, summary.CountStats.NumDir}); got != want || want.bytes == 0 {
			return fmt.Errorf("%s: Recon says %+v, the OM %+v", bucket, got, want)
		}
		return nil
	})
}

// TestRecon kills the OM and Recon in turns while workers write. Whenever both are
// back, Recon comes to the OM's numbers by itself, whether the log still reaches
// back or not.
func TestRecon(t *testing.T) {
	rounds := 6
	if nightly {
		rounds = 60
	}
	seed := newSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	address := freeAddress(t)
	om := startServer(t, append([]string{"ozone.server.roles=s3,om", "ozone.om.address=" + address}, busy...)...)
	c := om.sdk()
	buckets := []string{"recon-flat", "recon-tree"}
	makeBucket(t, c, buckets[0], "")
	makeBucket(t, c, buckets[1], fso)
	var workers []*worker
	for i := range 4 {
		workers = append(workers, &worker{t: t, id: i, c: c, rng: rand.New(rand.NewPCG(seed, uint64(i+1))), bucket: buckets[i%2], keys: map[string]*fate{}})
	}
	console := consoleOf(t, om, address)
	console.start()
	for round := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, w := range workers {
			wg.Go(func() { w.work(ctx) })
		}
		await(t, rng, workers)
		victim := []*server{console, om}[round%2]
		victim.kill()
		pause := time.NewTimer(time.Duration(rng.IntN(500)) * time.Millisecond)
		<-pause.C
		if round%3 == 2 && victim == console { // both are gone
			om.kill()
		}
		cancel()
		wg.Wait()
		for _, s := range []*server{om, console} {
			if !s.running() {
				s.start()
			}
		}
		for _, w := range workers {
			wg.Go(w.check)
		}
		wg.Wait()
		om.must("--json", "admin", "recon", "status", "--wait", "2m", "--recon-endpoint", console.recon)
		for _, b := range buckets {
			om.agrees(console.recon, b)
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	t.Log(om.must("admin", "recon", "status", "--recon-endpoint", console.recon))
	console.stop()
	om.stop()
	om.verify()
}

// TestReconBeside: the same of Recon in the OM's process, which is killed.
func TestReconBeside(t *testing.T) {
	seed := newSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	s := startServer(t, busy...)
	c := s.sdk()
	makeBucket(t, c, "beside", fso)
	w := &worker{t: t, c: c, rng: rand.New(rand.NewPCG(seed, 1)), bucket: "beside", keys: map[string]*fate{}}
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { w.work(ctx) })
		await(t, rng, []*worker{w})
		s.kill()
		cancel()
		wg.Wait()
		s.start()
		w.check()
		s.must("--json", "admin", "recon", "status", "--wait", "2m")
		s.agrees(s.recon, "beside")
	}
	s.stop()
	s.verify()
}
