package consensus_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/cockroachdb/datadriven"

	"o3/internal/consensus"
	"o3/internal/consensus/consensustest"
	"o3/internal/consensus/raftnet"
	"o3/internal/errs"
)

// TestScripts runs the scripts in testdata. A script is a group of nodes and
// what happens to it, one command a line; below ---- is what was seen.
// Elections not asked for take their timeouts from a fixed seed.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if strings.HasPrefix(path, "testdata/formats/") {
			return // fixtures, not scripts
		}
		cryptotest.SetGlobalRandom(t, 1)
		s := &script{}
		t.Cleanup(s.close)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.out.Reset()
			for line := range strings.Lines(d.Input) {
				if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
					s.run(t, strings.Fields(line))
				}
			}
			if s.c != nil {
				for _, f := range s.c.Oracle.Faults() {
					t.Errorf("%s: %s", d.Pos, f)
				}
			}
			return s.out.String()
		})
	})
}

type script struct {
	c    *consensustest.Cluster
	out  strings.Builder
	ops  map[string]*consensustest.Op
	tune func(*consensus.Options)
}

func (s *script) close() {
	if s.c != nil {
		s.c.Close()
	}
}

func (s *script) printf(format string, a ...any) { fmt.Fprintf(&s.out, format+"\n", a...) }

// listen prints what a node reports while a script runs.
func (s *script) listen(o *consensus.Options) {
	id := o.ID
	o.Listener.Image = func(event string, m consensus.ImageMeta) {
		s.printf("  node %d: image %s at index %d", id, event, m.Index)
	}
	o.Listener.ImageFail = func(peer uint64, why string) {
		s.printf("  node %d: gave up the image for or from node %d: %s", id, peer, why)
	}
	o.Listener.Truncated = func(first uint64) { s.printf("  node %d: log starts at %d", id, first) }
	if s.tune != nil {
		s.tune(o)
	}
}

func (s *script) run(t *testing.T, words []string) {
	cmd, args := words[0], words[1:]
	num := func(i int) uint64 {
		n, err := strconv.ParseUint(args[i], 10, 64)
		if err != nil {
			t.Fatalf("%v: %v", words, err)
		}
		return n
	}
	if cmd == "group" {
		s.group(t, int(num(0)))
		return
	}
	c := s.c
	switch cmd {
	case "step":
		c.Steps(int(num(0)))
	case "campaign":
		c.Member(num(0)).Stepper().Campaign()
		c.Steps(6)
		s.status(num(0))
	case "status":
		for _, id := range c.IDs() {
			s.status(id)
		}
	case "write":
		s.await(c.Write(num(0), args[1], args[2]))
	case "fill": // node, writes of register k, each an entry
		for range num(1) {
			op := c.Write(num(0), "k", fmt.Sprint("v", c.Rng.Uint32()))
			if !c.Until(12, func() bool { return op.Done }) || op.Err != nil {
				t.Fatalf("fill: %v", op.Err)
			}
		}
	case "read":
		s.await(c.Read(num(0), args[1]))
	case "answer":
		if s.ops[args[0]] == nil {
			t.Fatalf("%v: no such operation", words)
		}
		s.answer(s.ops[args[0]])
	case "agree":
		s.agree()
	default:
		if !s.misfortune(t, cmd, args, num) && !s.member(t, cmd, args, num) {
			t.Fatalf("unknown command %q", cmd)
		}
	}
}

func (s *script) group(t *testing.T, nodes int) {
	s.close()
	var err error
	s.ops = map[string]*consensustest.Op{}
	if s.c, err = consensustest.New(consensustest.Config{Seed: 1, Nodes: nodes, Tune: s.listen}); err != nil {
		t.Fatal(err)
	}
}

// misfortune runs the commands that break things, and mend them.
func (s *script) misfortune(t *testing.T, cmd string, args []string, num func(int) uint64) bool {
	c := s.c
	switch cmd {
	case "isolate":
		for _, id := range c.IDs() {
			if id != num(0) {
				c.Net.Cut(num(0), id)
			}
		}
	case "cut":
		c.Net.Cut(num(0), num(1))
	case "heal":
		c.Net.Heal()
	case "faults": // drop% duplicate% delay
		c.Net.SetFaults(raftnet.Faults{Drop: float64(num(0)) / 100, Duplicate: float64(num(1)) / 100, Delay: int(num(2)), Reorder: true})
	case "pause":
		c.Member(num(0)).Paused = true
	case "resume":
		c.Member(num(0)).Paused = false
	case "crash": // node, percent of unsynced blocks that survive
		c.Crash(num(0), int(num(1)))
	case "stop":
		if err := c.Stop(num(0)); err != nil {
			t.Fatal(err)
		}
	case "lose-log":
		if err := c.Stop(num(0)); err != nil {
			t.Fatal(err)
		}
		if err := c.Member(num(0)).FS.RemoveAll("raft"); err != nil {
			t.Fatal(err)
		}
	case "start":
		if err := c.Start(num(0)); err != nil {
			s.printf("does not start: %v", err)
		}
	default:
		return false
	}
	return true
}

