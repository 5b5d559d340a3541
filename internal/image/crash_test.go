package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/consensus/raftlog"
	"o3/internal/errs"
)

// cuts clones a file system before each operation that changes something under
// a directory, as a power cut at that moment leaves it.
type cuts struct {
	mem    *vfs.MemFS
	under  string
	rng    *rand.Rand
	mu     sync.Mutex
	on     bool
	clones []*vfs.MemFS
	ops    []string
}

func newCuts(mem *vfs.MemFS, under string) *cuts {
	return &cuts{mem: mem, under: under, rng: rand.New(rand.NewPCG(1, 2))}
}

func (c *cuts) fs() vfs.FS {
	return errorfs.Wrap(c.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && strings.HasPrefix(op.Path, c.under) {
			c.cut(fmt.Sprint(op.Kind, " ", op.Path))
		}
		return nil
	}))
}

// cut clones three times: nothing that was not synced survives, any, all.
func (c *cuts) cut(op string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return
	}
	for _, percent := range []int{0, 50, 100} {
		c.clones = append(c.clones, c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.rng}))
		c.ops = append(c.ops, op)
	}
}

// record does what is to be cut off, and takes the last clone after it.
func (c *cuts) record(do func()) {
	c.mu.Lock()
	c.on = true
	c.mu.Unlock()
	do()
	c.cut("the end")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
}

// each looks at the clones: all with O3_NIGHTLY, else about so many.
func (c *cuts) each(about int, look func(op string, last bool, mem *vfs.MemFS)) {
	step := max(1, len(c.clones)/about)
	if os.Getenv("O3_NIGHTLY") != "" {
		step = 1
	}
	for i := rand.IntN(step); i < len(c.clones); i += step {
		look(fmt.Sprintf("clone %d, before %s", i, c.ops[i]), i >= len(c.clones)-3, c.clones[i])
	}
	last := len(c.clones) - 3 // nothing unsynced survives
	look("the end", true, c.clones[last])
}

// TestCreateIsCut: a power cut at any moment of making an image, and of removing
// another one, leaves only whole images, and at least one once one was made.
func TestCreateIsCut(t *testing.T) {
	mem := vfs.NewCrashableMem()
	if err := makeDir(mem, "/n"); err != nil {
		t.Fatal(err)
	}
	c := newCuts(mem, "/n/images")
	s := newState(t, c.fs(), "/n/store")
	s.grow(300)
	k := keep(t, c.fs(), s, Options{Dir: "/n/images", Retain: 1})
	first := create(t, k)
	first.Close()
	s.move()
	var second *Image
	c.record(func() { second = create(t, k) })
	second.Close()
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	if got := indexes(k); len(got) != 1 || got[0] != 2 {
		t.Fatalf("images at %v", got)
	}
	t.Logf("%d clones", len(c.clones))
	seen := map[string]bool{}
	c.each(150, func(op string, last bool, mem *vfs.MemFS) {
		k := keep(t, mem, s, Options{Dir: "/n/images", Listener: Listener{Damaged: func(name string, err error) { t.Errorf("%s: %s: %v", op, name, err) }}})
		got := fmt.Sprint(indexes(k))
		seen[got] = true
		if len(k.List()) == 0 || last && got != "[2]" {
			t.Errorf("%s: images at %s", op, got)
		}
		for _, i := range k.List() {
			if _, err := Verify(t.Context(), "/n/images/"+i.Manifest.ID, i.Manifest, VerifyOptions{FS: mem, Mode: Strict}); err != nil {
				t.Errorf("%s: %v", op, err)
			}
		}
		names, err := mem.List("/n/images")
		if err != nil || len(names) != len(k.List()) {
			t.Errorf("%s: left %v, %v", op, names, err)
		}
	})
	for _, want := range []string{"[1]", "[2 1]", "[2]"} {
		if !seen[want] {
			t.Errorf("never images at %s: the test has lost its reach", want)
		}
	}
}

