package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/cli"
	"o3/internal/errs"
	"o3/internal/fsm"
)

// o3 runs a command line of this machine and returns what it printed.
func o3(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	got := cli.Run(t.Context(), args, cli.IO{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Dir: t.TempDir()}, Deps())
	if got != code {
		t.Fatalf("o3 %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out.String())
	}
	return out.String()
}

// loadData is what lies under a key of the bucket load.
func loadData(key string) []byte { return pattern(key, 9_000) }

// load writes keys to the bucket load until stop is called, and deletes each
// again a while later.
func (s *server) load() (stop func()) {
	s.t.Helper()
	s.bucket("load", "OBJECT_STORE")
	ctx, cancel := context.WithCancel(s.t.Context())
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("%d-%06d", w, i)
				a, err := s.ask(s.root, "", "PUT", "/load/"+key, loadData(key))
				if err == nil && a.status == 200 && i >= 10 {
					a, err = s.ask(s.root, "", "DELETE", fmt.Sprintf("/load/%d-%06d", w, i-10), nil)
				}
				if err != nil || a.status/100 != 2 {
					s.t.Errorf("load: %v, %v", a, err)
					return
				}
			}
		})
	}
	return sync.OnceFunc(func() { cancel(); writers.Wait() })
}

// tree returns the files below dir, with size and time.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		out[path] = fmt.Sprintf("%d at %d", info.Size(), info.ModTime().UnixNano())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// drillSettings let blocks go as soon as they may, and containers be rewritten.
func drillSettings() settings {
	return settings{
		env: []string{"O3_ROOT_ACCESS_KEY=" + fixtureRoot.AccessKey, "O3_ROOT_SECRET_KEY=" + fixtureRoot.SecretKey},
		set: []string{
			"ozone.s3g.multipart.min.part.size=1", "ozone.block.free.grace=0s", "ozone.block.deleting.service.interval=20ms",
			"ozone.block.container.size=1MB", "ozone.block.rewrite.interval=50ms", "ozone.block.rewrite.threshold=0.2", "ozone.om.db.flush.interval=100ms",
		},
		hooks: scanning().hooks,
	}
}

// still waits until the node changes nothing of its namespace by itself any more.
func (s *server) still() {
	s.t.Helper()
	for _, bucket := range []string{"flat", "tree"} {
		s.scanned(bucket)
	}
	wait(s.t, "nothing waits for being removed", func() bool {
		st := s.status()
		return st.PendingBlockDeletes == 0 && st.PendingDirectories == 0
	})
}

// drill is a node with all there is, and what is in it.
func drill(t *testing.T, env ...string) (*server, *fixtureNode) {
	t.Helper()
	x := &fixtureNode{Objects: map[string]fixtureObject{}, Lists: map[string][]string{}}
	o := drillSettings()
	o.env = append(o.env, env...)
	s := start(t, o)
	x.principals(t, s)
	x.fill(t, s)
	x.fillMore(t, s)
	for path := range x.Objects {
		x.Objects[path] = s.fetch(path)
	}
	for _, bucket := range []string{"flat", "tree", "empty"} {
		x.Lists[bucket] = s.keys(bucket)
	}
	return s, x
}

// standsAt checks that the store in dir has the digest, also by its rows.
func standsAt(t *testing.T, dir string, e *o3v1.ExportInfo, digest string) {
	t.Helper()
	n, err := openStopped(dir)
	if err != nil || n.broken != nil {
		t.Fatal(err, n)
	}
	defer n.close()
	pos, ok, err := fsm.ReadPosition(n.store)
	if err != nil || !ok || !strings.HasPrefix(e.ImageId, fmt.Sprintf("%d-%d-%.8s", pos.Index, pos.Term, pos.Digest)) {
		t.Errorf("the store is at %+v, %v, %v; the image is %s", pos, ok, err, e.ImageId)
	}
	if digest != "" && pos.Digest.String() != digest {
		t.Errorf("digest %s, the node had %s", pos.Digest, digest)
	}
}

