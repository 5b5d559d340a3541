package container

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/block"
	"o3/internal/block/blocktest"
	"o3/internal/errs"
)

func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		says   []string
	}{
		"no directory":    {func(o *Options) { o.Dir = "" }, []string{"a directory is needed"}},
		"container small": {func(o *Options) { o.ContainerSize = 1000 }, []string{"container size 1000: 1 MiB to 16 GiB"}},
		"container large": {func(o *Options) { o.ContainerSize = 17 << 30 }, []string{"1 MiB to 16 GiB"}},
		"small size":      {func(o *Options) { o.SmallSize = 100 }, []string{"small size 100: 64 KiB to 4 MiB"}},
		"reclaim below":   {func(o *Options) { o.ReclaimBelow = 1 }, []string{"reclaim below 1: between 0 and 1"}},
		"several": {func(o *Options) { o.Handles, o.Streams, o.ReclaimInterval = -1, -1, -1 },
			[]string{"handles -1", "streams -1", "reclaim interval"}},
	} {
		o := Options{Dir: "/d", FS: vfs.NewMem()}
		c.change(&o)
		_, err := Open(o)
		if errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
		for _, s := range c.says {
			if err == nil || !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %v does not say %q", name, err, s)
			}
		}
	}
}

func TestOneProcessOneNode(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, tiny(fs))
	fill(t, s, 1)
	if _, err := Open(tiny(fs)); errs.KindOf(err) != errs.Conflict {
		t.Fatalf("opened twice: %v", err)
	}
	if _, err := Verify(t.Context(), tiny(fs), func(d Damage) error { return d }); err != nil {
		t.Fatalf("verify beside the server: %v", err)
	}
	s.Close()
	o := tiny(fs)
	o.Node = 4
	if _, err := Open(o); errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), "belongs to node 3") {
		t.Fatalf("another node's directory: %v", err)
	}
	s = open(t, tiny(fs))
	info, err := s.Put(t.Context(), strings.NewReader("x"), 1)
	if err != nil || info.ID.Container>>48 != 3 {
		t.Fatalf("%+v, %v", info, err)
	}
}

// TestIDsAreNeverReused: not even when all containers are gone.
func TestIDsAreNeverReused(t *testing.T) {
	fs := vfs.NewCrashableMem()
	seen := map[block.ID]bool{}
	for round := range 6 {
		s := open(t, tiny(fs))
		for i := range 5 {
			info, err := s.Put(t.Context(), bytes.NewReader(make([]byte, 3000*i)), -1)
			if err != nil {
				t.Fatal(err)
			}
			if seen[info.ID] {
				t.Fatalf("%v given again", info.ID)
			}
			seen[info.ID] = true
			if err := s.Delete(t.Context(), []block.ID{info.ID}); err != nil {
				t.Fatal(err)
			}
		}
		if round%2 == 0 {
			s.Close()
			s = open(t, tiny(fs))
		}
		if _, err := s.Reclaim(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := s.Stats().Containers; n != 0 {
			t.Fatalf("%d containers left", n)
		}
		fs = fs.CrashClone(vfs.CrashCloneCfg{})
	}
}

// TestVerifyChangesNothing: the directory of a killed process is the same
// before and after, name by name and byte by byte.
func TestVerifyChangesNothing(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, tiny(fs))
	fill(t, s, 20)
	dead := killed(fs)
	before := dump(t, dead)
	clean(t, dead)
	if after := dump(t, dead); after != before {
		t.Fatalf("before:\n%s\nafter:\n%s", before, after)
	}
}

func dump(t *testing.T, fs *vfs.MemFS) string {
	var b strings.Builder
	b.WriteString(fs.String())
	names, err := fs.List("/d/blocks")
	if err != nil {
		t.Fatal(err)
	}
	total := uint32(0)
	for _, n := range names {
		f, err := fs.Open("/d/blocks/" + n)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		total += crc(append([]byte(n), data...))
	}
	fmt.Fprintf(&b, "%08x", total)
	return b.String()
}

// TestHandlesBounded: no more files stay open than Options.Handles and those
// in use.
func TestHandlesBounded(t *testing.T) {
	fs := &countingFS{FS: vfs.NewMem()}
	s := open(t, tiny(fs))
	want := fill(t, s, 80)
	if err := s.sealPending(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if corrupt, err := served(s, want); err != nil || len(corrupt) > 0 {
			t.Fatal(err)
		}
	}
	if n, limit := fs.open.Load(), int64(s.o.Handles); n > limit || n == 0 {
		t.Fatalf("%d files open for reading, the bound is %d, there are %d containers", n, limit, s.Stats().Containers)
	}
	s.Close()
	if n := fs.open.Load(); n != 0 {
		t.Fatalf("%d files open after close", n)
	}
}

