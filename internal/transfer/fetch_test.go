package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"o3/internal/errs"
)

func TestFetch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		files := random(1, 3<<20)
		files["store/same-as-000000.sst"] = files["store/000000.sst"]
		cat := newCatalog(image("1-1-a", files))
		srv, source := serveHere(t, cat, 0, nil)
		o := optionsHere(t, source)
		var phases []Phase
		var mu sync.Mutex
		done := map[string]FileOrigin{}
		o.Listener.Progress = func(p Progress) {
			mu.Lock()
			defer mu.Unlock()
			if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
				phases = append(phases, p.Phase)
			}
		}
		o.Listener.FileDone = func(f File, origin FileOrigin) {
			mu.Lock()
			defer mu.Unlock()
			done[f.Path] = origin
		}
		r, err := Fetch(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		same(t, o.Dir, "1-1-a", files)
		p := r.Progress
		if p.Done != files.size() || p.Bytes != files.size() || p.FilesDone != len(files) || p.Files != len(files) || p.Phase != PhaseDone {
			t.Errorf("the progress at the end is %+v", p)
		}
		if got, want := fmt.Sprint(phases), fmt.Sprint([]Phase{PhaseAsking, PhaseLooking, PhaseTransferring, PhaseVerifying, PhaseDone}); got != want {
			t.Errorf("the phases were %s, expected %s", got, want)
		}
		for name := range files {
			if done[name] != FromSource {
				t.Errorf("%s came from %q", name, done[name])
			}
		}
		// Equal files are sent once; nothing but frames is sent beyond them.
		if unique := files.size() - int64(len(files["store/000000.sst"])); cat.read.Load() > unique || p.Sent > unique+unique/50+32<<10 {
			t.Errorf("%d bytes were read and %d sent for %d different ones", cat.read.Load(), p.Sent, unique)
		}
		// The lease is in force until it is released, then nothing is open.
		synctest.Wait()
		if st := srv.Status(); len(st.Holds) != 1 || st.Pinned["1-1-a"] != 1 || st.Streams != 0 || cat.open("1-1-a") != 1 {
			t.Errorf("after the transfer: %+v, %d open", st, cat.open("1-1-a"))
		}
		if err := r.Lease.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if st := srv.Status(); len(st.Holds) != 0 || len(st.Pinned) != 0 || cat.open("1-1-a") != 0 {
			t.Errorf("after the release: %+v, %d open", st, cat.open("1-1-a"))
		}

		// The same again: all is verified, nothing is sent.
		read := cat.read.Load()
		r = fetchAll(t, o)
		same(t, o.Dir, "1-1-a", files)
		if cat.read.Load() != read || r.Progress.Resumed != files.size() {
			t.Errorf("%d bytes were read again, %d were taken up", cat.read.Load()-read, r.Progress.Resumed)
		}
	})
}

// TestThousandCuts is law 6: a connection is cut after a random number of bytes,
// a thousand times; each time the transfer goes on.
func TestThousandCuts(t *testing.T) {
	t.Parallel()
	const most, chunk = 12 << 10, 4 << 10
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	var mu sync.Mutex
	files := random(seed, 5<<20)
	_, h := serve(t, newCatalog(image("1-1-a", files)), nil)
	p := newLine(t, h, func() int64 {
		mu.Lock()
		defer mu.Unlock()
		return 1 + rnd.Int64N(most)
	})
	o := options(t, p.url())
	o.Chunk, o.Streams, o.Retries = chunk, 3, 50
	fetchAll(t, o)
	same(t, o.Dir, "1-1-a", files)
	cuts, sent := p.cuts.Load(), p.down.Load()
	// A cut costs at most the chunk it hit and the head of the answer.
	bound := files.size()*102/100 + cuts*(chunk+1<<10)
	t.Logf("%d cuts; %d bytes came for %d", cuts, sent, files.size())
	if cuts < 1000 || sent > bound {
		t.Errorf("%d cuts, expected 1000 and more; %d bytes, expected at most %d", cuts, sent, bound)
	}
}

// TestCutsBelowChunk cuts each connection before a chunk of the size that was
// configured can pass: smaller ones are asked for.
func TestCutsBelowChunk(t *testing.T) {
	t.Parallel()
	files := content{"a": bytes.Repeat([]byte("0123456789"), 10<<10)}
	_, h := serve(t, newCatalog(image("1-1-a", files)), nil)
	p := newLine(t, h, func() int64 { return 40 << 10 })
	o := options(t, p.url())
	o.Chunk, o.Streams, o.Retries = 1<<20, 1, 12
	fetchAll(t, o)
	same(t, o.Dir, "1-1-a", files)
}

