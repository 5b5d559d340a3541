package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"o3/internal/consensus/raftlog"
	"o3/internal/errs"
)

// lay lays an exported image out as a transfer does: its files under their own
// names, durably.
func lay(t testing.TB, fs vfs.FS, backup, id, dir string) *Manifest {
	t.Helper()
	target := Directory{FS: fs, Dir: backup}
	m, err := ReadManifest(t.Context(), target, id)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := m.Encode()
	for _, sub := range []string{storeDir, blocksDir} {
		err = errors.Join(err, makeDir(fs, fs.PathJoin(dir, sub)))
	}
	err = errors.Join(err, replaceFile(fs, fs.PathJoin(dir, ManifestFile), bytes.NewReader(raw)))
	for _, f := range m.Files {
		from, oerr := target.Open(t.Context(), fileAt(f))
		if oerr != nil {
			t.Fatal(oerr)
		}
		err = errors.Join(err, replaceFile(fs, fs.PathJoin(dir, f.Path), from), from.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// exported makes an image of a stopped node at /backup, with bytes or without.
func exported(t testing.TB, fs vfs.FS, dir string, withBlocks bool) *Manifest {
	t.Helper()
	s := openRaw(t, fs, fs.PathJoin(dir, "om", "store"))
	img := create(t, keep(t, fs, s, Options{Dir: dir + "-images"}))
	o := ExportOptions{}
	if withBlocks {
		o.Blocks = fs.PathJoin(dir, "blocks")
	}
	out, err := Export(t.Context(), img, Directory{FS: fs, Dir: "/backup"}, o)
	img.Close()
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Manifest
}

// left are the files of an image that are still where they were fetched to.
func left(fs vfs.FS, dir string, m *Manifest) (n int) {
	for _, f := range m.Files {
		if _, err := fs.Stat(fs.PathJoin(dir, f.Path)); err == nil {
			n++
		}
	}
	return n
}

// TestAdopt: the files of a fetched image become a node that shows what its
// source showed, and none of them is copied.
func TestAdopt(t *testing.T) {
	mem := vfs.NewMem()
	r := start(t, mem, "/data")
	r.fill(0)
	want := r.picture()
	r.stop()
	m := exported(t, mem, "/data", true)
	for i, o := range []AdoptOptions{{}, {Verified: true}, {Verified: true, ImportOptions: ImportOptions{Strict: true, NodeID: "om7"}}} {
		fetch, dir := fmt.Sprintf("/fetch%d", i), fmt.Sprintf("/new%d", i)
		lay(t, mem, "/backup", m.ID, fetch)
		o.FS, o.DataDir = mem, dir
		copies := 0
		o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst"+partName) {
				copies++
			}
			return nil
		}))
		out, err := Adopt(t.Context(), fetch, o)
		if err != nil || out.Moved != len(m.Files) || out.Files != len(m.Files) || out.Bytes != m.Bytes || out.Copied+copies != 0 || out.Last != m.Index || out.LastTerm != m.Term || out.Manifest.ID != m.ID {
			t.Fatalf("%+v, %v", out, err)
		}
		if o.Strict && (out.Tables == 0 || out.Imported.Blocks == 0) {
			t.Errorf("verified %+v", out)
		}
		if n := left(mem, fetch, m); n != 0 {
			t.Errorf("%d files are left", n)
		}
		n, ok, err := NodeAt(mem, dir)
		if err != nil || !ok || n.Index != m.Index || n.Term != m.Term || n.Digest != m.Digest || n.Last != m.Index || !n.HasBytes || n.Store == m.Node.Store || n.ID != cmpID(o.NodeID, "om1") {
			t.Errorf("%+v, %v, %v", n, ok, err)
		}
		if _, err := Adopt(t.Context(), fetch, o); errs.KindOf(err) != errs.NotEmpty {
			t.Errorf("adopted twice: %v", err)
		}
		r := start(t, mem, dir)
		if got := r.picture(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		r.sound()
		r.fill(1)
		r.stop()
	}
}

