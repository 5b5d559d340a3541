package overlay_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/kv/kvtest"
	"o3/internal/kv/memkv"
	"o3/internal/kv/overlay"
)

// baseOf returns a store with rows "k=v k=v".
func baseOf(t testing.TB, rows string) *memkv.Store {
	t.Helper()
	s := new(memkv.Store)
	b := s.NewBatch()
	for _, row := range strings.Fields(rows) {
		k, v, _ := strings.Cut(row, "=")
		if err := b.Set([]byte(k), []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	return s
}

// changes returns the net difference as "+k=v", "-k=old", "k=old>new".
func changes(t testing.TB, o *overlay.Overlay) string {
	t.Helper()
	var out []string
	err := o.Changes(func(k, old []byte, oldOK bool, v []byte, ok bool) error {
		switch {
		case oldOK && ok:
			out = append(out, fmt.Sprintf("%s=%s>%s", k, old, v))
		case ok:
			out = append(out, fmt.Sprintf("+%s=%s", k, v))
		case oldOK:
			out = append(out, fmt.Sprintf("-%s=%s", k, old))
		default:
			t.Errorf("%q was absent and is absent", k)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func do(t testing.TB, o *overlay.Overlay, steps string) {
	t.Helper()
	for _, step := range strings.Fields(steps) {
		var err error
		if k, ok := strings.CutPrefix(step, "-"); ok {
			err = o.Delete([]byte(k))
		} else {
			k, v, _ := strings.Cut(step, "=")
			err = o.Set([]byte(k), []byte(v))
		}
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
}

func TestChangesAreNet(t *testing.T) {
	for _, c := range []struct{ base, steps, want string }{
		{"", "", ""},
		{"", "b=2 a=1", "+a=1 +b=2"},
		{"", "a=1 -a", ""},
		{"", "-a", ""},
		{"a=1", "-a", "-a=1"},
		{"a=1", "a=2", "a=1>2"},
		{"a=1", "a=1", ""},
		{"a=1", "a=2 a=1", ""},
		{"a=1", "-a a=1", ""},
		{"a=1", "-a a=3", "a=1>3"},
		{"a=", "-a", "-a="},
		{"a=", "a=", ""},
		{"", "a=", "+a="},
		{"b=1 d=1", "e=5 c=3 -d b=2", "b=1>2 +c=3 -d=1 +e=5"},
	} {
		o := overlay.New(baseOf(t, c.base))
		do(t, o, c.steps)
		if got := changes(t, o); got != c.want {
			t.Errorf("base %q, %q: changes %q, want %q", c.base, c.steps, got, c.want)
		}
		if again := changes(t, o); again != c.want {
			t.Errorf("base %q, %q: a second look gave %q", c.base, c.steps, again)
		}
	}
}

func TestReadsOwnWrites(t *testing.T) {
	o := overlay.New(baseOf(t, "a=1 b=2 c=3"))
	want := func(k, v string) {
		t.Helper()
		got, ok, err := o.Get([]byte(k))
		if err != nil || ok != (v != "-") || ok && string(got) != v {
			t.Errorf("get %s = %q %v %v, want %q", k, got, ok, err, v)
		}
	}
	want("a", "1")
	do(t, o, "a=9 -b d=4")
	want("a", "9")
	want("b", "-")
	want("c", "3")
	want("d", "4")
	want("e", "-")
	do(t, o, "b=5 -d")
	want("b", "5")
	want("d", "-")
	o.Reset(baseOf(t, "b=7"))
	want("a", "-")
	want("b", "7")
	if got := changes(t, o); got != "" {
		t.Errorf("changes after a reset: %q", got)
	}
}

func TestEmptyKeyIsRefused(t *testing.T) {
	o := overlay.New(new(memkv.Store))
	if err := o.Set(nil, nil); errs.KindOf(err) != errs.Invalid {
		t.Error(err)
	}
	if err := o.Delete(nil); errs.KindOf(err) != errs.Invalid {
		t.Error(err)
	}
	if _, ok, err := o.Get(nil); ok || err != nil {
		t.Error(ok, err)
	}
}

func TestLen(t *testing.T) {
	o := overlay.New(baseOf(t, "key=12345"))
	for _, c := range []struct {
		step string
		want int
	}{{"key=1", 4}, {"key=12345678", 11}, {"-key", 3}, {"k2=", 5}, {"key=1", 6}} {
		do(t, o, c.step)
		if o.Len() != c.want {
			t.Errorf("after %s: %d bytes, want %d", c.step, o.Len(), c.want)
		}
	}
}

// counted counts reads of a base, and fails them when err is set.
type counted struct {
	kv.Reader
	gets int
	err  error
}

func (c *counted) Get(key []byte) ([]byte, bool, error) {
	c.gets++
	if c.err != nil {
		return nil, false, c.err
	}
	return c.Reader.Get(key)
}

func TestBaseIsReadOncePerKey(t *testing.T) {
	base := &counted{Reader: baseOf(t, "a=1 b=2")}
	o := overlay.New(base)
	for range 3 {
		for _, k := range []string{"a", "b", "c"} {
			if _, _, err := o.Get([]byte(k)); err != nil {
				t.Fatal(err)
			}
		}
	}
	do(t, o, "a=2 c=3 d=4 -b")
	if base.gets != 3 {
		t.Errorf("%d reads before Changes, want 3", base.gets)
	}
	if got := changes(t, o); got != "a=1>2 -b=2 +c=3 +d=4" {
		t.Error(got)
	}
	if base.gets != 4 { // d was written without a look
		t.Errorf("%d reads, want 4", base.gets)
	}
}

func TestBaseErrors(t *testing.T) {
	boom := errors.New("boom")
	base := &counted{Reader: baseOf(t, "a=1"), err: boom}
	o := overlay.New(base)
	if _, _, err := o.Get([]byte("a")); !errors.Is(err, boom) {
		t.Errorf("get: %v", err)
	}
	do(t, o, "a=2")
	if err := o.Changes(nil); !errors.Is(err, boom) {
		t.Errorf("changes: %v", err)
	}
	base.err = nil // what failed is tried again, not remembered as absent
	if got := changes(t, o); got != "a=1>2" {
		t.Errorf("changes %q", got)
	}
	stop := errors.New("stop")
	if err := o.Changes(func(_, _ []byte, _ bool, _ []byte, _ bool) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of yield: %v", err)
	}
}

// appending is a base that offers AppendGet.
type appending struct{ kv.Reader }

func (a appending) AppendGet(dst, key []byte) ([]byte, bool, error) {
	v, ok, err := a.Get(key)
	return append(dst, v...), ok, err
}

// asStore lets the contract of kv run on an overlay as a reader: its batches
// are committed into the overlay.
type asStore struct {
	base *memkv.Store
	*overlay.Overlay
}

// TestAgainstModel makes random reads, writes, walks and resets.
func TestAgainstModel(t *testing.T) {
	seed := kvtest.Seed(t)
	for round := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, round))
		store := new(memkv.Store)
		var base kv.Reader = store
		if round%2 == 0 {
			base = appending{store}
		}
		m := &model{t: t, rng: rng, s: asStore{store, overlay.New(base)}, base: map[string]string{}}
		m.rows = maps.Clone(m.base)
		for range 300 {
			m.step(base)
		}
	}
}

type model struct {
	t          *testing.T
	rng        *rand.Rand
	s          asStore
	base, rows map[string]string
}

func (m *model) key() string { return fmt.Sprintf("%c%d", 'a'+m.rng.IntN(3), m.rng.IntN(12)) }

func (m *model) step(base kv.Reader) {
	switch p := m.rng.IntN(100); {
	case p < 35:
		k, v := m.key(), strings.Repeat("v", m.rng.IntN(5))+fmt.Sprint(m.rng.IntN(3))
		if m.rng.IntN(200) == 0 {
			v = strings.Repeat("long", 20_000)
		}
		do(m.t, m.s.Overlay, k+"="+v)
		m.rows[k] = v
	case p < 50:
		k := m.key()
		do(m.t, m.s.Overlay, "-"+k)
		delete(m.rows, k)
	case p < 75:
		k := m.key()
		v, ok, err := m.s.Get([]byte(k))
		if want, wantOK := m.rows[k]; err != nil || ok != wantOK || string(v) != want {
			m.t.Fatalf("get %s = %q %v %v, want %q %v", k, v, ok, err, want, wantOK)
		}
	case p < 95:
		m.walk()
	default:
		m.commit(base)
	}
}

// commit checks the net changes, moves them to the base and starts again.
func (m *model) commit(base kv.Reader) {
	b := m.s.base.NewBatch()
	last := ""
	err := m.s.Changes(func(k, old []byte, oldOK bool, v []byte, ok bool) error {
		key := string(k)
		was, wasOK := m.base[key]
		is, isOK := m.rows[key]
		if key <= last || string(old) != was || oldOK != wasOK || string(v) != is || ok != isOK || (was == is && wasOK == isOK) {
			m.t.Fatalf("change of %q: %q %v > %q %v, want %q %v > %q %v", k, old, oldOK, v, ok, was, wasOK, is, isOK)
		}
		last = key
		if !ok {
			return b.Delete(k)
		}
		return b.Set(k, v)
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if err := b.Commit(false); err != nil {
		m.t.Fatal(err)
	}
	m.s.Reset(base)
	m.base = maps.Clone(m.rows)
	it, err := m.s.base.Iter(nil, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if n != len(m.rows) {
		m.t.Fatalf("%d rows in the base after the changes, want %d", n, len(m.rows))
	}
}

// walk opens an iterator, writes a little, and checks that the iterator does
// not see it.
func (m *model) walk() {
	var lower, upper string
	if m.rng.IntN(2) == 0 {
		lower = m.key()
	}
	if m.rng.IntN(2) == 0 {
		upper = m.key()
	}
	rows := maps.Clone(m.rows)
	keys := slices.Sorted(maps.Keys(rows))
	keys = keys[sort.SearchStrings(keys, lower):]
	if upper != "" {
		keys = keys[:sort.SearchStrings(keys, upper)]
	}
	it, err := m.s.Iter([]byte(lower), []byte(upper))
	if err != nil {
		m.t.Fatal(err)
	}
	defer it.Close()
	at := -1
	for range 25 {
		k := m.key()
		valid := at >= 0 && at < len(keys)
		step := m.rng.IntN(9)
		switch step {
		case 0:
			at = 0
			it.First()
		case 1:
			at = len(keys) - 1
			it.Last()
		case 2:
			at = sort.SearchStrings(keys, k)
			it.SeekGE([]byte(k))
		case 3:
			at = sort.SearchStrings(keys, k) - 1
			it.SeekLT([]byte(k))
		case 4, 5:
			it.Next()
			if at++; !valid {
				at = -1
			}
		case 6, 7:
			it.Prev()
			if at--; !valid {
				at = -1
			}
		default:
			do(m.t, m.s.Overlay, k+"=later")
			m.rows[k] = "later"
		}
		valid = at >= 0 && at < len(keys)
		if it.Valid() != valid || it.Err() != nil {
			m.t.Fatalf("step %d to %q: valid %v, want %v of %v", step, k, it.Valid(), valid, keys)
		}
		if !valid {
			continue
		}
		v, err := it.Value()
		if string(it.Key()) != keys[at] || string(v) != rows[keys[at]] || err != nil {
			m.t.Fatalf("step %d to %q: at %q=%q, want %q=%q", step, k, it.Key(), v, keys[at], rows[keys[at]])
		}
	}
}

// FuzzChanges: applying the changes to the base gives what the overlay shows.
func FuzzChanges(f *testing.F) {
	f.Add([]byte("abc"), []byte("aBcD"))
	f.Add([]byte{}, []byte{0, 255, 7})
	f.Fuzz(func(t *testing.T, base, ops []byte) {
		store := new(memkv.Store)
		b := store.NewBatch()
		for i, c := range base {
			if err := b.Set([]byte{c}, []byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
		o := overlay.New(store)
		for i, c := range ops {
			key := []byte{c &^ 3}
			var err error
			switch c & 3 {
			case 0:
				err = o.Delete(key)
			case 1:
				_, _, err = o.Get(key)
			default:
				err = o.Set(key, bytes.Repeat([]byte{c}, i%3))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		shown := rowsOf(t, o)
		b = store.NewBatch()
		if err := o.Changes(func(k, _ []byte, _ bool, v []byte, ok bool) error {
			if !ok {
				return b.Delete(k)
			}
			return b.Set(k, v)
		}); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
		if got := rowsOf(t, store); got != shown {
			t.Fatalf("the base became %q, the overlay showed %q", got, shown)
		}
	})
}

func rowsOf(t *testing.T, r kv.Reader) string {
	it, err := r.Iter(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	var out strings.Builder
	for ok := it.First(); ok; ok = it.Next() {
		v, _ := it.Value()
		fmt.Fprintf(&out, "%x=%x ", it.Key(), v)
	}
	return out.String()
}

// BenchmarkBatch is what apply does: 1,000 puts, each of which looks for its
// row, writes it, and changes one of ten counters; then the changes.
func BenchmarkBatch(b *testing.B) {
	b.ReportAllocs()
	o := overlay.New(new(memkv.Store))
	base := new(memkv.Store)
	var k, v []byte
	counter := []byte("counter-0")
	n, puts := uint64(0), 0
	for b.Loop() {
		n++
		k, v = kvtest.Key(k, n), kvtest.Value(v, 1)
		if _, _, err := o.Get(k); err != nil {
			b.Fatal(err)
		}
		if err := o.Set(k, v); err != nil {
			b.Fatal(err)
		}
		counter[8] = '0' + byte(n%10)
		if _, _, err := o.Get(counter); err != nil {
			b.Fatal(err)
		}
		if err := o.Set(counter, v[:16]); err != nil {
			b.Fatal(err)
		}
		if puts++; puts == 1000 {
			if err := o.Changes(func(_, _ []byte, _ bool, _ []byte, _ bool) error { return nil }); err != nil {
				b.Fatal(err)
			}
			o.Reset(base)
			puts = 0
		}
	}
}

// BenchmarkGetCached is a second look at a row.
func BenchmarkGetCached(b *testing.B) {
	b.ReportAllocs()
	o := overlay.New(baseOf(b, "a=1 b=2"))
	k := []byte("a")
	for b.Loop() {
		if _, ok, err := o.Get(k); !ok || err != nil {
			b.Fatal(err)
		}
	}
}
