// Package bootstrap makes the data directory of a new node from an image of a
// running one: it chooses the image, fetches it, validates it, makes a node of
// it, brings the node up to the source's log, and puts it in place. It runs on
// the machine of the new node, whose server does not run meanwhile.
//
// Everything is made below DIR/staged; what was in DIR before is untouched until
// the one switch at the end, which is completed or rolled back at the next start
// whenever it was cut off (package fileplan). Run may be cut off at any point, by
// whatever, and run again: it goes on with what is there. A node is never put in
// place that is not what its manifest says.
//
// Run owns the goroutines that it starts and ends them before it returns. One Run
// at a time works on a data directory: a lock sees to that.
package bootstrap

import (
	"context"
	"iter"
	"path/filepath"
	"strings"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/audit"
	"o3/internal/errs"
	"o3/internal/transfer"
)

// Phase is a part of a bootstrap. The words are those of the log, the audit log,
// the record and the metrics.
type Phase string

// The phases, in their order.
const (
	Prerequisites   Phase = "PREREQUISITES"   // what must hold on both sides
	Selection       Phase = "SELECTION"       // which image, from where
	Transfer        Phase = "TRANSFER"        // its files come here
	Validation      Phase = "VALIDATION"      // they are what the manifest says
	Application     Phase = "APPLICATION"     // they become a node, beside what is there
	Synchronization Phase = "SYNCHRONIZATION" // the source's log after the image
	Done            Phase = "DONE"            // the node is put in place
)

// Phases returns the phases in their order.
func Phases() []Phase {
	return []Phase{Prerequisites, Selection, Transfer, Validation, Application, Synchronization, Done}
}

// Principal is who the audit log says acts: nobody of the store's users does.
const Principal = "SYSTEM"

// EnabledKey is the configuration key that allows bootstraps.
const EnabledKey = "ozone.om.bootstrap.enabled"

// Peer is what a source answers beside its images: *client.Client is one.
type Peer interface {
	Status(context.Context, *o3v1.StatusRequest) (*o3v1.StatusResponse, error)
	CreateImage(context.Context, *o3v1.CreateImageRequest) (*o3v1.CreateImageResponse, error)
	ReadLog(context.Context, *o3v1.ReadLogRequest) iter.Seq2[*o3v1.ReadLogResponse, error]
}

// Source is a node to bootstrap from.
type Source struct {
	transfer.Source
	Peer Peer
}

// Options configures Run and Check. Sources and DataDir are required; the zero
// value of every other field is its default.
type Options struct {
	Sources []Source // in order of preference

	DataDir  string // absolute; of the new node
	BlockDir string // absolute; "" means "blocks" in DataDir
	NodeID   string // ozone.om.node.id of the new node; "" means the image's

	WithBlocks bool // the bytes of objects come along
	Fresh      bool // a source makes a new image first
	Strict     bool // every table block is verified and the state's digest recomputed
	Replace    bool // a node that is in DataDir makes way, and is kept for a rollback
	Disabled   bool // bootstraps are not allowed here: EnabledKey is false

	Timeout     time.Duration // for the whole; 0: none
	Retries     int           // at a source, without progress; 0: 5. Negative: none
	Backoff     time.Duration // before the first retry; 500 ms
	Chunk       int           // bytes; 0: 1 MiB
	Streams     int           // at once; 0: 4
	Rate        int64         // bytes/s from the network; 0: no bound
	Compression transfer.Compression
	Insecure    bool          // also sources without TLS on other machines
	Reserve     int64         // bytes of the disks left free; 0: 64 MiB. Negative: none
	Disk        transfer.Disk // nil: the operating system's
	SpaceEvery  time.Duration // between looks whether there is space again; 2 s

	// Audit opens the audit log of the node, which gets a line for each phase: the
	// principal is Principal, the parameter operator is Operator. Nil: there is none.
	Audit    func() (*audit.Log, error)
	Operator string // who runs this, as the system knows them

	Listener Listener

	now           func() time.Time // tests set these
	place         place
	progressEvery time.Duration
}

