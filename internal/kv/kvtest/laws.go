package kvtest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"o3/internal/errs"
	"o3/internal/kv"
)

var pointLaws = []law{
	{"EmptyStore", func(t *testing.T, s kv.Store) {
		wantGet(t, s, "a", "-")
		wantScan(t, s, "")
		d := durable(t, s)
		wantScan(t, d, "")
		closeAll(t, d)
	}},
	{"SetGetDelete", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "1"), put("b", "2"))
		wantGet(t, s, "a", "1")
		wantGet(t, s, "b", "2")
		wantGet(t, s, "ab", "-")
		commit(t, s, put("a", "3"), del("b"), del("never there"))
		wantGet(t, s, "a", "3")
		wantGet(t, s, "b", "-")
		wantScan(t, s, "a=3")
		commit(t, s, put("b", "4"))
		wantScan(t, s, "a=3 b=4")
	}},
	{"EmptyValueIsPresent", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", ""))
		wantGet(t, s, "a", "")
		wantScan(t, s, "a=")
	}},
	{"EmptyKeyIsRefused", func(t *testing.T, s kv.Store) {
		b := s.NewBatch()
		if err := b.Set(nil, []byte("v")); errs.KindOf(err) != errs.Invalid {
			t.Errorf("set of the empty key: %v", err)
		}
		if err := b.Delete(nil); errs.KindOf(err) != errs.Invalid {
			t.Errorf("delete of the empty key: %v", err)
		}
		closeAll(t, b)
		wantGet(t, s, "", "-")
	}},
	{"TooLargeIsRefused", func(t *testing.T, s kv.Store) {
		huge := make([]byte, 1<<30+1) // never touched: no memory is used
		b := s.NewBatch()
		if err := b.Set([]byte("k"), huge); errs.KindOf(err) != errs.TooLarge {
			t.Errorf("value above 1 GiB: %v", err)
		}
		if err := b.Set(huge, nil); errs.KindOf(err) != errs.TooLarge {
			t.Errorf("key above 1 GiB: %v", err)
		}
		if b.Len() != 0 {
			t.Errorf("refused writes count %d bytes", b.Len())
		}
		closeAll(t, b)
	}},
	{"KeysAreBytes", func(t *testing.T, s kv.Store) {
		keys := []string{"\x00", "\x00\x00", "\x00\xff", "a", "a\x00", "a\x00b", "aa", "\x80", "\xff", "\xff\xff"}
		for i, k := range keys {
			commit(t, s, put(k, fmt.Sprint(i)))
		}
		for i, k := range keys {
			wantGet(t, s, k, fmt.Sprint(i))
		}
		it := iter(t, s, "", "")
		n := 0
		for ok := it.First(); ok; ok = it.Next() {
			if string(it.Key()) != keys[n] {
				t.Fatalf("key %d is %q, want %q", n, it.Key(), keys[n])
			}
			n++
		}
		if n != len(keys) {
			t.Fatalf("%d keys, want %d", n, len(keys))
		}
		closeIter(t, it)
	}},
	{"LongKeysAndValues", func(t *testing.T, s kv.Store) {
		long := strings.Repeat("k", 100_000)
		big := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
		commit(t, s, put(long+"1", "one"), put(long+"2", big), put(long, "zero"))
		check := func() {
			wantGet(t, s, long, "zero")
			wantGet(t, s, long+"1", "one")
			wantGet(t, s, long+"2", big)
			wantGet(t, s, long+"3", "-")
		}
		check()
		flush(t, s)
		check()
		it := iter(t, s, long+"1", "")
		if !it.First() || string(it.Key()) != long+"1" || !it.Next() || string(value(t, it)) != big || it.Next() {
			t.Error("scan of long keys is wrong")
		}
		closeIter(t, it)
	}},
	{"ArgumentsAreCopied", func(t *testing.T, s kv.Store) {
		k, v := []byte("key"), []byte("value")
		b := s.NewBatch()
		if err := b.Set(k, v); err != nil {
			t.Fatal(err)
		}
		copy(k, "xxx")
		copy(v, "xxxxx")
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
		closeAll(t, b)
		wantScan(t, s, "key=value")
	}},
	{"ResultsAreCopies", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "value"))
		for range 2 {
			v, _, err := s.Get([]byte("a"))
			if err != nil || string(v) != "value" {
				t.Fatalf("%q, %v", v, err)
			}
			clear(v)
		}
		snap := s.Snapshot()
		v, _, err := snap.Get([]byte("a"))
		closeAll(t, snap)
		commit(t, s, put("a", "other"))
		flush(t, s)
		if err != nil || string(v) != "value" {
			t.Fatalf("the value changed after the snapshot closed: %q, %v", v, err)
		}
	}},
	{"BoundsAreCopied", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "1"), put("b", "2"), put("c", "3"))
		lower, upper := []byte("b"), []byte("c")
		it, err := s.Iter(lower, upper)
		if err != nil {
			t.Fatal(err)
		}
		lower[0], upper[0] = 'a', 'z'
		if !it.First() || string(it.Key()) != "b" || it.Next() {
			t.Error("the iterator kept the caller's bounds")
		}
		closeIter(t, it)
	}},
	{"ConcurrentUse", concurrentUse},
}

