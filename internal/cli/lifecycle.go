package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
)

// lifecycleCmd looks after the scans that make lifecycle rules happen.
type lifecycleCmd struct {
	Status  lifecycleStatus  `cmd:"" help:"Where the scans of buckets stand."`
	Preview lifecyclePreview `cmd:"" help:"What a scan of a bucket would do; nothing is changed."`
	Suspend lifecycleSuspend `cmd:"" help:"Stop the scans of a bucket, or of all, where they stand."`
	Resume  lifecycleResume  `cmd:"" help:"Let them go on."`
	Run     lifecycleRun     `cmd:"" help:"Begin a scan of a bucket now instead of when it is due."`
}

type lifecycleStatus struct {
	Path  string `arg:"" optional:"" help:"/volume/bucket (default: all that have rules)"`
	Limit uint64 `placeholder:"N" help:"At most so many buckets; 0 is all."`
}

// Run shows where scans stand.
func (c *lifecycleStatus) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.someBucket(c.Path)
	if err != nil {
		return err
	}
	if c.Path != "" {
		r, err := o3.LifecycleStatus(ctx, &o3v1.LifecycleStatusRequest{Volume: p.volume, Bucket: p.bucket})
		if err != nil {
			return err
		}
		return s.describe(r.Buckets[0], scanFields(r.Buckets[0])...)
	}
	t := s.table("BUCKET", "STATE", "PHASE", "PERCENT", "ROWS", "ROWS/S", "LEFT", "DONE", "SKIPPED", "NEXT", "ERROR")
	for b, err := range o3.LifecycleStates(ctx, &o3v1.LifecycleStatusRequest{Limit: pageOf(c.Limit)}, func(r *o3v1.LifecycleStatusResponse) { s.remark("%s", lifecycleService(r)) }) {
		if err != nil {
			return err
		}
		if c.Limit > 0 && uint64(t.rows) == c.Limit {
			s.remark("There are more: use a larger --limit.")
			break
		}
		if err := t.row(b, scanCells(b)...); err != nil {
			return err
		}
	}
	return t.end()
}

// someBucket reads the path of a bucket, if there is one, and returns it with the
// connection.
func (s *Session) someBucket(text string) (p path, o3 *client.Client, err error) {
	if text != "" {
		return s.bucket(text)
	}
	o3, err = s.Client()
	return p, o3, err
}

// lifecycleService says in a sentence how the service is.
func lifecycleService(r *o3v1.LifecycleStatusResponse) string {
	switch {
	case !r.Enabled:
		return "Lifecycle scans are switched off."
	case r.Suspension != nil:
		return fmt.Sprintf("All scans are suspended by %s since %s: %s", r.Suspension.Owner, when(r.Suspension.SinceMs), r.Suspension.Reason)
	case !r.Leads:
		return "This node does not lead and scans nothing."
	case !r.InWindow:
		return "Scans work from " + r.Window + " UTC only."
	}
	return fmt.Sprintf("%d buckets are being scanned, %d wait.", r.Running, r.Waiting)
}

func activityOf(b *o3v1.LifecycleBucketStatus) string {
	state := strings.TrimPrefix(b.Activity.String(), "LIFECYCLE_ACTIVITY_")
	if b.Overdue {
		state += ", OVERDUE"
	}
	return state
}

func phaseOf(b *o3v1.LifecycleBucketStatus) string {
	if b.Scan == nil {
		return "-"
	}
	return strings.TrimPrefix(b.Scan.Phase.String(), "LIFECYCLE_PHASE_")
}

// handled adds up what a scan did and what it skipped.
func handled(b *o3v1.LifecycleBucketStatus) (done, skipped uint64) {
	for _, r := range b.Scan.GetRules() {
		done += r.DeletedKeys + r.DeletedDirs + r.MovedKeys + r.MovedDirs + r.AbortedUploads
		skipped += r.Skipped
	}
	return done, skipped
}

