package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/om"
)

// bootstrapResult is the result of the bootstrap run.
type bootstrapResult struct {
	Keys       int
	StoreBytes int64
	Image      struct{ First, Again float64 } // seconds to make one
	Idle       []bootstrapTime
	Loaded     []loadedTime
	Change     struct {
		Keys        int
		Full, Delta int64 // bytes over the network
		Seconds     float64
	}
}

// bootstrapTime is a bootstrap beside a copy of the same bytes.
type bootstrapTime struct {
	Compression string
	Strict      bool
	Bytes, Sent int64
	Transfer    float64 // seconds
	Whole       float64
	Copy        float64 // seconds of a copy with checksums over loopback
}

// loadedTime is a load with and without a throttled bootstrap.
type loadedTime struct {
	Rate          int64 // bytes per second of the throttle
	Alone, Beside float64
}

// bootstrap measures bootstraps of a node with many keys.
func (s *settings) bootstrap(ctx context.Context, l *lab) error {
	begin, before := time.Now(), loadAverage()
	r, data := &bootstrapResult{Keys: s.keys}, filepath.Join(l.dir, "source")
	if err := s.fullNode(ctx, l, data); err != nil {
		return err
	}
	r.StoreBytes = diskUse(filepath.Join(data, "om", "store"))
	say("%d keys in %d MiB", s.keys, r.StoreBytes>>20)
	for _, step := range []func(context.Context, *lab, string, *bootstrapResult) error{s.idle, s.loaded, s.changed} {
		if err := step(ctx, l, data, r); err != nil {
			return err
		}
	}
	return s.save("bootstrap", r, s.bootstrapText(r, before, time.Since(begin))+l.remarks())
}

// fullNode makes a node of keys as S3 clients leave them.
func (s *settings) fullNode(ctx context.Context, l *lab, data string) error {
	o3, err := l.startO3(data)
	if err != nil {
		return err
	}
	if err := o3.stop(false); err != nil {
		return err
	}
	return l.inNode(ctx, data, func(ctx context.Context, c *core) error {
		if err := c.bucket(ctx, coreBucket); err != nil {
			return err
		}
		w := &fullRows{om: c.om, most: uint64(s.keys)}
		_, err := drive(ctx, 1024, time.Hour, w.create)
		return err
	})
}

// inNode does something in a node that is stopped.
func (l *lab) inNode(ctx context.Context, data string, do func(context.Context, *core) error) error {
	c, err := openCore(ctx, data)
	if err != nil {
		return err
	}
	return errors.Join(do(access.NewContext(ctx, access.System), c), c.close())
}

// fullRows is a load of keys as S3 clients leave them: an ETag that does not
// compress, and a block.
type fullRows struct {
	om   *om.Service
	next atomic.Uint64
	most uint64
}

// create adds the next key, or fails with errEnough.
func (w *fullRows) create(ctx context.Context, rng *rand.Rand) (int, error) {
	n := w.next.Add(1) - 1
	if n >= w.most {
		return 0, errEnough
	}
	return 1, w.put(ctx, rng, n)
}

func (w *fullRows) put(ctx context.Context, rng *rand.Rand, n uint64) error {
	var etag [16]byte
	for i := range etag {
		etag[i] = byte(rng.Uint32())
	}
	_, err := w.om.CommitKey(ctx, &o3v1.CommitKeyRequest{
		Volume: "s3v", Bucket: coreBucket, Key: fmt.Sprintf("projects/%03d/2026-11/part-%010d.parquet", n%1000, n), Etag: hex.EncodeToString(etag[:]), Size: 1 << 20, DataMs: time.Now().UnixMilli(),
		Extents: []*o3v1.Extent{{Container: 1<<48 | n/1000, Local: n + 1, Offset: int64(n%1000) << 20, Length: 1 << 20}},
	})
	return err
}

// source starts the node that is bootstrapped from.
func (l *lab) source(data string) (*server, error) {
	return l.startO3(data, "ozone.om.snapshot.checksum.bytes.per.second=0", "ozone.block.sweep.interval=0s")
}

