package container

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/block"
	"o3/internal/errs"
)

// Options is the whole configuration of a Store. A zero field means the
// default its comment names.
type Options struct {
	// FS is the file system; nil means the operating system's.
	FS vfs.FS
	// Dir holds the containers and nothing else; it is created if absent.
	Dir string
	// Node becomes the upper 16 bits of container ids. A directory belongs to
	// one node for ever.
	Node uint16
	// ContainerSize is the size at which a container is sealed, in bytes; a
	// container exceeds it by at most one block. 0 means 1 GiB; 1 MiB to 16 GiB.
	ContainerSize int64
	// SmallSize is the largest block that is buffered and shares its fsync
	// with others, in bytes; longer blocks are streamed, each to a container
	// that is its own meanwhile. A Put holds at most this much memory (and
	// 16 KiB). 0 means 256 KiB; 64 KiB to 4 MiB.
	SmallSize int
	// Reserve is how many bytes of the disk are left free: below it Put
	// answers kind ReadOnly, until an eighth more is free. 0 means 1 GiB,
	// negative none.
	Reserve int64
	// Handles bounds the files kept open for reading without a reader. 0 means 512.
	Handles int
	// Streams bounds the containers kept open for streaming that no writer
	// needed for ten seconds. 0 means 16.
	Streams int
	// ReclaimInterval is the time between looks for dead space. 0 means 1 minute.
	ReclaimInterval time.Duration
	// ReclaimBelow is the live share of its space under which a container is
	// rewritten. 0 means 0.5; below 1.
	ReclaimBelow float64
	// ReclaimRate bounds rewriting, in bytes read per second. 0 means 32 MiB,
	// negative no bound.
	ReclaimRate int64
	// ScrubInterval is the time from the start of one scrub to that of the
	// next. 0 means 7 days, negative that only Scrub makes one.
	ScrubInterval time.Duration
	// ScrubRate bounds the scrub, in bytes per second. 0 means 16 MiB,
	// negative no bound.
	ScrubRate int64
	// Listener hears what happens.
	Listener Listener

	readOnly bool // nothing in the directory is changed: Verify
	// Tests make these small.
	chunk     int64 // bytes under one checksum
	logGrowth int64 // a delete log is replaced when it has grown by this and four times its snapshot
}

// Listener hears what a Store does. Nil fields are silent. Calls are
// synchronous, may come from several goroutines and must not block.
type Listener struct {
	// Fatal is called once, when an fsync failed: what the disk holds is
	// unknown from then on, every later write is refused, and the process
	// should end.
	Fatal func(error)
	// Damaged is called for damage found by a read, a scrub or at Open; the
	// same damage may be told again.
	Damaged func(Damage)
	// Torn is called at Open for the end of a container that a crash cut off:
	// bytes from offset on that were never acknowledged and are dropped.
	Torn func(file string, offset, bytes int64)
	// ReadOnly is called when the disk is full or its reserve reached (on) and when
	// writing is possible again; free is in bytes, -1 when unknown.
	ReadOnly func(on bool, free int64)
	// Sealed is called when a container got its index.
	Sealed func(container uint64, blocks int, bytes int64)
	// Rewritten is called when a container's dead space was freed: bytes of
	// file before and after; after is 0 when the container was removed.
	Rewritten func(container uint64, before, after int64)
	// Failed is called when background work on a container failed; it is
	// tried again later.
	Failed func(what string, container uint64, err error)
	// Scrubbed is called when a scrub has ended or was interrupted.
	Scrubbed func(ScrubReport)
}

