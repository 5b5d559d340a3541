package fileplan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/errs"
)

var shapes = map[string]func() shape{"node": node, "first": first}

// whole checks the law: after Recover the root is wholly old or wholly new, and
// says which. It returns the state.
func whole(t *testing.T, at string, mem *vfs.MemFS, s shape) State {
	t.Helper()
	state := status(t, mem)
	want := map[State]tree{None: s.old, Applied: s.new}[state]
	if got := read(t, mem); want == nil || got.String() != want.String() {
		t.Fatalf("%s: state %q, a mix:\n%v\nwant\n%v", at, state, got, want)
	}
	return state
}

func recovered(t *testing.T, at string, fs vfs.FS) Outcome {
	t.Helper()
	r := open(t, fs)
	defer r.Close()
	out, err := r.Recover()
	if err != nil || out.Cause != nil {
		t.Fatalf("%s: %+v, %v", at, out, err)
	}
	return out
}

// begun returns a disk on which the plan is applied.
func begun(t *testing.T, s shape, fs vfs.FS) {
	t.Helper()
	r := open(t, fs)
	defer r.Close()
	check(t, r.Begin(s.plan))
}

func disk(t *testing.T, s shape) *vfs.MemFS {
	mem := vfs.NewCrashableMem()
	s.old.make(t, mem)
	return mem
}

// law cuts the power before and after each operation of do, and of the recovery
// that follows, and of the one that follows that, and checks where the root
// stands. It returns how often it stood where.
func law(t *testing.T, s shape, mem *vfs.MemFS, do func(fs vfs.FS), end State) {
	t.Helper()
	step := 16 // of the cuts of a recovery
	if os.Getenv("O3_NIGHTLY") != "" {
		step = 1
	}
	seen := map[State]int{}
	c := cuts(mem, do)
	deep := 0
	for i, mem := range c.clones {
		at := c.ops[i]
		again := cuts(clone(mem), func(fs vfs.FS) { recovered(t, at, fs) })
		deep += len(again.clones)
		state := whole(t, at, again.clones[len(again.clones)-3], s) // the recovery is durable
		seen[state]++
		if i >= len(c.clones)-3 && state != end {
			t.Errorf("%s: state %q", at, state)
		}
		for j := rand.IntN(step); j < len(again.clones); j += step {
			mem := again.clones[j]
			at := at + ", and " + again.ops[j] + " of the recovery"
			out := recovered(t, at, mem)
			if got := whole(t, at, mem, s); got != state {
				t.Fatalf("%s: state %q after %q, %+v", at, got, state, out)
			}
		}
	}
	t.Logf("%d cuts, %d of the recovery; %v", len(c.clones), deep, seen)
	if seen[None] == 0 || seen[Applied] == 0 {
		t.Error("the test has lost its reach")
	}
}

func TestBeginIsCut(t *testing.T) {
	for name, make := range shapes {
		t.Run(name, func(t *testing.T) {
			s := make()
			law(t, s, disk(t, s), func(fs vfs.FS) { begun(t, s, fs) }, Applied)
		})
	}
}

func TestRollbackIsCut(t *testing.T) {
	for name, make := range shapes {
		t.Run(name, func(t *testing.T) {
			s := make()
			mem := disk(t, s)
			begun(t, s, mem)
			law(t, s, mem, func(fs vfs.FS) {
				r := open(t, fs)
				defer r.Close()
				check(t, r.Rollback())
			}, None)
		})
	}
}

// TestForgetIsCut: from the moment that the new state is confirmed nothing but it
// is left, whatever happens, and at the end nothing else.
func TestForgetIsCut(t *testing.T) {
	for name, make := range shapes {
		t.Run(name, func(t *testing.T) {
			s := make()
			mem := disk(t, s)
			begun(t, s, mem)
			c := cuts(mem, func(fs vfs.FS) {
				r := open(t, fs)
				defer r.Close()
				check(t, r.Confirm())
				check(t, r.Forget(t.Context()))
			})
			seen := map[State]int{}
			for i, mem := range c.clones {
				if out := recovered(t, c.ops[i], mem); out.Did != Nothing {
					t.Fatalf("%s: %+v", c.ops[i], out)
				}
				state := status(t, mem)
				seen[state]++
				got := read(t, mem)
				for name, content := range s.final {
					if was, ok := got[name]; !ok || was != content {
						t.Fatalf("%s: state %q, %s is %q", c.ops[i], state, name, was)
					}
				}
				r := open(t, mem)
				if state == Forgetting {
					if err := r.Rollback(); errs.KindOf(err) != errs.PreconditionFailed {
						t.Fatalf("%s: rolled back after it served: %v", c.ops[i], err)
					}
					check(t, r.Forget(t.Context()))
				} else if state == Applied {
					check(t, errors.Join(r.Confirm(), r.Forget(t.Context())))
				}
				check(t, r.Close())
				if got := read(t, mem); got.String() != s.final.String() || status(t, mem) != None {
					t.Fatalf("%s: in the end\n%v\nwant\n%v", c.ops[i], got, s.final)
				}
			}
			t.Logf("%d cuts; %v", len(c.clones), seen)
			if seen[Applied] == 0 || seen[Forgetting] == 0 || seen[None] == 0 {
				t.Error("the test has lost its reach")
			}
		})
	}
}

// TestOperationsFail: whichever operation fails, once or for good, Begin gives
// back the old root, or leaves one that Recover makes whole; so does Rollback.
func TestOperationsFail(t *testing.T) {
	for name, make := range shapes {
		for _, forGood := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, for good %v", name, forGood), func(t *testing.T) {
				s := make()
				for _, phase := range []string{"Begin", "Rollback"} {
					failures, ended := 0, false
					for at := 1; !ended; at++ {
						mem := disk(t, s)
						if phase == "Rollback" {
							begun(t, s, mem)
						}
						c := count(mem)
						hit := ""
						c.fail = func(n int, op errorfs.Op) error {
							if n == at || forGood && n > at {
								hit = fmt.Sprint(op.Kind, " ", op.Path)
								return syscall.EIO
							}
							return nil
						}
						r := open(t, c.fs())
						var err error
						if phase == "Begin" {
							err = r.Begin(s.plan)
						} else {
							err = r.Rollback()
						}
						check(t, r.Close())
						where := fmt.Sprintf("%s, operation %d, %s: %v", phase, at, hit, err)
						ended = hit == ""
						if !ended && err != nil {
							failures++
						}
						if err != nil && phase == "Begin" && !forGood && whole(t, where, mem, s) != None {
							t.Fatalf("%s: not as before", where)
						}
						recovered(t, where, mem)
						state := whole(t, where, mem, s)
						if err == nil && state != map[string]State{"Begin": Applied, "Rollback": None}[phase] {
							t.Fatalf("%s: state %q", where, state)
						}
					}
					t.Logf("%s: %d failures", phase, failures)
					if failures < 20 {
						t.Error("the test has lost its reach")
					}
				}
			})
		}
	}
}