// killed is a source that dies after it has read so many bytes.
func killed(t *testing.T, img *memImage, after int64) (url string, cat *catalog) {
	cat = newCatalog(img)
	_, h := serve(t, cat, nil)
	var once sync.Once
	cat.hook = func(string, string, int64, []byte) error {
		if cat.read.Load() >= after {
			once.Do(func() {
				h.Listener.Close()
				h.CloseClientConnections()
			})
			panic(http.ErrAbortHandler) // also on a connection that came at this moment
		}
		return nil
	}
	return h.URL, cat
}

func TestSourceKilled(t *testing.T) {
	t.Parallel()
	files := random(4, 8<<20)
	for _, percent := range []int64{10, 50, 99} {
		t.Run(fmt.Sprintf("same-image-at-%d", percent), func(t *testing.T) {
			t.Parallel()
			after := files.size() * percent / 100
			first, a := killed(t, image("1-1-a", files), after)
			b := newCatalog(image("0-0-old", content{"x": []byte("x")}), image("1-1-a", files), image("2-1-b", content{"y": []byte("y")}))
			_, h := serve(t, b, nil)
			o := options(t, first, h.URL)
			o.Batch = 256 << 10
			var failed atomic.Int64
			o.Listener.SourceFailed = func(source string, err error) {
				failed.Add(1)
				kindIs(t, err, errs.Unavailable, "source0")
			}
			r := fetchAll(t, o)
			same(t, o.Dir, "1-1-a", files)
			// What the first sent is kept, but for what was on its way.
			way := int64(o.Streams+5) * 512 << 10
			if got := b.read.Load(); got > files.size()-after+way || failed.Load() != 1 || r.Source != "source1" {
				t.Errorf("the second sent %d bytes of %d after the first had read %d; %d failed; the last was %s", got, files.size(), a.read.Load(), failed.Load(), r.Source)
			}
		})
		t.Run(fmt.Sprintf("other-image-at-%d", percent), func(t *testing.T) {
			t.Parallel()
			newer := content{}
			for n, b := range files {
				newer[strings.Replace(n, "store/00000", "store/1", 1)] = b // other names
			}
			newer["store/new.sst"] = random(5, 64<<10)["store/000000.sst"]
			first, _ := killed(t, image("1-1-a", files), files.size()*percent/100)
			b := newCatalog(image("7-2-z", newer))
			_, h := serve(t, b, nil)
			o := options(t, first, h.URL)
			fetchAll(t, o)
			same(t, o.Dir, "7-2-z", newer)
			if percent == 99 && b.read.Load() > files.size()/2 {
				t.Errorf("the second sent %d bytes of %d, of which nearly all were here", b.read.Load(), files.size())
			}
		})
	}
}

// TestRestarts stops both sides again and again, loses bytes that were written
// and damages what remembers them: the image is right in the end, and what
// survived is not sent again.
func TestRestarts(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	files := random(seed, 6<<20)
	o := options(t, "")
	o.Chunk, o.Streams = 32<<10, 4
	var sent, lost, now int64
	o.Listener.Progress = func(p Progress) { atomic.StoreInt64(&now, p.Sent) }
	for round := 0; ; round++ {
		cat := newCatalog(image("1-1-a", files))
		srv, h := serve(t, cat, nil)
		ctx, cancel := context.WithCancel(t.Context())
		at := int64(r.IntN(1 << 20))
		cat.hook = func(string, string, int64, []byte) error {
			if cat.read.Load() > at {
				cancel()
			}
			return nil
		}
		o.Sources = []Source{{URL: h.URL + "/transfer"}}
		res, err := Fetch(ctx, o)
		cancel()
		srv.Close()
		h.Close()
		sent += atomic.LoadInt64(&now)
		if err == nil {
			if res.Progress.Resumed == 0 {
				t.Error("nothing was taken up")
			}
			t.Logf("%d rounds; %d bytes came for %d, %d lost", round, sent, files.size(), lost)
			most := files.size()*105/100 + lost + int64(round*o.Streams*2*o.Chunk) // a stop costs the chunks under way
			if sent > most {
				t.Errorf("%d bytes came, expected at most %d", sent, most)
			}
			break
		}
		kindIs(t, err, errs.Canceled)
		if round < 20 {
			lost += crash(t, o.Dir, r)
		}
	}
	same(t, o.Dir, "1-1-a", files)
}

