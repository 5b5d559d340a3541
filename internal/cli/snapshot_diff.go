package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/errs"
	"o3/internal/progress"
	"o3/internal/snapdiff/render"
)

// diffOptions are the flags that tell a diff from another of the same pair.
type diffOptions struct {
	Ordered bool     `help:"A report that can be replayed from top to bottom on a copy of the first snapshot."`
	Prefix  string   `placeholder:"PREFIX" help:"Only entries with a path that begins so."`
	Type    []string `placeholder:"TYPE,..." help:"Only entries of these types: + - M R, or create, delete, modify, rename."`
	Full    bool     `aliases:"force-full-diff,ffd" help:"Compare all names instead of those that the journal says changed; the report is the same."`
}

// given reports whether there is any.
func (o *diffOptions) given() bool { return o.Ordered || o.Prefix != "" || len(o.Type) > 0 || o.Full }

// diffTypes are the types of entries by the words that --type takes.
var diffTypes = []struct{ word, letter, sign string }{
	{"create", "c", "+"}, {"delete", "d", "-"}, {"modify", "m", "M"}, {"rename", "r", "R"},
}

// spec returns what is to be compared.
func (o *diffOptions) spec(p path, from, to string) (*o3v1.DiffSpec, error) {
	spec := &o3v1.DiffSpec{
		Volume: p.volume, Bucket: p.bucket, From: from, To: to, Full: o.Full, Ordered: o.Ordered, Prefix: o.Prefix,
	}
	for _, word := range o.Type {
		sign := ""
		for _, t := range diffTypes {
			if w := strings.ToLower(strings.TrimSpace(word)); w == t.word || w == t.letter || w == strings.ToLower(t.sign) {
				sign = t.sign
			}
		}
		if sign == "" {
			return nil, errs.New(errs.Invalid, "--type "+word, "must be of + - M R, or create, delete, modify, rename")
		}
		spec.Types = append(spec.Types, sign)
	}
	return spec, nil
}

type snapshotDiff struct {
	Path string `arg:"" help:"/volume/bucket"`
	From string `arg:"" help:"Name of the snapshot to start from"`
	To   string `arg:"" optional:"" help:"Name of the snapshot to compare it with (default: the live bucket)"`

	Follow    bool    `short:"f" xor:"how" help:"Wait until it is done, and print the whole report."`
	GetReport bool    `short:"r" xor:"how" help:"Print one page of the report, and never submit."`
	PageSize  *uint32 `short:"p" placeholder:"N" help:"Entries of a page (default, and most: as the server is configured)."`
	Token     string  `short:"t" placeholder:"TOKEN" help:"Which page --get-report prints: the token at the end of the page before."`

	diffOptions
}

// Help is shown by --help.
func (c *snapshotDiff) Help() string {
	return `Without --follow or --get-report the diff is submitted, and the command tells where it stands. A diff that waits, runs or is done already is not made again.
Entries: + created, - deleted, M modified, R renamed. A directory that was renamed or deleted is one entry, whatever is below it. With --json a page is an object on a line of its own.`
}

// Run submits the diff, or reads its report.
func (c *snapshotDiff) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 2)
	if err != nil {
		return err
	}
	spec, err := c.spec(p, c.From, c.To)
	if err != nil {
		return err
	}
	if c.PageSize != nil && *c.PageSize == 0 {
		return errs.New(errs.Invalid, "--page-size 0", fmt.Sprintf("must be 1 to %d; what is more than the server allows means as many as it allows", uint32(math.MaxUint32)))
	}
	if c.Token != "" && !c.GetReport {
		return errs.New(errs.Invalid, "--token", "goes with --get-report")
	}
	if c.PageSize != nil && !c.GetReport && !c.Follow {
		return errs.New(errs.Invalid, "--page-size", "goes with --get-report or --follow")
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	switch {
	case c.Follow:
		return c.follow(ctx, s, o3, spec)
	case c.GetReport:
		return c.page(ctx, s, o3, spec)
	}
	return c.submit(ctx, s, o3, spec)
}

