package lifecycle_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/lifecycle"
	"o3/internal/schema/schemapb"
)

// TestFutureDate: a date that has not come yet deletes nothing, one that has
// deletes what came before and after it.
func TestFutureDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lifecycle.Options{Interval: hour, LeadInterval: time.Minute})
		r.put("flat", "a")
		at := time.Date(2000, 1, 4, 0, 0, 0, 0, time.UTC).UnixMilli()
		r.rules("flat", &o3v1.LifecycleRule{Id: "d", Enabled: true, Filter: &o3v1.LifecycleFilter{}, ExpireDateMs: &at})
		r.start()
		time.Sleep(71 * hour)
		if r.names("flat") != "a" || r.state("flat").Previous == nil {
			t.Errorf("before the date: %q, %v", r.names("flat"), r.state("flat"))
		}
		time.Sleep(3 * hour)
		if got := r.names("flat"); got != "" {
			t.Errorf("after the date: %s", got)
		}
		r.put("flat", "b")
		time.Sleep(3 * hour)
		if got := r.names("flat"); got != "" {
			t.Errorf("what came after the date: %s", got)
		}
		r.end()
	})
}

// TestNeighbours: a scan sees nothing of a bucket whose name begins like its own,
// and does what the bucket's rules say though its owner is no admin.
func TestNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lifecycle.Options{})
		r.bucket("flat2", "OBJECT_STORE")
		r.bucket("tree2", "FILE_SYSTEM_OPTIMIZED")
		for _, b := range []string{"flat", "flat2", "tree", "tree2"} {
			r.put(b, "a", "d/b")
		}
		time.Sleep(72 * hour)
		for _, b := range []string{"flat", "tree"} {
			r.rules(b, age("all", "", 1))
		}
		r.start()
		r.await("flat", "tree")
		r.end()
		if r.names("flat") != "" || r.names("tree") != "" || r.names("flat2") != "a d/b" || r.names("tree2") != "a d/b" {
			t.Errorf("%q %q %q %q", r.names("flat"), r.names("tree"), r.names("flat2"), r.names("tree2"))
		}
		if n := r.state("flat").ScannedRows; n != 2 {
			t.Errorf("%d rows were looked at", n)
		}
	})
}

// TestResumeInDirectory: a scan that resumes in the middle of a directory does not
// take it for empty because of what it did not see; nor keeps it because of what
// it deleted itself.
func TestResumeInDirectory(t *testing.T) {
	for _, stays := range []string{"d/a", "d/z", "d/m/x", ""} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, lifecycle.Options{Batch: 1, RetryMin: time.Millisecond})
			r.put("tree", "d//", "d/m//", "d/b", "d/c", "d/m/n", "d/y")
			time.Sleep(48 * hour)
			if stays != "" {
				r.put("tree", stays)
			}
			r.rules("tree", age("all", "", 1))
			kill := errs.New(errs.Unavailable, "test", "the answer is lost")
			r.log.after = func(k command.Kind, _ []byte, _ *commandpb.Reply) error {
				if k == command.LifecycleStep {
					r.stop() // after every command
					return kill
				}
				return nil
			}
			r.start()
			for !r.finished("tree") {
				<-r.done
				r.start()
			}
			r.end()
			want := ""
			switch {
			case stays == "d/m/x":
				want = "d/ d/m/ " + stays
			case stays != "":
				want = "d/ " + stays
			}
			if got := r.names("tree"); got != want {
				t.Errorf("beside %q: left %q, want %q", stays, got, want)
			}
		})
	}
}

// TestPointer: what a command notes as scanned is what it covers: never more than
// what has been dealt with.
func TestPointer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lifecycle.Options{Batch: 3})
		for i := range 10 {
			r.put("flat", fmt.Sprintf("k%d", i))
		}
		time.Sleep(48 * hour)
		r.rules("flat", age("all", "", 1))
		r.start()
		r.await("flat")
		r.end()
		var got []string
		for _, s := range r.steps {
			got = append(got, fmt.Sprint(s.State.LastScannedKey, " ", len(s.Victims), " ", s.State.Rules[0].DeletedKeys))
		}
		if have := strings.Join(got, ", "); have != "k2 3 3, k5 3 6, k8 3 9, k9 1 10" {
			t.Error(have)
		}
	})
}

