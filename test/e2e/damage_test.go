//go:build e2e && linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// The exit codes of the command line for damaged bytes, and for a server or
// directory that cannot be had now.
const (
	codeDamaged     = 9
	codeUnavailable = 8
)

// damaged is a stopped server with objects of all kinds, whose files a test
// damages.
type damaged struct {
	*server
	c      *s3.Client
	bucket string
	want   map[string]content
}

// newDamaged fills a server. Small tables, so that rows lie in table files.
func newDamaged(t *testing.T) *damaged {
	t.Helper()
	s := startServer(t, "ozone.om.db.memtable.size=256KB", "ozone.om.db.flush.interval=100ms", "ozone.block.scrub.interval=0")
	d := &damaged{server: s, c: s.sdk(), bucket: "hurt", want: map[string]content{}}
	makeBucket(t, d.c, "hurt", "")
	d.put("block", 1<<20)
	for i := range 300 {
		d.put(fmt.Sprintf("row-%03d", i), int64(1000+i))
	}
	d.put("other", 200_000)
	return d
}

func (d *damaged) put(key string, size int64) {
	d.t.Helper()
	v := content{uint64(len(d.want)) + 1000, size}
	_, err := d.c.PutObject(d.t.Context(), &s3.PutObjectInput{Bucket: &d.bucket, Key: &key, Body: bytes.NewReader(v.bytes())})
	ok(d.t, err)
	d.want[key] = v
}

// readAll reads every object; each comes back right or with an error. It
// returns the errors.
func (d *damaged) readAll() map[string]error {
	d.t.Helper()
	bad := map[string]error{}
	for key, v := range d.want {
		out, err := d.c.GetObject(d.t.Context(), &s3.GetObjectInput{Bucket: &d.bucket, Key: &key})
		if code(err) == "NoSuchKey" {
			d.t.Errorf("%s: damage made an object vanish without a word", key)
		}
		if err == nil {
			var got []byte
			got, err = io.ReadAll(out.Body)
			if err = errors.Join(err, out.Body.Close()); err == nil && !bytes.Equal(got, v.bytes()) {
				d.t.Errorf("%s: WRONG BYTES WERE SERVED", key)
			}
		}
		if err != nil {
			bad[key] = err
		}
	}
	return bad
}

// flip changes one bit of a file.
func flip(t testing.TB, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	ok(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	ok(t, err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b, at)
	ok(t, errors.Join(err, f.Close()))
}

// filesBelow returns the files whose names match, with their sizes.
func filesBelow(t testing.TB, dir, pattern string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	ok(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if match, _ := filepath.Match(pattern, e.Name()); match && e.Type().IsRegular() {
			info, err := e.Info()
			if err != nil {
				return err
			}
			out[path] = info.Size()
		}
		return nil
	}))
	return out
}

// TestDamagedContainer flips a byte of an object's data: that object is
// refused, every other one is served, and all who look are told.
func TestDamagedContainer(t *testing.T) {
	d := newDamaged(t)
	d.stop()
	needle := d.want["block"].bytes()[500_000:500_032]
	hit := ""
	for path := range filesBelow(t, filepath.Join(d.data, "blocks"), "c-*") {
		raw, err := os.ReadFile(path)
		ok(t, err)
		if at := bytes.Index(raw, needle); at >= 0 {
			flip(t, path, int64(at)+7)
			hit = filepath.Base(path)
		}
	}
	if hit == "" {
		t.Fatal("the bytes of the object are in no container")
	}
	out, exit := d.o3("debug", "block", "verify", "--data", d.data)
	if exit != codeDamaged || !strings.Contains(out, hit) {
		t.Fatalf("debug block verify: exit code %d, %s not named\n%s", exit, hit, out)
	}

	d.start()
	bad := d.readAll()
	if len(bad) != 1 || bad["block"] == nil {
		t.Fatalf("refused: %v", bad)
	}
	t.Logf("GET: %v", bad["block"])
	d.must("admin", "block", "scrub")
	eventually(t, func() error {
		if out, exit := d.o3("admin", "block", "status"); exit != codeDamaged || !strings.Contains(out, hit) || !strings.Contains(out, "Damaged:     1\n") { // the GET met it too
			return fmt.Errorf("block status: exit code %d, %s not named:\n%s", exit, hit, out)
		}
		return nil
	})
	if out, exit := d.o3("admin", "status"); exit != 2 || !strings.Contains(out, "damaged") {
		t.Fatalf("admin status: exit code %d\n%s", exit, out)
	}
	if !strings.Contains(d.log.String(), hit) {
		t.Errorf("the log does not name %s", hit)
	}
	d.put("block", 1<<20) // replaced, all is well again
	if bad := d.readAll(); len(bad) != 0 {
		t.Fatalf("after it was replaced: %v", bad)
	}
	d.stop()
}