// crash does to the files of a stopped transfer what a power cut may, and worse.
func crash(t *testing.T, dir string, r *rand.Rand) (lost int64) {
	parts, _ := filepath.Glob(filepath.Join(dir, stateDir, "parts", "*"))
	done, _ := filepath.Glob(filepath.Join(dir, "store", "*"))
	for _, name := range append(parts, done...) {
		b, err := os.ReadFile(name)
		if err != nil || len(b) == 0 {
			continue
		}
		whole := int64(len(b))
		switch r.IntN(24) {
		case 0:
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		case 1:
			b = b[:r.IntN(len(b))]
		case 2:
			clear(b[r.IntN(len(b)):])
		default:
			continue
		}
		lost += whole
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if name := filepath.Join(dir, stateDir, "journal"); r.IntN(4) == 0 {
		if b, err := os.ReadFile(name); err == nil && len(b) > 0 {
			at := r.IntN(len(b))
			b[at] ^= 0x10
			if at < headLen {
				at = headLen
			}
			lost += int64((len(b)-at)/recordLen+1) * 32 << 10
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return lost
}

// TestNewerImage: the source drops the image in the middle; the newer one takes
// over what is the same.
func TestNewerImage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		files := random(6, 6<<20)
		newer := content{}
		for n, b := range files {
			newer[n] = b
		}
		delete(newer, "store/000000.sst")
		newer["store/000999.sst"] = random(7, 1<<20)["store/000000.sst"]
		newer["store/CURRENT"] = []byte("MANIFEST-000002\n")
		newer["moved/x.sst"] = files["store/000001.sst"]

		cat := newCatalog(image("1-1-a", files))
		srv, source := serveHere(t, cat, 0, nil)
		o := optionsHere(t, source)
		o.Streams, o.Batch = 2, 256<<10
		var once sync.Once
		cat.hook = func(id, _ string, _ int64, _ []byte) error {
			if cat.read.Load() > files.size()*3/4 {
				once.Do(func() {
					cat.add("2-1-b", newer)
					cat.remove("1-1-a")
				})
				if id == "1-1-a" {
					return errs.New(errs.NoSuchSnapshot, "image "+id, "it was removed")
				}
			}
			return nil
		}
		var changes []string
		o.Listener.ImageChanged = func(_, from, to string) { changes = append(changes, from+">"+to) }
		r := fetchAll(t, o)
		same(t, o.Dir, "2-1-b", newer)
		if r.Spec.ID != "2-1-b" || fmt.Sprint(changes) != "[>1-1-a 1-1-a>2-1-b]" {
			t.Errorf("the image is %s after %v", r.Spec.ID, changes)
		}
		if most := newer.size() + files.size()/2; cat.read.Load() > most {
			t.Errorf("%d bytes were read, expected at most %d", cat.read.Load(), most)
		}
		synctest.Wait()
		if st := srv.Status(); len(st.Pinned)+len(st.Holds) > 0 {
			t.Errorf("the source still has open: %+v", st)
		}
	})
}

// TestSameIDOtherImage: two sources call different images by the same name. The
// bytes are never mixed up.
func TestSameIDOtherImage(t *testing.T) {
	t.Parallel()
	files, other := random(8, 2<<20), random(9, 2<<20)
	first, _ := killed(t, image("1-1-a", files), files.size()/2)
	_, h := serve(t, newCatalog(image("1-1-a", other)), nil)
	o := options(t, first, h.URL)
	fetchAll(t, o)
	same(t, o.Dir, "1-1-a", other)
}

