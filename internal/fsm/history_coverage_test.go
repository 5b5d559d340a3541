package fsm_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// coverage counts which command followed which, how each ended, and what
// happened to what a snapshot sees.
type coverage struct {
	pairs    map[[2]string]int
	outcomes map[string]map[errs.Kind]int
	events   map[string]int
}

func newCoverage() coverage {
	return coverage{pairs: map[[2]string]int{}, outcomes: map[string]map[errs.Kind]int{}, events: map[string]int{}}
}

// The meetings of commands that decide whether a snapshot stays what it was.
const (
	createPending    = "a snapshot is made while a deleted directory waits for its purge"
	purgeSeen        = "a purge of what a snapshot sees"
	purgeLater       = "a purge of what was deleted before a snapshot was made"
	purgeBetween     = "a purge of what one snapshot sees and a later one does not"
	purgeReclaim     = "a purge while a snapshot that saw it is being reclaimed"
	reclaimPending   = "a reclaim while a deleted directory waits for its purge"
	reclaimOther     = "a reclaim while another of the bucket is unfinished"
	reclaimCreated   = "a reclaim of a snapshot while one lives that was made after its deletion"
	deleteMiddle     = "a snapshot between two others is deleted"
	deleteRenamed    = "a snapshot is deleted that saw a key where it is no more"
	deleteOver       = "a snapshot is deleted that saw a key overwritten since"
	deleteGone       = "a snapshot is deleted that saw a key deleted since"
	writeSeen        = "a key that a snapshot sees is overwritten"
	writeReclaimed   = "a key that a deleted snapshot saw is overwritten"
	renameSeen       = "a key that a snapshot sees is renamed"
	renameDirSeen    = "a directory that a snapshot sees is renamed"
	renameBack       = "a key or directory is renamed to where a snapshot saw another"
	restoreOver      = "a restore over another object"
	restoreSame      = "a restore of a key that was changed since"
	restoreGone      = "a restore of a key that was deleted since"
	restoreMoved     = "a restore of a key that lives elsewhere now"
	restorePending   = "a restore while a deleted directory waits for its purge"
	restoreReclaim   = "a restore while another snapshot is being reclaimed"
	restoreBelowGone = "a restore of a key below a directory deleted since"
	copyGone         = "a copy out of a snapshot of a key deleted since"
	scanOverruled    = "rules are changed while a scan is under way"
	stepSuspended    = "a step of a scan while scans are suspended"
	stepStale        = "a step of a scan that stands elsewhere"
	stepOver         = "a step of a scan that is at its end, or by other rules"
	victimGone       = "a victim of a scan that is gone"
	victimChanged    = "a victim of a scan that was changed since it was seen"
	victimFull       = "a directory is a victim but is not empty"
	victimDir        = "a directory is a victim"
	victimSeen       = "a victim that a snapshot sees"
	trashTaken       = "a victim is moved to the trash, where something of its name is"
	trashAside       = "a trash is set aside"
)

var events = []string{
	createPending, purgeSeen, purgeLater, purgeBetween, purgeReclaim, reclaimPending, reclaimOther, reclaimCreated,
	deleteMiddle, deleteRenamed, deleteOver, deleteGone, writeSeen, writeReclaimed, renameSeen, renameDirSeen, renameBack,
	restoreOver, restoreSame, restoreGone, restoreMoved, restorePending, restoreReclaim, restoreBelowGone, copyGone,
}

var scanEvents = []string{
	scanOverruled, stepSuspended, stepStale, stepOver, victimGone, victimChanged, victimFull, victimDir, victimSeen, trashTaken, trashAside,
}

func (c coverage) add(o coverage) {
	for k, n := range o.pairs {
		c.pairs[k] += n
	}
	for k, n := range o.events {
		c.events[k] += n
	}
	for name, kinds := range o.outcomes {
		for k, n := range kinds {
			c.outcome(name, k, n)
		}
	}
}

func (c coverage) outcome(name string, k errs.Kind, n int) {
	if c.outcomes[name] == nil {
		c.outcomes[name] = map[errs.Kind]int{}
	}
	c.outcomes[name][k] += n
}

