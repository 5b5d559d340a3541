package delta_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/snapdiff/delta"
)

// many makes a bucket with n changes of every type between s1 and s2.
func many(t *testing.T, n int) *rig {
	r := newRig(t)
	r.use("bucket", "FSO")
	for i := range n {
		r.must("put d%d/k%d x", i%7, i)
	}
	r.snapshot("s1")
	for i := range n {
		switch i % 5 {
		case 0:
			r.must("put d%d/k%d yy", i%7, i)
		case 1:
			r.must("rm d%d/k%d", i%7, i)
		case 2:
			r.must("mv d%d/k%d e/k%d", i%7, i, i)
		case 3:
			r.must("put f/k%d x", i)
		}
	}
	r.snapshot("s2")
	return r
}

// TestStops ends a computation in each phase, by its check, by its context and
// by its sink, and soon: no file is left, and no more than 1,000 rows are handled
// after the stop.
func TestStops(t *testing.T) {
	r := many(t, 2600)
	stop := errors.New("stop")
	for _, full := range []bool{false, true} {
		var order []delta.Phase
		last := map[delta.Phase]int64{}
		run := func(phase delta.Phase, cancel bool) (delta.Result, error) {
			dir := t.TempDir()
			defer noFiles(t, dir)
			ctx, end := context.WithCancel(t.Context())
			defer end()
			var out []*o3v1.DiffEntry
			o := r.options(r.d.Store, ask{from: "s1", to: "s2", full: full, ordered: true, memory: 1, dir: dir}, &out)
			reached := false
			o.Progress = func(p delta.Phase, done, _ int64) {
				if !slices.Contains(order, p) {
					order = append(order, p)
				}
				last[p] = done
				reached = reached || p == phase
				if reached && cancel {
					end()
				}
			}
			o.Check = func() error {
				if reached && !cancel {
					return stop
				}
				return nil
			}
			result, err := delta.Compute(ctx, o)
			if reached {
				if _, later := result.Took[delta.ReportWriting]; later && phase != delta.ReportWriting {
					t.Errorf("%s: it went on to the end", phase)
				}
			}
			return result, err
		}
		if _, err := run("none", false); err != nil {
			t.Fatal(err)
		}
		scan := delta.JournalScan
		if full {
			scan = delta.FullScan
		}
		want := []delta.Phase{scan, delta.SortJoin, delta.PathResolution, delta.Ordering, delta.ReportWriting}
		if !slices.Equal(order, want) {
			t.Errorf("phases %v, want %v", order, want)
		}
		for _, p := range want {
			if _, err := run(p, false); !errors.Is(err, stop) {
				t.Errorf("stopped in %s: %v", p, err)
			}
			if _, err := run(p, true); errs.KindOf(err) != errs.Canceled || !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled in %s: %v", p, err)
			}
		}
	}
}

// TestEveryCheck stops at each look at Check, whatever the phase, sorting and
// ordering included.
func TestEveryCheck(t *testing.T) {
	r := many(t, 1500)
	stop := errors.New("stop")
	run := func(limit int) (calls int, err error) {
		dir := t.TempDir()
		defer noFiles(t, dir)
		var out []*o3v1.DiffEntry
		o := r.options(r.d.Store, ask{from: "s1", to: "s2", ordered: true, memory: 1, dir: dir}, &out)
		o.Check = func() error {
			if calls++; calls == limit {
				return stop
			}
			return nil
		}
		_, err = delta.Compute(t.Context(), o)
		return calls, err
	}
	all, err := run(0)
	if err != nil {
		t.Fatal(err)
	}
	for limit := 1; limit <= all; limit++ {
		if calls, err := run(limit); !errors.Is(err, stop) || calls != limit {
			t.Errorf("stopped at %d of %d: %v after %d", limit, all, err, calls)
		}
	}
	t.Logf("%d stops", all)
}

// TestSink: an error of the sink, and a panic, end it and leave nothing.
func TestSink(t *testing.T) {
	r := many(t, 1500)
	dir := t.TempDir()
	var out []*o3v1.DiffEntry
	o := r.options(r.d.Store, ask{from: "s1", to: "s2", memory: 1, dir: dir}, &out)
	stop := errors.New("the disk is full")
	o.Sink = func(*o3v1.DiffEntry) error { return stop }
	result, err := delta.Compute(t.Context(), o)
	if !errors.Is(err, stop) || result.Spilled == 0 {
		t.Errorf("%v, %+v", err, result)
	}
	noFiles(t, dir)
	func() {
		defer func() { _ = recover() }()
		o.Sink = func(*o3v1.DiffEntry) error { panic("sink") }
		_, _ = delta.Compute(t.Context(), o)
	}()
	noFiles(t, dir)
}