// admin runs an admin command against a server.
func (l *lab) admin(ctx context.Context, o3 *server, args ...string) (time.Duration, error) {
	c := exec.CommandContext(ctx, l.o3, append([]string{"--endpoint", o3.om}, args...)...)
	c.Env = append(os.Environ(), "O3_ACCESS_KEY="+accessKey, "O3_SECRET_KEY="+secretKey)
	begin := time.Now()
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("o3 %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return time.Since(begin), err
}

// attempt is what a bootstrap notes of itself (docs/formats/bootstrap.md).
type attempt struct {
	Bytes, Sent int64
	Phases      map[string]float64
}

// bootstrapTo bootstraps a node and returns what it noted.
func (l *lab) bootstrapTo(ctx context.Context, o3 *server, dir string, args ...string) (attempt, time.Duration, error) {
	took, err := l.admin(ctx, o3, append([]string{"admin", "om", "bootstrap", "--from", o3.om, "--data", dir}, args...)...)
	if err != nil {
		return attempt{}, took, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, "bootstrap.json"))
	if err != nil {
		return attempt{}, took, err
	}
	var record struct {
		Bootstraps []struct {
			Bytes  int64 `json:"bytes"`
			Sent   int64 `json:"sent_bytes"`
			Phases []struct {
				Phase string `json:"phase"`
				Ms    int64  `json:"ms"`
			} `json:"phases"`
		} `json:"bootstraps"`
	}
	if err := json.Unmarshal(raw, &record); err != nil || len(record.Bootstraps) == 0 {
		return attempt{}, took, errors.Join(err, fmt.Errorf("%s notes no bootstrap", dir))
	}
	last := record.Bootstraps[len(record.Bootstraps)-1]
	a := attempt{Bytes: last.Bytes, Sent: last.Sent, Phases: map[string]float64{}}
	for _, p := range last.Phases {
		a.Phases[p.Phase] += float64(p.Ms) / 1000
	}
	return a, took, nil
}

// idle measures bootstraps of a node that does nothing else.
func (s *settings) idle(ctx context.Context, l *lab, data string, r *bootstrapResult) (err error) {
	o3, err := l.source(data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o3.stop(err != nil)) }()
	for _, to := range []*float64{&r.Image.First, &r.Image.Again} {
		took, err := l.admin(ctx, o3, "admin", "om", "snapshots", "--create")
		if err != nil {
			return err
		}
		*to = took.Seconds()
	}
	images, err := filepath.Glob(filepath.Join(data, "om", "images", "*", "store"))
	if err != nil || len(images) == 0 {
		return errors.Join(err, errors.New("there is no image"))
	}
	for range s.rounds {
		for _, how := range []struct {
			compression string
			strict      bool
		}{{"none", false}, {"s2", false}, {"none", true}} {
			raw, err := copyOver(ctx, images[len(images)-1], filepath.Join(l.dir, "copy"))
			if err != nil {
				return err
			}
			strict := "--no-strict"
			if how.strict {
				strict = "--strict"
			}
			dir := filepath.Join(l.dir, "target")
			got, took, err := l.bootstrapTo(ctx, o3, dir, strict, "--block-dir", filepath.Join(data, "blocks"), "-D", "ozone.om.snapshot.compression="+how.compression)
			if err != nil {
				return err
			}
			one := bootstrapTime{how.compression, how.strict, got.Bytes, got.Sent, got.Phases["TRANSFER"], took.Seconds(), raw.Seconds()}
			say("bootstrap, %s, strict %v: %+v", how.compression, how.strict, one)
			r.Idle = append(r.Idle, one)
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyOver copies the files of a directory over loopback: four at a time, summed
// on arrival, written and synced.
func copyOver(ctx context.Context, from, to string) (took time.Duration, err error) {
	names, err := os.ReadDir(from)
	if err != nil {
		return 0, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	srv := &http.Server{Handler: http.FileServer(http.Dir(from)), ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(listener) }() // Close ends it
	defer func() { err = errors.Join(err, srv.Close(), os.RemoveAll(to)) }()
	if err := os.MkdirAll(to, 0o755); err != nil {
		return 0, err
	}
	begin := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, e := range names {
		g.Go(func() error {
			return copyFile(ctx, "http://"+listener.Addr().String()+"/"+e.Name(), filepath.Join(to, e.Name()))
		})
	}
	err = g.Wait()
	return time.Since(begin), err
}

func copyFile(ctx context.Context, url, path string) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(xxh3.New(), f)}, struct{ io.Reader }{resp.Body}, make([]byte, 1<<20))
	return errors.Join(err, f.Sync(), f.Close())
}