func TestReuse(t *testing.T) {
	t.Parallel()
	files := random(10, 4<<20)
	store := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(store, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for n, b := range files {
		if strings.HasSuffix(n, ".sst") {
			write(filepath.Base(n), b)
		}
	}
	write("CURRENT", files["store/CURRENT"])
	rotten := bytes.Clone(files["store/000001.sst"])
	rotten[len(rotten)/2] ^= 1
	write("000001.sst", rotten)
	if err := os.Remove(filepath.Join(store, "000002.sst")); err != nil {
		t.Fatal(err)
	}
	write("another-name.sst", files["store/000002.sst"])

	cat := newCatalog(image("1-1-a", files))
	_, h := serve(t, cat, nil)
	o := options(t, h.URL)
	o.Reuse = []Reuse{{Dir: filepath.Join(store, "absent")}, {Dir: store, Immutable: func(p string) bool { return strings.HasSuffix(p, ".sst") }}}
	r := fetchAll(t, o)
	same(t, o.Dir, "1-1-a", files)
	if got := cat.read.Load(); got != int64(len(rotten)) {
		t.Errorf("%d bytes were sent, expected the %d of the rotten file", got, len(rotten))
	}
	if want := files.size() - int64(len(rotten)); r.Progress.Reused != want {
		t.Errorf("%d bytes were taken from the store, expected %d", r.Progress.Reused, want)
	}
	linked := func(a, b string) bool {
		x, err1 := os.Stat(filepath.Join(store, a))
		y, err2 := os.Stat(filepath.Join(o.Dir, "store", b))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		return os.SameFile(x, y)
	}
	if !linked("000000.sst", "000000.sst") || !linked("another-name.sst", "000002.sst") {
		t.Error("tables were not linked")
	}
	if linked("CURRENT", "CURRENT") {
		t.Error("a file that may change was linked")
	}
}

// TestRefusals: what makes a Fetch end at once, or not begin.
func TestRefusals(t *testing.T) {
	t.Parallel()
	files := content{"a": []byte("hello")}
	cat := newCatalog(image("1-1-a", files))
	_, h := serve(t, cat, nil)

	t.Run("a directory with something else", func(t *testing.T) {
		o := options(t, h.URL)
		o.Dir = t.TempDir()
		precious := filepath.Join(o.Dir, "precious")
		if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Fetch(t.Context(), o)
		kindIs(t, err, errs.NotEmpty, o.Dir)
		if _, err := os.Stat(precious); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("two transfers into one directory", func(t *testing.T) {
		o := options(t, h.URL)
		var inner error
		o.Listener.ImageChanged = func(string, string, string) {
			_, inner = Fetch(t.Context(), Options{Dir: o.Dir, Sources: o.Sources, Parse: parse})
		}
		fetchAll(t, o)
		kindIs(t, inner, errs.Conflict)
	})
	for name, c := range map[string]content{
		"traversal": {"../evil": []byte("x")}, "absolute": {"/evil": []byte("x")}, "state": {".transfer/lock": []byte("x")},
		"file and directory": {"a": []byte("x"), "a/b": []byte("y")}, "backslash": {`a\..\b`: []byte("x")}, "manifest": {"manifest": []byte("x")},
	} {
		t.Run("a manifest with "+name, func(t *testing.T) {
			_, h := serve(t, newCatalog(image("1-1-a", c)), nil)
			o := options(t, h.URL)
			_, err := Fetch(t.Context(), o)
			kindIs(t, err, errs.Invalid, "source0", "1-1-a")
			if _, err := os.Stat(filepath.Join(filepath.Dir(o.Dir), "evil")); err == nil {
				t.Fatal("a file was written outside the directory")
			}
		})
	}
	t.Run("plain http to another machine", func(t *testing.T) {
		_, err := Fetch(t.Context(), options(t, "http://192.0.2.1:9"))
		kindIs(t, err, errs.Invalid, "TLS")
	})
	t.Run("no image", func(t *testing.T) {
		_, h := serve(t, newCatalog(), nil)
		_, err := Fetch(t.Context(), options(t, h.URL))
		kindIs(t, err, errs.NoSuchSnapshot, "source0")
	})
	t.Run("none that will do", func(t *testing.T) {
		o := options(t, h.URL)
		o.Choose = func(string, []Info, string) string { return "" }
		_, err := Fetch(t.Context(), o)
		kindIs(t, err, errs.NoSuchSnapshot, "none of them will do")
	})
	t.Run("another program", func(t *testing.T) {
		o := options(t, h.URL)
		o.Sources[0].URL = h.URL + "/elsewhere"
		_, err := Fetch(t.Context(), o)
		kindIs(t, err, errs.NotImplemented, "source0", "404")
	})
}

// TestTimeout: the whole takes too long; what is here is kept.
func TestTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		files := random(11, 2<<20)
		cat := newCatalog(image("1-1-a", files))
		_, source := serveHere(t, cat, 0, nil)
		o := optionsHere(t, source)
		o.Rate, o.Timeout = 2<<20, 400*time.Millisecond
		_, err := Fetch(t.Context(), o)
		kindIs(t, err, errs.DeadlineExceeded, "1-1-a", "400ms")
		o.Rate, o.Timeout = 0, time.Minute
		if r := fetchAll(t, o); r.Progress.Resumed == 0 {
			t.Error("nothing was kept")
		}
		same(t, o.Dir, "1-1-a", files)
	})
}