// TestCreateFails: whichever operation fails, nothing is left that is taken for
// an image, the store goes on, and the next one is made.
func TestCreateFails(t *testing.T) {
	mem := vfs.NewMem()
	var mu sync.Mutex
	var at, ops int
	var hit errorfs.OpKind = -1
	disk := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if !strings.HasPrefix(op.Path, "/images") || op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFilePreallocate {
			return nil
		}
		if ops++; ops == at {
			hit = op.Kind
			return syscall.ENOSPC
		}
		return nil
	}))
	s := newState(t, disk, "/store")
	defer s.store.Close()
	k := keep(t, disk, s, Options{Retain: 2})
	create(t, k).Close()
	failures := 0
	for {
		s.move()
		mu.Lock()
		at, ops, hit = at+1, 0, -1
		mu.Unlock()
		img, err := k.Create(t.Context())
		if hit < 0 {
			if err != nil {
				t.Fatal(err)
			}
			img.Close()
			break
		}
		if err == nil {
			img.Close() // closed files, links, and what is removed, may fail
		} else if failures++; errs.KindOf(err) != errs.ReadOnly {
			t.Errorf("operation %d, %v: %v", at, hit, err)
		}
		mu.Lock()
		ops = 1 << 30
		mu.Unlock()
		again := keep(t, mem, s, Options{Retain: 2, Listener: Listener{Damaged: func(name string, err error) { t.Errorf("operation %d: %s: %v", at, name, err) }}})
		if newest, _, ok := again.Latest(); !ok || err != nil && newest.Index == s.replica.Position().Index {
			t.Errorf("operation %d, %v: there is %v", at, hit, newest)
		}
	}
	if failures < 20 || s.store.Err() != nil {
		t.Errorf("%d failures, %v", failures, s.store.Err())
	}
}

// TestExportIsCut: a power cut at any moment of an export leaves either no image
// or a whole one at the target, and the next export goes on.
func TestExportIsCut(t *testing.T) {
	mem := vfs.NewCrashableMem()
	if err := makeDir(mem, "/n"); err != nil {
		t.Fatal(err)
	}
	r := start(t, mem, "/n")
	r.fill(0)
	img := r.create(r.keeper(Options{}))
	r.check(r.blocks.Close()) // sealed: what follows is the same each time
	c := newCuts(mem, "/backup")
	var whole Exported
	c.record(func() {
		var err error
		whole, err = Export(t.Context(), img, Directory{FS: c.fs(), Dir: "/backup"}, ExportOptions{Blocks: "/n/blocks"})
		r.check(err)
	})
	t.Logf("%d clones", len(c.clones))
	spared := false
	c.each(40, func(op string, last bool, mem *vfs.MemFS) {
		target := Directory{FS: mem, Dir: "/backup"}
		list, err := List(t.Context(), target, func(id string, err error) { t.Errorf("%s: %s: %v", op, id, err) })
		if err != nil || last && len(list) != 1 {
			t.Fatalf("%s: %v, %v", op, list, err)
		}
		for _, m := range list {
			if _, err := VerifyTarget(t.Context(), target, m.ID, "", VerifyOptions{FS: mem}); err != nil {
				t.Errorf("%s: %v", op, err)
			}
		}
		here, err := ReadDir(mem, img.Dir)
		if err != nil {
			t.Fatal(err)
		}
		out, err := Export(t.Context(), here, target, ExportOptions{Blocks: "/n/blocks"})
		if err != nil || out.Bytes != whole.Bytes || last && out.Written != 0 {
			t.Fatalf("%s: %+v, %v", op, out, err)
		}
		spared = spared || !last && out.Written < out.Bytes
		if _, err := VerifyTarget(t.Context(), target, out.Manifest.ID, "/scratch", VerifyOptions{FS: mem, Mode: Strict}); err != nil {
			t.Errorf("%s: %v", op, err)
		}
		left, err := mem.List("/backup/images")
		if err != nil || len(left) != 1 {
			t.Errorf("%s: left %v, %v", op, left, err)
		}
	})
	if !spared {
		t.Error("no export went on from where the one before was cut off")
	}
}

// TestImportIsCut: a power cut at any moment of an import leaves a directory that
// is no node, or a complete one; the next import makes it complete.
func TestImportIsCut(t *testing.T) {
	t.Run("of a group", func(t *testing.T) { importIsCut(t, 40, 1, 2) }) // the store is changed too
	t.Run("alone", func(t *testing.T) { importIsCut(t, 10, 1) })
}