// Listener hears what Run does. Nil fields are silent. Calls are synchronous,
// come from several goroutines and must not block.
type Listener struct {
	Begin    func(p Phase)
	End      func(e End)
	Progress func(p Progress)
	Note     func(text string, err error) // something an operator wants to know: a retry, another source
}

// End says how a phase went.
type End struct {
	Phase  Phase
	Took   time.Duration
	Detail string // what came of it, in words
	Err    error
}

// Progress is how far a phase is.
type Progress struct {
	Phase  Phase
	What   string // within the phase
	Source string
	Image  string
	Done   int64 // bytes
	Total  int64
	Sent   int64 // bytes over the network
	Reused int64
	Rate   int64         // bytes/s over the network
	ETA    time.Duration // 0: not known
	Need   int64         // while waiting for space: bytes to be written, and those that may be
	Free   int64
}

// Result is what Run made.
type Result struct {
	Source string `json:"source"`
	Image  string `json:"image"`
	Index  uint64 `json:"index"` // of the last log entry that the node has
	Term   uint64 `json:"term"`
	Digest string `json:"digest"` // of its state there
	Behind uint64 `json:"behind"` // log entries that the source had more, when its log is not replayed
	NodeID string `json:"node_id"`
	Blocks bool   `json:"blocks"` // the bytes of objects came along

	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
	Sent     int64  `json:"sent_bytes"` // over the network
	Reused   int64  `json:"reused_bytes"`
	Resumed  int64  `json:"resumed_bytes"` // of a bootstrap that was cut off
	Entries  uint64 `json:"log_entries"`   // replayed after the image
	Previous string `json:"previous,omitempty"`
}

// Files and directories of a bootstrap below the data directory.
const (
	stagedDir   = "staged"
	fetchDir    = "fetch"
	nodeDir     = "node"
	previousDir = "previous"
)

func (o *Options) staged(name ...string) string {
	return filepath.Join(append([]string{o.DataDir, stagedDir}, name...)...)
}

func (o *Options) blockDir() string {
	if o.BlockDir != "" {
		return o.BlockDir
	}
	return filepath.Join(o.DataDir, "blocks")
}

func (o *Options) setDefaults() error {
	switch {
	case len(o.Sources) == 0:
		return errs.New(errs.Invalid, "sources", "at least one is needed")
	case !filepath.IsAbs(o.DataDir), o.BlockDir != "" && !filepath.IsAbs(o.BlockDir):
		return errs.New(errs.Invalid, "directories", "they must be given as absolute paths")
	}
	if o.Retries == 0 {
		o.Retries = 5
	}
	o.Retries = max(o.Retries, -1)
	if o.Backoff <= 0 {
		o.Backoff = 500 * time.Millisecond
	}
	if o.Reserve == 0 {
		o.Reserve = 64 << 20
	}
	if o.Disk == nil {
		o.Disk = transfer.OSDisk{}
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.place == nil {
		o.place = nodePlace{}
	}
	names := map[string]bool{}
	for i := range o.Sources {
		s := &o.Sources[i]
		if s.Name == "" {
			s.Name = hostOf(s.URL)
		}
		if s.Peer == nil || names[s.Name] {
			return errs.New(errs.Invalid, "source "+s.Name, "it has no Peer, or is there twice")
		}
		names[s.Name] = true
	}
	return nil
}

// hostOf returns HOST:PORT of a URL.
func hostOf(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// transferOptions are those of the transfer, and of the questions before it.
func (o *Options) transferOptions() transfer.Options {
	t := transfer.Options{
		Dir: o.staged(fetchDir), Manifest: manifestFile, Parse: parse,
		Receiver: receiver(o), Retries: o.Retries, Backoff: o.Backoff, Chunk: o.Chunk, Streams: o.Streams, Rate: o.Rate,
		Compression: o.Compression, Insecure: o.Insecure, Disk: o.Disk, Reserve: o.Reserve, SpaceEvery: o.SpaceEvery, ProgressEvery: o.progressEvery,
	}
	for _, s := range o.Sources {
		t.Sources = append(t.Sources, s.Source)
	}
	return t
}
