// Package delta computes what changed in a bucket between two points in time,
// and hands the entries of the report on in their order.
//
// Two ways lead to the same report. The efficient one reads the journal between
// the two points: its cost is that of the changes, whatever else the bucket
// holds. The full one compares all rows of the bucket at both points; it serves
// where the journal does not reach back, and where it is asked for. Both feed
// the rows that came and went to one sort by object: an object with a row on
// one side only was created or deleted, one with two was renamed, modified,
// both or neither. Only then paths are looked up, for what changed.
//
// Memory is bounded: what does not fit is sorted in files. The package starts
// no goroutine, and leaves no file behind however it ends.
package delta

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/snapdiff/report"
	"o3/internal/spill"
)

// DefaultMemory is the bound of a computation's memory, in bytes, where Options
// give none.
const DefaultMemory = 32 << 20

// minMemory is the least bound that is kept to.
const minMemory = 256 << 10

// checkRows is how many rows are handled, at most, between two looks at
// Options.Check and the context.
const checkRows = 1000

// MaxKeysKey is the configuration key that bounds the changes of one report.
const MaxKeysKey = "ozone.om.snapshot.diff.max.allowed.keys.changed.per.job"

// Phase is a part of a computation.
type Phase string

// The phases, in order. A computation has one of the first two.
const (
	JournalScan    Phase = "JOURNAL_SCAN"    // reading the touches in between
	FullScan       Phase = "FULL_SCAN"       // reading all rows of the bucket
	SortJoin       Phase = "SORT_AND_JOIN"   // bringing each object's rows together
	PathResolution Phase = "PATH_RESOLUTION" // telling what changed, and its paths
	Ordering       Phase = "ORDERING"        // sorting the entries
	ReportWriting  Phase = "REPORT_WRITING"  // handing them on
)

// Phases returns all phases, in order.
func Phases() []Phase {
	return []Phase{JournalScan, FullScan, SortJoin, PathResolution, Ordering, ReportWriting}
}

// Options say what to compare, and how.
type Options struct {
	Reader   kv.Reader // one consistent state, for the whole computation
	Bucket   ns.ObjectID
	Layout   ns.Layout
	From, To ns.Op // of live snapshots, or schema.Live; From may be the younger one

	Full    bool     // compare all rows; always so where From is the younger
	Ordered bool     // an order that can be replayed from top to bottom
	Prefix  string   // only what has a path that starts so, or lies above it
	Types   []string // only entries of these types ("+", "-", "M", "R"); empty: all

	Dir         string // for files that do not fit in memory; made if it is absent
	MemoryBytes int    // about what is used at once, 256 KiB at least; 0: DefaultMemory
	MaxKeys     int64  // changed keys and directories allowed; 0: any number
	Rows        int64  // that a full scan will read, for Progress; 0: unknown

	// Check is asked at least every 1,000 rows in every phase; an error ends the
	// computation with it.
	Check func() error
	// Progress hears where the computation stands, when a phase begins and about
	// as often as Check. total is 0 while it is unknown. The unit differs by phase.
	Progress func(phase Phase, done, total int64)
	// Sink gets the entries of the report in order.
	Sink func(*o3v1.DiffEntry) error
}

// Result says what a computation did. After an error it holds what was done
// until then.
type Result struct {
	Counts   report.Counts // of the entries
	Keys     int64         // changed keys and directories, before filters
	RowsRead int64         // of the journal, or of entries and history
	Full     bool          // all rows were compared
	Spilled  int64         // bytes written to files of Dir
	Took     map[Phase]time.Duration
}

