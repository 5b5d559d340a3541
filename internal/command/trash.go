package command

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"o3/internal/errs"
	"o3/internal/ns"
)

// TrashPrefix is the prefix of what lies in the trash of a bucket:
// .Trash/OWNER/Current/ has what was moved there last, and
// .Trash/OWNER/CHECKPOINT/ what was set aside at a time.
const TrashPrefix = ".Trash/"

// TrashCurrent is the directory of a trash that keys are moved to.
const TrashCurrent = "Current"

// trashDepth is how many directories lie above what was moved to a trash.
const trashDepth = 3

// MaxTrashPath is the most bytes of a path in trash, so that it can be named there
// also once it was set aside.
const MaxTrashPath = ns.MaxKeyName - 8

// checkpointLayout is how the time of a checkpoint is written.
const checkpointLayout = "060102150405"

// TrashCheckpoint returns the name of a checkpoint made at a time (milliseconds):
// yyMMddHHmmss in UTC.
func TrashCheckpoint(ms int64) string { return time.UnixMilli(ms).UTC().Format(checkpointLayout) }

// ParseTrashCheckpoint returns the time of a checkpoint, in milliseconds; ok is
// false for any other name.
func ParseTrashCheckpoint(name string) (ms int64, ok bool) {
	at, err := time.Parse(checkpointLayout, name)
	return at.UnixMilli(), err == nil && len(name) == len(checkpointLayout)
}

// TrashOf returns the prefix of the trash of an owner.
func TrashOf(owner string) string {
	if ns.CheckUserName(owner) != nil || owner == "." || owner == ".." {
		owner = "_"
	}
	return TrashPrefix + owner + "/"
}

// toTrash moves what is at p to the trash of the bucket's owner. Quotas do not
// hinder it. Where the trash has something of this name already, it gets another.
func (w *sweep) toTrash(p place) (why string, err error) {
	t, b := w.t, w.b
	base := TrashOf(b.row.Owner) + TrashCurrent + "/"
	suffix := fmt.Sprintf(".%s-%d", TrashCheckpoint(t.now), t.op)
	to, err := w.freeSlot(p, trashPath(MaxTrashPath, base, p.path, fmt.Sprintf("%s-%d", suffix, w.at)), suffix)
	switch {
	case err != nil:
		return "", err
	case to.path == "":
		return "a key is in the place of the trash, or no name is free there", nil
	case to.entry != nil:
		return "", w.mergeDir(p, to)
	}
	if err := t.makeParents(b, &to, b.row.Owner); err != nil {
		return "", err
	}
	w.trash = directoryOf(to)
	_, err = t.relocate(b, p, &to)
	return "", err
}

// trashPath returns where path lies below base: cut, and told apart by suffix,
// when it would have more than most bytes.
func trashPath(most int, base, path, suffix string) string {
	if len(base)+len(path) <= most {
		return base + path
	}
	slash := ""
	if strings.HasSuffix(path, "/") {
		slash = "/"
	}
	cut := most - len(base) - len(suffix) - len(slash)
	for cut > 0 && !utf8.RuneStart(path[cut]) {
		cut--
	}
	return base + strings.TrimRight(path[:cut], "/") + suffix + slash
}

// freeSlot returns the slot of path, or of one like it if it is taken: its entry
// is nil, or it is a directory that from, a directory too, can be joined with. If
// none is found, or a key is in the place of the trash itself, the place has no
// path.
func (w *sweep) freeSlot(from place, path, suffix string) (place, error) {
	for range 3 {
		p, err := w.trash.find(w.t, w.b, path)
		if err != nil {
			return p, err
		}
		switch {
		case p.parentKey && len(p.ancestors) < trashDepth:
			return place{}, nil
		case p.parentKey:
			path = suffixComponent(path, len(p.ancestors), suffix)
		case isDir(p.entry) && isDir(from.entry):
			return p, nil
		case p.entry != nil:
			path = suffixLast(path, suffix)
		default:
			twin, err := w.t.twin(w.b, p)
			if err != nil || twin == nil {
				return p, err
			}
			path = suffixLast(path, suffix)
		}
		if len(path) > ns.MaxKeyName {
			break
		}
	}
	return place{}, nil
}

// suffixComponent appends suffix to component n of a path.
func suffixComponent(path string, n int, suffix string) string {
	parts := strings.Split(path, "/")
	parts[n] += suffix
	return strings.Join(parts, "/")
}

// suffixLast appends suffix to the last component of a path, before its slash.
func suffixLast(path, suffix string) string {
	trimmed := strings.TrimSuffix(path, "/")
	return trimmed + suffix + path[len(trimmed):]
}

// mergeDir has the empty directory at p go: the trash has one of its name, which
// takes over what was set on it.
func (w *sweep) mergeDir(p, to place) error {
	if !isDir(to.entry) {
		return errs.New(errs.Internal, to.path, "only a directory can be joined with another")
	}
	if err := w.t.removeDir(w.b, p.key, p.entry); err != nil {
		return err
	}
	entry := clone(p.entry)
	entry.ObjectId, entry.Born, entry.CreatedMs = to.entry.ObjectId, to.entry.Born, to.entry.CreatedMs
	entry.Implicit = false
	return w.t.replace(w.b, to.key, to.entry, entry)
}