// TestDamagedTable flips bytes all over the table files of the namespace: the
// node refuses to start and names the file, or answers rightly or with errors.
func TestDamagedTable(t *testing.T) {
	d := newDamaged(t)
	d.stop()
	tables := filesBelow(t, filepath.Join(d.data, "om", "store"), "*.sst")
	if len(tables) == 0 {
		t.Fatal("there are no table files")
	}
	seed := newSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	for path, size := range tables {
		for _, at := range []int64{size / 10, rng.Int64N(size), size - 30} {
			d.whileFlipped(path, at, func(name string) {
				out, exit := d.o3("debug", "db", "verify", "--data", d.data)
				if exit == 0 || !strings.Contains(out, name) {
					t.Errorf("byte %d of %s: debug db verify: exit code %d, not named\n%s", at, name, exit, out)
				}
			})
		}
		if len(tables) > 4 && rng.IntN(len(tables)) > 4 {
			continue // a few will do
		}
	}
	ok(t, d.tryStart())
	if bad := d.readAll(); len(bad) != 0 {
		t.Fatalf("with the byte put back: %v", bad)
	}
	d.stop()
	d.verify()
}

// TestDamagedLog flips bytes of the Raft log of a node that was killed, whose
// newest changes are in the log only: it does not start without them.
func TestDamagedLog(t *testing.T) {
	d := newDamaged(t)
	d.kill()
	seed := newSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	hits := 0
	for path, size := range filesBelow(t, filepath.Join(d.data, "om", "raft"), "*.log") {
		for range 4 {
			at := rng.Int64N(max(size, 1))
			if size == 0 || unused(t, path, at) {
				continue // space that is allocated and not used
			}
			hits++
			d.whileFlipped(path, at, func(name string) {
				out, exit := d.o3("debug", "db", "verify", "--data", d.data)
				if exit == 0 {
					t.Errorf("byte %d of %d of %s: debug db verify finds nothing\n%s", at, size, name, out)
				}
			})
		}
	}
	if hits == 0 {
		t.Fatal("there is no log to damage")
	}
	ok(t, d.tryStart())
	if bad := d.readAll(); len(bad) != 0 {
		t.Fatalf("with the byte put back: %v", bad)
	}
	d.stop()
	d.verify()
}

// unused reports whether nothing of a log lies at an offset or after it in the same
// block: the rest of a block that has no room for a record, or of a file, is zero.
func unused(t testing.TB, path string, at int64) bool {
	t.Helper()
	const block = 32 << 10
	raw, err := os.ReadFile(path)
	ok(t, err)
	return len(bytes.Trim(raw[at:min(int64(len(raw)), at-at%block+block)], "\x00")) == 0
}

// whileFlipped flips a byte in a copy of the data directory, looks, and starts
// the server on it; what it answers must be right.
func (d *damaged) whileFlipped(path string, at int64, look func(name string)) {
	d.t.Helper()
	whole := d.data
	d.data = filepath.Join(d.t.TempDir(), "data")
	defer func() { os.RemoveAll(d.data); d.data = whole }()
	ok(d.t, os.CopyFS(d.data, os.DirFS(whole)))
	ok(d.t, os.Chmod(filepath.Join(d.data, "root-credentials"), 0o600))
	rel, err := filepath.Rel(whole, path)
	ok(d.t, err)
	flip(d.t, filepath.Join(d.data, rel), at)
	name := filepath.Base(path)
	look(name)
	if err := d.tryStart(); err != nil {
		text := strings.TrimSpace(d.log.String())
		d.t.Logf("byte %d of %s: %s", at, rel, text[strings.LastIndexByte(text, '\n')+1:])
		if !strings.Contains(text, name) && !strings.Contains(text, "raft log") {
			d.t.Errorf("byte %d of %s: the error does not say what is damaged\n%s", at, rel, text)
		}
		return
	}
	bad := d.readAll()
	d.t.Logf("byte %d of %s: it starts; %d of %d objects are refused", at, rel, len(bad), len(d.want))
	for key, err := range bad {
		d.t.Logf("such as %s: %v", key, err)
		break
	}
	if d.running() {
		d.kill()
	} else if !strings.Contains(d.log.String(), name) {
		d.t.Errorf("the node stopped and does not name %s\n%s", name, d.log.tail(2000))
	}
}
