package transfer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"o3/internal/errs"
	"o3/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// content is the files of an image in memory.
type content map[string][]byte

// order is the order of the paths in the manifests of these tests.
func (c content) spec(id string) *Spec {
	s := &Spec{ID: id}
	var names []string
	for n := range c {
		names = append(names, n)
	}
	sortStrings(names)
	var b strings.Builder
	fmt.Fprintf(&b, "image %s\n", id)
	for _, n := range names {
		f := File{n, int64(len(c[n])), SumOf(c[n])}
		s.Files = append(s.Files, f)
		fmt.Fprintf(&b, "%s %d %s\n", f.Path, f.Size, f.Sum)
	}
	fmt.Fprintf(&b, "end %s\n", SumOf([]byte(b.String())))
	s.Manifest = []byte(b.String())
	return s
}

func sortStrings(s []string) {
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}

// parse reads such a manifest.
func parse(raw []byte) (Spec, error) {
	bad := func(what string) (Spec, error) { return Spec{}, errs.New(errs.Corrupt, "manifest", what) }
	text, end, ok := strings.Cut(string(raw), "end ")
	if !ok || end != SumOf([]byte(text)).String()+"\n" {
		return bad("checksum")
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	s := Spec{ID: strings.TrimPrefix(lines[0], "image ")}
	for _, l := range lines[1:] {
		w := strings.Fields(l)
		if len(w) != 3 {
			return bad(l)
		}
		n, err := strconv.ParseInt(w[1], 10, 64)
		sum, err2 := ParseSum(w[2])
		if err != nil || err2 != nil {
			return bad(l)
		}
		s.Files = append(s.Files, File{w[0], n, sum})
	}
	return s, nil
}

// catalog has images in memory.
type catalog struct {
	mu     sync.Mutex
	images []*memImage // best first
	opened map[string]int

	read atomic.Int64                                     // bytes read of files
	hook func(id, path string, off int64, b []byte) error // before a read returns
}

type memImage struct {
	c       *catalog
	spec    *Spec
	content content
}

func newCatalog(images ...*memImage) *catalog {
	c := &catalog{opened: map[string]int{}}
	for _, i := range images {
		c.add(i.spec.ID, i.content)
	}
	return c
}

func image(id string, c content) *memImage { return &memImage{spec: c.spec(id), content: c} }

func (c *catalog) add(id string, files content) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.images = append([]*memImage{{c, files.spec(id), files}}, c.images...)
}

func (c *catalog) remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, m := range c.images {
		if m.spec.ID == id {
			c.images = append(c.images[:i:i], c.images[i+1:]...)
			return
		}
	}
}

func (c *catalog) Images(context.Context) ([]Info, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Info
	for _, i := range c.images {
		out = append(out, Info{ID: i.spec.ID, Files: len(i.spec.Files), Bytes: i.spec.Bytes()})
	}
	return out, nil
}

func (c *catalog) Open(_ context.Context, id string) (Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.images {
		if i.spec.ID == id {
			c.opened[id]++
			return i, nil
		}
	}
	return nil, errs.New(errs.NoSuchSnapshot, "image "+id, "it is not here")
}

func (c *catalog) open(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened[id]
}

func (i *memImage) Spec() *Spec { return i.spec }

func (i *memImage) Close() error {
	i.c.mu.Lock()
	defer i.c.mu.Unlock()
	i.c.opened[i.spec.ID]--
	return nil
}

func (i *memImage) OpenFile(path string) (Content, error) {
	b, ok := i.content[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return &memFile{i, path, bytes.NewReader(b)}, nil
}

type memFile struct {
	i    *memImage
	path string
	*bytes.Reader
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.Reader.ReadAt(b, off)
	f.i.c.read.Add(int64(n))
	if h := f.i.c.hook; h != nil {
		if herr := h(f.i.spec.ID, f.path, off, b[:n]); herr != nil {
			return n, herr
		}
	}
	return n, err
}

func (f *memFile) Close() error { return nil }

// random returns files of random bytes, which do not compress: some small, some
// empty, some equal, of about size bytes together.
func random(seed uint64, size int) content {
	r := rand.New(rand.NewPCG(seed, 1))
	c := content{}
	for left := size; left > 0; {
		n := min(left, r.IntN(size/6+2))
		b := make([]byte, n)
		fill(r, b)
		c[fmt.Sprintf("store/%06d.sst", len(c))] = b
		left -= n
	}
	c["store/CURRENT"] = []byte("MANIFEST-000001\n")
	c["store/marker.manifest.000001"] = nil
	c["log/empty"] = nil
	c["log/deep/er/CURRENT"] = c["store/CURRENT"]
	return c
}

func fill(r *rand.Rand, b []byte) {
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, r.Uint64())
		b = b[8:]
	}
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

func (c content) size() (n int64) {
	for _, b := range c {
		n += int64(len(b))
	}
	return n
}