// TestRestoreDrill: a node under write load is exported and lost. From the image
// comes a node with every object and snapshot as it was.
func TestRestoreDrill(t *testing.T) {
	t.Parallel()
	s, x := drill(t)
	to := filepath.Join(t.TempDir(), "backup")
	stop := s.load()
	wait(t, "there is load", func() bool { return len(s.keys("load")) >= 10 && s.node.blocks.Stats().DeadBlocks > 0 })
	first := s.exports(&o3v1.ExportImageRequest{Directory: to, WithBlocks: true})
	if first.State != exportDone {
		t.Fatalf("%v\n%s", first, s.log)
	}
	stop()
	loaded := restored(t, x, backup{to: to}, first, "", "--strict")
	if loaded == 0 {
		t.Error("the first image has nothing of the load")
	}

	before := tree(t, filepath.Join(to, "files"))
	s.must("PUT", "/flat/last", pattern("last", 30_000))
	x.Objects["/flat/last"], x.Lists["flat"] = s.fetch("/flat/last"), s.keys("flat")
	s.still()
	second := s.exports(&o3v1.ExportImageRequest{Directory: to, WithBlocks: true})
	if second.State != exportDone || second.ImageId == first.ImageId || second.BytesWritten == 0 || second.BytesWritten >= second.BytesTotal {
		t.Fatalf("%v after %v", second, first)
	}
	after, added := tree(t, filepath.Join(to, "files")), uint64(0)
	for path, is := range after {
		switch was, ok := before[path]; {
		case !ok:
			var n uint64
			if _, err := fmt.Sscanf(is, "%d", &n); err != nil {
				t.Fatal(err)
			}
			added += n
		case was != is:
			t.Errorf("%s was %s and is %s", path, was, is)
		}
	}
	if added != second.BytesWritten || len(before) == 0 || len(after) <= len(before) {
		t.Errorf("%d bytes in new files, %v", added, second)
	}
	digest := s.status().Digest
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.Data); err != nil { // the node is lost
		t.Fatal(err)
	}
	restored(t, x, backup{to: to}, second, digest)
	damaged(t, to, second)
}

// backup is a place of images, and the environment in which it is reached.
type backup struct {
	to  string
	env []string
}

// TestRestoreDrillBucket: as TestRestoreDrill, by way of a bucket on another node.
func TestRestoreDrillBucket(t *testing.T) {
	t.Parallel()
	store := start(t, settings{})
	at := backup{store.bucketURL("backups"), []string{"AWS_ACCESS_KEY_ID=" + store.root.AccessKey, "AWS_SECRET_ACCESS_KEY=" + store.root.SecretKey}}
	s, x := drill(t, exportKeysOf(store)...)
	s.bucket("load", "OBJECT_STORE")
	s.must("PUT", "/load/a", loadData("a"))
	first := s.exports(&o3v1.ExportImageRequest{Directory: at.to, WithBlocks: true})
	s.must("PUT", "/flat/last", pattern("last", 3_000))
	x.Objects["/flat/last"], x.Lists["flat"] = s.fetch("/flat/last"), s.keys("flat")
	s.still()
	second := s.exports(&o3v1.ExportImageRequest{Directory: at.to, WithBlocks: true})
	if first.State != exportDone || second.State != exportDone || second.BytesWritten == 0 || second.BytesWritten >= second.BytesTotal {
		t.Fatalf("%v after %v", second, first)
	}
	digest := s.status().Digest
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.Data); err != nil { // the node is lost
		t.Fatal(err)
	}
	out := at.o3(t, 0, "admin", "om", "image", "list", at.to)
	if !strings.Contains(out, first.ImageId) || !strings.Contains(out, second.ImageId) {
		t.Errorf("the list:\n%s", out)
	}
	restored(t, x, at, second, digest, "--strict")
	out = at.o3(t, 0, "admin", "om", "image", "prune", at.to, "--keep", "1")
	if !strings.Contains(out, "Removed 1 images") {
		t.Errorf("%s", out)
	}
	restored(t, x, at, second, digest)
}

