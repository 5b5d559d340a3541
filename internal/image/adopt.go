package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"syscall"

	pb "go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sync/errgroup"

	"o3/internal/consensus/raftlog"
	"o3/internal/errs"
)

// AdoptOptions is how a directory with an image becomes a node's.
type AdoptOptions struct {
	ImportOptions

	// Verified says that the files were compared with their checksums when they
	// were brought: they are not read again.
	Verified bool

	// Tail are the log entries after the image's index, without a gap, committed
	// where they come from; nil: none. They become the node's to replay at its
	// start. Adopt keeps what it is given, and asks anew when it is called again.
	Tail iter.Seq2[*pb.Entry, error]
}

// Adopted says what Adopt did.
type Adopted struct {
	Imported
	Moved    int    `json:"moved"`      // files, in this run
	Copied   int    `json:"copied"`     // files, in this run: to another file system
	Entries  int64  `json:"entries"`    // of Tail
	Last     uint64 `json:"last_index"` // where the node will stand
	LastTerm uint64 `json:"last_term"`
}

// Adopt does what Import does with an image in the directory dir (its
// manifest.json, store/ and blocks/), but moves the files instead of copying
// them. It copies only to another file system, and leaves the originals then.
// Cut off at any point, it goes on when it is called again with the same options;
// what is left of dir is the caller's to remove after that. Kinds: those of
// Import, and Conflict (Tail changes the membership: the node is a group of its
// own). Errors of Tail are returned.
func Adopt(ctx context.Context, dir string, o AdoptOptions) (Adopted, error) {
	if err := o.check(); err != nil {
		return Adopted{}, err
	}
	img, err := ReadDir(o.FS, dir)
	if err != nil {
		return Adopted{}, err
	}
	a := &adopting{importing: newImporting(ctx, img.Manifest, o.ImportOptions), o: o}
	a.from = inImage(a.fs, dir)
	a.mark.Format = adopting2
	a.tail = &tail{entries: o.Tail, last: img.Manifest.Index, term: img.Manifest.Term}
	for _, step := range []func() error{a.claim, a.finished, a.gather, a.stand, a.join, a.log, a.identify, a.release} {
		if err := step(); err != nil {
			return a.result(), err
		}
		if a.complete {
			break
		}
	}
	return a.result(), nil
}

// adopting is one run of Adopt.
type adopting struct {
	*importing
	o    AdoptOptions
	from places
	tail *tail

	moved, copied int
}

func (a *adopting) result() Adopted {
	a.importing.out.Manifest = a.m
	return Adopted{Imported: a.importing.out, Moved: a.moved, Copied: a.copied, Entries: a.tail.count, Last: a.tail.last, LastTerm: a.tail.term}
}

// finished sees whether all was done but for taking the mark away.
func (a *adopting) finished() error {
	if err := a.importing.finished(); err != nil || !a.complete {
		return err
	}
	var err error
	a.tail.last, a.tail.term, err = raftlog.End(raftlog.Options{FS: a.fs, Dir: a.path("raft"), CacheBytes: 1 << 20})
	return err
}

// gather brings the files and verifies them. Later steps change them, and what
// was moved is here only: the mark says that this is done.
func (a *adopting) gather() error {
	if a.mark.Whole {
		return nil
	}
	for _, step := range []func() error{a.sweep, a.move, a.sums, a.verify} {
		if err := step(); err != nil {
			return err
		}
	}
	a.mark.Whole = true
	return a.writeMark()
}

// move moves every file that is not in its place.
func (a *adopting) move() error {
	for _, f := range a.m.Files {
		if err := canceled(a.ctx); err != nil {
			return err
		}
		if err := a.take(f); err != nil {
			return err
		}
	}
	dirs := []string{a.at.store}
	if a.m.Blocks {
		dirs = append(dirs, a.at.blocks)
	}
	dirs = append(dirs, a.from.store, a.from.blocks) // the old names go when the new ones are durable
	for _, dir := range dirs {
		if err := syncDir(a.fs, dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return diskFault("Adopt", dir, err)
		}
	}
	return nil
}