// log says what was covered.
func (c coverage) log(t *testing.T, ran int, events []string) {
	all := len(acts) * len(acts)
	t.Logf("%d histories, %d of %d pairs of commands (%d %%), %d outcomes", ran, len(c.pairs), all, 100*len(c.pairs)/all, c.kinds())
	for _, e := range events {
		t.Logf("%6d times: %s", c.events[e], e)
	}
}

// kinds counts the outcomes that were seen, of all commands.
func (c coverage) kinds() (n int) {
	for _, o := range c.outcomes {
		n += len(o)
	}
	return n
}

// lacks returns what was seen too seldom for n histories: events and, on request,
// which is for a mix that has enough of all, commands that succeed, pairs and
// outcomes.
func (c coverage) lacks(n int, events []string, pairs bool) (out []string) {
	for _, e := range events {
		if c.events[e] < n/40 {
			out = append(out, fmt.Sprintf("only %d times: %s", c.events[e], e))
		}
	}
	if !pairs {
		return out
	}
	for name, o := range c.outcomes {
		if o[errs.OK] == 0 {
			out = append(out, fmt.Sprintf("%s never succeeded: %v", name, o))
		}
	}
	if share := 100 * len(c.pairs) / (len(acts) * len(acts)); share < 95 {
		out = append(out, fmt.Sprintf("only %d %% of the pairs of commands were seen", share))
	}
	if c.kinds() < 70 {
		out = append(out, fmt.Sprintf("only %d outcomes were seen", c.kinds()))
	}
	return out
}

func (h *history) saw(event string, really bool) {
	if really {
		h.cover.events[event]++
	}
}

// pending returns the ops of the deletions of a bucket that wait for a purge.
func (h *history) pending(name string) (out []ns.Op) {
	err := fsmtest.Scan(h.d.Store, schema.DeletedDirs, func(_ schema.OpKey, d *schemapb.DeletedDir) error {
		if d.Bucket == name {
			out = append(out, ns.Op(d.DeletedOp))
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// sawPurge notes what the next purge meets.
func (h *history) sawPurge() {
	first := true
	err := fsmtest.Scan(h.d.Store, schema.DeletedDirs, func(_ schema.OpKey, d *schemapb.DeletedDir) error {
		if !first {
			return nil
		}
		first = false
		b, at := h.buckets[d.Bucket], ns.Op(d.DeletedOp)
		earlier := slices.ContainsFunc(b.snaps, func(s *msnap) bool { return s.op < at })
		later := slices.ContainsFunc(b.snaps, func(s *msnap) bool { return s.op > at })
		h.saw(purgeSeen, earlier)
		h.saw(purgeLater, later)
		h.saw(purgeBetween, earlier && later)
		h.saw(purgeReclaim, slices.ContainsFunc(h.reclaim, func(r *mreclaim) bool { return r.bucket == b && r.snap.op < at }))
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) sawRename(b *mbucket, source, target string) {
	for _, s := range b.snaps {
		h.saw(renameSeen, s.then.keys[source] != nil)
		h.saw(renameDirSeen, strings.HasSuffix(source, "/") && s.then.isDir(source))
		h.saw(renameBack, s.then.keys[target] != nil || strings.HasSuffix(target, "/") && s.then.isDir(target))
	}
}

func (h *history) sawWrite(b *mbucket, path string) {
	k := b.keys[path]
	sees := func(s *msnap) bool { o := s.then.keys[path]; return k != nil && o != nil && o.id == k.id }
	h.saw(writeSeen, slices.ContainsFunc(b.snaps, sees))
	h.saw(writeReclaimed, slices.ContainsFunc(h.reclaim, func(r *mreclaim) bool { return r.bucket == b && sees(r.snap) }))
}

// sawDelete notes what the deletion of a snapshot meets.
func (h *history) sawDelete(b *mbucket, s *msnap) {
	i := slices.Index(b.snaps, s)
	h.saw(deleteMiddle, i > 0 && i < len(b.snaps)-1)
	for path, k := range s.then.keys {
		now, at := b.keys[path], b.find(k.id)
		h.saw(deleteRenamed, at != "" && at != path)
		h.saw(deleteOver, now != nil && now.id == k.id && now.born > s.op)
		h.saw(deleteGone, at == "")
	}
}

// find returns the path of an object, "" for none.
func (b *mbucket) find(id uint64) string {
	for _, path := range slices.Sorted(maps.Keys(b.keys)) {
		if b.keys[path].id == id {
			return path
		}
	}
	return ""
}