// loaded measures what a throttled bootstrap takes from the writes of clients.
func (s *settings) loaded(ctx context.Context, l *lab, data string, r *bootstrapResult) (err error) {
	o3, err := l.source(data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o3.stop(err != nil)) }()
	load := func(d time.Duration) (float64, error) {
		got, err := l.freon(ctx, o3, o3.om, "omkg", "--bucket", "load", "-k", "20000", "-t", "32", "-d", d.String(), "--warmup", s.warmup.String())
		if err != nil {
			return 0, err
		}
		return got.Total.PerSecond, nil
	}
	if _, err := load(s.duration); err != nil { // makes the keys
		return err
	}
	rate := min(int64(32<<20), max(1<<20, r.Idle[0].Bytes/int64(3*(s.duration+s.warmup).Seconds()+1))) // so that it lasts longer than the load
	for range s.rounds {
		one := loadedTime{Rate: rate}
		if one.Alone, err = load(s.duration); err != nil {
			return err
		}
		dir := filepath.Join(l.dir, "target")
		cut, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			_, _, err := l.bootstrapTo(cut, o3, dir, "--no-strict", "--block-dir", filepath.Join(data, "blocks"), "--rate", fmt.Sprint(rate))
			done <- err
		}()
		one.Beside, err = load(s.duration)
		select {
		case ended := <-done:
			cancel()
			return errors.Join(err, ended, errors.New("the bootstrap did not last as long as the load"))
		default:
		}
		cancel()
		<-done // cut off on purpose
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			return err
		}
		say("load beside a bootstrap: %+v", one)
		r.Loaded = append(r.Loaded, one)
	}
	return nil
}

// changed measures a second bootstrap of a node after 1 % of the keys changed.
func (s *settings) changed(ctx context.Context, l *lab, data string, r *bootstrapResult) error {
	dir := filepath.Join(l.dir, "target")
	run := func(args ...string) (a attempt, took time.Duration, err error) {
		o3, err := l.source(data)
		if err != nil {
			return a, 0, err
		}
		a, took, err = l.bootstrapTo(ctx, o3, dir, append(args, "--fresh", "--block-dir", filepath.Join(data, "blocks"))...)
		return a, took, errors.Join(err, o3.stop(err != nil))
	}
	full, _, err := run()
	if err != nil {
		return err
	}
	// It serves once: before that it would not make way for another.
	target, err := l.startO3(dir, "ozone.block.dir="+filepath.Join(data, "blocks"), "ozone.block.sweep.interval=0s")
	if err != nil {
		return err
	}
	if err := target.stop(false); err != nil {
		return err
	}
	r.Change.Keys = s.keys / 100
	err = l.inNode(ctx, data, func(ctx context.Context, c *core) error {
		w := &fullRows{om: c.om}
		_, err := drive(ctx, 1024, time.Hour, func(ctx context.Context, rng *rand.Rand) (int, error) {
			if w.next.Add(1) > uint64(r.Change.Keys) {
				return 0, errEnough
			}
			return 1, w.put(ctx, rng, rng.Uint64N(uint64(s.keys)))
		})
		return err
	})
	if err != nil {
		return err
	}
	delta, took, err := run("--replace")
	if err != nil {
		return err
	}
	r.Change.Full, r.Change.Delta, r.Change.Seconds = full.Sent, delta.Sent, took.Seconds()
	say("after a change of 1 %%: %d bytes of %d", delta.Sent, full.Sent)
	return nil
}

func (s *settings) bootstrapText(r *bootstrapResult, load string, took time.Duration) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("Machine: %s. Source, target and load share it. One-minute load average before the run %s; %s in all. %d keys with a block and an ETag each: %.0f bytes per key on disk. An image took %.2f s, a second one %.2f s.\n",
		machine(), load, took.Round(time.Second), r.Keys, float64(r.StoreBytes)/float64(r.Keys), r.Image.First, r.Image.Again)
	p("| Bootstrap of an idle node | MiB | sent MiB | transfer s | MiB/s | copy with checksums, MiB/s | share | whole command s |\n|---|---|---|---|---|---|---|---|")
	for _, i := range r.Idle {
		how, mib := i.Compression+", normal validation", float64(i.Bytes)/(1<<20)
		if i.Strict {
			how = i.Compression + ", strict validation"
		}
		p("| %s | %.0f | %.0f | %.2f | %.0f | %.0f | **%.2f** | %.2f |", how, mib, float64(i.Sent)/(1<<20), i.Transfer, mib/i.Transfer, mib/i.Copy, i.Copy/i.Transfer, i.Whole)
	}
	p("\n| Beside a throttled bootstrap | writes per second alone | beside it | share |\n|---|---|---|---|")
	for _, i := range r.Loaded {
		p("| %.1f MiB/s | %.0f | %.0f | **%.2f** |", float64(i.Rate)/(1<<20), i.Alone, i.Beside, i.Beside/i.Alone)
	}
	p("\nAfter %d keys, chosen at random, were overwritten (1 %%), a second bootstrap of the same node sent %.1f MiB of %.1f (%.0f %%) and took %.2f s.",
		r.Change.Keys, float64(r.Change.Delta)/(1<<20), float64(r.Change.Full)/(1<<20), 100*float64(r.Change.Delta)/float64(r.Change.Full), r.Change.Seconds)
	return b.String()
}
