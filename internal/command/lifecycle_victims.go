package command

import (
	"strings"

	"o3/internal/command/commandpb"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// sweep deals with the victims of one step. Of the directory that it is in it
// remembers the way there, and that something left it: whether it is empty now is
// asked once, when the sweep leaves it.
type sweep struct {
	t *Tx
	scanState
	reply *commandpb.LifecycleStepReply

	at    uint32    // the place of the latest victim in the step
	dir   directory // of the latest victim
	left  string    // the name of the latest child that left dir, "" for none
	trash directory // that the latest victim was moved to
}

// directory is the way to a directory that exists. The zero value is none.
type directory struct {
	path      string // with its slash; "" for a bucket's root
	ancestors []dirEntry
	parent    ns.ObjectID
}

// slot returns the place of name in the directory.
func (d directory) slot(t *Tx, name string) (place, error) {
	p := place{
		path: d.path + name, ancestors: d.ancestors,
		key: schema.EntryKey{Bucket: d.ancestors[0].key.Bucket, Parent: d.parent, Name: name},
	}
	return p, t.load(&p)
}

// directoryOf returns the directory above p, which has no missing ones.
func directoryOf(p place) directory {
	if len(p.ancestors) == 0 {
		return directory{} // the root: nothing is saved by remembering it
	}
	return directory{path: p.path[:len(p.path)-len(p.key.Name)], ancestors: p.ancestors, parent: p.key.Parent}
}

// find is Tx.find, by way of the directory known.
func (d directory) find(t *Tx, b *bucketState, path string) (place, error) {
	if len(d.ancestors) > 0 && strings.HasPrefix(path, d.path) {
		name := path[len(d.path):]
		if i := strings.IndexByte(name, '/'); name != "" && (i < 0 || i == len(name)-1) {
			return d.slot(t, name)
		}
	}
	return t.find(b, path)
}

// victim deals with one victim, or skips it.
func (w *sweep) victim(i uint32, v *commandpb.LifecycleVictim) error {
	w.at = i
	var done schemapb.LifecycleRuleCounters
	why, err := "", error(nil)
	if v.Action == actionAbort {
		why, err = w.abort(v, &done)
	} else {
		why, err = w.entry(v, &done)
	}
	if err != nil {
		return err
	}
	if why != "" {
		done.Skipped++
		w.reply.Skips = append(w.reply.Skips, &commandpb.LifecycleSkip{Victim: i, Reason: why})
	}
	addCounters(w.counters(v.Rule), &done)
	addCounters(w.reply.Done, &done)
	return nil
}

// counters returns those of a rule; they are kept in the order of the rules.
func (w *sweep) counters(rule uint32) *schemapb.LifecycleRuleCounters {
	list := w.row.Rules
	at := 0
	for at < len(list) && list[at].Rule < rule {
		at++
	}
	if at < len(list) && list[at].Rule == rule {
		return list[at]
	}
	c := &schemapb.LifecycleRuleCounters{Rule: rule, Id: w.rules.Rules[rule].Id}
	list = append(list, nil)
	copy(list[at+1:], list[at:])
	list[at] = c
	w.row.Rules = list
	return c
}

// abort drops an upload and its parts.
func (w *sweep) abort(v *commandpb.LifecycleVictim, done *schemapb.LifecycleRuleCounters) (why string, err error) {
	u := uploadState{key: schema.UploadKey{Bucket: w.b.id(), Name: v.Path, Upload: ns.ObjectID(v.UploadId)}}
	row, ok, err := schema.Uploads.Get(w.t.w, u.key)
	if err != nil || !ok {
		return "it was completed or aborted meanwhile", err
	}
	u.row = row
	done.AbortedUploads, done.AbortedBytes = 1, row.Bytes
	return "", w.t.endUpload(w.b, u, nil)
}

// entry deletes a key or directory, or moves it to trash. It looks for it by its
// path from the root: so it is reachable, and is where its rule found it.
func (w *sweep) entry(v *commandpb.LifecycleVictim, done *schemapb.LifecycleRuleCounters) (why string, err error) {
	if parentPath(v.Path) != w.dir.path {
		if err := w.leave(); err != nil {
			return "", err
		}
	}
	p, err := w.dir.find(w.t, w.b, v.Path)
	if err != nil {
		return "", err
	}
	if why, err := w.unfit(p, v); err != nil || why != "" {
		return why, err
	}
	if w.b.fso() {
		w.dir = directoryOf(p)
	}
	switch {
	case v.Action == actionTrash:
		if why, err = w.toTrash(p); err != nil || why != "" {
			return why, err
		}
	case isDir(p.entry):
		err = w.t.removeDir(w.b, p.key, p.entry)
	default:
		err = w.t.replace(w.b, p.key, p.entry, nil)
	}
	w.left = p.key.Name
	switch {
	case isDir(p.entry) && v.Action == actionTrash:
		done.MovedDirs = 1
	case isDir(p.entry):
		done.DeletedDirs = 1
	case v.Action == actionTrash:
		done.MovedKeys, done.MovedBytes = 1, p.entry.Size
	default:
		done.DeletedKeys, done.DeletedBytes = 1, p.entry.Size
	}
	return "", err
}

// unfit says why what is found is not the victim any more, "" when it is.
func (w *sweep) unfit(p place, v *commandpb.LifecycleVictim) (string, error) {
	switch e := p.entry; {
	case e == nil:
		return "it is gone", nil
	case uint64(p.key.Parent) != v.ParentId:
		return "a directory above it is another", nil
	case e.Since != v.Since:
		return "it was changed meanwhile", nil
	case isDir(e):
		empty, err := w.t.empty(w.b.id(), ns.ObjectID(e.ObjectId))
		if err != nil || !empty {
			return "the directory is not empty", err
		}
	}
	return "", nil
}

// leave ends the sweep of a directory: if it was there only for what was in it,
// and that is gone, it goes.
func (w *sweep) leave() error {
	dir, left := w.dir, w.left
	w.dir, w.left = directory{}, ""
	if left == "" || len(dir.ancestors) == 0 {
		return nil
	}
	// The rest of a directory that is being swept lies mostly behind what was
	// swept; before it there may be no more than the traces of what was deleted.
	lower, upper := schema.Children(w.b.id(), dir.parent, "")
	it, err := w.t.w.Iter(append(lower, left...), upper)
	if err != nil {
		return err
	}
	more := it.First()
	if err := it.Err(); err != nil {
		it.Close()
		return err
	}
	if err := it.Close(); err != nil || more {
		return err
	}
	return w.t.prune(w.b, dir.ancestors)
}

// parentPath returns the path of the directory above path, with its slash.
func parentPath(path string) string {
	return path[:strings.LastIndexByte(strings.TrimSuffix(path, "/"), '/')+1]
}
