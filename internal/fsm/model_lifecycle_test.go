package fsm_test

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

// mlife is what a bucket was told about lifecycle, and its scan.
type mlife struct {
	rules     []string // ids; nil: none
	update    uint64
	suspended bool
	scan      *mscan
}

// mscan is a lifecycle scan and where it stands.
type mscan struct {
	id, seq, update   uint64
	phase             schemapb.LifecyclePhase
	lastKey, lastMpu  string
	rows              uint64
	counters          map[uint32]*schemapb.LifecycleRuleCounters
	seen              map[string]mseen // what it looked at once
	previous          uint64           // the id of the scan before that reached its end
	previousDone      uint64           // what that one deleted, moved, aborted and skipped
	started, finished int64
}

// mseen is a row as a scan saw it.
type mseen struct{ parent, since uint64 }

func (b *mbucket) layout() ns.Layout {
	if b.tree {
		return ns.FileSystem
	}
	return ns.ObjectStore
}

// underway reports whether the bucket has a scan that is to be continued.
func (l *mlife) underway() bool {
	return l.scan != nil && l.scan.phase != schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE && l.scan.update == l.update
}

// ahead returns the keys, directories and what the scan has seen that lie before it, in
// its order. What lies in the trash is not scanned.
func (b *mbucket) ahead() []string {
	s := b.life.scan
	all := b.names(true)
	for path := range s.seen {
		if !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	from := command.ScanAfter(b.layout(), s.lastKey)
	all = slices.DeleteFunc(all, func(p string) bool {
		return strings.HasPrefix(p, command.TrashPrefix) || command.ScanAfter(b.layout(), p) <= from
	})
	slices.SortFunc(all, func(x, y string) int {
		return cmp.Compare(command.ScanAfter(b.layout(), x), command.ScanAfter(b.layout(), y))
	})
	return all
}

// uploadsAhead returns the uploads that lie before the scan, in its order.
func (b *mbucket) uploadsAhead() []string {
	after := func(id string) string { return b.uploads[id].key + "\x00" + id }
	out := slices.Collect(maps.Keys(b.uploads))
	slices.SortFunc(out, func(x, y string) int { return cmp.Compare(after(x), after(y)) })
	if last := b.life.scan.lastMpu; last != "" {
		i := strings.LastIndexByte(last, '/')
		from := last[:i] + "\x00" + last[i+1:]
		out = slices.DeleteFunc(out, func(id string) bool { return after(id) <= from })
	}
	return out
}

// count returns the counters of a rule.
func (s *mscan) count(rule uint32) *schemapb.LifecycleRuleCounters {
	if s.counters[rule] == nil {
		s.counters[rule] = &schemapb.LifecycleRuleCounters{}
	}
	return s.counters[rule]
}

// done adds up what a scan did.
func (s *mscan) done() (n uint64) {
	for _, c := range s.counters {
		n += c.DeletedKeys + c.DeletedDirs + c.MovedKeys + c.MovedDirs + c.AbortedUploads + c.Skipped
	}
	return n
}

// expire does to the model what a victim's action does, if it can. It must be
// there, and a directory must be empty. taken tells that its name in the trash was.
func (b *mbucket) expire(v *commandpb.LifecycleVictim, owner, suffix string, c *schemapb.LifecycleRuleCounters) (done, taken bool) {
	dir := b.tree && strings.HasSuffix(v.Path, "/")
	if v.Action != commandpb.LifecycleAction_LIFECYCLE_ACTION_TRASH {
		if dir {
			c.DeletedDirs++
			delete(b.marks, v.Path)
			return true, false
		}
		c.DeletedKeys++
		c.DeletedBytes += uint64(b.keys[v.Path].data.size())
		delete(b.keys, v.Path)
		return true, false
	}
	wish := command.TrashPrefix + owner + "/Current/" + v.Path
	target := b.trashed(wish, suffix)
	if target == "" {
		return false, false
	}
	if !dir {
		c.MovedKeys++
		c.MovedBytes += uint64(b.keys[v.Path].data.size())
		b.move(v.Path, target)
		return true, target != wish
	}
	c.MovedDirs++
	if b.isDir(target) {
		delete(b.marks, v.Path)
		b.marks[target] = true
		return true, true
	}
	b.move(v.Path, target)
	return true, target != wish
}

// trashed returns where in the trash something goes that belongs at path, "" when a
// key is in the place of the trash.
func (b *mbucket) trashed(path, suffix string) string {
	for {
		trimmed := strings.TrimSuffix(path, "/")
		parts := strings.Split(path, "/")
		above := ""
		for i, p := range strings.Split(trimmed, "/") {
			if above += p; b.tree && above != trimmed && b.keys[above] != nil {
				if i < 3 {
					return ""
				}
				parts[i] += suffix
				break
			}
			above += "/"
		}
		next := strings.Join(parts, "/")
		if next == path {
			asKey := b.keys[trimmed] != nil && (b.tree || trimmed == path) || b.keys[path] != nil
			asDir := b.tree && trimmed == path && b.isDir(path+"/")
			if !asKey && !asDir {
				return path
			}
			next = trimmed + suffix + path[len(trimmed):]
		}
		path = next
	}
}
