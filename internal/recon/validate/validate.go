// Package validate compares the derived tables of a generation with what the
// namespace says of itself: the OM counts in every bucket's row what is in it, by
// other code and at other times than the tasks, so the two agree only if neither
// has forgotten anything. It reads the small derived tables once; it holds nothing
// and starts no goroutines.
package validate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/recon/task"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Names of the tasks that are compared.
const (
	summaries  = "NSSummaryTask"
	insights   = "OmTableInsightTask"
	sizesTree  = "FileSizeCountTaskFSO"
	sizesFlat  = "FileSizeCountTaskOBS"
	containers = "ContainerKeyMapperTask"
	snapshots  = "SnapshotInsightTask"
	expiry     = "LifecycleInsightTask"
)

// maxProblems bounds how many differences are told of.
const maxProblems = 8

// Problem is a difference.
type Problem struct {
	Task string
	What string
}

// bucket is what a bucket's row says, and what the tables have.
type bucket struct {
	name string
	row  *schemapb.Bucket

	files, dirs, bytes   int64 // in NSSummaryTask's
	ageFiles, ageBytes   int64
	sized                int64 // in FILE_COUNT_BY_SIZE
	held, names          int64 // by snapshots
	snapshots, discarded int64
	rulesBy              uint64 // configuration of its lifecycle rules
}

type check struct {
	ctx      context.Context
	v        *generation.View
	buckets  map[ns.ObjectID]*bucket
	order    []ns.ObjectID
	volumes  int64
	files    int64 // also of buckets that are gone
	dirs     int64
	problems []Problem
}

// Tables compares the tables in a look with the namespace in it. An error is that
// something could not be read, or the end of ctx.
func Tables(ctx context.Context, v *generation.View) ([]Problem, error) {
	c := &check{ctx: ctx, v: v, buckets: map[ns.ObjectID]*bucket{}}
	for _, step := range []func() error{c.namespace, c.summaries, c.ages, c.sizes, c.snapshots, c.lifecycles, c.compare, c.stats, c.containers} {
		if err := step(); err != nil {
			return c.problems, err
		}
		if err := ctx.Err(); err != nil {
			return c.problems, context.Cause(ctx)
		}
	}
	return c.problems, nil
}

// Error returns problems as an error of kind Corrupt, nil for none.
func Error(list []Problem) error {
	if len(list) == 0 {
		return nil
	}
	var text []string
	for _, p := range list {
		text = append(text, p.Task+": "+p.What)
	}
	return errs.New(errs.Corrupt, "derived tables", strings.Join(text, "; "))
}

func (c *check) differ(name, what string, have, want int64) {
	if have != want && len(c.problems) < maxProblems {
		c.problems = append(c.problems, Problem{name, fmt.Sprintf("%s: the tables have %d, the namespace %d", what, have, want)})
	}
}

// namespace reads what buckets say of themselves.
func (c *check) namespace() error {
	lower, upper := schema.Volumes.All()
	err := schema.Volumes.Scan(c.v.Rows, lower, upper, func(string, *schemapb.Volume) (bool, error) { c.volumes++; return true, nil })
	if err != nil {
		return err
	}
	lower, upper = schema.Buckets.All()
	return schema.Buckets.Scan(c.v.Rows, lower, upper, func(k schema.BucketKey, b *schemapb.Bucket) (bool, error) {
		id := ns.ObjectID(b.ObjectId)
		c.buckets[id] = &bucket{name: "bucket " + k.Name, row: b}
		c.order = append(c.order, id)
		return true, nil
	})
}

// at returns a bucket; what is left of one that is gone is nobody's.
func (c *check) at(id ns.ObjectID) *bucket {
	if b := c.buckets[id]; b != nil {
		return b
	}
	return new(bucket)
}

func (c *check) summaries() error {
	return task.EachDirect(c.v.Derived, func(id ns.ObjectID, s task.Summary) error {
		b := c.at(id)
		b.files, b.dirs, b.bytes = b.files+s.Files, b.dirs+s.Directories, b.bytes+s.Bytes
		c.files, c.dirs = c.files+s.Files, c.dirs+s.Directories
		return c.ctx.Err()
	})
}

