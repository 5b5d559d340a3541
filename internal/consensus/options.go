package consensus

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// Options is a node's whole configuration. Zero values mean the default.
type Options struct {
	ID      uint64       // this node, at least 1; for ever: a node that lost its log needs a new one
	Machine StateMachine // required
	Images  Images       // nil: no images are made or taken

	FS  vfs.FS // nil means the operating system's
	Dir string // directory of the log; required

	// Bootstrap names the first voters, this node among them. It is used once,
	// when the log is empty, and must be the same on all of them. Empty means
	// that a node with an empty log waits to be added to a group.
	Bootstrap []uint64

	// Transport carries messages to other nodes; nil drops them, which is
	// right for a group of one.
	Transport Transport

	TickInterval  time.Duration // 0 means 100 ms
	ElectionTick  int           // ticks without a leader before an election; 0 means 10
	HeartbeatTick int           // ticks between heartbeats; 0 means 1

	MaxEntryBytes    int // requests packed into one entry, and the largest request; 0 means 1 MiB
	MaxEntryRequests int // 0 means 4096
	MaxQueueBytes    int // requests waiting to be packed; beyond, SlowDown; 0 means 64 MiB
	MaxQueueRequests int // 0 means 65536
	MaxFlightBytes   int // requests packed but not applied; beyond, packing waits; 0 means 64 MiB
	MaxInboxBytes    int // messages received but not stepped; beyond, they are dropped; 0 means 64 MiB
	MaxApplyBytes    int // entries given to one Apply; 0 means 4 MiB
	LogCacheBytes    int64
	LogMemTableBytes int64 // of the log's Pebble; 0 means 32 MiB

	RetainEntries uint64 // kept behind the durable index for slow receivers; 0 means 4096
	TruncateStep  uint64 // truncate when at least as many can go; 0 means 1024
	MaxLagBytes   int64  // log kept for a peer that is merely slow; beyond, it gets an image; 0 means 256 MiB
	FlushBytes    int64  // log since the durable index that makes the machine flush; 0 means 256 MiB
	FlushEntries  uint64 // the same in entries; 0 means 1,000,000

	PromoteLag uint64 // a learner this close to the end may be promoted; 0 means 1024
	WatchTicks int    // ticks between looks at a peer that installs an image; 0 means 2 elections
	StallTicks int    // ticks without progress after which it is given up; 0 means 60 elections

	Listener Listener

	faults faults
}

// Listener hears what a node does. Nil fields are silent. Calls are
// synchronous, on the node's goroutines, and must not block.
type Listener struct {
	Role      func(RoleChange)                 // this node's role, term or leader changed
	Appended  func(Append)                     // a batch was written and synced
	Applied   func(Applied)                    // entries were applied
	Members   func(conf []byte, index uint64)  // the membership changed (marshalled raftpb.ConfState)
	Truncated func(first uint64)               // the log now starts here
	Flushed   func(took time.Duration)         // the machine was flushed for the log's sake
	Image     func(event string, m ImageMeta)  // "offered", "parked", "fetched", "refused", "installed"
	ImageFail func(peer uint64, reason string) // fetching from a peer, or a peer's installation, was given up
	Dropped   func(what string, n int)         // messages dropped: the inbox is full
	Fatal     func(err error)                  // the node halts
	Trouble   func(err error)                  // the log store retries something in the background
	Debug     func(format string, args ...any) // what the Raft core says
}

// RoleChange is the news of Listener.Role.
type RoleChange struct {
	Role   Role
	Term   uint64
	Leader uint64 // 0 means unknown
}

// Append describes one write of the log.
type Append struct {
	Entries int
	Bytes   int
	Took    time.Duration // writing and syncing
}

// Applied describes one Apply.
type Applied struct {
	Index    uint64
	Entries  int
	Requests int
	Took     time.Duration
}

func set[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

func (o *Options) setDefaults() {
	set(&o.TickInterval, 100*time.Millisecond)
	set(&o.ElectionTick, 10)
	set(&o.HeartbeatTick, 1)
	set(&o.MaxEntryBytes, 1<<20)
	set(&o.MaxEntryRequests, 4096)
	set(&o.MaxQueueBytes, 64<<20)
	set(&o.MaxQueueRequests, 65536)
	set(&o.MaxFlightBytes, 64<<20)
	set(&o.MaxInboxBytes, 64<<20)
	set(&o.MaxApplyBytes, 4<<20)
	set(&o.RetainEntries, 4096)
	set(&o.TruncateStep, 1024)
	set(&o.MaxLagBytes, 256<<20)
	set(&o.FlushBytes, 256<<20)
	set(&o.FlushEntries, 1_000_000)
	set(&o.PromoteLag, 1024)
	set(&o.WatchTicks, 2*o.ElectionTick)
	set(&o.StallTicks, 60*o.ElectionTick)
	if o.Transport == nil {
		o.Transport = nowhere{}
	}
}

// Validate returns what is wrong with o, or nil.
func (o Options) Validate() error {
	bad := func(what, detail string) error { return errs.New(errs.Invalid, "consensus "+what, detail) }
	switch {
	case o.ID == 0 || o.ID >= 1<<63:
		return bad("ID", fmt.Sprintf("%d is not in [1, 2^63)", o.ID))
	case o.Machine == nil:
		return bad("Machine", "is missing")
	case o.Dir == "":
		return bad("Dir", "is missing")
	case o.HeartbeatTick < 0 || o.ElectionTick < 0 || o.ElectionTick != 0 && o.ElectionTick <= max(o.HeartbeatTick, 1):
		return bad("ElectionTick", "must be greater than HeartbeatTick, both at least 1")
	case o.MaxEntryBytes > 256<<20:
		return bad("MaxEntryBytes", "must be at most 256 MiB")
	}
	if len(o.Bootstrap) > 0 {
		seen := map[uint64]bool{}
		for _, id := range o.Bootstrap {
			if id == 0 || id >= 1<<63 || seen[id] {
				return bad("Bootstrap", fmt.Sprintf("%v: ids must be distinct and at least 1", o.Bootstrap))
			}
			seen[id] = true
		}
		if !seen[o.ID] {
			return bad("Bootstrap", fmt.Sprintf("%v does not name node %d itself", o.Bootstrap, o.ID))
		}
	}
	return nil
}

// faults are mistakes that tests plant to see that they are found.
type faults struct {
	AnswerBeforeSync bool // neither entries nor votes are synced
	TruncateApplied  bool // the log is truncated behind what is applied, not what is durable
	Reapply          bool // after a start the last entry is applied again
	ReadLocally      bool // a leader answers reads without asking anybody
	ForgetConf       bool // start with the membership of the base record
}