// TestMemory: the report is the same in little memory, with files, as in much.
func TestMemory(t *testing.T) {
	r := many(t, 2500)
	for _, a := range []ask{{}, {ordered: true}, {full: true, ordered: true}} {
		a.from, a.to = "s1", "s2"
		want := text(r.compute(a))
		if strings.Count(want, "\n") < 1900 {
			t.Fatal(want)
		}
		a.memory, a.dir = 1, t.TempDir()
		var out []*o3v1.DiffEntry
		result, err := delta.Compute(t.Context(), r.options(r.d.Store, a, &out))
		if err != nil || text(out) != want {
			t.Errorf("%+v: another report, %v", a, err)
		}
		if result.Spilled == 0 || result.Full != a.full || result.RowsRead < 2000 || len(result.Took) != 5 {
			t.Errorf("%+v: %+v", a, result)
		}
	}
}

// TestMaxKeys: the limit counts changed objects, not lines nor touches, before
// filters, and the error names its key.
func TestMaxKeys(t *testing.T) {
	r := newRig(t)
	r.use("bucket", "FSO")
	r.must("put a x\nput b x\nput c x\nput e/f x\nput e/g x\nsnapshot s1")
	r.must("put a 1\nput a 2\nput a 3\nmv b d\nput d yy\nput come x\nrm come\nrm c\nrmdir e/") // a, b twice, c, e
	for _, full := range []bool{false, true} {
		for limit, want := range map[int64]errs.Kind{0: errs.OK, 3: errs.TooMany, 4: errs.OK} {
			var out []*o3v1.DiffEntry
			o := r.options(r.d.Store, ask{from: "s1", full: full, types: []string{"-"}}, &out)
			o.MaxKeys = limit
			result, err := delta.Compute(t.Context(), o)
			if errs.KindOf(err) != want || err == nil && (result.Keys != 4 || len(out) != 2) {
				t.Errorf("limit %d: %v, %+v, %d entries", limit, err, result, len(out))
			}
			if err != nil && !strings.Contains(errs.Message(err), "ozone.om.snapshot.diff.max.allowed.keys.changed.per.job") {
				t.Errorf("limit %d: %v", limit, errs.Message(err))
			}
		}
	}
}

func TestBadOptions(t *testing.T) {
	r := newRig(t)
	r.use("bucket", "OBS")
	r.must("snapshot s1")
	for what, change := range map[string]func(*delta.Options){
		"no reader": func(o *delta.Options) { o.Reader = nil }, "no sink": func(o *delta.Options) { o.Sink = nil },
		"no bucket": func(o *delta.Options) { o.Bucket = 0 }, "no from": func(o *delta.Options) { o.From = 0 },
		"no to": func(o *delta.Options) { o.To = 0 }, "no layout": func(o *delta.Options) { o.Layout = 0 },
		"no directory": func(o *delta.Options) { o.Dir = "" }, "a type": func(o *delta.Options) { o.Types = []string{"+", "CREATE"} },
	} {
		var out []*o3v1.DiffEntry
		o := r.options(r.d.Store, ask{from: "s1"}, &out)
		change(&o)
		if _, err := delta.Compute(t.Context(), o); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	var out []*o3v1.DiffEntry
	o := r.options(r.d.Store, ask{from: "s1", dir: filepath.Join(t.TempDir(), "is", "made")}, &out)
	if _, err := delta.Compute(t.Context(), o); err != nil {
		t.Error(err)
	}
}

// TestContradictions: rows that cannot be together are reported, not guessed at.
func TestContradictions(t *testing.T) {
	for what, change := range map[string]func(w kv.Batch, bucket ns.ObjectID) error{
		"an object in two places": func(w kv.Batch, b ns.ObjectID) error {
			return put(w, schema.Journal, schema.JournalKey{Bucket: b, Op: 1 << 20, Parent: b, Name: "z"},
				&schemapb.Touch{OldId: 1<<12 + 1, OldSince: 1},
				schema.JournalKey{Bucket: b, Op: 1 << 20, Parent: b, Name: "y"}, &schemapb.Touch{OldId: 1<<12 + 1, OldSince: 1})
		},
		"a directory that is its own parent": func(w kv.Batch, b ns.ObjectID) error {
			return errors.Join(
				put(w, schema.Dirs, schema.DirKey{Bucket: b, Dir: 5}, &schemapb.Dir{Since: 1, ParentId: 6, Name: "x/"},
					schema.DirKey{Bucket: b, Dir: 6}, &schemapb.Dir{Since: 1, ParentId: 5, Name: "y/"}),
				put(w, schema.Journal, schema.JournalKey{Bucket: b, Op: 1 << 20, Parent: 5, Name: "z"}, &schemapb.Touch{OldId: 9, OldSince: 1},
					schema.JournalKey{Bucket: b, Op: 1 << 20, Parent: 5, Name: "y"}, &schemapb.Touch{OldId: 10, OldSince: 1}))
		},
		"a touch that cannot be read": func(w kv.Batch, b ns.ObjectID) error {
			return w.Set(schema.Journal.Key(schema.JournalKey{Bucket: b, Op: 1 << 20, Parent: b, Name: "z"}), []byte{1, 0xff})
		},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t)
			r.use("bucket", "FSO")
			r.must("put a x\nsnapshot s1\nput a y")
			w := r.d.Store.NewBatch()
			if err := errors.Join(change(w, r.id), w.Commit(false)); err != nil {
				t.Fatal(err)
			}
			var out []*o3v1.DiffEntry
			_, err := delta.Compute(t.Context(), r.options(r.d.Store, ask{from: "s1"}, &out))
			if errs.KindOf(err) != errs.Corrupt {
				t.Errorf("%v, %s", err, text(out))
			}
		})
	}
}

