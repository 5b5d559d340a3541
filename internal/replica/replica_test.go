package replica_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/consensus"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv"
	"o3/internal/kv/memkv"
	"o3/internal/pebblekv"
	"o3/internal/replica"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// entry makes the n-th entry of a log: the first gives the membership, the
// second makes a user, each further one a volume.
func entry(n uint64) consensus.Entry {
	e := consensus.Entry{Index: n, Term: 1 + n/10}
	d := fsmtest.Driver{Now: fsmtest.Start + int64(n), Principal: "root"}
	switch n {
	case 1:
		e.Conf = []byte("conf")
	case 2:
		e.Requests = [][]byte{d.Request(&o3v1.CreateUserRequest{User: "root", Role: "admin"}).Encode()}
	default:
		e.Requests = [][]byte{d.Request(&o3v1.CreateVolumeRequest{Volume: fmt.Sprintf("vol%d", n)}).Encode()}
	}
	return e
}

func entries(from, to uint64) (out []consensus.Entry) {
	for n := from; n <= to; n++ {
		out = append(out, entry(n))
	}
	return out
}

// TestFollowHolds: whoever follows the leases on the log hears of each command
// that changes them, once it is applied, and of no other.
func TestFollowHolds(t *testing.T) {
	r, err := replica.Open(new(memkv.Store))
	must(t, err)
	heard := 0
	r.FollowHolds(func() error { heard++; return nil })
	apply := func(n uint64, body proto.Message) {
		t.Helper()
		e := consensus.Entry{Index: n, Term: 1}
		if n == 1 {
			e.Conf = []byte("conf")
		} else {
			d := fsmtest.Driver{Now: fsmtest.Start, Principal: "root"}
			e.Requests = [][]byte{d.Request(body).Encode()}
		}
		_, err := r.Apply([]consensus.Entry{e})
		must(t, err)
	}
	apply(1, nil)
	apply(2, &o3v1.CreateVolumeRequest{Volume: "vol"})
	if heard != 0 {
		t.Errorf("heard %d times of no lease", heard)
	}
	apply(3, &commandpb.HoldLog{Name: "a", Index: 1, UntilMs: fsmtest.Start + 1})
	apply(4, &commandpb.ReleaseLog{Names: []string{"a"}})
	if heard != 2 {
		t.Errorf("heard %d times of two", heard)
	}
	fault := errors.New("planted")
	r.FollowHolds(func() error { return fault })
	_, err = r.Apply([]consensus.Entry{{Index: 5, Term: 1, Requests: [][]byte{
		fsmtest.Request{Body: &commandpb.ReleaseLog{Expired: true}, TimeMs: fsmtest.Start, Principal: "root"}.Encode(),
	}}})
	if !errors.Is(err, fault) {
		t.Errorf("a fault of who follows: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, fs vfs.FS) (*pebblekv.Store, *replica.Replica) {
	t.Helper()
	store, err := pebblekv.Open(pebblekv.Options{Dir: "store", FS: fs, DisableWAL: true, MemTableBytes: 256 << 10, DiskSlowAfter: -1})
	must(t, err)
	r, err := replica.Open(store)
	must(t, err)
	return store, r
}

func TestPositions(t *testing.T) {
	store, r := open(t, vfs.NewMem())
	defer store.Close()
	if p := r.Applied(); p.Index != 0 {
		t.Errorf("an empty store is at %v", p)
	}
	answers, err := r.Apply(entries(1, 3))
	must(t, err)
	if len(answers) != 3 || len(answers[0]) != 0 || len(answers[1]) != 1 || len(answers[2]) != 1 {
		t.Errorf("answers %v", answers)
	}
	if a, err := fsmtest.Decode(&o3v1.CreateVolumeRequest{}, answers[2][0]); err != nil || a.Kind != errs.OK {
		t.Errorf("%v %v", a, err)
	}
	if p := r.Applied(); p.Index != 3 || p.Term != 1 || string(p.Conf) != "conf" {
		t.Errorf("applied %v", p)
	}
	if d, err := r.Durable(); err != nil || d.Index != 0 {
		t.Errorf("durable before a flush: %v %v", d, err)
	}
	must(t, r.Flush())
	if d, err := r.Durable(); err != nil || d.Index != 3 || string(d.Conf) != "conf" {
		t.Errorf("durable after it: %v %v", d, err)
	}
	_, err = r.Apply(entries(5, 5))
	if err == nil {
		t.Error("an entry was left out, and the next one applied")
	}
}

// TestPowerCuts: after a cut with unsynced bytes lost at random the replica is
// at an index between what was said to be durable and what was applied, and
// the rest of the log brings it to the state of one that was never cut.
func TestPowerCuts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	const last = 60
	whole, err := replica.Open(new(memkv.Store))
	must(t, err)
	_, err = whole.Apply(entries(1, last))
	must(t, err)
	for range 25 {
		disk := vfs.NewCrashableMem()
		store, r := open(t, disk)
		next := uint64(1)
		for next <= last {
			to := min(next+rng.Uint64N(9), last)
			_, err := r.Apply(entries(next, to))
			must(t, err)
			next = to + 1
			if rng.IntN(3) == 0 {
				must(t, r.Flush())
			}
			if rng.IntN(4) > 0 && next <= last {
				continue
			}
			applied := r.Applied()
			durable, err := r.Durable()
			must(t, err)
			after := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			must(t, store.Close())
			disk = after
			store, r = open(t, disk)
			if p := r.Applied(); p.Index < durable.Index || p.Index > applied.Index {
				t.Fatalf("at %d after a cut; durable was %d, applied %d", p.Index, durable.Index, applied.Index)
			}
			next = r.Applied().Index + 1
		}
		if a, b := r.Position(), whole.Position(); a.Digest != b.Digest || a.Op != b.Op {
			t.Fatalf("state %+v, never cut it is %+v", a, b)
		}
		must(t, store.Close())
	}
}

// broken is a store whose commits fail.
type broken struct{ kv.Store }

type brokenBatch struct{ kv.Batch }

var errBroken = errors.New("planted")

func (b broken) NewBatch() kv.Batch { return brokenBatch{b.Store.NewBatch()} }

func (brokenBatch) Commit(bool) error { return errBroken }

// TestFailedApply: what could not be committed is not applied for anybody.
func TestFailedApply(t *testing.T) {
	store := new(memkv.Store)
	r, err := replica.Open(store)
	must(t, err)
	_, err = r.Apply(entries(1, 2))
	must(t, err)
	b, err := replica.Open(broken{store})
	must(t, err)
	if _, err := b.Apply(entries(3, 3)); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
	if p := b.Applied(); p.Index != 2 {
		t.Errorf("it says that %d is applied", p.Index)
	}
}

type write struct {
	kv.Reader
	kv.Batch
}

// TestOlderStore: a store of an older format is raised, with all that is in it.
func TestOlderStore(t *testing.T) {
	store := new(memkv.Store)
	r, err := replica.Open(store)
	must(t, err)
	_, err = r.Apply(entries(1, 2))
	must(t, err)
	b := store.NewBatch()
	must(t, schema.Meta.Put(write{Batch: b}, schema.FormatKey, &schemapb.Position{Index: 1}))
	must(t, b.Commit(false))
	must(t, b.Close())
	again, err := replica.Open(store)
	must(t, err)
	if got, want := again.Position(), r.Position(); got.Index != 2 || got.Digest != want.Digest || got.Op != want.Op {
		t.Errorf("it stands at %+v, stood at %+v", got, want)
	}
	row, ok, err := schema.Meta.Get(store, schema.FormatKey)
	if err != nil || !ok || row.Index != schema.Format {
		t.Errorf("format %v, %v", row, err)
	}
	if _, err := again.Apply(entries(3, 4)); err != nil {
		t.Error(err)
	}
}

func TestNewerStore(t *testing.T) {
	store := new(memkv.Store)
	r, err := replica.Open(store)
	must(t, err)
	_, err = r.Apply(entries(1, 2))
	must(t, err)
	b := store.NewBatch()
	must(t, schema.Meta.Put(write{Batch: b}, schema.FormatKey, &schemapb.Position{Index: schema.Format + 1}))
	must(t, b.Commit(false))
	must(t, b.Close())
	if _, err := replica.Open(store); errs.KindOf(err) != errs.FormatTooNew {
		t.Errorf("%v", err)
	}
	must(t, store.Close())
	if _, err := replica.Open(store); err == nil {
		t.Error("a closed store was opened")
	}
}
