package consensus_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"o3/internal/consensus"
	"o3/internal/consensus/consensustest"
	"o3/internal/consensus/raftnet"
)

// rounds is how many seeds a random test tries.
func rounds(short, nightly int) int {
	if os.Getenv("O3_NIGHTLY") == "1" {
		return nightly
	}
	return short
}

// TestRandom runs groups under random faults and checks laws 1, 8 and 9 of
// the design: equal digests at equal index, every answered request applied
// once everywhere, linearizable reads and writes.
func TestRandom(t *testing.T) {
	for _, nodes := range []int{1, 3, 5} {
		t.Run(fmt.Sprintf("%dnodes", nodes), func(t *testing.T) {
			t.Parallel()
			seen := map[string]int{}
			var answered, members int
			for range rounds(6, 1000) {
				seed := rand.Uint64()
				err := history(seed, nodes, 400, listening(seen), func(c *consensustest.Cluster) {
					answered += len(c.Oracle.Acked())
					members += len(c.IDs())
				})
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			if answered < 100 || seen["truncated"] == 0 || seen["installed"] == 0 {
				t.Errorf("too little happened")
			}
			t.Logf("%d writes answered, %d members, %v", answered, members, seen)
		})
	}
}

// listening counts what happens, to see that a random test meets it.
func listening(seen map[string]int) func(*consensus.Options) {
	return func(o *consensus.Options) {
		o.Listener.Image = func(event string, _ consensus.ImageMeta) { seen[event]++ }
		o.Listener.ImageFail = func(uint64, string) { seen["image failed"]++ }
		o.Listener.Truncated = func(uint64) { seen["truncated"]++ }
		o.Listener.Role = func(r consensus.RoleChange) {
			if r.Role == consensus.Leader {
				seen["elected"]++
			}
		}
	}
}

// TestPlanted plants mistakes and sees that TestRandom would find them.
func TestPlanted(t *testing.T) {
	for _, p := range []struct {
		name  string
		nodes int
		plant consensus.Faults
	}{
		{"AnswerBeforeSync", 1, consensus.Faults{AnswerBeforeSync: true}},
		{"AnswerBeforeSync", 3, consensus.Faults{AnswerBeforeSync: true}},
		{"TruncateApplied", 1, consensus.Faults{TruncateApplied: true}},
		{"TruncateApplied", 3, consensus.Faults{TruncateApplied: true}},
		{"Reapply", 1, consensus.Faults{Reapply: true}},
		{"Reapply", 3, consensus.Faults{Reapply: true}},
		{"ForgetConf", 3, consensus.Faults{ForgetConf: true}},
		{"ReadLocally", 3, consensus.Faults{ReadLocally: true}},
	} {
		t.Run(fmt.Sprintf("%s/%d", p.name, p.nodes), func(t *testing.T) {
			t.Parallel()
			tune := func(o *consensus.Options) {
				consensus.Plant(o, p.plant)
				if p.plant.TruncateApplied {
					o.RetainEntries, o.TruncateStep = 1, 1
				}
			}
			for i := range 200 {
				if err := history(uint64(i), p.nodes, 400, tune, nil); err != nil {
					t.Logf("found with seed %d: %v", i, err)
					return
				}
			}
			t.Fatal("not found in 200 histories")
		})
	}
}

// history runs one random history and returns what was wrong with it.
func history(seed uint64, nodes, steps int, tune func(*consensus.Options), done func(*consensustest.Cluster)) error {
	c, err := consensustest.New(consensustest.Config{Seed: seed, Nodes: nodes, Chaos: true, Tune: tune})
	if err != nil {
		return err
	}
	defer c.Close()
	a := actor{c: c, rng: c.Rng}
	for range steps {
		if err := a.act(); err != nil {
			return err
		}
		c.Step()
		for _, id := range c.IDs() {
			if m := c.Member(id); m.Err != nil {
				return fmt.Errorf("node %d halted: %w", id, m.Err)
			}
		}
	}
	if err := c.Settle(2000); err != nil {
		return err
	}
	c.Oracle.Settled(c.Machines())
	c.Oracle.Linearizable(10 * time.Second)
	if f := c.Oracle.Faults(); len(f) > 0 {
		return errors.New(strings.Join(f, "\n"))
	}
	if done != nil {
		done(c)
	}
	return nil
}

// actor is the clients and the misfortunes of one history.
type actor struct {
	c    *consensustest.Cluster
	rng  *rand.Rand
	ops  []*consensustest.Op
	next int
}

func (a *actor) act() error {
	c, rng := a.c, a.rng
	live := a.ops[:0]
	for _, op := range a.ops {
		if !op.Done {
			live = append(live, op)
		}
	}
	a.ops = live
	for len(a.ops) < 8 && rng.IntN(2) == 0 {
		a.operate()
	}
	id := c.IDs()[rng.IntN(len(c.IDs()))]
	m := c.Member(id)
	switch r := rng.IntN(400); {
	case r < 6:
		c.Net.SetFaults(raftnet.Faults{
			Drop: rng.Float64() * 0.3, Duplicate: rng.Float64() * 0.3, Delay: rng.IntN(6), Reorder: rng.IntN(2) == 0,
		})
	case r < 16:
		c.Net.SetFaults(raftnet.Faults{})
	case r < 21:
		for _, other := range c.IDs() {
			if other != id {
				c.Net.Cut(id, other)
			}
		}
	case r < 25:
		other := c.IDs()[rng.IntN(len(c.IDs()))]
		c.Net.CutOneWay(id, other)
	case r < 50:
		c.Net.Heal()
	case r < 55:
		m.Paused = true
	case r < 80:
		m.Paused = false
	case r < 86:
		if m.Up() {
			c.Crash(id, rng.IntN(101))
		}
	case r < 88:
		for _, id := range c.IDs() { // the power fails for all
			if c.Member(id).Up() {
				c.Crash(id, rng.IntN(101))
			}
		}
	case r < 140:
		if !m.Up() {
			if err := c.Start(id); err != nil {
				return fmt.Errorf("node %d does not start: %w", id, err)
			}
		}
	case r < 144:
		if m.Up() {
			m.Stepper().Transfer(c.IDs()[rng.IntN(len(c.IDs()))])
		}
	case r < 147:
		if next := uint64(len(c.IDs()) + 1); next <= 7 {
			if err := c.Join(next, nil); err != nil {
				return err
			}
		}
	case r < 160:
		c.Admit()
	}
	return nil
}

func (a *actor) operate() {
	node := a.c.IDs()[a.rng.IntN(len(a.c.IDs()))]
	if l := a.c.Leader(); l != 0 && a.rng.IntN(4) > 0 {
		node = l
	}
	register := string(rune('a' + a.rng.IntN(3)))
	a.next++
	var op *consensustest.Op
	if a.rng.IntN(2) == 0 {
		op = a.c.Write(node, register, fmt.Sprintf("v%d", a.next))
	} else {
		op = a.c.Read(node, register)
	}
	a.ops = append(a.ops, op)
}