func (c *snapshotDiff) size() uint32 {
	if c.PageSize == nil {
		return 0
	}
	return *c.PageSize
}

// submit submits the diff and tells where it stands.
func (c *snapshotDiff) submit(ctx context.Context, s *Session, o3 *client.Client, spec *o3v1.DiffSpec) error {
	r, err := o3.SubmitDiff(ctx, &o3v1.SubmitDiffRequest{Spec: spec})
	if err != nil {
		return err
	}
	asNamed(r.Job, spec)
	switch r.Job.State {
	case o3v1.DiffState_DIFF_STATE_REJECTED:
		return &client.DiffError{Job: r.Job}
	case o3v1.DiffState_DIFF_STATE_DONE:
		return s.done(r.Job, "%s is DONE: %d entries. Print them with --follow, or page by page with --get-report.", jobLabel(r.Job), r.Job.TotalEntries)
	}
	word := "Submitted"
	if r.Existed {
		word = "Already submitted"
	}
	return s.done(r.Job, "%s: %s is %s. Wait for it with --follow, or look again with --get-report.", word, jobLabel(r.Job), standing(r.Job))
}

// page prints one page, or where the diff stands if there is none.
func (c *snapshotDiff) page(ctx context.Context, s *Session, o3 *client.Client, spec *o3v1.DiffSpec) error {
	r, err := o3.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec, Token: c.Token, PageSize: c.size()})
	if errs.KindOf(err) == errs.NoSuchJob {
		return errs.New(errs.NoSuchJob, pairLabel(path{spec.Volume, spec.Bucket, ""}, spec.From, spec.To),
			"it was never submitted with these options, or is forgotten; without --get-report it is submitted")
	}
	if err != nil {
		return err
	}
	asNamed(r.Job, spec)
	switch r.Job.State {
	case o3v1.DiffState_DIFF_STATE_DONE:
	case o3v1.DiffState_DIFF_STATE_QUEUED, o3v1.DiffState_DIFF_STATE_IN_PROGRESS:
		s.code = ExitUnavailable
	default:
		if !s.JSON {
			return &client.DiffError{Job: r.Job}
		}
		s.code, _ = exitCode(errs.KindOf(&client.DiffError{Job: r.Job}))
	}
	switch {
	case s.JSON:
		return s.doneAs(render.JSON(r.Job, r.Entries, r.NextToken), "")
	case r.Job.State != o3v1.DiffState_DIFF_STATE_DONE:
		return s.done(nil, "%s is %s; look again in %s.", jobLabel(r.Job), standing(r.Job), shortTime(r.Job.WaitMs))
	}
	text := render.NewText(s.Stdout, r.Job.From, r.Job.To)
	text.Entries(r.Entries...)
	return written(text.End(r.NextToken))
}

// follow waits for the diff and prints all its pages.
func (c *snapshotDiff) follow(ctx context.Context, s *Session, o3 *client.Client, spec *o3v1.DiffSpec) error {
	bar := s.slowBar(progress.Options{Total: 1000, Share: true})
	defer bar.close()
	var text *render.Text
	pages := o3.DiffPages(ctx, spec, client.DiffOptions{PageSize: c.size(), Progress: func(j *o3v1.DiffJob) {
		bar.set(int64(10*j.Percent), jobLabel(j)+", "+phase(j))
	}})
	for r, err := range pages {
		if err != nil {
			return err
		}
		bar.close()
		asNamed(r.Job, spec)
		if s.JSON {
			if err := s.doneAs(render.JSON(r.Job, r.Entries, r.NextToken), ""); err != nil {
				return err
			}
			continue
		}
		if text == nil {
			text = render.NewText(s.Stdout, r.Job.From, r.Job.To)
		}
		text.Entries(r.Entries...)
		if err := text.End(""); err != nil {
			return written(err)
		}
	}
	return nil
}

