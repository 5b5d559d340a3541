// Package verify checks a store of the namespace from end to end, offline or on
// a snapshot: rows, digest, usage counters, what snapshots see and hold, block
// references and, where the block store is at hand, that every block a row names
// is there. It changes nothing and owns no goroutines.
package verify

import (
	"context"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"o3/internal/block"
	"o3/internal/fsm"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Problem is something that is not as it must be.
type Problem struct {
	Check   string `json:"check"`   // digest, row, usage, refs, tree, snapshots, history, cells, blocks
	Subject string `json:"subject"` // the row, bucket or block
	Detail  string `json:"detail"`  // what it is and what it must be
}

// Report is the outcome of Store.
type Report struct {
	Position fsm.Position      `json:"position"`
	Rows     map[string]uint64 `json:"rows"` // by table
	Blocks   uint64            `json:"blocks"`
	Problems uint64            `json:"problems"`
}

// Options says what Store checks beside the rows.
type Options struct {
	Blocks   block.Store   // nil: the blocks are not looked for
	Problem  func(Problem) // called for each problem; nil: they are only counted
	Progress func(rows uint64)
}

// Store checks what r holds. It needs memory of a few bits per block and
// directory, and a few bytes per snapshot. Rows that do not decode are the only problems told when there are
// any. An error means the check could not be finished.
func Store(ctx context.Context, r kv.Reader, o Options) (Report, error) {
	c := &check{
		ctx: ctx, r: r, o: o, report: Report{Rows: map[string]uint64{}},
		buckets: map[ns.ObjectID]*bucket{}, volumes: map[ns.ObjectID]*volume{},
		dirs: roaring64.New(), seen: map[uint64]*roaring64.Bitmap{},
		smalls: roaring64.New(), uploads: roaring64.New(), more: map[block.ID]uint64{},
	}
	for _, step := range []func() error{
		c.position, c.rows, c.namespace, c.tree, c.snapshots, c.history, c.journal, c.cells, c.diffJobs,
		c.references, c.stored, c.totals,
	} {
		if err := step(); err != nil {
			return c.report, err
		}
		if c.undecoded {
			return c.report, nil
		}
	}
	return c.report, nil
}

type volume struct {
	name                  string
	row                   *schemapb.Volume
	bytes, names, buckets uint64
}

type bucket struct {
	path   string
	volume *volume
	row    *schemapb.Bucket
	sum    schemapb.Bucket // its counters, counted anew

	live     []ns.Op // its live snapshots, in order
	reclaims []reclaim
}

type check struct {
	ctx     context.Context
	r       kv.Reader
	o       Options
	report  Report
	scanned uint64

	undecoded bool // a row could not be decoded: nothing can be counted

	volumes map[ns.ObjectID]*volume
	buckets map[ns.ObjectID]*bucket
	total   schemapb.Counters            // the store-wide tally, counted anew
	dirs    *roaring64.Bitmap            // directories that have a row of dirs, or are being purged
	seen    map[uint64]*roaring64.Bitmap // blocks named at least once, by container
	more    map[block.ID]uint64          // names beyond the first
	smalls  *roaring64.Bitmap
	uploads *roaring64.Bitmap
}

func (c *check) problem(kind, subject, format string, args ...any) {
	c.report.Problems++
	if c.o.Problem != nil {
		c.o.Problem(Problem{kind, subject, fmt.Sprintf(format, args...)})
	}
}

// position reads where the store stands.
func (c *check) position() error {
	pos, ok, err := fsm.ReadPosition(c.r)
	if err == nil && !ok {
		c.problem("row", "meta/position", "is missing: the store is empty or not one of ours")
	}
	c.report.Position = pos
	return err
}

// rows decodes every row and sums the digest.
func (c *check) rows() error {
	it, err := c.r.Iter(nil, []byte{schema.NodeLocal})
	if err != nil {
		return err
	}
	defer it.Close()
	var digest fsm.Digest
	first := schema.FirstReplicated()[0]
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.Value()
		if err != nil {
			return err
		}
		key := it.Key()
		if key[0] >= first {
			digest.Add(key, value)
		}
		c.row(key, value)
		if c.scanned++; c.scanned%10_000 == 0 {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			if c.o.Progress != nil {
				c.o.Progress(c.scanned)
			}
		}
	}
	if digest != c.report.Position.Digest {
		c.problem("digest", "store", "the rows have digest %v, the position says %v", digest, c.report.Position.Digest)
	}
	return it.Err()
}

func (c *check) row(key, value []byte) {
	t, ok := schema.TableOf(key)
	if !ok {
		c.problem("row", fmt.Sprintf("%x", key), "belongs to no table")
		return
	}
	c.report.Rows[t.Name]++
	if err := t.Check(key, value); err != nil {
		c.undecoded = true
		c.problem("row", fmt.Sprintf("%s/%x", t.Name, key), "%v", err)
	}
}