// TestFailedCommands: commands that fail are tried again, each time later, until
// they succeed; nothing is passed over; that they failed is shown and saved.
func TestFailedCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lifecycle.Options{Batch: 2})
		r.put("flat", "a", "b", "c", "d", "e")
		time.Sleep(48 * hour)
		r.rules("flat", age("all", "", 1))
		var tries []time.Time
		r.log.before = func(k command.Kind, _ []byte) error {
			if k == command.LifecycleStep && len(tries) < 6 {
				tries = append(tries, time.Now())
				return errs.New(errs.SlowDown, "log", "too many requests wait")
			}
			return nil
		}
		r.start()
		time.Sleep(10 * time.Second)
		st, err := r.s.LifecycleStatus(root, &o3v1.LifecycleStatusRequest{Volume: "s3v", Bucket: "flat"})
		r.ok(err)
		if b := st.Buckets[0]; b.Activity != o3v1.LifecycleActivity_LIFECYCLE_ACTIVITY_RETRYING || !strings.Contains(b.Error, "too many requests wait") {
			t.Errorf("while it fails: %v", b)
		}
		if r.s.Stalled() == 0 {
			t.Error("a scan that does not move is not told")
		}
		r.await("flat")
		r.end()
		if c := total(r.state("flat")); c.DeletedKeys != 5 || r.names("flat") != "" {
			t.Errorf("%v, left %s", c, r.names("flat"))
		}
		if row := r.state("flat"); !strings.Contains(row.LastError, "too many requests wait") || row.LastErrorTime == 0 || len(r.failed) != 6 {
			t.Errorf("saved: %q; told: %v", row.LastError, r.failed)
		}
		for i := 2; i < len(tries); i++ {
			if tries[i].Sub(tries[i-1]) <= tries[i-1].Sub(tries[i-2]) {
				t.Errorf("tries at %v", tries)
			}
		}
	})
}

// torn is a store that cannot read on after some rows.
type torn struct {
	kv.Store
	left *atomic.Int64
}

func (s torn) Snapshot() kv.Snapshot { return tornSnapshot{s.Store.Snapshot(), s.left} }

type tornSnapshot struct {
	kv.Snapshot
	left *atomic.Int64
}

func (s tornSnapshot) Iter(lower, upper []byte) (kv.Iterator, error) {
	it, err := s.Snapshot.Iter(lower, upper)
	return &tornIterator{Iterator: it, left: s.left}, err
}

type tornIterator struct {
	kv.Iterator
	left *atomic.Int64
	err  error
}

func (i *tornIterator) Next() bool {
	if i.left.Add(-1) <= 0 {
		i.err = errs.New(errs.Corrupt, "disk", "a block cannot be read")
		return false
	}
	return i.Iterator.Next()
}

func (i *tornIterator) Err() error {
	if i.err != nil {
		return i.err
	}
	return i.Iterator.Err()
}

// TestReadFault: a scan that cannot read on is not at its end: it says so, and
// goes on when it can.
func TestReadFault(t *testing.T) {
	for _, bucket := range []string{"flat", "tree"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, lifecycle.Options{Batch: 2})
			for i := range 20 {
				r.put(bucket, fmt.Sprintf("d/k%02d", i))
			}
			time.Sleep(48 * hour)
			r.rules(bucket, age("all", "", 1))
			left := new(atomic.Int64)
			left.Store(10)
			r.reads = torn{r.store, left}
			r.start()
			time.Sleep(time.Minute)
			if row := r.state(bucket); row.Phase == schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE || !strings.Contains(row.LastError, "cannot be read") {
				t.Errorf("%v", row)
			}
			left.Store(1 << 40)
			r.await(bucket)
			r.end()
			if c := total(r.state(bucket)); c.DeletedKeys != 20 || r.names(bucket) != "" || len(r.ended) != 1 {
				t.Errorf("%v, left %s", c, r.names(bucket))
			}
		})
	}
}

// TestFairTurns: a small bucket does not wait for a large one, though there is one
// worker.
func TestFairTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lifecycle.Options{Workers: 1, Slice: -1, Rate: 10})
		for i := range 100 {
			r.put("flat", fmt.Sprintf("k%03d", i))
		}
		r.put("tree", "a")
		time.Sleep(48 * hour)
		r.rules("flat", age("all", "", 1))
		r.rules("tree", age("all", "", 1))
		r.start()
		r.await("tree")
		if n := len(strings.Fields(r.names("flat"))); n < 50 {
			t.Errorf("the large bucket has only %d left", n)
		}
		r.await("flat")
		r.end()
	})
}

// TestRate: no more goes in a second than the rate allows, and in small commands.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lifecycle.Options{Rate: 20})
		for i := range 100 {
			r.put("flat", fmt.Sprintf("k%03d", i))
		}
		time.Sleep(48 * hour)
		r.rules("flat", age("all", "", 1))
		r.start()
		began := time.Now()
		r.await("flat")
		if took := time.Since(began); took < 4*time.Second || took > 8*time.Second {
			t.Errorf("100 keys at 20 in a second took %v", took)
		}
		r.end()
		for _, s := range r.steps {
			if len(s.Victims) > 2 {
				t.Errorf("a command of %d", len(s.Victims))
			}
		}
	})
}

