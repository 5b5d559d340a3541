package container

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/block"
	"o3/internal/block/blocktest"
	"o3/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// open opens a store of which the test decides the rest.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestContractOnDisk(t *testing.T) {
	blocktest.Run(t, func(t testing.TB) block.Store {
		return open(t, Options{Dir: t.TempDir(), Reserve: -1, ContainerSize: 4 << 20})
	})
}

// BenchmarkProbe is what the disk can do: one write of 4 KiB (1 MiB) and one
// fdatasync, again and again, on one file.
func BenchmarkProbe(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			f, err := vfs.Default.OpenReadWrite(b.TempDir()+"/probe", vfs.WriteCategoryUnspecified)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			data := blocktest.Data(1, size)
			b.SetBytes(int64(size))
			at := int64(0)
			for b.Loop() {
				if _, err := f.WriteAt(data, at); err != nil {
					b.Fatal(err)
				}
				if err := f.SyncData(); err != nil {
					b.Fatal(err)
				}
				at += int64(size)
			}
		})
	}
}

func BenchmarkStore(b *testing.B) {
	blocktest.Bench(b, func(t testing.TB) block.Store {
		return open(t, Options{Dir: t.TempDir(), Reserve: -1})
	})
}
