package lifecycle

import (
	"sort"
	"strings"

	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/lifecycle/rule"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// tickRows is how many rows a walk looks at between two ticks.
const tickRows = 256

// found is something that has expired.
type found struct {
	victim     *commandpb.LifecycleVictim
	size       uint64 // bytes; of an upload, of its parts
	parts      uint64 // of an upload
	modifiedMs int64  // of an upload: when it began
	expiredMs  int64
	directory  bool
}

// visitor hears what a walk finds. What returns false ends the walk; an error too.
type visitor interface {
	// found is told of what has expired, in the order of a scan, before the walk
	// has covered it. If it returns false, the walk does not cover it.
	found(found) (bool, error)
	// tick is called now and then.
	tick() (bool, error)
}

// walk is an evaluation of rules on a bucket. One serves the scan that acts and
// the preview that does not.
type walk struct {
	set    *rule.Set
	cutoff int64
	action commandpb.LifecycleAction // for keys and directories
	layout ns.Layout
	every  uint64 // rows between ticks
	acts   bool   // what expired is gone when the walk goes on elsewhere

	tops []string // prefixes that rules are about
	top  string   // the one that the walk is in

	// What the walk has covered.
	key    string // the last key or directory
	parent ns.ObjectID
	kept   string // the last one that stays
	mpu    string // the position of the last upload
	rows   uint64 // looked at, uploads included
	dirs   int    // of them, directories that were left
	aborts int    // of them, uploads
}

func newWalk(set *rule.Set, b view.Bucket, cutoff int64, trash bool) *walk {
	w := &walk{set: set, cutoff: cutoff, layout: b.Layout(), tops: set.Prefixes(), every: tickRows, action: commandpb.LifecycleAction_LIFECYCLE_ACTION_DELETE}
	if trash {
		w.action = commandpb.LifecycleAction_LIFECYCLE_ACTION_TRASH
	}
	return w
}

// covers reports whether a rule may be about path, as far as is known without a
// search.
func (w *walk) covers(path []byte) bool {
	return startsWith(path, w.top) && !startsWith(path, rule.Trash)
}

func startsWith(path []byte, prefix string) bool {
	return len(path) >= len(prefix) && string(path[:len(prefix)]) == prefix
}

// enter notes that the walk is at a path that a rule may be about.
func (w *walk) enter(path string) {
	if i := sort.SearchStrings(w.tops, path); i < len(w.tops) && w.tops[i] == path {
		w.top = w.tops[i]
	} else if i > 0 {
		w.top = w.tops[i-1]
	}
}

// keys walks the keys and directories behind what is covered. end tells that
// there are no more.
func (w *walk) keys(v view.View, b view.Bucket, to visitor) (end bool, err error) {
	from, any := w.set.Seek(command.ScanAfter(w.layout, w.key))
	if !any {
		return true, nil
	}
	s, err := v.Scan(b)
	if err != nil {
		return false, err
	}
	defer s.Close()
	w.enter(from)
	before, ticks := w.rows, uint64(0)
	var key, kept []byte // what w.key and w.kept will be: a row is not worth a string
	note := func() {
		w.rows = before + s.Steps()
		if len(key) > 0 {
			w.key, key = string(key), key[:0]
		}
		if len(kept) > 0 {
			w.kept, kept = string(kept), kept[:0]
		}
	}
	defer note()
	object := rule.Object{Tags: &s.Row}
	for ok := s.Seek(from); ok; {
		if !w.covers(s.PathBytes()) {
			path := s.Path()
			next, more := w.set.Seek(path)
			if next != path && s.Left() { // what is in it is behind us
				next, more = w.set.Seek(command.ScanAfter(w.layout, path))
			}
			if !more {
				return s.Err() == nil, s.Err()
			}
			w.enter(next)
			if next != path {
				ok = s.Seek(next)
				continue
			}
		}
		var e rule.Expiry
		due := false
		if !w.set.Young(s.Row.ModifiedMs, w.cutoff) {
			object.Path, object.Size, object.ModifiedMs, object.Directory = s.Path(), s.Row.Size, s.Row.ModifiedMs, s.Row.Directory
			if e, due, err = w.set.Expiry(&object, w.cutoff); err != nil {
				return false, err
			}
		}
		if due {
			note()
		}
		if due && s.Left() && w.holds(s, object.Path) {
			due = false
		}
		if !due {
			s.Keep()
			kept = append(kept[:0], s.PathBytes()...)
		} else if on, err := to.found(found{directory: s.Left(), size: s.Row.Size, modifiedMs: s.Row.ModifiedMs, expiredMs: e.AtMs, victim: &commandpb.LifecycleVictim{
			Action: w.action, Rule: uint32(e.Rule), Path: object.Path, ParentId: uint64(s.Parent), Since: uint64(s.Row.Since),
		}}); err != nil || !on {
			return false, err
		}
		key, w.parent = append(key[:0], s.PathBytes()...), s.Parent
		if s.Left() {
			w.dirs++
		}
		if ticks++; ticks%w.every == 0 {
			note()
			if on, err := to.tick(); err != nil || !on {
				return false, err
			}
		}
		ok = s.Next()
	}
	return s.Err() == nil, s.Err()
}

// holds reports whether something in the directory that is being left stays. All
// that is in it comes right before it: so it holds something if the last thing
// that stays is in it. That is not known of what a walk that acts has dealt with
// before it was interrupted, but what is there still stays.
func (w *walk) holds(s *view.Scan, path string) bool {
	if w.acts {
		return s.Kept()
	}
	return strings.HasPrefix(w.kept, path)
}

// uploads walks the multipart uploads behind what is covered.
func (w *walk) uploads(v view.View, b view.Bucket, to visitor) (end bool, err error) {
	from, any := w.set.SeekUpload("")
	for any {
		again := false
		end = true
		err = v.UploadsFrom(b, w.mpu, from, func(u view.UploadRow) (bool, error) {
			next, more := w.set.SeekUpload(u.Key.Name)
			if !more {
				return false, nil
			}
			if next != u.Key.Name {
				from, again = next, true
				return false, nil
			}
			on, err := w.upload(u, to)
			end = on
			return on, err
		})
		if err != nil || !again || !end {
			return end && err == nil, err
		}
	}
	return true, nil
}

func (w *walk) upload(u view.UploadRow, to visitor) (on bool, err error) {
	w.rows++
	w.aborts++
	if e, due := w.set.Abort(u.Key.Name, u.Row.CreatedMs, w.cutoff); due {
		on, err := to.found(found{size: u.Row.Bytes, parts: u.Row.Parts, modifiedMs: u.Row.CreatedMs, expiredMs: e.AtMs, victim: &commandpb.LifecycleVictim{
			Action: commandpb.LifecycleAction_LIFECYCLE_ACTION_ABORT, Rule: uint32(e.Rule), Path: u.Key.Name, UploadId: uint64(u.Key.Upload),
		}})
		if err != nil || !on {
			return false, err
		}
	}
	w.mpu = u.Position()
	if w.rows%w.every == 0 {
		return to.tick()
	}
	return true, nil
}

// phases of a scan.
const (
	phaseKeys    = schemapb.LifecyclePhase_LIFECYCLE_PHASE_KEYS
	phaseUploads = schemapb.LifecyclePhase_LIFECYCLE_PHASE_UPLOADS
	phaseDone    = schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE
)
