package lifecycle_test

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/lifecycle"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// TestRestarts: a scan of a large bucket whose service is restarted again and again
// reaches its end, and looks at hardly more rows than there are.
func TestRestarts(t *testing.T) {
	n := 40_000
	if os.Getenv("O3_NIGHTLY") != "" {
		n = 5_000_000
	}
	synctest.Test(t, func(t *testing.T) {
		save := n / 1000
		r := newRig(t, lifecycle.Options{SaveRows: uint64(save), TrashKeep: -1})
		b := r.row("flat").ID()
		for from := 0; from < n; from += 10_000 { // past the log: for a scan that changes none of them
			batch := r.store.NewBatch()
			for i := from; i < min(n, from+10_000); i++ {
				row, err := schema.Entries.Encode(&schemapb.Entry{
					Kind: o3v1.EntryKind_ENTRY_KIND_KEY, ObjectId: uint64(1<<40 + i), Since: 1, ModifiedMs: 946684800000, Size: 1,
				})
				r.ok(err)
				r.ok(batch.Set(schema.Entries.Key(schema.EntryKey{Bucket: b, Parent: b, Name: fmt.Sprintf("k%08d", i)}), row))
			}
			r.ok(batch.Commit(false))
		}
		r.rules("flat", age("far off", "", 10_000))
		restarts, next := 0, 30*save
		looked := r.o.Listener.Looked
		r.o.Listener.Looked = func(rows, dirs, uploads int) {
			looked(rows, dirs, uploads)
			if r.looked >= next {
				next += 30*save + restarts%7*save/7 // anywhere between two saves
				r.stop()
			}
		}
		r.start()
		for !r.finished("flat") {
			select {
			case <-r.done:
				restarts++
				r.start()
			case <-time.After(10 * time.Millisecond):
			}
		}
		r.end()
		row := r.state("flat")
		if restarts < 25 || r.looked < n || float64(r.looked) > 1.05*float64(n) {
			t.Errorf("%d restarts, %d rows looked at of %d", restarts, r.looked, n)
		}
		if int(row.ScannedRows) < n || r.began != 1 {
			t.Errorf("%d scans began; %v", r.began, row)
		}
		t.Logf("%d restarts, %d rows looked at of %d, %d commands", restarts, r.looked, n, row.Sequence)
	})
}