// asNamed has a job show the names that the user gave: it keeps those it was
// submitted with, which a rename may have changed.
func asNamed(j *o3v1.DiffJob, spec *o3v1.DiffSpec) { j.From, j.To = spec.From, spec.To }

// jobLabel names a diff as people do.
func jobLabel(j *o3v1.DiffJob) string {
	to := j.To
	if to == "" {
		to = "the " + render.LiveBucket
	}
	return fmt.Sprintf("Diff of /%s/%s from %s to %s", j.Volume, j.Bucket, j.From, to)
}

// pairLabel names the diff of a pair within a sentence.
func pairLabel(p path, from, to string) string {
	label := jobLabel(&o3v1.DiffJob{Volume: p.volume, Bucket: p.bucket, From: from, To: to})
	return strings.ToLower(label[:1]) + label[1:]
}

func stateOf(j *o3v1.DiffJob) string { return strings.TrimPrefix(j.State.String(), "DIFF_STATE_") }

// phase says what a diff is doing.
func phase(j *o3v1.DiffJob) string {
	if j.State == o3v1.DiffState_DIFF_STATE_IN_PROGRESS && j.Phase != "" {
		return strings.ToLower(strings.ReplaceAll(j.Phase, "_", " "))
	}
	return strings.ToLower(strings.ReplaceAll(stateOf(j), "_", " "))
}

// standing says where a diff stands.
func standing(j *o3v1.DiffJob) string {
	text := stateOf(j)
	if j.State != o3v1.DiffState_DIFF_STATE_IN_PROGRESS || j.Phase == "" {
		return text
	}
	text += fmt.Sprintf(", %s, %s", phase(j), percentage(j.Percent))
	if j.EtaMs > 0 {
		text += ", about " + shortTime(j.EtaMs) + " left"
	}
	return text
}

// findJob returns the one diff of a pair, in one of the given states, that the
// options mean; without options, whichever there is.
func (o *diffOptions) findJob(ctx context.Context, o3 *client.Client, p path, from, to string, states []o3v1.DiffState, absent string) (*o3v1.DiffJob, error) {
	spec, err := o.spec(p, from, to)
	if err != nil {
		return nil, err
	}
	ops := map[string]uint64{}
	for _, name := range []string{from, to} {
		if name == "" {
			continue
		}
		r, err := o3.GetSnapshot(ctx, &o3v1.GetSnapshotRequest{Volume: p.volume, Bucket: p.bucket, Name: name})
		switch {
		case err == nil:
			ops[name] = r.Snapshot.Op
		case errs.KindOf(err) != errs.NoSuchSnapshot: // a diff of a deleted one goes by the name it had
			return nil, err
		}
	}
	is := func(name, had string, op uint64) bool {
		if name == "" || had == "" {
			return name == had
		}
		now, live := ops[name]
		return live && op == now || !live && had == name
	}
	var found []*o3v1.DiffJob
	for j, err := range o3.Diffs(ctx, &o3v1.ListDiffsRequest{Volume: p.volume, Bucket: p.bucket, States: states}) {
		if err != nil {
			return nil, err
		}
		same := !o.given() || j.Full == spec.Full && j.Ordered == spec.Ordered && j.Prefix == spec.Prefix && sameTypes(j.Types, spec.Types)
		if same && is(from, j.From, j.FromOp) && is(to, j.To, j.ToOp) {
			found = append(found, j)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	label := pairLabel(p, from, to)
	if len(found) == 0 {
		return nil, errs.New(errs.NoSuchJob, label, absent)
	}
	var ids []string
	for _, j := range found {
		ids = append(ids, j.JobId)
	}
	return nil, errs.New(errs.Invalid, label, fmt.Sprintf("there are %d with different options: name one with --job: %s", len(found), strings.Join(ids, ", ")))
}

func sameTypes(a, b []string) bool {
	a, b = slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b)))
	all := len(diffTypes)
	return slices.Equal(a, b) || len(a)%all == 0 && len(b)%all == 0 // none are all
}