func (c *check) ages() error {
	for _, id := range c.order {
		b := c.buckets[id]
		err := task.Ages(c.v.Derived, id, func(a task.Aged) (bool, error) {
			b.ageFiles, b.ageBytes = b.ageFiles+a.Files, b.ageBytes+a.Bytes
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *check) sizes() error {
	return c.v.SQL.FileCounts(sqltables.Counts{}, func(f sqltables.FileCount) error {
		c.at(f.Bucket).sized += f.Count
		return nil
	})
}

func (c *check) snapshots() error {
	return task.SnapshotSpaces(c.v.Derived, 0, func(id ns.ObjectID, h task.Held) (bool, error) {
		b := c.at(id)
		b.held, b.names, b.snapshots, b.discarded = h.Bytes, h.Names, h.Snapshots, h.Deleted
		return true, nil
	})
}

func (c *check) lifecycles() error {
	var sum, rows task.Lifecycle
	err := task.Lifecycles(c.v.Derived, 0, func(id ns.ObjectID, l task.Lifecycle) (bool, error) {
		c.at(id).rulesBy = l.RulesBy
		rows.Configured, rows.Rules, rows.Scans, rows.Rows = rows.Configured+l.Configured, rows.Rules+l.Rules, rows.Scans+l.Scans, rows.Rows+l.Rows
		return true, c.ctx.Err()
	})
	if err != nil {
		return err
	}
	if sum, err = task.LifecycleOf(c.v.Derived, schema.EveryBucket); err != nil {
		return err
	}
	inForce := int64(0)
	err = task.LifecycleRules(c.v.Derived, schema.EveryBucket, nil, func(r task.Rule) (bool, error) {
		if r.InForce {
			inForce++
		}
		return true, c.ctx.Err()
	})
	c.differ(expiry, "buckets with rules", sum.Configured, rows.Configured)
	c.differ(expiry, "lifecycle scans", sum.Scans, rows.Scans)
	c.differ(expiry, "rows of lifecycle scans", sum.Rows, rows.Rows)
	c.differ(expiry, "lifecycle rules", inForce, sum.Rules)
	return err
}

// compare compares bucket by bucket.
func (c *check) compare() error {
	for _, id := range c.order {
		b := c.buckets[id]
		r, sized := b.row, sizesTree
		if ns.Layout(r.Layout) == ns.ObjectStore {
			sized = sizesFlat
		}
		c.differ(summaries, b.name+", keys", b.files, int64(r.UsedKeys))
		c.differ(summaries, b.name+", directories", b.dirs, int64(r.UsedDirectories))
		c.differ(summaries, b.name+", bytes", b.bytes, int64(r.UsedBytes))
		c.differ(summaries, b.name+", keys by age", b.ageFiles, int64(r.UsedKeys))
		c.differ(summaries, b.name+", bytes by age", b.ageBytes, int64(r.UsedBytes))
		c.differ(sized, b.name+", keys by size", b.sized, int64(r.UsedKeys))
		c.differ(snapshots, b.name+", bytes of snapshots", b.held, int64(r.SnapshotBytes))
		c.differ(snapshots, b.name+", names of snapshots", b.names, int64(r.SnapshotNames))
		c.differ(snapshots, b.name+", snapshots", b.snapshots, int64(r.LiveSnapshots))
		c.differ(snapshots, b.name+", deleted snapshots", b.discarded, int64(r.Reclaims))
		c.differ(expiry, b.name+", configuration of lifecycle rules", int64(b.rulesBy), int64(r.LifecycleUpdateId))
		if r.PendingDirectories > 0 {
			continue // what hangs in deleted directories is in no total
		}
		t, err := task.Total(c.v.Derived, id, id)
		if err != nil {
			return err
		}
		c.differ(summaries, b.name+", keys of the whole tree", t.Files, int64(r.UsedKeys))
		c.differ(summaries, b.name+", bytes of the whole tree", t.Bytes, int64(r.UsedBytes))
	}
	return nil
}

// stats compares GLOBAL_STATS.
func (c *check) stats() error {
	have, err := c.v.SQL.Stats()
	if err != nil {
		return err
	}
	var open, uploads int64
	for _, b := range c.buckets {
		open, uploads = open+int64(b.row.OpenKeys), uploads+int64(b.row.Uploads)
	}
	for what, n := range map[string]int64{
		"volumeTable": c.volumes, "bucketTable": int64(len(c.buckets)), "keyTable fileTable": c.files, "directoryTable": c.dirs,
		"openKeyTable openFileTable": open, "multipartInfoTable": uploads,
	} {
		sum := int64(0)
		for _, name := range strings.Fields(what) {
			sum += have[name+"Count"]
		}
		c.differ(insights, "rows of "+what, sum, n)
	}
	slices.SortFunc(c.problems, func(a, b Problem) int { return strings.Compare(a.Task+a.What, b.Task+b.What) })
	return nil
}

// containers compares the two tables about containers.
func (c *check) containers() error {
	rows, _, err := task.CountRows(c.v.Derived, "containerKeyTable")
	if err != nil {
		return err
	}
	_, sum, err := task.CountRows(c.v.Derived, "containerKeyCountTable")
	c.differ(containers, "keys of containers", sum, rows)
	return err
}