func importIsCut(t *testing.T, about int, members ...uint64) {
	mem := vfs.NewCrashableMem()
	r := start(t, mem, "/data")
	r.fill(0)
	r.stop()
	setMembers(t, mem, "/data/om/store", members...)
	s := openRaw(t, mem, "/data/om/store")
	img := create(t, keep(t, mem, s, Options{}))
	target := Directory{FS: mem, Dir: "/backup"}
	_, err := Export(t.Context(), img, target, ExportOptions{Blocks: "/data/blocks"})
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	id := img.Manifest.ID
	c := newCuts(mem, "/new")
	c.record(func() {
		if _, err := Import(t.Context(), target, id, ImportOptions{FS: c.fs(), DataDir: "/new", Parallel: 1}); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%d clones", len(c.clones))
	nodes, spared := 0, false
	c.each(about, func(op string, last bool, mem *vfs.MemFS) {
		target := Directory{FS: mem, Dir: "/backup"}
		_, err := mem.Stat("/new/node")
		node := err == nil
		if last && !node {
			t.Errorf("%s: there is no node", op)
		}
		if node {
			nodes++
			complete(t, op, mem)
		}
		_, marked := mem.Stat("/new/om/" + importMark)
		in, err := Import(t.Context(), target, id, ImportOptions{FS: mem, DataDir: "/new"})
		if node && marked != nil {
			if errs.KindOf(err) != errs.NotEmpty {
				t.Errorf("%s: over a complete node: %v", op, err)
			}
			return
		}
		if err != nil {
			t.Errorf("%s: %v", op, err)
			return
		}
		spared = spared || !node && in.Fetched < in.Bytes
		complete(t, op, mem)
	})
	if nodes == 0 || nodes == len(c.clones) || !spared && about > 10 {
		t.Errorf("%d nodes, spared %v: the test has lost its reach", nodes, spared)
	}
	mem = c.clones[len(c.clones)-3]
	r = start(t, mem, "/new")
	r.sound()
	r.fill(1)
}

// complete checks that a node can start on /new: its parts are whole and fit.
func complete(t *testing.T, op string, mem *vfs.MemFS) {
	t.Helper()
	m := new(Manifest)
	*m = *manifestOf(t, mem)
	conf, err := m.alone()
	if err != nil {
		t.Fatal(err)
	}
	m.Conf = conf
	v := &verifier{ctx: t.Context(), at: places{mem, "/new/om/store", "/new/blocks"}, m: m, o: VerifyOptions{Mode: Strict}}
	if err := errors.Join(v.store(), v.containers()); err != nil || v.first != nil {
		t.Errorf("%s: %v, %v", op, v.first, err)
	}
	l, err := raftlog.Verify(t.Context(), raftlog.Options{FS: mem, Dir: "/new/om/raft"})
	if err != nil || l.First != m.Index+1 || l.Last != m.Index {
		t.Errorf("%s: the log has %+v, %v", op, l, err)
	}
	for _, path := range []string{"/new/node", "/new/blocks/node"} {
		raw, err := readSmall(mem, path, 1000)
		if err != nil || !strings.HasPrefix(string(raw), `{"format":1,"id":"om1","number":1,"store":"`) {
			t.Errorf("%s: %s: %s, %v", op, path, raw, err)
		}
	}
}

func manifestOf(t *testing.T, mem *vfs.MemFS) *Manifest {
	t.Helper()
	list, err := List(t.Context(), Directory{FS: mem, Dir: "/backup"}, nil)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return list[0]
}

// limited is a target whose line is cut after some files.
type limited struct {
	Target
	left int
}

var errCut = errors.New("the line was cut")

func (l *limited) Put(_ context.Context, name string, size int64, r io.Reader) error {
	if l.left--; l.left < 0 {
		return errCut
	}
	return l.Target.Put(context.Background(), name, size, r)
}

// lazy is a target that does not read to the end.
type lazy struct{ Target }

func (l lazy) Put(_ context.Context, name string, size int64, r io.Reader) error {
	return l.Target.Put(context.Background(), name, size-1, io.LimitReader(r, size-1))
}

// TestTargetsThatFail: each export writes some files more; what a target did not
// take as a whole is no image.
func TestTargetsThatFail(t *testing.T) {
	mem, _ := taken(t)
	img := func() *Image {
		names, err := mem.List("/data/om/images")
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		img, err := ReadDir(mem, "/data/om/images/"+names[0])
		if err != nil {
			t.Fatal(err)
		}
		return img
	}()
	dir := Directory{FS: mem, Dir: "/other"}
	o := ExportOptions{Blocks: "/data/blocks"}
	runs := 0
	for {
		out, err := Export(t.Context(), img, &limited{Target: dir, left: 3}, o)
		if err == nil {
			break
		}
		if !errors.Is(err, errCut) || out.Files < 3 {
			t.Fatalf("%+v, %v", out, err)
		}
		if list, err := List(t.Context(), dir, nil); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
		runs++
	}
	if runs < 2 {
		t.Errorf("%d runs", runs)
	}
	if _, err := VerifyTarget(t.Context(), dir, img.Manifest.ID, "", VerifyOptions{FS: mem}); err != nil {
		t.Error(err)
	}
	if _, err := Export(t.Context(), img, lazy{Directory{FS: mem, Dir: "/lazy"}}, o); errs.KindOf(err) != errs.Internal {
		t.Error(err)
	}
	f := img.Manifest.Files[slices.IndexFunc(img.Manifest.Files, func(f File) bool { return f.Kind == Table })]
	// Damaged at the target: only a second look finds it.
	write1(t, mem, dir.path(fileAt(f)), make([]byte, f.Size))
	if out, err := Export(t.Context(), img, dir, o); err != nil || out.Written != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	o.Recheck = true
	if out, err := Export(t.Context(), img, dir, o); err != nil || out.Replaced != 1 || out.Written != f.Size {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := VerifyTarget(t.Context(), dir, img.Manifest.ID, "", VerifyOptions{FS: mem}); err != nil {
		t.Error(err)
	}
	lock, err := dir.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), img, dir, o); errs.KindOf(err) != errs.Conflict {
		t.Errorf("two exports at once: %v", err)
	}
	if err := errors.Join(lock.Close(), dir.Remove(t.Context(), "nothing")); err != nil {
		t.Error(err)
	}
	if _, err := dir.Open(t.Context(), "nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestContainersInUse: containers that change while they are read, go, or come,
// are exported as a whole.
func TestContainersInUse(t *testing.T) {
	mem := vfs.NewMem()
	r := start(t, mem, "/data")
	r.fill(0)
	img := r.create(r.keeper(Options{}))
	want := r.picture()
	opens := map[string]int{}
	busy := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		base := mem.PathBase(op.Path)
		if op.Kind != errorfs.OpOpen || !strings.HasPrefix(op.Path, "/data/blocks/") {
			return nil
		}
		opens[base]++
		switch {
		case base[0] == 'c' && opens[base] == 2: // between the two reads
			r.put("flat", "later/"+base, content(7, 30_000))
			f, err := mem.OpenReadWrite(op.Path, vfs.WriteCategoryUnspecified)
			if err == nil {
				st, _ := f.Stat()
				_, err = f.WriteAt([]byte("torn"), st.Size())
				err = errors.Join(err, f.Close())
			}
			return err
		case base == "deletes-1" && opens[base] == 1: // replaced by another
			return errors.Join(mem.Rename("/data/blocks/deletes-1", "/data/blocks/deletes-2"))
		}
		return nil
	}))
	here := &Image{FS: busy, Dir: img.Dir, Manifest: img.Manifest, Raw: img.Raw}
	out, err := Export(t.Context(), here, Directory{FS: mem, Dir: "/backup"}, ExportOptions{Blocks: "/data/blocks"})
	if err != nil || out.Manifest.file("blocks/deletes-2") == nil || out.Manifest.file("blocks/deletes-1") != nil {
		t.Fatalf("%+v, %v", out.Manifest, err)
	}
	if names, err := mem.List("/data/om/images"); err != nil || len(names) != 1 {
		t.Errorf("left %v, %v", names, err)
	}
	if _, err := Import(t.Context(), Directory{FS: mem, Dir: "/backup"}, img.Manifest.ID, ImportOptions{FS: mem, DataDir: "/new", Strict: true}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r = start(t, mem, "/new")
	if got := r.picture(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
