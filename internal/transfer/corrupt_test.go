package transfer

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zeebo/xxh3"

	"o3/internal/errs"
)

// sampleStreams are answers of every form.
func sampleStreams(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{"small": appendFrames([]byte("a list of images, in frames of its own"), 16)}
	text := bytes.Repeat([]byte("all work and no play "), 40)
	srv, err := NewServer(ServerOptions{
		Catalog:   newCatalog(image("1-1-a", content{"a": text, "b": []byte("short")})),
		Authorize: func(*http.Request) (string, error) { return "", nil }, Insecure: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	sum := SumOf(content{"a": text, "b": []byte("short")}.spec("1-1-a").Manifest).String()
	for _, how := range []string{"none", "s2:1", "zstd:3"} {
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/images/1-1-a/data?chunk=4096&compress="+how+"&parts=0:0:840,1:0:5&manifest="+sum, nil))
		if w.Code != http.StatusOK {
			t.Fatal(w.Body)
		}
		out[how] = w.Body.Bytes()
	}
	body, _ := json.Marshal(problem{errs.NoSuchSnapshot, "image", "gone"})
	s := xxh3.Hash(body)
	h := frame{kind: frameError, raw: uint32(len(body)), stored: uint32(len(body)), rawSum: s, storedSum: s}
	head := make([]byte, headLen)
	putHead(head, wireMagic, wireVersion)
	out["error"] = append(h.append(head), body...)
	return out
}

// readStream returns all that a stream says.
func readStream(b []byte) (out []byte, err error) {
	f := frames{r: bytes.NewReader(b), chunk: MinChunk}
	defer f.close()
	for {
		h, data, err := f.next()
		if err != nil || h.kind == frameEnd {
			return out, err
		}
		out = binary.BigEndian.AppendUint32(out, h.file)
		out = binary.BigEndian.AppendUint64(out, uint64(h.off))
		out = append(out, data...)
	}
}

// TestEveryByte flips each bit of each form of answer, and cuts it at each
// byte: it is refused.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	for name, stream := range sampleStreams(t) {
		want, err := readStream(stream)
		switch {
		case name == "error":
			kindIs(t, err, errs.NoSuchSnapshot, "gone")
		case err != nil:
			t.Fatal(name, err)
		}
		for at := range stream {
			if _, err := readStream(stream[:at]); !errors.Is(err, errCut) {
				t.Fatalf("%s, cut at %d: %v", name, at, err)
			}
			for bit := range 8 {
				b := bytes.Clone(stream)
				b[at] ^= 1 << bit
				_, err := readStream(b)
				if k := errs.KindOf(err); k != errs.Corrupt && k != errs.FormatUnknown {
					t.Fatalf("%s, bit %d of byte %d of %d is flipped, and the answer is read as kind %v: %v", name, bit, at, len(b), k, err)
				}
			}
		}
		if name != "error" && len(want) == 0 {
			t.Errorf("%s holds nothing", name)
		}
	}
}

func TestNewerFormats(t *testing.T) {
	t.Parallel()
	b := appendFrames([]byte("x"), 16)
	putHead(b, wireMagic, wireVersion+1)
	_, err := readStream(b)
	kindIs(t, err, errs.FormatTooNew, "version 2")

	_, h := serve(t, newCatalog(), nil)
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+"/transfer/images", nil)
	r.Header.Set(versionHeader, "2")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if resp.StatusCode != http.StatusBadRequest || !bytes.Contains(body, []byte("version 2")) {
		t.Errorf("a receiver of version 2 gets %s: %s", resp.Status, body)
	}

	o := options(t, h.URL)
	if err := o.setDefaults(); err != nil {
		t.Fatal(err)
	}
	f := fetch{o: &o, verified: map[string]key{}}
	lock, err := f.begin()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	j := make([]byte, headLen)
	putHead(j, journalMagic, journalVersion+1)
	if err := f.writeFile(f.state("journal"), j); err != nil {
		t.Fatal(err)
	}
	_, err = readJournal(f.state())
	kindIs(t, err, errs.FormatTooNew, o.Dir)
}