// concurrentUse has one writer keep two rows equal, while readers look.
func concurrentUse(t *testing.T, s kv.Store) {
	commit(t, s, put("x", "0"), put("y", "0"))
	done := make(chan struct{})
	var g sync.WaitGroup
	for range 3 {
		g.Go(func() {
			for last := ""; ; {
				select {
				case <-done:
					return
				default:
				}
				snap := s.Snapshot()
				x, _, err1 := snap.Get([]byte("x"))
				y, _, err2 := snap.Get([]byte("y"))
				if err1 != nil || err2 != nil || !bytes.Equal(x, y) {
					t.Errorf("x=%q y=%q: %v %v", x, y, err1, err2)
				}
				if err := snap.Close(); err != nil {
					t.Error(err)
				}
				z, _, err := s.Get([]byte("y"))
				if now := fmt.Sprintf("%9s", z); err != nil || now < last || now < fmt.Sprintf("%9s", y) {
					t.Errorf("read %q after %q and %q: %v", z, y, last, err)
				} else {
					last = now
				}
			}
		})
	}
	for i := 1; i <= 300; i++ {
		v := fmt.Sprint(i)
		commit(t, s, put("x", v), put("y", v))
		wantGet(t, s, "x", v)
		if i%100 == 0 {
			flush(t, s)
		}
	}
	close(done)
	g.Wait()
}

var batchLaws = []law{
	{"NothingBeforeCommit", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "1"))
		b := s.NewBatch()
		fill(t, b, put("a", "2"), put("b", "2"))
		wantScan(t, s, "a=1")
		closeAll(t, b)
		wantScan(t, s, "a=1")
	}},
	{"LastWriteOfABatchWins", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "1"), put("a", "2"), put("b", "1"), del("b"), del("c"), put("c", "3"))
		wantScan(t, s, "a=2 c=3")
	}},
	{"EmptyBatch", func(t *testing.T, s kv.Store) {
		commit(t, s)
		wantScan(t, s, "")
	}},
	{"Len", func(t *testing.T, s kv.Store) {
		b := s.NewBatch()
		if b.Len() != 0 {
			t.Errorf("a new batch has %d bytes", b.Len())
		}
		fill(t, b, put("abc", "12345"))
		first := b.Len()
		if first < 8 {
			t.Errorf("%d bytes after 8", first)
		}
		fill(t, b, del("abcd"))
		if b.Len() < first+4 {
			t.Errorf("%d bytes after %d and a key of 4", b.Len(), first)
		}
		closeAll(t, b)
	}},
	{"ACommittedBatchIsSpent", func(t *testing.T, s kv.Store) {
		b := s.NewBatch()
		fill(t, b, put("a", "1"))
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
		if b.Set([]byte("b"), nil) == nil || b.Delete([]byte("a")) == nil || b.Commit(false) == nil {
			t.Error("a committed batch was used again")
		}
		closeAll(t, b, b)
		if b.Set([]byte("b"), nil) == nil || b.Commit(false) == nil {
			t.Error("a closed batch was used")
		}
		wantScan(t, s, "a=1")
	}},
	{"SyncIsDoneOrRefused", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "1"))
		b := s.NewBatch()
		fill(t, b, put("a", "2"))
		switch err := b.Commit(true); {
		case err == nil:
			wantScan(t, s, "a=2")
		case errs.KindOf(err) == errs.Invalid:
			wantScan(t, s, "a=1")
		default:
			t.Errorf("commit with sync: %v", err)
		}
		closeAll(t, b)
	}},
	{"ManyRows", func(t *testing.T, s kv.Store) {
		const n = 20_000
		b := s.NewBatch()
		for i := range n {
			if err := b.Set(fmt.Appendf(nil, "%08d", i*7919%n), fmt.Appendf(nil, "v%d", i*7919%n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
		closeAll(t, b)
		it := iter(t, s, "", "")
		i := 0
		for ok := it.First(); ok; ok = it.Next() {
			if string(it.Key()) != fmt.Sprintf("%08d", i) || string(value(t, it)) != fmt.Sprintf("v%d", i) {
				t.Fatalf("row %d is %q", i, it.Key())
			}
			i++
		}
		closeIter(t, it)
		if i != n {
			t.Fatalf("%d rows, want %d", i, n)
		}
	}},
}

func fill(t testing.TB, b kv.Batch, rows ...write) {
	t.Helper()
	for _, w := range rows {
		if err := w.into(b); err != nil {
			t.Fatal(err)
		}
	}
}

func flush(t testing.TB, s kv.Store) {
	t.Helper()
	if err := s.Flush(); err != nil {
		t.Fatalf("flush: %v", err)
	}
}