func (a *adopting) take(f File) error {
	from, to := a.from.of(f.Path), a.at.of(f.Path)
	st, err := a.fs.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		from = to // moved by a run before this one
		st, err = a.fs.Stat(from)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault(errs.Corrupt, "Adopt", a.from.of(f.Path), "the file is missing")
	case err != nil:
		return diskFault("Adopt", from, err)
	case st.Size() != f.Size:
		return fault(errs.Corrupt, "Adopt", from, "it has %d bytes, expected %d", st.Size(), f.Size)
	}
	a.out.Files++
	a.out.Bytes += f.Size
	if from == to {
		return nil
	}
	err = a.fs.Rename(from, to)
	if errors.Is(err, syscall.EXDEV) {
		return a.copy(f, from, to)
	}
	if err == nil {
		a.moved++
	}
	return diskFault("Adopt", from, err)
}

// copy copies a file to another file system.
func (a *adopting) copy(f File, from, to string) error {
	if there, err := a.fs.Stat(to); err == nil && there.Size() == f.Size {
		if _, sum, err := sumFile(a.ctx, a.fs, to, a.th, nil); err == nil && sum == f.XXH3 {
			return nil // by a run before this one
		}
	}
	if a.copied == 0 {
		if err := a.room(); err != nil {
			return err
		}
	}
	in, err := a.fs.Open(from)
	if err != nil {
		return diskFault("Adopt", from, err)
	}
	defer in.Close()
	err = writeFile(a.fs, to+partName, checked{reader: newReader(a.ctx, in, a.th, nil), want: f, subject: from})
	if err == nil {
		err = a.fs.Rename(to+partName, to)
	}
	if err == nil {
		a.copied++
	}
	return diskFault("Adopt", to, err)
}

// sums compares every file with its checksum, unless somebody did.
func (a *adopting) sums() error {
	if a.o.Verified {
		return nil
	}
	g, ctx := errgroup.WithContext(a.ctx)
	g.SetLimit(max(1, cmpOr(a.o.Parallel, 4)))
	for _, f := range a.m.Files {
		g.Go(func() error {
			path := a.at.of(f.Path)
			_, sum, err := sumFile(ctx, a.fs, path, a.th, a.progress)
			if err == nil && sum != f.XXH3 {
				err = fault(errs.Corrupt, "Adopt", path, "its checksum is %s, expected %s", sum, f.XXH3)
			}
			return diskFault("Adopt", path, err)
		})
	}
	err := g.Wait()
	if cerr := canceled(a.ctx); cerr != nil {
		return cerr
	}
	return err
}

// stand checks again where the store stands: an earlier run may have worked on it.
func (a *adopting) stand() error { return stands(a.at, a.m) }

// log makes the log anew.
func (a *adopting) log() error {
	if err := a.fs.RemoveAll(a.path("raft")); err != nil {
		return diskFault("Adopt", a.path("raft"), err)
	}
	if err := syncDir(a.fs, a.path()); err != nil {
		return diskFault("Adopt", a.path(), err)
	}
	return a.logWith(a.tail)
}

// tail writes entries to a log.
type tail struct {
	entries    iter.Seq2[*pb.Entry, error]
	last, term uint64 // of the entry before the next one
	count      int64
}

// tailBytes is how much of a tail is in memory at once, beside its last entry.
const tailBytes = 4 << 20

func (t *tail) write(l *raftlog.Log) error {
	if t.entries == nil {
		return nil
	}
	var batch []*pb.Entry
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := l.Write(raftlog.Write{Entries: batch, Hard: hardState(t.term, t.last), Sync: true})
		batch, size = nil, 0
		return err
	}
	for e, err := range t.entries {
		if err == nil {
			err = t.next(e)
		}
		if err != nil {
			return err
		}
		batch = append(batch, e)
		if size += len(e.GetData()) + 64; size >= tailBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// next checks that e follows.
func (t *tail) next(e *pb.Entry) error {
	subject := fmt.Sprintf("log entry %d", e.GetIndex())
	switch {
	case e.GetIndex() != t.last+1:
		return fault(errs.Corrupt, "Adopt", subject, "entry %d belongs there", t.last+1)
	case e.GetTerm() < t.term:
		return fault(errs.Corrupt, "Adopt", subject, "it is of term %d, the one before of term %d", e.GetTerm(), t.term)
	case e.GetType() != pb.EntryNormal:
		return fault(errs.Conflict, "Adopt", subject, "it changes the membership of the source's group; the new node is a group of its own: take an image made after this entry")
	}
	t.last, t.term = e.GetIndex(), e.GetTerm()
	t.count++
	return nil
}