// Compute computes a difference. Its error is of kind TooMany when more than
// MaxKeys keys changed, Invalid for bad options, Corrupt for rows that
// contradict one another; else it is that of Check, Sink, the context or the
// reader.
func Compute(ctx context.Context, o Options) (Result, error) {
	c := &computation{ctx: ctx, o: o, result: Result{Took: map[Phase]time.Duration{}}}
	if err := c.validate(); err != nil {
		return c.result, err
	}
	if o.From == o.To {
		return c.result, nil
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return c.result, errs.Wrap(errs.Internal, "scratch directory of a diff", err)
	}
	memory := o.MemoryBytes
	if memory <= 0 {
		memory = DefaultMemory
	}
	memory = max(memory, minMemory)
	c.events = spill.New(spill.Options{Dir: o.Dir, Memory: memory * 3 / 8, Check: c.check})
	c.lines = spill.New(spill.Options{Dir: o.Dir, Memory: memory * 3 / 8, Check: c.check})
	place := func(at ns.Op) *places {
		return &places{r: o.Reader, bucket: o.Bucket, at: at, check: c.check, found: recent[found]{limit: memory / 8}}
	}
	c.from, c.to = place(o.From), place(o.To)
	defer func() { // also when a callback panics
		_ = errors.Join(c.events.Close(), c.lines.Close()) // told below, where it can be
	}()
	err := c.run()
	c.result.Spilled = c.events.Spilled() + c.lines.Spilled()
	return c.result, errors.Join(err, c.events.Close(), c.lines.Close())
}

// computation is the state of one Compute.
type computation struct {
	ctx      context.Context
	o        Options
	lo, hi   ns.Op // the older and the younger of From and To
	full     bool
	events   *spill.Sorter // rows that came and went, by object
	lines    *spill.Sorter // of the report, in its order
	from, to *places
	still    *fixed // made when it is needed
	temp     string // what the names of temporary places start with
	phase    Phase
	done     int64 // of the phase
	result   Result
}

func (c *computation) validate() error {
	bad := func(what string) error { return errs.New(errs.Invalid, "snapshot diff", what) }
	switch o := c.o; {
	case o.Reader == nil || o.Sink == nil:
		return bad("there must be a reader and a sink")
	case o.Bucket == 0 || o.From == 0 || o.To == 0:
		return bad("the bucket and both points in time must be given")
	case o.Layout != ns.ObjectStore && o.Layout != ns.FileSystem:
		return bad(fmt.Sprintf("the bucket has the unknown layout %d", o.Layout))
	case o.Dir == "":
		return bad("there must be a scratch directory")
	}
	for _, t := range c.o.Types {
		if !slices.Contains([]string{report.Create, report.Delete, report.Modify, report.Rename}, t) {
			return bad(fmt.Sprintf("there is no entry type %q; the types are +, -, M and R", t))
		}
	}
	c.lo, c.hi = min(c.o.From, c.o.To), max(c.o.From, c.o.To)
	c.full = c.o.Full || c.o.From > c.o.To
	c.result.Full = c.full
	return nil
}

func (c *computation) run() error {
	scan, f := JournalScan, c.scanJournal
	if c.full {
		scan, f = FullScan, c.scanRows
	}
	for _, step := range []struct {
		phase Phase
		do    func() error
	}{
		{scan, f}, {SortJoin, c.events.Sort}, {PathResolution, c.classify}, {Ordering, c.lines.Sort}, {ReportWriting, c.write},
	} {
		c.phase, c.done = step.phase, 0
		start := time.Now()
		err := c.check()
		if c.o.Progress != nil {
			c.o.Progress(step.phase, 0, 0)
		}
		if err == nil {
			err = step.do()
		}
		c.result.Took[step.phase] = time.Since(start)
		if err != nil {
			return err
		}
	}
	return nil
}

// check asks whether to go on.
func (c *computation) check() error {
	if err := c.ctx.Err(); err != nil {
		return errs.Wrap(errs.Canceled, "snapshot diff", err)
	}
	if c.o.Check != nil {
		return c.o.Check()
	}
	return nil
}

// tick counts a row of the phase; every so often it asks whether to go on and
// tells where it is.
func (c *computation) tick(done, total int64) error {
	if c.done++; c.done%checkRows != 0 {
		return nil
	}
	if c.o.Progress != nil {
		c.o.Progress(c.phase, done, total)
	}
	return c.check()
}

// event is the coming or going of an object's row.
type event struct {
	id    ns.ObjectID
	since ns.Op // of the row
	gone  bool  // the row went; else it came
	place place
	tag   uint64 // of its content
}

// place is where a row is: a slot of entries.
type place struct {
	parent ns.ObjectID
	name   string
}

// live says whether op is the live view, which has no end.
func live(op ns.Op) bool { return op == schema.Live }
