package kvtest

import (
	"testing"

	"o3/internal/kv"
)

// timeLaws are about snapshots and durability.
var timeLaws = []law{
	{"SnapshotIsFixed", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "1"), put("b", "1"))
		one := s.Snapshot()
		commit(t, s, put("a", "2"), del("b"), put("c", "2"))
		two := s.Snapshot()
		commit(t, s, del("a"))
		for range 2 { // before and after the rows leave memory
			wantScan(t, one, "a=1 b=1")
			wantGet(t, one, "a", "1")
			wantGet(t, one, "b", "1")
			wantGet(t, one, "c", "-")
			wantScan(t, two, "a=2 c=2")
			wantGet(t, two, "a", "2")
			wantGet(t, two, "b", "-")
			wantScan(t, s, "c=2")
			flush(t, s)
		}
		closeAll(t, one)
		wantScan(t, two, "a=2 c=2")
		closeAll(t, two)
	}},
	{"FlushMakesDurable", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "1"))
		flush(t, s)
		d := durable(t, s)
		wantScan(t, d, "a=1")
		wantGet(t, d, "a", "1")
		wantGet(t, d, "b", "-")
		commit(t, s, put("a", "2"), put("b", "2"))
		flush(t, s)
		wantScan(t, d, "a=1")
		wantGet(t, d, "b", "-")
		later := durable(t, s)
		wantScan(t, later, "a=2 b=2")
		wantGet(t, later, "b", "2")
		closeAll(t, d, later)
		flush(t, s) // nothing to do
	}},
	{"DurableIsNeverNewerAndNeverGoesBack", func(t *testing.T, s kv.Store) {
		states := []string{"", "a=1", "a=1 b=2", "b=2"}
		last := 0
		look := func(latest int) {
			t.Helper()
			d := durable(t, s)
			got := scan(t, d, "", "")
			closeAll(t, d)
			for n, state := range states {
				if got != state {
					continue
				}
				if n > latest || n < last {
					t.Fatalf("durable is state %d; latest is %d, durable was %d", n, latest, last)
				}
				last = n
				return
			}
			t.Fatalf("durable %q never was", got)
		}
		look(0)
		commit(t, s, put("a", "1"))
		look(1)
		commit(t, s, put("b", "2"))
		look(2)
		flush(t, s)
		look(2)
		if last != 2 {
			t.Fatalf("durable is state %d after a flush at 2", last)
		}
		commit(t, s, del("a"))
		look(3)
	}},
}

// closeLaws says what is left of a store, and of what came from it, after
// Close: errors, and no panic.
func closeLaws(t *testing.T, open func(t *testing.T) kv.Store) {
	t.Run("RefusedWhileOthersAreOpen", func(t *testing.T) {
		for name, other := range map[string]func(kv.Store) interface{ Close() error }{
			"iterator": func(s kv.Store) interface{ Close() error } { return iter(t, s, "", "") },
			"snapshot": func(s kv.Store) interface{ Close() error } { return s.Snapshot() },
			"durable":  func(s kv.Store) interface{ Close() error } { return durable(t, s) },
		} {
			s := open(t)
			commit(t, s, put("a", "1"))
			o := other(s)
			if err := s.Close(); err == nil {
				t.Errorf("closed under an open %s", name)
			}
			wantGet(t, s, "a", "1") // and stays open
			closeAll(t, o, s)
		}
	})
	t.Run("ErrorsAfterwards", func(t *testing.T) {
		s := open(t)
		commit(t, s, put("a", "1"))
		b := s.NewBatch()
		fill(t, b, put("b", "1"))
		closeAll(t, s, s)
		if _, _, err := s.Get([]byte("a")); err == nil {
			t.Error("get after close")
		}
		if _, err := s.Iter(nil, nil); err == nil {
			t.Error("iter after close")
		}
		if _, err := s.Durable(); err == nil {
			t.Error("durable after close")
		}
		if s.Flush() == nil {
			t.Error("flush after close")
		}
		if b.Commit(false) == nil {
			t.Error("commit after close")
		}
		closeAll(t, b)
		snap := s.Snapshot()
		if _, _, err := snap.Get([]byte("a")); err == nil {
			t.Error("get from a snapshot of a closed store")
		}
		if _, err := snap.Iter(nil, nil); err == nil {
			t.Error("iter over a snapshot of a closed store")
		}
		late := s.NewBatch()
		_ = late.Set([]byte("a"), nil)
		if late.Commit(false) == nil {
			t.Error("a batch made after close was committed")
		}
		closeAll(t, snap, late)
	})
	snapshotLaws(t, open)
}

// snapshotLaws says what is left of a snapshot after its own Close.
func snapshotLaws(t *testing.T, open func(t *testing.T) kv.Store) {
	t.Run("SnapshotAfterItsClose", func(t *testing.T) {
		s := open(t)
		commit(t, s, put("a", "1"))
		snap := s.Snapshot()
		closeAll(t, snap)
		if _, _, err := snap.Get([]byte("a")); err == nil {
			t.Error("get from a closed snapshot")
		}
		if _, err := snap.Iter(nil, nil); err == nil {
			t.Error("iter over a closed snapshot")
		}
		closeAll(t, s)
	})
	t.Run("IteratorOutlivesItsSnapshot", func(t *testing.T) {
		s := open(t)
		commit(t, s, put("a", "1"), put("b", "1"))
		snap := s.Snapshot()
		it := iter(t, snap, "", "")
		closeAll(t, snap)
		commit(t, s, put("a", "2"), del("b"))
		flush(t, s)
		if got := walk(t, it, "first next next"); got != "a b ." {
			t.Errorf("got %q", got)
		}
		closeIter(t, it)
		closeAll(t, s)
	})
}