// TestWindow: scans work in their window only, over midnight too, and go on where
// they stood.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := lifecycle.ParseWindow("22:00-02:00")
		if err != nil {
			t.Fatal(err)
		}
		r := newRig(t, lifecycle.Options{Window: w, Rate: 0.01, Batch: 1, Slice: 1000 * hour, LeadInterval: time.Minute})
		for i := range 300 {
			r.put("flat", fmt.Sprintf("k%03d", i))
		}
		time.Sleep(48 * hour)
		r.rules("flat", age("all", "", 1))
		time.Sleep(3 * hour) // until 3:00
		r.start()
		for _, c := range []struct {
			after time.Duration
			moves bool
		}{{18 * hour, false}, {5 * hour, true}, {hour, false}, {2 * hour, false}, {20 * hour, true}, {2 * hour, true}} {
			before := r.state("flat").GetSequence()
			time.Sleep(c.after)
			if moved := r.state("flat").GetSequence() > before+1; moved != c.moves {
				t.Errorf("until %s: it moved %v", time.Now().UTC().Format("15:04"), moved)
			}
		}
		r.end()
		for text, ok := range map[string]bool{"": true, "00:00-24:00": true, "9:00-10:00": false, "25:00-26:00": false, "10:00-10:00": false, "10:60-11:00": false, "10:00": false} {
			if _, err := lifecycle.ParseWindow(text); (err == nil) != ok {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

// TestTrash: what is moved to trash is set aside, and deleted when it has lain
// there; a bucket without rules, and what is no checkpoint, is left alone.
func TestTrash(t *testing.T) {
	for _, bucket := range []string{"flat", "tree"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, lifecycle.Options{Trash: true, TrashCheckpoint: hour, TrashKeep: 24 * hour, LeadInterval: time.Minute, Interval: 1000 * hour})
			r.bucket("other", "OBJECT_STORE")
			r.put("other", ".Trash/ann/Current/x", ".Trash/ann/000101000000/y")
			r.put(bucket, "d/a", "b", ".Trash/ann/mine/z")
			time.Sleep(48*hour + hour/2)
			r.rules(bucket, age("all", "", 1))
			r.start()
			r.await(bucket)
			if got := r.names(bucket); got != ".Trash/ann/Current/b .Trash/ann/Current/d/a .Trash/ann/mine/z" {
				t.Errorf("%s: moved: %s", bucket, got)
			}
			time.Sleep(2 * hour)
			if got := r.names(bucket); strings.Count(got, ".Trash/ann/000103") < 2 || strings.Contains(got, "Current/") {
				t.Errorf("%s: set aside: %s", bucket, got)
			}
			time.Sleep(20 * hour)
			if got := r.names(bucket); strings.Count(got, ".Trash/ann/000103") < 2 {
				t.Errorf("%s: too early: %s", bucket, got)
			}
			time.Sleep(5 * hour)
			if got := r.names(bucket); got != ".Trash/ann/mine/z" {
				t.Errorf("%s: left %s", bucket, got)
			}
			if got := r.names("other"); got != ".Trash/ann/000101000000/y .Trash/ann/Current/x" {
				t.Errorf("a bucket without rules: %s", got)
			}
			r.end()
			if bucket == "flat" {
				r.sound()
			}
		})
	}
}

// TestTrashNotUsed: where nothing is moved to trash, what lies there is a user's and
// stays, also what looks like a checkpoint of long ago; and so it does where trash
// is kept for ever.
func TestTrashNotUsed(t *testing.T) {
	for _, o := range []lifecycle.Options{{}, {TrashKeep: hour, TrashCheckpoint: hour}, {Trash: true, TrashKeep: -1}} {
		synctest.Test(t, func(t *testing.T) {
			o.LeadInterval, o.Interval = time.Minute, 1000*hour
			r := newRig(t, o)
			for _, bucket := range []string{"flat", "tree"} {
				r.put(bucket, ".Trash/ann/Current/x", ".Trash/ann/000101000000/y")
				r.rules(bucket, age("all", "", 1))
			}
			r.start()
			r.await("flat")
			r.await("tree")
			time.Sleep(100 * hour)
			for _, bucket := range []string{"flat", "tree"} {
				if got := r.names(bucket); got != ".Trash/ann/000101000000/y .Trash/ann/Current/x" {
					t.Errorf("%s: left %s", bucket, got)
				}
			}
			r.end()
		})
	}
}

// TestUploads: uploads are aborted in order, so many parts at a time, and the scan
// resumes among them.
func TestUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lifecycle.Options{AbortParts: 4, RetryMin: time.Millisecond})
		for i, parts := range []int{1, 2, 3, 6, 0, 1} {
			r.upload("flat", fmt.Sprint("u", i), parts)
		}
		r.upload("flat", "x", 1)
		time.Sleep(72 * hour)
		r.rules("flat", &o3v1.LifecycleRule{Id: "u", Enabled: true, Filter: &o3v1.LifecycleFilter{Prefix: proto.String("u")}, AbortDays: proto.Int32(1)})
		r.log.after = func(k command.Kind, _ []byte, _ *commandpb.Reply) error {
			if k == command.LifecycleStep {
				r.stop()
			}
			return nil
		}
		var steps []string
		r.start()
		for !r.finished("flat") {
			<-r.done
			r.start()
		}
		r.end()
		for _, s := range r.steps {
			steps = append(steps, fmt.Sprint(len(s.Victims)))
		}
		if got := strings.Join(steps, " "); got != "2 1 1 2" && got != "2 1 1 2 0" {
			t.Errorf("uploads by command: %s", got)
		}
		if c := total(r.state("flat")); c.AbortedUploads != 6 || len(r.uploads("flat")) != 1 {
			t.Errorf("%v, left %v", c, r.uploads("flat"))
		}
		r.sound()
	})
}
