package raftlog

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	pb "go.etcd.io/raft/v3/raftpb"
)

// TestOpeningIsCut: the power fails before any file system call of opening a log
// that is there, and of closing it; whatever of it is left, the log is.
func TestOpeningIsCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	mem := vfs.NewCrashableMem()
	l := open(t, mem)
	if err := l.Bootstrap([]byte("conf")); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(20) {
		if err := l.Write(Write{Entries: []*pb.Entry{entry(2+i, 1, fmt.Sprint(i))}, Hard: hard(1, 7, 1+i), Sync: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // Pebble cleans up on a goroutine of its own
	var left []*vfs.MemFS
	var calls []string
	watched := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			for _, percent := range []int{0, 30, 50, 50, 50, 50, 50, 50, 50, 50, 70, 100} { // what is left differs from time to time
				left = append(left, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
				calls = append(calls, fmt.Sprintf("before %v, %d %% of what was not synced", op, percent))
			}
		}
		return nil
	}))
	l, err := Open(Options{FS: watched, Dir: "a/log", NodeID: 7})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for i, fs := range left {
		l, err := Open(Options{FS: fs, Dir: "a/log", NodeID: 7})
		if err != nil {
			t.Errorf("%s: %v", calls[i], err)
			continue
		}
		if last, _ := l.LastIndex(); last != 21 || l.HardState().GetCommit() != 20 {
			t.Errorf("%s: the log ends at %d, committed %d", calls[i], last, l.HardState().GetCommit())
		}
		if err := l.Close(); err != nil {
			t.Errorf("%s: %v", calls[i], err)
		}
	}
	if len(left) < 30 {
		t.Errorf("%d cuts", len(left))
	}
}