// TestRetries: a source that fails is asked as often as the option says.
func TestRetries(t *testing.T) {
	t.Parallel()
	for _, retries := range []int{-1, 1, 4} {
		files := content{"a": bytes.Repeat([]byte("x"), 1000)}
		cat := newCatalog(image("1-1-a", files))
		var asked atomic.Int64
		cat.hook = func(string, string, int64, []byte) error {
			asked.Add(1)
			return errors.New("the disk is broken")
		}
		_, h := serve(t, cat, nil)
		o := options(t, h.URL)
		o.Retries = retries
		// On a connection used before, net/http itself asks once more.
		o.Sources[0].Client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		_, err := Fetch(t.Context(), o)
		kindIs(t, err, errs.Internal, "source0", "file a", "offset 0")
		if want := int64(max(retries, 0) + 1); asked.Load() != want {
			t.Errorf("with %d retries the source was asked %d times, expected %d", retries, asked.Load(), want)
		}
	}
}

// TestStall: a source that sends nothing is cut, and the next one asked.
func TestStall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		files := random(12, 1<<20)
		mute := newCatalog(image("1-1-a", files))
		release := make(chan struct{})
		mute.hook = func(string, string, int64, []byte) error { <-release; return nil }
		_, first := serveHere(t, mute, 0, nil)
		_, second := serveHere(t, newCatalog(image("1-1-a", files)), 0, nil)
		defer close(release)
		o := optionsHere(t, first, second)
		o.Stall, o.Retries = 100*time.Millisecond, 1
		var reason error
		o.Listener.SourceFailed = func(_ string, err error) { reason = err }
		fetchAll(t, o)
		same(t, o.Dir, "1-1-a", files)
		kindIs(t, reason, errs.Unavailable, "source0", "nothing came for 100ms")
	})
}

// TestAuthorisation: whoever may not is refused, and not asked again.
func TestAuthorisation(t *testing.T) {
	t.Parallel()
	if _, err := NewServer(ServerOptions{Catalog: newCatalog()}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("a server without authorisation: %v", err)
	}
	files := content{"a": []byte("hello")}
	var asked atomic.Int64
	var refused sync.Map
	_, h := serve(t, newCatalog(image("1-1-a", files)), func(o *ServerOptions) {
		o.Authorize = func(r *http.Request) (string, error) {
			asked.Add(1)
			switch r.Header.Get("Authorization") {
			case "":
				return "", errs.New(errs.Unauthenticated, "", "no credentials")
			case "member":
				return "om2", nil
			}
			return "alice", errs.New(errs.Denied, "alice", "only members and admins")
		}
		o.Listener.Refused = func(who, what string, err error) { refused.Store(who, what) }
	})
	for who, want := range map[string]errs.Kind{"": errs.Unauthenticated, "user": errs.Denied, "member": errs.OK} {
		asked.Store(0)
		o := options(t, h.URL)
		o.Sources[0].Sign = func(r *http.Request) error { r.Header.Set("Authorization", who); return nil }
		if who == "" {
			o.Sources[0].Sign = nil
		}
		r, err := Fetch(t.Context(), o)
		if want == errs.OK {
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Lease.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		kindIs(t, err, want, "source0")
		if asked.Load() != 1 {
			t.Errorf("%q was refused, and asked %d times", who, asked.Load())
		}
	}
	if _, ok := refused.Load("alice"); !ok {
		t.Error("nobody heard of the refusal")
	}
}

// TestOffers: what the sources have can be asked without fetching.
func TestOffers(t *testing.T) {
	t.Parallel()
	cat := newCatalog(image("1-1-a", content{"a": []byte("x")}), image("2-1-b", content{"a": []byte("y")}))
	_, h := serve(t, cat, nil)
	gone, _ := killed(t, image("1-1-a", nil), 0)
	o := options(t, h.URL, gone+"/wrong")
	got, err := Offers(t.Context(), o)
	if err != nil || len(got) != 2 || got[0].Chosen != "2-1-b" || len(got[0].Listed) != 2 || got[0].Err != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	kindIs(t, got[1].Err, errs.NotImplemented, "source1")
	if _, err := os.Stat(o.Dir); err == nil {
		t.Error("the directory was made")
	}
}