func put[K, R any, P schema.Message[R]](w kv.Batch, table *schema.Table[K, R, P], k1 K, r1 P, k2 K, r2 P) error {
	v1, err1 := table.Encode(r1)
	v2, err2 := table.Encode(r2)
	return errors.Join(err1, err2, w.Set(table.Key(k1), v1), w.Set(table.Key(k2), v2))
}

// TestProgress: what Progress hears never goes back within a phase, and ends
// near its total.
func TestProgress(t *testing.T) {
	r := many(t, 2600)
	for _, full := range []bool{false, true} {
		var out []*o3v1.DiffEntry
		o := r.options(r.d.Store, ask{from: "s1", full: full}, &out)
		result, err := delta.Compute(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		o.Rows = result.RowsRead
		seen := map[delta.Phase][2]int64{}
		o.Progress = func(p delta.Phase, done, total int64) {
			if before := seen[p]; done < before[0] || done > total || before[1] != 0 && before[1] != total {
				t.Errorf("%s: %d of %d after %v", p, done, total, before)
			}
			seen[p] = [2]int64{done, total}
		}
		if _, err := delta.Compute(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		for p, s := range seen {
			if s[0] < s[1]/2 || s[1] == 0 && p != delta.SortJoin && p != delta.Ordering {
				t.Errorf("%s stopped at %d of %d", p, s[0], s[1])
			}
		}
		if len(seen) != 5 {
			t.Errorf("heard of %v", seen)
		}
	}
}

// TestFaults: an error of the store is handed on, wherever it comes.
func TestFaults(t *testing.T) {
	r := newRig(t)
	r.use("bucket", "FSO")
	r.must("put a/b x\nput c x\nput d/e x\nsnapshot s1\nmv a/b d/f\nmv c g\nrmdir d/\nput h/i x\nmv g h/c\nput c y")
	for _, full := range []bool{false, true} {
		fault := errors.New("the disk failed")
		for n := 1; ; n++ {
			dir := t.TempDir()
			var out []*o3v1.DiffEntry
			reader := &faulty{Reader: r.d.Store, left: n, err: fault}
			_, err := delta.Compute(t.Context(), r.options(reader, ask{from: "s1", full: full, ordered: true, dir: dir}, &out))
			noFiles(t, dir)
			if reader.left > 0 {
				if err != nil || n < 8 {
					t.Errorf("after %d reads: %v", n, err)
				}
				break
			}
			if !errors.Is(err, fault) {
				t.Errorf("read %d failed, and the diff: %v", n, err)
			}
		}
	}
}

// faulty is a Reader whose read number left fails.
type faulty struct {
	kv.Reader
	left int
	err  error
}

func (f *faulty) Get(key []byte) ([]byte, bool, error) {
	if f.left--; f.left == 0 {
		return nil, false, f.err
	}
	return f.Reader.Get(key)
}

func (f *faulty) Iter(lower, upper []byte) (kv.Iterator, error) {
	if f.left--; f.left == 0 {
		return nil, f.err
	}
	return f.Reader.Iter(lower, upper)
}