// Validate returns what is wrong with o, all of it, or nil.
func (o Options) Validate() error {
	var bad string
	add := func(ok bool, format string, args ...any) {
		if ok {
			return
		}
		if bad != "" {
			bad += "; "
		}
		bad += fmt.Sprintf(format, args...)
	}
	o = o.withDefaults()
	add(o.Dir != "", "a directory is needed")
	if o.chunk == defaultChunk { // the tests that shrink chunks shrink these too
		add(o.ContainerSize >= 1<<20 && o.ContainerSize <= 16<<30,
			"container size %d: 1 MiB to 16 GiB", o.ContainerSize)
		add(o.SmallSize >= defaultChunk && o.SmallSize <= 4<<20,
			"small size %d: 64 KiB to 4 MiB", o.SmallSize)
	}
	add(o.Handles > 0, "handles %d: at least 1", o.Handles)
	add(o.Streams > 0, "streams %d: at least 1", o.Streams)
	add(o.ReclaimBelow > 0 && o.ReclaimBelow < 1, "reclaim below %g: between 0 and 1", o.ReclaimBelow)
	add(o.ReclaimInterval > 0, "reclaim interval %v: above 0", o.ReclaimInterval)
	if bad == "" {
		return nil
	}
	return errs.New(errs.Invalid, "block container options", bad)
}

func (o Options) withDefaults() Options {
	or(&o.ContainerSize, 1<<30)
	or(&o.SmallSize, 256<<10)
	or(&o.Reserve, 1<<30)
	or(&o.Handles, 512)
	or(&o.Streams, 16)
	or(&o.ReclaimInterval, time.Minute)
	or(&o.ReclaimBelow, 0.5)
	or(&o.ReclaimRate, 32<<20)
	or(&o.ScrubInterval, 7*24*time.Hour)
	or(&o.ScrubRate, 16<<20)
	or(&o.chunk, defaultChunk)
	or(&o.logGrowth, 1<<20)
	if o.FS == nil {
		o.FS = vfs.Default
	}
	o.Listener = o.Listener.withDefaults()
	return o
}

// or sets *p to its default where it is zero.
func or[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

func (l Listener) withDefaults() Listener {
	if l.Fatal == nil {
		l.Fatal = func(error) {}
	}
	if l.Damaged == nil {
		l.Damaged = func(Damage) {}
	}
	if l.Torn == nil {
		l.Torn = func(string, int64, int64) {}
	}
	if l.ReadOnly == nil {
		l.ReadOnly = func(bool, int64) {}
	}
	if l.Sealed == nil {
		l.Sealed = func(uint64, int, int64) {}
	}
	if l.Rewritten == nil {
		l.Rewritten = func(uint64, int64, int64) {}
	}
	if l.Failed == nil {
		l.Failed = func(string, uint64, error) {}
	}
	if l.Scrubbed == nil {
		l.Scrubbed = func(ScrubReport) {}
	}
	return l
}

// Part says what of a file is damaged.
type Part string

// The parts.
const (
	FileHeader   Part = "file header"
	Seal         Part = "seal"
	Index        Part = "index"
	BlockHeader  Part = "block header"
	BlockData    Part = "block data"
	BlockTrailer Part = "block checksums"
	Gap          Part = "records" // a range in which no record can be made out
	DeleteLog    Part = "delete log"
)

// Damage is a range of bytes that are not what was written.
type Damage struct {
	File   string   `json:"file"`   // its name in the directory
	Offset int64    `json:"offset"` // of the damaged range in the file
	Length int64    `json:"length"` // bytes
	Part   Part     `json:"part"`
	ID     block.ID `json:"block"` // Local 0: no single block
	Dead   bool     `json:"dead"`  // the block was deleted: nobody will miss it
	Detail string   `json:"detail"`
}

// String returns the damage in one line.
func (d Damage) String() string {
	who := fmt.Sprintf("container %d", d.ID.Container)
	if d.ID.Local != 0 {
		who += fmt.Sprintf(" block %d", d.ID.Local)
	}
	return fmt.Sprintf("%s: file %s, offset %d, %d bytes: %s: %s", who, d.File, d.Offset, d.Length, d.Part, d.Detail)
}

// Error makes a Damage usable as a cause.
func (d Damage) Error() string { return d.String() }

// err is what a user of the block gets.
func (d Damage) err(op string) error {
	return &errs.Error{Kind: errs.Corrupt, Op: op, Subject: "block " + d.ID.String(), Err: d,
		Detail: "the stored bytes fail their checksum"}
}