// serve starts a source on loopback.
func serve(t testing.TB, c Catalog, change func(*ServerOptions)) (*Server, *httptest.Server) {
	t.Helper()
	o := ServerOptions{Catalog: c, Authorize: func(*http.Request) (string, error) { return "om1", nil }}
	if change != nil {
		change(&o)
	}
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(http.StripPrefix("/transfer", s))
	t.Cleanup(func() { h.CloseClientConnections(); s.Close(); h.Close() })
	return s, h
}

// options are those of a Fetch into a new directory, with short waits.
func options(t testing.TB, urls ...string) Options {
	o := Options{
		Dir: filepath.Join(t.TempDir(), "incoming"), Manifest: "manifest", Parse: parse, Chunk: 64 << 10,
		Backoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond, SpaceEvery: 5 * time.Millisecond, Stall: 2 * time.Minute,
		Timeout: 5 * time.Minute, Reserve: -1,
	}
	for i, u := range urls {
		o.Sources = append(o.Sources, Source{Name: "source" + strconv.Itoa(i), URL: u + "/transfer"})
	}
	return o
}

func fetchAll(t testing.TB, o Options) *Result {
	t.Helper()
	r, err := Fetch(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 { // a line that cuts may cut this too
		if err = r.Lease.Release(t.Context()); err == nil {
			return r
		}
	}
	t.Fatal(err)
	return nil
}

// same fails if the directory holds anything but the files and their manifest.
func same(t testing.TB, dir, id string, want content) {
	t.Helper()
	left := content{"manifest": want.spec(id).Manifest}
	for n, b := range want {
		left[n] = b
	}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		b, err := os.ReadFile(name)
		if w, ok := left[filepath.ToSlash(rel)]; err != nil || !ok || !bytes.Equal(b, w) {
			t.Errorf("%s: %d bytes, expected %d (in the image: %v), %v", rel, len(b), len(w), ok, err)
		}
		delete(left, filepath.ToSlash(rel))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range left {
		t.Errorf("%s is missing", n)
	}
}

// line is a TCP proxy: it cuts connections and delays bytes.
type line struct {
	l      net.Listener
	dial   func() (net.Conn, error) // to the source
	delay  time.Duration            // in each direction
	budget func() int64             // bytes that a connection brings to the receiver before it is cut; nil: all
	cuts   atomic.Int64
	down   atomic.Int64 // bytes brought to receivers
	wg     sync.WaitGroup
	end    chan struct{}
}

func newLine(t testing.TB, h *httptest.Server, budget func() int64) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (net.Conn, error) { return net.Dial("tcp", h.Listener.Addr().String()) }
	p := &line{l: l, dial: dial, budget: budget, end: make(chan struct{})}
	p.wg.Go(p.accept)
	t.Cleanup(p.stop)
	return p
}

func (p *line) stop() { close(p.end); p.l.Close(); p.wg.Wait() }

func (p *line) url() string { return "http://" + p.l.Addr().String() }

func (p *line) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.connect(c) })
	}
}

func (p *line) connect(in net.Conn) {
	defer in.Close()
	out, err := p.dial()
	if err != nil {
		return
	}
	defer out.Close()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-p.end:
		case <-stop:
		}
		in.Close()
		out.Close()
	})
	wg.Go(func() { p.pipe(out, in, nil); out.Close() })
	var budget *int64
	if p.budget != nil {
		n := p.budget()
		budget = &n
	}
	p.pipe(in, out, budget)
	close(stop)
	wg.Wait()
}

type packet struct {
	due time.Time
	b   []byte
}

// pipe brings bytes from one side to the other, late.
func (p *line) pipe(to, from net.Conn, budget *int64) {
	late := make(chan packet, 1<<14)
	var wg sync.WaitGroup
	wg.Go(func() {
		for k := range late {
			if d := time.Until(k.due); d > 0 {
				select {
				case <-time.After(d):
				case <-p.end:
				}
			}
			if budget != nil && int64(len(k.b)) >= *budget {
				n, _ := to.Write(k.b[:*budget])
				p.down.Add(int64(n))
				p.cuts.Add(1)
				if tcp, ok := to.(*net.TCPConn); ok {
					tcp.CloseWrite() // what was written arrives, then nothing more
				}
				from.Close()
				for range late {
				}
				return
			}
			n, err := to.Write(k.b)
			if budget != nil {
				*budget -= int64(n)
				p.down.Add(int64(n))
			}
			if err != nil {
				from.Close()
				for range late {
				}
				return
			}
		}
	})
	for {
		b := make([]byte, 32<<10)
		n, err := from.Read(b)
		if n > 0 {
			late <- packet{time.Now().Add(p.delay), b[:n]}
		}
		if err != nil {
			break
		}
	}
	close(late)
	wg.Wait()
}

// kindIs fails unless err has the kind and names all of these.
func kindIs(t testing.TB, err error, k errs.Kind, names ...string) {
	t.Helper()
	if !errors.Is(err, &errs.Error{Kind: k}) {
		t.Fatalf("the error is %v, expected one of kind %q", err, k)
	}
	for _, n := range names {
		if !strings.Contains(err.Error(), n) {
			t.Fatalf("the error %q does not name %q", err, n)
		}
	}
}

var _ io.ReaderAt = (*memFile)(nil)
