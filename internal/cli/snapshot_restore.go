package cli

import (
	"context"
	"fmt"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/progress"
)

type snapshotRestore struct {
	Path   string `arg:"" help:"/volume/bucket"`
	Name   string `arg:"" help:"Name of the snapshot"`
	Key    string `placeholder:"KEY" xor:"what" help:"Only this key; a directory's name ends in a slash, and stands for the directory alone."`
	Prefix string `placeholder:"PREFIX" xor:"what" help:"Only names that begin so."`
	Exact  bool   `help:"Also delete what the snapshot does not have."`
	DryRun bool   `help:"Change nothing, only count; what would be refused is not foreseen."`
}

// Help is shown by --help.
func (c *snapshotRestore) Help() string {
	return `Without --key or --prefix the whole bucket is restored. What is as the snapshot has it is left alone; blocks are shared, so the cost is rows, not bytes.
A restore is not one change: others may write meanwhile, and what they write behind it stays. It may be interrupted, and run again. Names that are refused are listed, and make the exit code that of the first of them.`
}

// restored is what --json prints in the end.
type restored struct {
	Volume    string `json:"volume"`
	Bucket    string `json:"bucket"`
	Snapshot  string `json:"snapshot"`
	DryRun    bool   `json:"dryRun"`
	Complete  bool   `json:"complete"`  // false: it ended with an error on the way
	Restored  uint64 `json:"restored"`  // names
	Unchanged uint64 `json:"unchanged"` // names
	Removed   uint64 `json:"removed"`   // names
	Refused   uint64 `json:"refused"`   // names
	Bytes     uint64 `json:"bytes"`     // of what was restored
}

// Run restores.
func (c *snapshotRestore) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.bucket(c.Path)
	if err != nil {
		return err
	}
	bar := s.slowBar(progress.Options{Label: fmt.Sprintf("restore %s of /%s/%s", c.Name, p.volume, p.bucket), Unit: "names"})
	defer bar.close()
	sum, refused, err := o3.Restore(ctx, &o3v1.RestoreSnapshotRequest{
		Volume: p.volume, Bucket: p.bucket, Name: c.Name, Key: c.Key, Prefix: c.Prefix, Exact: c.Exact, DryRun: c.DryRun,
	}, func(page *o3v1.RestoreSnapshotResponse) {
		bar.add(int64(page.Restored + page.Unchanged + page.Removed + uint64(len(page.Refused))))
		for _, r := range page.Refused {
			s.refuse(p, r)
		}
	})
	bar.close()
	begun := sum.Restored+sum.Unchanged+sum.Removed+refused > 0
	if err != nil && !begun {
		return err
	}
	out := restored{
		Volume: p.volume, Bucket: p.bucket, Snapshot: c.Name, DryRun: c.DryRun, Complete: err == nil,
		Restored: sum.Restored, Unchanged: sum.Unchanged, Removed: sum.Removed, Refused: refused, Bytes: sum.Bytes,
	}
	if told := s.doneAs(out, "%s", out.sentence()); err == nil {
		err = told
	}
	return err
}

// refuse tells of a name that was not restored. The exit code is that of the
// first.
func (s *Session) refuse(p path, r *o3v1.RestoreRefusal) {
	p.key = r.Path
	err := errs.New(errs.Kind(r.Kind), p.String(), r.Detail)
	if s.code == 0 {
		s.code, _ = exitCode(err.Kind)
	}
	if s.JSON {
		s.jsonError(err)
		return
	}
	fmt.Fprintln(s.Stderr, "o3:", oneLine(message(err)))
}

func (r restored) sentence() string {
	verb := "Restored"
	if r.DryRun {
		verb = "Would restore"
	}
	text := fmt.Sprintf("%s %d name%s, %s, from snapshot %s; %d unchanged", verb, r.Restored, plural(r.Restored), size(r.Bytes), r.Snapshot, r.Unchanged)
	if r.Removed > 0 {
		text += fmt.Sprintf("; %d removed", r.Removed)
	}
	if r.Refused > 0 {
		text += fmt.Sprintf("; %d refused", r.Refused)
	}
	if !r.Complete {
		text += "; then it failed"
	}
	return text + "."
}

func plural(n uint64) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// slowBar is a progress bar that appears only when the work takes longer than
// barAfter. It belongs to one goroutine.
type slowBar struct {
	opts  progress.Options
	began time.Time
	done  int64
	bar   *progress.Bar
}

const barAfter = time.Second

func (s *Session) slowBar(o progress.Options) *slowBar {
	o.Out, o.Quiet = s.Stderr, s.Quiet || s.JSON
	return &slowBar{opts: o, began: time.Now()}
}

func (b *slowBar) add(n int64) { b.set(b.done+n, b.opts.Label) }

func (b *slowBar) set(n int64, label string) {
	b.done, b.opts.Label = n, label
	if b.bar == nil && time.Since(b.began) >= barAfter {
		b.bar = progress.Start(b.opts)
	}
	if b.bar != nil {
		b.bar.Set(n)
		b.bar.SetLabel(label)
	}
}

func (b *slowBar) close() {
	if b.bar != nil {
		b.bar.Close()
		b.bar = nil
	}
}