// flipper damages answers on their way: one bit in every n bytes or so.
type flipper struct {
	h     http.Handler
	every int
	mu    sync.Mutex
	rnd   *rand.Rand
	next  int
	flips atomic.Int64
}

func (f *flipper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.h.ServeHTTP(&flippedWriter{w, f}, r)
}

type flippedWriter struct {
	http.ResponseWriter
	f *flipper
}

func (w *flippedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *flippedWriter) Write(b []byte) (int, error) {
	f := w.f
	f.mu.Lock()
	b = bytes.Clone(b)
	for f.next < len(b) {
		b[f.next] ^= 1 << f.rnd.IntN(8)
		f.flips.Add(1)
		f.next += 1 + f.rnd.IntN(2*f.every)
	}
	f.next -= len(b)
	f.mu.Unlock()
	return w.ResponseWriter.Write(b)
}

// TestDamagedLine: some answers are damaged; what is damaged is fetched again.
func TestDamagedLine(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"none", "zstd:1", "s2"} {
		files := random(30, 2<<20)
		srv, _ := serve(t, newCatalog(image("1-1-a", files)), nil)
		fl := &flipper{h: http.StripPrefix("/transfer", srv), every: 128 << 10, rnd: rand.New(rand.NewPCG(1, 2)), next: 5}
		h := httptest.NewServer(fl)
		o := options(t, h.URL)
		o.Retries, o.Chunk = 30, 16<<10
		var err error
		if o.Compression, err = ParseCompression(how); err != nil {
			t.Fatal(err)
		}
		var seen atomic.Int64
		o.Listener.Retry = func(_ string, err error) {
			if errs.KindOf(err) == errs.Corrupt {
				seen.Add(1)
			}
		}
		r, err := Fetch(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Lease.Release(t.Context()) // its answer may be damaged
		h.CloseClientConnections()
		h.Close()
		same(t, o.Dir, "1-1-a", files)
		if seen.Load() < 5 {
			t.Errorf("%d bits were flipped, %d were seen", fl.flips.Load(), seen.Load())
		}
	}
}

// TestDamagedSource: every answer of the first source is damaged: it is given
// up, and the error says what was wrong where.
func TestDamagedSource(t *testing.T) {
	t.Parallel()
	files := random(31, 1<<20)
	srv, good := serve(t, newCatalog(image("1-1-a", files)), nil)
	calm := http.StripPrefix("/transfer", srv)
	wild := &flipper{h: calm, every: 500, rnd: rand.New(rand.NewPCG(1, 2))}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/transfer/images/1-1-a/data" {
			wild.ServeHTTP(w, r)
			return
		}
		calm.ServeHTTP(w, r)
	}))
	defer h.Close()
	o := options(t, h.URL, good.URL)
	o.Retries = 2
	var why error
	o.Listener.SourceFailed = func(_ string, err error) { why = err }
	fetchAll(t, o)
	same(t, o.Dir, "1-1-a", files)
	if why == nil {
		t.Fatal("the damaged source was not given up")
	}
	kindIs(t, why, errs.Corrupt, "source0", "file ", "offset ", "expected")
}

