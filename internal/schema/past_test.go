package schema

import (
	"testing"

	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

// batch makes a table's Put of a batch, which has no reads.
type batch struct {
	kv.Reader
	kv.Batch
}

// filled returns a store that f filled.
func filled(t *testing.T, f func(Writer) error) *memkv.Store {
	t.Helper()
	s := new(memkv.Store)
	b := s.NewBatch()
	defer b.Close()
	if err := f(batch{Batch: b}); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAt: a slot with rows that lived from 3 to 5, from 5 to 9, from 12 to 20,
// and one that lives since 20; its neighbours are not taken for it.
func TestAt(t *testing.T) {
	slot, dir := EntryKey{1, 2, "k"}, DirKey{1, 7}
	past := []struct{ since, until uint64 }{{3, 5}, {5, 9}, {12, 20}}
	s := filled(t, func(w Writer) error {
		for _, k := range []EntryKey{{1, 2, "j"}, {1, 2, "k\x00"}, {1, 2, "k/"}, {1, 3, "k"}, {2, 2, "k"}} {
			if err := History.Put(w, HistoryKey{k, 1000}, &schemapb.Entry{Since: 1}); err != nil {
				return err
			}
		}
		for _, k := range []DirKey{{1, 6}, {1, 8}, {2, 7}} {
			if err := DirHistory.Put(w, DirHistoryKey{k, 1000}, &schemapb.Dir{Since: 1}); err != nil {
				return err
			}
		}
		for _, p := range past {
			if err := History.Put(w, HistoryKey{slot, ns.Op(p.until)}, &schemapb.Entry{Since: p.since}); err != nil {
				return err
			}
			if err := DirHistory.Put(w, DirHistoryKey{dir, ns.Op(p.until)}, &schemapb.Dir{Since: p.since}); err != nil {
				return err
			}
		}
		if err := Dirs.Put(w, dir, &schemapb.Dir{Since: 20}); err != nil {
			return err
		}
		return Entries.Put(w, slot, &schemapb.Entry{Since: 20})
	})
	for at, since := range map[ns.Op]uint64{
		1: 0, 2: 0, 3: 3, 4: 3, 5: 5, 8: 5, 9: 0, 11: 0, 12: 12, 19: 12, 20: 20, 21: 20, Live - 1: 20, Live: 20,
	} {
		e, ok, err := EntryAt(s, slot, at)
		if err != nil || ok != (since > 0) || e.GetSince() != since {
			t.Errorf("the entry at %d: %v, %v, %v", at, e, ok, err)
		}
		d, ok, err := DirAt(s, dir, at)
		if err != nil || ok != (since > 0) || d.GetSince() != since {
			t.Errorf("the directory at %d: %v, %v, %v", at, d, ok, err)
		}
	}
	b := s.NewBatch()
	defer b.Close()
	_ = b.Set(History.Key(HistoryKey{slot, 9}), []byte{1, 0xff})
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	if _, _, err := EntryAt(s, slot, 6); errs.KindOf(err) != errs.Corrupt {
		t.Errorf("a damaged row: %v", err)
	}
	if e, ok, err := EntryAt(s, slot, 12); !ok || err != nil || e.Since != 12 {
		t.Errorf("beside it: %v, %v", e, err)
	}
}

// TestNeighbours: the live snapshots before and from an op on, of one bucket.
func TestNeighbours(t *testing.T) {
	s := filled(t, func(w Writer) error {
		for _, k := range []SnapshotKey{{1, 4}, {1, 9}, {2, 6}} {
			if err := Snapshots.Put(w, k, &schemapb.Snapshot{}); err != nil {
				return err
			}
		}
		return Reclaims.Put(w, SnapshotKey{1, 7}, &schemapb.Reclaim{}) // not live
	})
	for _, c := range []struct{ bucket, op, before, from uint64 }{
		{1, 0, 0, 4}, {1, 4, 0, 4}, {1, 5, 4, 9}, {1, 9, 4, 9}, {1, 10, 9, 0}, {1, uint64(Live), 9, 0},
		{2, 6, 0, 6}, {2, 7, 6, 0}, {3, 1, 0, 0}, {0, 100, 0, 0},
	} {
		before, err := SnapshotBefore(s, ns.ObjectID(c.bucket), ns.Op(c.op))
		if err != nil || before != ns.Op(c.before) {
			t.Errorf("%+v: before it is %d, %v", c, before, err)
		}
		from, err := SnapshotFrom(s, ns.ObjectID(c.bucket), ns.Op(c.op))
		if err != nil || from != ns.Op(c.from) {
			t.Errorf("%+v: from it on is %d, %v", c, from, err)
		}
	}
}
