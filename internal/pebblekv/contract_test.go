package pebblekv

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/kv/kvtest"
	"o3/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// small is a store in memory that flushes and compacts often.
func small(o Options) Options {
	o.Dir = "/store"
	if o.FS == nil {
		o.FS = vfs.NewMem()
	}
	o.MemTableBytes = 256 << 10
	o.CacheBytes = 1 << 20
	return o
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	for name, o := range map[string]Options{"WAL": {}, "NoWAL": {DisableWAL: true}} {
		t.Run(name, func(t *testing.T) {
			kvtest.Run(t, func(t *testing.T) kv.Store { return open(t, small(o)) })
		})
	}
}

// TestContractOnDisk uses the real file system once.
func TestContractOnDisk(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Store {
		return open(t, Options{Dir: t.TempDir(), DisableWAL: true, CacheBytes: 1 << 20})
	})
}

func TestSyncWithoutLogIsRefused(t *testing.T) {
	s := open(t, small(Options{DisableWAL: true}))
	defer s.Close()
	b := s.NewBatch()
	defer b.Close()
	if err := b.Set([]byte("a"), nil); err != nil {
		t.Fatal(err)
	}
	err := b.Commit(true)
	if errs.KindOf(err) != errs.Invalid {
		t.Fatal(err)
	}
	if want := "pebblekv.Commit: invalid: /store: the store has no write-ahead log: commit without sync, then flush"; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if err := b.Commit(false); err != nil { // the batch is still good
		t.Error(err)
	}
}