// countingFS counts the files open for reading.
type countingFS struct {
	vfs.FS
	open atomic.Int64
}

func (c *countingFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := c.FS.Open(name, o...)
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return &countedFile{f, &c.open}, nil
}

type countedFile struct {
	vfs.File
	open *atomic.Int64
}

func (f *countedFile) Close() error { f.open.Add(-1); return f.File.Close() }

// TestGroupCommit: writers that come while one syncs wait, and share the next fsync.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hold atomic.Bool
		held := make(chan struct{})
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(o errorfs.Op) error {
			if o.Kind == errorfs.OpFileSyncData && hold.CompareAndSwap(true, false) {
				<-held
			}
			return nil
		}))
		s := open(t, Options{FS: fs, Dir: "/d/blocks", Reserve: -1})
		put := func() (block.ID, error) {
			info, err := s.Put(t.Context(), strings.NewReader("0123456789"), 10)
			return info.ID, err
		}
		if _, err := put(); err != nil { // makes the container
			t.Fatal(err)
		}
		const writers = 32
		together := func(what string, do func(i int) error) {
			before := s.Stats().Syncs
			hold.Store(true)
			var wg sync.WaitGroup
			for i := range writers {
				wg.Go(func() {
					if err := do(i); err != nil {
						t.Errorf("%s: %v", what, err)
					}
				})
			}
			synctest.Wait() // the first one syncs, the others wait
			held <- struct{}{}
			wg.Wait()
			if n := s.Stats().Syncs - before; n != 2 {
				t.Errorf("%d fsyncs for %d %s", n, writers, what)
			}
		}
		var ids [writers]block.ID
		together("puts", func(i int) (err error) { ids[i], err = put(); return err })
		together("deletes", func(i int) error { return s.Delete(t.Context(), ids[i:i+1]) })
	})
}

// patient gives its bytes as fast as it is asked, and looks at memory.
type patient struct {
	left int
	peak *atomic.Uint64
}

func (p *patient) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := min(len(b), p.left)
	if p.left -= n; p.left>>20 != (p.left+n)>>20 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		for old := p.peak.Load(); m.HeapAlloc > old && !p.peak.CompareAndSwap(old, m.HeapAlloc); {
			old = p.peak.Load()
		}
	}
	return n, nil
}

// TestMemoryIsBounded writes and reads long blocks side by side.
func TestMemoryIsBounded(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Reserve: -1})
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var peak atomic.Uint64
	var wg sync.WaitGroup
	const clients, size = 32, 8 << 20
	for range clients {
		wg.Go(func() {
			info, err := s.Put(t.Context(), &patient{left: size, peak: &peak}, size)
			if err != nil {
				t.Error(err)
				return
			}
			r, err := s.Get(t.Context(), block.Ref{ID: info.ID, Length: size})
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			if n, err := io.Copy(io.Discard, r); n != size || err != nil {
				t.Error(n, err)
			}
		})
	}
	wg.Wait()
	// Each client holds one buffer; twice that may wait for the collector.
	if grown := int64(peak.Load()) - int64(m.HeapAlloc); grown > clients*3*(256<<10+64<<10) {
		t.Fatalf("%d clients took %d KiB", clients, grown>>10)
	}
}

// TestOpenManyContainers: opening reads a page of each, whatever is in them.
func TestOpenManyContainers(t *testing.T) {
	fs := vfs.NewMem()
	o := tiny(fs)
	o.ContainerSize = 5 << 10
	s := open(t, o)
	var infos []block.Info
	for i := range 2000 {
		info, err := s.Put(t.Context(), bytes.NewReader(blocktest.Data(uint64(i), 1024)), -1)
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, info)
	}
	s.Close()
	reads := &readFS{FS: fs}
	o.FS = reads
	begin := time.Now()
	s = open(t, o)
	if n := s.Stats(); n.Containers < 900 || n.LiveBlocks != 2000 {
		t.Fatalf("%+v", n)
	}
	t.Logf("%d containers opened in %v", s.Stats().Containers, time.Since(begin))
	if per := reads.bytes.Load() / int64(s.Stats().Containers); per > headSize+1024 {
		t.Fatalf("%d bytes read per container", per)
	}
	for i, info := range infos {
		got, err := readAll(s, block.Ref{ID: info.ID, Length: info.Length})
		if err != nil || !bytes.Equal(got, blocktest.Data(uint64(i), 1024)) {
			t.Fatal(err)
		}
	}
}

// readFS counts the bytes read.
type readFS struct {
	vfs.FS
	bytes atomic.Int64
}

func (c *readFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := c.FS.Open(name, o...)
	if err != nil {
		return nil, err
	}
	return &readFile{f, &c.bytes}, nil
}

type readFile struct {
	vfs.File
	bytes *atomic.Int64
}

func (f *readFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.bytes.Add(int64(n))
	return n, err
}