// scanCells is a bucket's scan as a row.
func scanCells(b *o3v1.LifecycleBucketStatus) []any {
	share, speed, left, next := "-", "-", "-", "-"
	if b.Percent > 0 {
		share = percentage(b.Percent)
	}
	if b.RowsPerSecond > 0 {
		speed = fmt.Sprintf("%.0f", b.RowsPerSecond)
	}
	if b.EtaMs > 0 {
		left = shortTime(b.EtaMs)
	}
	if b.NextMs > 0 {
		next = when(b.NextMs)
	}
	done, skipped := handled(b)
	return []any{"/" + b.Volume + "/" + b.Bucket, activityOf(b), phaseOf(b), share, b.Rows, speed, left, done, skipped, next, orDash(b.Error)}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// scanFields is a bucket's scan at length.
func scanFields(b *o3v1.LifecycleBucketStatus) []field {
	done, skipped := handled(b)
	out := []field{
		{"Bucket", "/" + b.Volume + "/" + b.Bucket}, {"State", activityOf(b)}, {"Rules", b.Rules}, {"Phase", phaseOf(b)},
	}
	if scan := b.Scan; scan != nil {
		out = append(out, field{"Started", when(int64(scan.ScanStartTime))})
		if scan.ScanEndTime > 0 {
			out = append(out, field{"Ended", when(int64(scan.ScanEndTime))})
		}
		out = append(out, field{"Position", scan.LastScannedKey}, field{"Upload", scan.LastScannedMpuKey}, field{"Rows", b.Rows},
			field{"Percent", percentage(b.Percent)}, field{"Commands", scan.Sequence}, field{"Done", done}, field{"Skipped", skipped})
		if b.RowsPerSecond > 0 {
			out = append(out, field{"Rows per second", fmt.Sprintf("%.0f", b.RowsPerSecond)})
		}
		if b.EtaMs > 0 {
			out = append(out, field{"Left", shortTime(b.EtaMs)})
		}
		for _, r := range scan.Rules {
			out = append(out, field{"Rule " + r.Id, ruleDid(r)})
		}
		if scan.LastError != "" {
			out = append(out, field{"Last error", fmt.Sprintf("%s (%s)", scan.LastError, when(int64(scan.LastErrorTime)))})
		}
	}
	if b.NextMs > 0 {
		out = append(out, field{"Next", when(b.NextMs)})
	}
	if sus := b.Suspension; sus != nil {
		out = append(out, field{"Suspended", fmt.Sprintf("by %s since %s: %s", sus.Owner, when(sus.SinceMs), sus.Reason)})
	}
	return append(out, field{"Error", b.Error})
}

// ruleDid says what a rule did.
func ruleDid(r *o3v1.LifecycleRuleCounters) string {
	var out []string
	add := func(n uint64, what string) {
		if n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(r.DeletedKeys, "keys deleted ("+size(r.DeletedBytes)+")")
	add(r.DeletedDirs, "directories deleted")
	add(r.MovedKeys, "keys moved to trash ("+size(r.MovedBytes)+")")
	add(r.MovedDirs, "directories moved to trash")
	add(r.AbortedUploads, "uploads aborted ("+size(r.AbortedBytes)+")")
	add(r.Skipped, "skipped")
	if out == nil {
		return "nothing"
	}
	return strings.Join(out, ", ")
}

type lifecyclePreview struct {
	Path     string    `arg:"" help:"/volume/bucket"`
	Rules    string    `placeholder:"FILE" help:"Rules to try, as o3 sh bucket lifecycle set takes them; - is standard input (default: the bucket's own)."`
	Snapshot string    `placeholder:"NAME" help:"What the snapshot shows, instead of the live bucket."`
	At       time.Time `placeholder:"TIME" format:"2006-01-02T15:04:05Z07:00" help:"What would be due then, such as 2027-01-31T00:00:00Z (default: now)."`
	Samples  uint32    `default:"10" placeholder:"N" help:"Name so many things of each rule, at most 1000."`
}

// Run shows what a scan would do.
func (c *lifecyclePreview) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.bucket(c.Path)
	if err != nil {
		return err
	}
	q := &o3v1.PreviewLifecycleRequest{Volume: p.volume, Bucket: p.bucket, Snapshot: c.Snapshot, Samples: c.Samples}
	if !c.At.IsZero() {
		q.AtMs = c.At.UnixMilli()
	}
	if c.Rules != "" {
		if q.Configuration, err = s.lifecycleRules(c.Rules); err != nil {
			return err
		}
	}
	sum, err := o3.Preview(ctx, q, func(r *o3v1.PreviewLifecycleResponse) {
		if r.NextToken != "" {
			s.remark("%d rows looked at so far.", r.Rows)
		}
	})
	if err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(sum)
	}
	verb := "deleted"
	if sum.Trash {
		verb = "moved to trash"
	}
	if len(sum.Rules) == 0 {
		return s.done(sum, "At %s nothing of %d rows would be due.", when(sum.AtMs), sum.Rows)
	}
	t := s.table("RULE", "KEYS", "BYTES", "DIRECTORIES", "UPLOADS", "THEIR BYTES")
	slices.SortFunc(sum.Rules, func(a, b *o3v1.LifecyclePreview) int { return int(a.Rule) - int(b.Rule) })
	for _, r := range sum.Rules {
		if err := t.row(r, r.Id, r.Keys, size(r.Bytes), r.Directories, r.Uploads, size(r.UploadBytes)); err != nil {
			return err
		}
	}
	if err := t.end(); err != nil {
		return err
	}
	for _, r := range sum.Rules {
		for _, item := range r.First {
			what := verb
			if item.UploadId != "" {
				what = "aborted"
			}
			if _, err := fmt.Fprintf(s.Stdout, "%s by %s: %s, due since %s\n", what, r.Id, item.Path, when(item.ExpiredMs)); err != nil {
				return written(err)
			}
		}
	}
	return nil
}