// o3 runs a command line in the environment of the place.
func (b backup) o3(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	got := cli.Run(t.Context(), args, cli.IO{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Env: b.env, Dir: t.TempDir()}, Deps())
	if got != code {
		t.Fatalf("o3 %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out.String())
	}
	return out.String()
}

// restored imports an image and checks the node that comes of it. It returns how
// many keys of the load are there.
func restored(t *testing.T, x *fixtureNode, at backup, e *o3v1.ExportInfo, digest string, flags ...string) int {
	t.Helper()
	data := filepath.Join(t.TempDir(), "restored")
	at.o3(t, 0, "admin", "om", "image", "verify", at.to, "--id", e.ImageId, "--strict")
	out := at.o3(t, 0, append([]string{"admin", "om", "image", "import", at.to, "--data", data, "--id", e.ImageId}, flags...)...)
	if !strings.Contains(out, "o3 server --data "+data) {
		t.Errorf("it does not say how to start the node:\n%s", out)
	}
	standsAt(t, data, e, digest)
	verifyStopped(t, data)
	o := drillSettings()
	o.dir = data
	s := start(t, o)
	x.check(t, s)
	keys := s.keys("load")
	for _, key := range keys {
		if a := s.must("GET", "/load/"+key, nil); !bytes.Equal(a.body, loadData(key)) {
			t.Errorf("load/%s has changed", key)
		}
	}
	s.must("PUT", "/flat/after", pattern("after", 20_000)) // it takes writes
	if a := s.must("GET", "/flat/after", nil); !bytes.Equal(a.body, pattern("after", 20_000)) {
		t.Error("what was written after the restore has changed")
	}
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	verifyStopped(t, data)
	return len(keys)
}

// damaged flips a byte of each kind of file at the target: neither verify nor
// import takes it, and no node starts on what the import left.
func damaged(t *testing.T, to string, e *o3v1.ExportInfo) {
	t.Helper()
	newest := func(glob string) string {
		found, err := filepath.Glob(filepath.Join(to, glob))
		if err != nil || len(found) == 0 {
			t.Fatal(glob, found, err)
		}
		return found[len(found)-1]
	}
	raw, err := os.ReadFile(filepath.Join(to, "images", e.ImageId+".json"))
	if err != nil {
		t.Fatal(err)
	}
	named := func(path string) bool {
		name := filepath.Base(path)
		name = name[:strings.IndexByte(name, '@')]
		return strings.Contains(string(raw), `/`+name+`"`)
	}
	for _, path := range []string{filepath.Join(to, "images", e.ImageId+".json"), newest("files/store/*.sst@*"), newest("files/blocks/c-*@*")} {
		if strings.Contains(path, "@") && !named(path) {
			t.Fatalf("%s is not of the image", path)
		}
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(strings.Split(filepath.Base(path), "@")[0], "files/")
		if out := o3(t, cli.ExitCorrupt, "admin", "om", "image", "verify", to); !strings.Contains(out, strings.TrimSuffix(name, ".json")) {
			t.Errorf("verify does not name %s:\n%s", name, out)
		}
		data := filepath.Join(t.TempDir(), "restored")
		o3(t, cli.ExitCorrupt, "admin", "om", "image", "import", to, "--data", data, "--id", e.ImageId)
		if _, err := os.Stat(filepath.Join(data, "node")); err == nil {
			t.Errorf("an import with a damaged %s made a node", name)
		}
		if strings.Contains(path, "@") {
			_, err := try(t, settings{dir: data})
			kind(t, err, errs.Corrupt, "an import of an image was begun here and not finished")
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		o3(t, 0, "admin", "om", "image", "import", to, "--data", data, "--id", e.ImageId) // it goes on
		verifyStopped(t, data)
	}
}

// TestRestoreNames: an image without blocks, and the blocks of the lost node.
func TestRestoreNames(t *testing.T) {
	t.Parallel()
	s, x := drill(t)
	to, data := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
	e := s.exports(&o3v1.ExportImageRequest{Directory: to})
	if e.State != exportDone {
		t.Fatalf("%v", e)
	}
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	out := o3(t, 0, "admin", "om", "image", "import", to, "--data", data)
	if !strings.Contains(out, "put the block directory of the lost node in the place of "+filepath.Join(data, "blocks")) {
		t.Errorf("%s", out)
	}
	o := drillSettings()
	o.dir = data
	if _, err := try(t, o); errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), "it does not hold this node's blocks") {
		t.Fatalf("a start without blocks: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(data, "blocks")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(s.Data, "blocks"), filepath.Join(data, "blocks")); err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(data, "om", importMark) // as when only its removal was cut off
	if err := os.WriteFile(mark, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	x.check(t, start(t, o))
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the mark of a complete import stays: %v", err)
	}
}