func cmpID(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// tailOf reads the entries that a node has after an index.
func (r *rig) tailOf(index, term uint64) (out []*pb.Entry) {
	r.t.Helper()
	for {
		part, err := r.log.ReadLog(index, term, 10_000)
		r.check(err)
		if len(part.Entries) == 0 {
			return out
		}
		out = append(out, part.Entries...)
		last := part.Entries[len(part.Entries)-1]
		index, term = last.GetIndex(), last.GetTerm()
	}
}

func each(es []*pb.Entry, end error) iter.Seq2[*pb.Entry, error] {
	return func(yield func(*pb.Entry, error) bool) {
		for _, e := range es {
			if !yield(e, nil) {
				return
			}
		}
		if end != nil {
			yield(nil, end)
		}
	}
}

// TestAdoptTail: a node with the log that follows the image replays it, and shows
// what the source shows at its end.
func TestAdoptTail(t *testing.T) {
	mem := vfs.NewMem()
	r := start(t, mem, "/data")
	r.fill(0)
	img := r.create(r.keeper(Options{}))
	r.fill(1)
	r.fill(2)
	es := r.tailOf(img.Manifest.Index, img.Manifest.Term)
	want, digest := r.picture(), r.replica.Position().Digest
	if len(es) < 20 || r.log.Applied() != es[len(es)-1].GetIndex() {
		t.Fatalf("%d entries", len(es))
	}
	out, err := Export(t.Context(), img, Directory{FS: mem, Dir: "/backup"}, ExportOptions{})
	r.check(err)
	r.stop()
	lay(t, mem, "/backup", out.Manifest.ID, "/fetch")
	r.check(writeIdentity(mem, "/data/blocks", identity{Format: 1, ID: "om1", Number: 1, Store: om1.Store}))

	broken := errors.New("the source went away")
	conf := &pb.Entry{Index: es[1].Index, Term: es[1].Term, Type: pb.EntryConfChangeV2.Enum()}
	back := &pb.Entry{Index: es[1].Index, Term: new(uint64), Type: pb.EntryNormal.Enum()}
	for name, c := range map[string]struct {
		tail iter.Seq2[*pb.Entry, error]
		bad  func(error) bool
	}{
		"cut off":     {each(es[:5], broken), func(err error) bool { return errors.Is(err, broken) }},
		"a gap":       {each(es[1:], nil), func(err error) bool { return errs.KindOf(err) == errs.Corrupt }},
		"twice":       {each(append(es[:3:3], es[2]), nil), func(err error) bool { return errs.KindOf(err) == errs.Corrupt }},
		"an old term": {each([]*pb.Entry{es[0], back}, nil), func(err error) bool { return errs.KindOf(err) == errs.Corrupt }},
		"a new member": {each([]*pb.Entry{es[0], conf}, nil), func(err error) bool {
			return errs.KindOf(err) == errs.Conflict && strings.Contains(err.Error(), "membership")
		}},
	} {
		if _, err := Adopt(t.Context(), "/fetch", AdoptOptions{ImportOptions: ImportOptions{FS: mem, DataDir: "/new"}, Verified: true, Tail: c.tail}); !c.bad(err) {
			t.Errorf("%s: %v", name, err)
		}
		if _, ok, err := NodeAt(mem, "/new"); ok || err != nil {
			t.Errorf("%s: a node: %v", name, err)
		}
	}
	got, err := Adopt(t.Context(), "/fetch", AdoptOptions{ImportOptions: ImportOptions{FS: mem, DataDir: "/new"}, Verified: true, Tail: each(es, nil)})
	last := es[len(es)-1]
	if err != nil || got.Entries != int64(len(es)) || got.Last != last.GetIndex() || got.LastTerm != last.GetTerm() {
		t.Fatalf("%+v, %v", got, err)
	}
	n, ok, err := NodeAt(mem, "/new")
	if err != nil || !ok || n.Last != got.Last || n.LastTerm != got.LastTerm || n.Index != out.Manifest.Index || n.Store != om1.Store || n.HasBytes {
		t.Errorf("%+v, %v, %v", n, ok, err)
	}
	r.check(mem.Rename("/data/blocks", "/new/blocks"))
	r = start(t, mem, "/new")
	if s := r.log.Status(); s.Incarnation < 1000 || s.Term <= apart { // the source's are small; chance makes it fail once in 2^52
		t.Errorf("%+v", s)
	}
	if got := r.replica.Position(); got.Digest != digest || got.Index < last.GetIndex() {
		t.Errorf("it stands at %+v, the source at %s", got, digest)
	}
	if got := r.picture(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r.sound()
	r.fill(3)
}

// TestAdoptIsCut: a power cut at any moment leaves what is no node, or a complete
// one, and nothing of the image is lost: adopting again completes it.
func TestAdoptIsCut(t *testing.T) {
	t.Run("of a group", func(t *testing.T) { adoptIsCut(t, 25, 1, 2) }) // the store is changed too
	t.Run("alone", func(t *testing.T) { adoptIsCut(t, 8, 1) })
}

func adoptIsCut(t *testing.T, about int, members ...uint64) {
	mem := vfs.NewCrashableMem()
	r := start(t, mem, "/data")
	r.fill(0)
	r.stop()
	setMembers(t, mem, "/data/om/store", members...)
	m := exported(t, mem, "/data", true)
	lay(t, mem, "/backup", m.ID, "/t/fetch")
	r.check(errors.Join(makeDir(mem, "/t/node"), syncDir(mem, "/t"), syncDir(mem, "/")))
	c := newCuts(mem, "/t")
	options := func(fs vfs.FS) AdoptOptions {
		return AdoptOptions{ImportOptions: ImportOptions{FS: fs, DataDir: "/t/node", Parallel: 1}, Verified: true, Tail: each([]*pb.Entry{entry(m.Index+1, m.Term), entry(m.Index+2, m.Term+1)}, nil)}
	}
	c.record(func() {
		if _, err := Adopt(t.Context(), "/t/fetch", options(c.fs())); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%d clones", len(c.clones))
	nodes := 0
	c.each(about, func(op string, last bool, mem *vfs.MemFS) {
		n, ok, err := NodeAt(mem, "/t/node")
		if err != nil || last && !ok {
			t.Errorf("%s: %v, %v", op, ok, err)
		}
		_, marked := mem.Stat("/t/node/om/" + importMark)
		if ok {
			nodes++
		}
		if !ok || marked == nil {
			out, err := Adopt(t.Context(), "/t/fetch", options(mem))
			if err != nil || out.Last != m.Index+2 || out.LastTerm != m.Term+1 {
				t.Errorf("%s: %+v, %v", op, out, err)
				return
			}
			if n, ok, err = NodeAt(mem, "/t/node"); err != nil || !ok {
				t.Errorf("%s: %v, %v", op, ok, err)
			}
		}
		if n.Last != m.Index+2 || n.Index != m.Index || n.Digest != m.Digest {
			t.Errorf("%s: %+v", op, n)
		}
		alone := new(Manifest)
		*alone = *m
		if alone.Conf, err = m.alone(); err != nil {
			t.Fatal(err)
		}
		v := &verifier{ctx: t.Context(), at: places{mem, "/t/node/om/store", "/t/node/blocks"}, m: alone, o: VerifyOptions{Mode: Strict}}
		if err := errors.Join(v.store(), v.containers()); err != nil || v.first != nil {
			t.Errorf("%s: %v, %v", op, v.first, err)
		}
		if l, err := raftlog.Verify(t.Context(), raftlog.Options{FS: mem, Dir: "/t/node/om/raft"}); err != nil || l.Last != m.Index+2 {
			t.Errorf("%s: the log has %+v, %v", op, l, err)
		}
	})
	if nodes == 0 || nodes == len(c.clones) {
		t.Errorf("%d nodes: the test has lost its reach", nodes)
	}
}

func entry(index, term uint64) *pb.Entry {
	return &pb.Entry{Index: &index, Term: &term, Type: pb.EntryNormal.Enum()}
}

// TestAdoptRefuses: what is not the image is not adopted, and what was moved is
// not lost by it.
func TestAdoptRefuses(t *testing.T) {
	base, _ := taken(t)
	m := manifestOf(t, base)
	table := m.Files[0].Path
	for _, f := range m.Files {
		if f.Kind == Table {
			table = f.Path
		}
	}
	damage := func(t *testing.T, fs vfs.FS, name string) {
		f, err := fs.OpenReadWrite(path.Join("/fetch", name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		st, _ := f.Stat()
		b := make([]byte, 1)
		_, err = f.ReadAt(b, st.Size()/2)
		b[0] ^= 1
		if _, werr := f.WriteAt(b, st.Size()/2); err != nil && err != io.EOF || werr != nil {
			t.Fatal(err, werr)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		o    AdoptOptions
		do   func(t *testing.T, fs vfs.FS)
		kind errs.Kind
		says string
	}{
		"a flipped bit":           {AdoptOptions{}, func(t *testing.T, fs vfs.FS) { damage(t, fs, table) }, errs.Corrupt, "its checksum is"},
		"a flipped bit, strict":   {AdoptOptions{Verified: true, ImportOptions: ImportOptions{Strict: true}}, func(t *testing.T, fs vfs.FS) { damage(t, fs, table) }, errs.Corrupt, ""},
		"a missing file":          {AdoptOptions{Verified: true}, func(t *testing.T, fs vfs.FS) { _ = fs.Remove("/fetch/" + table) }, errs.Corrupt, "the file is missing"},
		"a short file":            {AdoptOptions{Verified: true}, func(t *testing.T, fs vfs.FS) { write1(t, fs, "/fetch/"+table, []byte("short")) }, errs.Corrupt, "it has 5 bytes"},
		"no manifest":             {AdoptOptions{}, func(t *testing.T, fs vfs.FS) { _ = fs.Remove("/fetch/manifest.json") }, errs.FormatUnknown, "does not hold an image"},
		"a manifest that is none": {AdoptOptions{}, func(t *testing.T, fs vfs.FS) { write1(t, fs, "/fetch/manifest.json", []byte("{}")) }, errs.FormatUnknown, "manifest"},
		"a directory in use":      {AdoptOptions{}, func(t *testing.T, fs vfs.FS) { write1(t, fs, "/new/mine", []byte("x")) }, errs.NotEmpty, `it holds "mine"`},
		"an import begun there":   {AdoptOptions{}, func(t *testing.T, fs vfs.FS) { begunImport(t, fs, m) }, errs.NotEmpty, "the import of image " + m.ID},
		"no data directory":       {AdoptOptions{ImportOptions: ImportOptions{DataDir: "-"}}, func(*testing.T, vfs.FS) {}, errs.Invalid, "a data directory is needed"},
	} {
		mem := vfs.NewMem()
		if _, err := vfs.Clone(base, mem, "/backup", "/backup"); err != nil {
			t.Fatal(err)
		}
		lay(t, mem, "/backup", m.ID, "/fetch")
		if err := mem.MkdirAll("/new", 0o700); err != nil {
			t.Fatal(err)
		}
		c.do(t, mem)
		c.o.FS = mem
		if c.o.DataDir = strings.TrimPrefix(c.o.DataDir+"/new", "-/new"); c.kind == errs.Invalid {
			c.o.DataDir = ""
		}
		if _, err := Adopt(t.Context(), "/fetch", c.o); errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, ok, _ := NodeAt(mem, "/new"); ok {
			t.Errorf("%s: a node", name)
		}
		files := left(mem, "/fetch", m) + left(mem, "/new/om", m)
		for _, f := range m.Files {
			if _, err := mem.Stat("/new/" + f.Path); err == nil && f.Kind == Container {
				files++
			}
		}
		if want := len(m.Files); files != want && !(name == "a missing file" && files == want-1) {
			t.Errorf("%s: %d files of %d", name, files, want)
		}
	}
}

// begunImport leaves what an Import leaves that is cut off at once.
func begunImport(t *testing.T, fs vfs.FS, m *Manifest) {
	t.Helper()
	i := newImporting(t.Context(), m, ImportOptions{FS: fs, DataDir: "/new"})
	if err := i.claim(); err != nil {
		t.Fatal(err)
	}
}

// TestAdoptAcross: between two file systems files are copied and the originals
// stay.
func TestAdoptAcross(t *testing.T) {
	mem, _ := taken(t)
	m := manifestOf(t, mem)
	lay(t, mem, "/backup", m.ID, "/fetch")
	far := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpRename && strings.HasPrefix(op.Path, "/fetch/") {
			return syscall.EXDEV
		}
		return nil
	}))
	full := errorfs.Wrap(far, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, partName) && strings.Contains(op.Path, "/blocks/") {
			return syscall.ENOSPC
		}
		return nil
	}))
	o := AdoptOptions{ImportOptions: ImportOptions{FS: full, DataDir: "/new"}, Verified: true}
	if out, err := Adopt(t.Context(), "/fetch", o); errs.KindOf(err) != errs.ReadOnly || out.Moved != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	o.FS = far
	out, err := Adopt(t.Context(), "/fetch", o)
	if err != nil || out.Moved != 0 || out.Copied == 0 || left(mem, "/fetch", m) != len(m.Files) {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, ok, err := NodeAt(mem, "/new"); !ok || err != nil {
		t.Error(ok, err)
	}
	r := start(t, mem, "/new")
	r.sound()
}