type lifecycleSuspend struct {
	Path   string `arg:"" optional:"" help:"/volume/bucket (default: all)"`
	Reason string `help:"Why, for others to read."`
}

// Run suspends scans.
func (c *lifecycleSuspend) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.someBucket(c.Path)
	if err != nil {
		return err
	}
	r, err := o3.SuspendLifecycle(ctx, &o3v1.SuspendLifecycleRequest{Volume: p.volume, Bucket: p.bucket, Reason: c.Reason})
	if err != nil {
		return err
	}
	if !r.Changed {
		return s.done(r, "%s suspended already.", scansOf(c.Path))
	}
	return s.done(r, "%s suspended.", scansOf(c.Path))
}

func scansOf(path string) string {
	if path == "" {
		return "All lifecycle scans are"
	}
	return "The lifecycle scans of " + path + " are"
}

type lifecycleResume struct {
	Path string `arg:"" optional:"" help:"/volume/bucket (default: all)"`
}

// Run resumes scans.
func (c *lifecycleResume) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.someBucket(c.Path)
	if err != nil {
		return err
	}
	r, err := o3.ResumeLifecycle(ctx, &o3v1.ResumeLifecycleRequest{Volume: p.volume, Bucket: p.bucket})
	if err != nil {
		return err
	}
	if !r.Changed {
		return s.done(r, "%s not suspended.", scansOf(c.Path))
	}
	return s.done(r, "%s resumed.", scansOf(c.Path))
}

type lifecycleRun struct {
	Path string `arg:"" help:"/volume/bucket"`
}

// Run begins a scan.
func (c *lifecycleRun) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.bucket(c.Path)
	if err != nil {
		return err
	}
	r, err := o3.RunLifecycle(ctx, &o3v1.RunLifecycleRequest{Volume: p.volume, Bucket: p.bucket})
	if err != nil {
		return err
	}
	if !r.Started {
		return s.done(r, "A scan of %s is under way since %s.", c.Path, when(int64(r.Scan.ScanStartTime)))
	}
	return s.done(r, "A scan of %s began; o3 admin lifecycle status %s shows it.", c.Path, c.Path)
}