// TestRottenFile: a file of the source is not what its manifest says, and so
// nothing on the way can notice. It is fetched once more, then elsewhere.
func TestRottenFile(t *testing.T) {
	t.Parallel()
	files := random(32, 2<<20)
	rotten := content{}
	for n, b := range files {
		rotten[n] = b
	}
	bad := bytes.Clone(files["store/000001.sst"])
	bad[len(bad)/3] ^= 4
	rotten["store/000001.sst"] = bad
	cat := newCatalog()
	cat.images = []*memImage{{cat, files.spec("1-1-a"), rotten}}
	_, h1 := serve(t, cat, nil)
	b := newCatalog(image("1-1-a", files))
	_, h2 := serve(t, b, nil)
	o := options(t, h1.URL, h2.URL)
	var why error
	var retries atomic.Int64
	o.Listener.SourceFailed = func(_ string, err error) { why = err }
	o.Listener.Retry = func(string, error) { retries.Add(1) }
	fetchAll(t, o)
	same(t, o.Dir, "1-1-a", files)
	if why == nil {
		t.Fatal("the rotten source was not given up")
	}
	kindIs(t, why, errs.Corrupt, "source0", "store/000001.sst", SumOf(bad).String(), SumOf(files["store/000001.sst"]).String())
	if retries.Load() != 1 {
		t.Errorf("%d retries, expected one", retries.Load())
	}

	// Without another source nothing of it is taken for good.
	o = options(t, h1.URL)
	_, err := Fetch(t.Context(), o)
	kindIs(t, err, errs.Corrupt, "source0", "store/000001.sst")
}

// TestShortFile: the source's file ends too early.
func TestShortFile(t *testing.T) {
	t.Parallel()
	files := content{"a": bytes.Repeat([]byte("x"), 10000)}
	cat := newCatalog()
	cat.images = []*memImage{{cat, files.spec("1-1-a"), content{"a": files["a"][:7000]}}}
	_, h := serve(t, cat, nil)
	o := options(t, h.URL)
	o.Retries, o.Chunk = 1, MinChunk
	_, err := Fetch(t.Context(), o)
	kindIs(t, err, errs.Corrupt, "source0", "file a", "it ends at offset 7000")
}

// TestLyingSource sends well-formed frames that were not asked for.
func TestLyingSource(t *testing.T) {
	t.Parallel()
	files := content{"a": bytes.Repeat([]byte("x"), 10000)}
	spec := files.spec("1-1-a")
	chunk := func(file uint32, off int64, n int) []byte {
		data := bytes.Repeat([]byte("y"), n)
		s := xxh3.Hash(data)
		h := frame{kind: frameData, file: file, off: off, raw: uint32(n), stored: uint32(n), rawSum: s, storedSum: s}
		return append(h.append(nil), data...)
	}
	head := make([]byte, headLen)
	putHead(head, wireMagic, wireVersion)
	end := endFrame(1)
	for name, body := range map[string][]byte{
		"another file": chunk(1, 0, 4096), "another offset": chunk(0, 4096, 4096), "beyond the end": chunk(0, 8192, 4096),
		"too much": chunk(0, 0, 5000), "nothing": chunk(0, 0, 0), "the end": end.append(nil),
		"a negative offset": chunk(0, -1, 4096),
	} {
		srv, _ := serve(t, newCatalog(&memImage{spec: spec, content: files}), nil)
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/transfer/images/1-1-a/data" {
				_, _ = w.Write(append(bytes.Clone(head), body...))
				return
			}
			http.StripPrefix("/transfer", srv).ServeHTTP(w, r)
		}))
		o := options(t, h.URL)
		o.Retries, o.Chunk = 1, MinChunk
		_, err := Fetch(context.Background(), o)
		h.CloseClientConnections()
		h.Close()
		if errs.KindOf(err) != errs.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzStream(f *testing.F) {
	for _, s := range sampleStreams(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = readStream(b) // it neither panics nor takes more memory than its frames
		_, _ = parse(b)
		if p, err := parseParts(string(b), []File{{"a", 100, Sum{}}, {"b", 5, Sum{}}}); err == nil {
			if q, err := parseParts(formatParts(p), []File{{"a", 100, Sum{}}, {"b", 5, Sum{}}}); err != nil || len(q) != len(p) {
				t.Fatalf("%v is written as %s, and read as %v, %v", p, formatParts(p), q, err)
			}
		}
	})
}