// member runs the commands about members and their logs.
func (s *script) member(t *testing.T, cmd string, args []string, num func(int) uint64) bool {
	c := s.c
	switch cmd {
	case "join":
		if err := c.Join(num(0), nil); err != nil {
			t.Fatal(err)
		}
	case "add", "promote", "remove": // node asked, node meant
		st := c.Member(num(0)).Stepper()
		ch := map[string]func(uint64) consensus.Change{"add": st.AddLearner, "promote": st.Promote, "remove": st.Remove}[cmd](num(1))
		ok := c.Until(12, func() bool {
			select {
			case <-ch.Done():
				return true
			default:
				return false
			}
		})
		switch {
		case !ok:
			s.printf("no answer yet")
		case ch.Err() != nil:
			s.printf("refused: %v", ch.Err())
		}
	case "transfer":
		c.Member(num(0)).Stepper().Transfer(num(1))
		c.Steps(6)
		s.status(num(1))
	case "flush":
		c.Member(num(0)).Machine.Flush()
	case "hold":
		if err := c.Member(num(0)).Node().Hold(args[1], num(2)); err != nil {
			s.printf("refused: %v", err)
		}
	case "release":
		c.Member(num(0)).Node().Release(args[1])
	case "read-log": // node after [term [bytes]]
		term, most := uint64(0), uint64(1<<20)
		if len(args) > 2 {
			term = num(2)
		}
		if len(args) > 3 {
			most = num(3)
		}
		part, err := c.Member(num(0)).Node().ReadLog(num(1), term, int(most))
		switch {
		case err != nil:
			s.printf("refused: %v", err)
		case len(part.Entries) == 0:
			s.printf("nothing; committed up to %d, the first is %d", part.Commit, part.First)
		default:
			from, to := part.Entries[0], part.Entries[len(part.Entries)-1]
			s.printf("entries %d/%d to %d/%d, committed up to %d, the first is %d", from.GetTerm(), from.GetIndex(), to.GetTerm(), to.GetIndex(), part.Commit, part.First)
		}
	case "log":
		st := c.Member(num(0)).Node().Status()
		s.printf("node %d: log %d to %d, applied %d, durable %d", num(0), st.First, st.Last, st.Applied, st.Durable)
	case "lose-messages": // from a node, of a type, until "lose-messages none"
		s.c.Net.Tap(nil)
		if args[0] != "none" {
			from, kind := num(0), args[1]
			s.c.Net.Tap(func(m consensus.Message) bool {
				return m.From != from || m.Raft == nil || m.Raft.GetType().String() != kind
			})
		}
	default:
		return false
	}
	return true
}

func (s *script) status(id uint64) {
	m := s.c.Member(id)
	switch {
	case m.Err != nil:
		s.printf("node %d: halted: %v", id, m.Err)
		return
	case !m.Up():
		s.printf("node %d: down", id)
		return
	}
	st := m.Node().Status()
	leader := "no leader"
	if st.Leader != 0 {
		leader = fmt.Sprintf("leader %d", st.Leader)
	}
	paused := ""
	if m.Paused {
		paused = ", paused"
	}
	s.printf("node %d: %s, %s, voters %v learners %v%s", id, st.Role, leader, st.Voters, st.Learners, paused)
}

// await steps until op has an answer, but not for ever.
func (s *script) await(op *consensustest.Op) {
	s.c.Until(12, func() bool { return op.Done })
	s.ops[op.ID] = op
	s.answer(op)
}

func (s *script) answer(op *consensustest.Op) {
	what := op.ID + ": read " + op.Register
	if op.Write {
		what = op.ID + ": " + op.Register + " := " + op.Value
	}
	switch {
	case !op.Done:
		s.printf("%s: no answer yet", what)
	case op.Unknown:
		s.printf("%s: outcome unknown (%s)", what, errs.KindOf(op.Err))
	case op.Err != nil:
		detail := ""
		if l := consensus.LeaderOf(op.Err); l != 0 {
			detail = fmt.Sprintf(", ask node %d", l)
		}
		s.printf("%s: refused: %s%s", what, errs.KindOf(op.Err), detail)
	case op.Write:
		s.printf("%s: ok, was %q", what, op.Out)
	default:
		s.printf("%s: %q", what, op.Out)
	}
}

// agree says whether the machines are equal and have all that was answered.
func (s *script) agree() {
	type at struct{ index, digest uint64 }
	by := map[at][]uint64{}
	for _, id := range s.c.IDs() {
		m := s.c.Member(id)
		if !m.Up() {
			continue
		}
		i, d := m.Machine.Digest()
		by[at{i, d}] = append(by[at{i, d}], id)
		if lost := m.Machine.Missing(s.c.Oracle.Acked()); len(lost) > 0 {
			s.printf("node %d has not (yet): %v", id, lost)
		}
	}
	var keys []at
	for k := range by {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b at) int { return int(a.index) - int(b.index) })
	for _, k := range keys {
		s.printf("at index %d: nodes %v", k.index, by[k])
	}
}
