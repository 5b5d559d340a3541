package transfer

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"o3/internal/errs"
)

// Options configures a Fetch. Dir, Sources and Parse are required; a zero field
// means its default.
type Options struct {
	// Dir is where the image goes: each file at its path below it. It is made if
	// it is absent. It belongs to the transfer: what is in it and not of the image
	// is removed. One that holds anything and was not begun by a transfer is
	// refused.
	Dir string

	// Manifest names the file in Dir that gets the image's manifest, last of all:
	// where it is, the image is whole. "" writes none.
	Manifest string

	// Sources are asked in this order.
	Sources []Source

	// Parse reads a manifest. It must refuse one that is damaged.
	Parse func(manifest []byte) (Spec, error)

	// Choose returns the id of the image to fetch, of those that a source lists,
	// or "" when none will do. begun is the one that the transfer is in the middle of,
	// or "". Nil takes the one begun if it is listed, else the first. Of several
	// sources the first that leads to the one begun is taken.
	Choose func(source string, listed []Info, begun string) (id string)

	// Reuse are directories with files that may be of the image: those with the
	// same size and checksum are not fetched. They are read to know.
	Reuse []Reuse

	Receiver    string        // how the sources know this one; "receiver"
	Timeout     time.Duration // for the whole; 0: none
	Retries     int           // at a source, without any progress, before the next one; 5. Negative: none
	Backoff     time.Duration // before the first retry, doubled at each further one; 500 ms
	MaxBackoff  time.Duration // 30 s
	Stall       time.Duration // a source that sends nothing for so long is cut; 1 min
	Chunk       int           // bytes with a checksum of their own, MinChunk to MaxChunk; 1 MiB
	Batch       int64         // the most bytes asked for at once; 64 MiB
	Streams     int           // requests at once; 4
	Rate        int64         // bytes/s from the network, all streams together; 0: no bound
	DiskRate    int64         // bytes/s written by what comes in, and read to find and check what is here; 0: no bound
	Compression Compression   // asked for; none
	Insecure    bool          // also http:// to other machines

	Disk       Disk          // of Dir; nil: OSDisk
	Reserve    int64         // bytes that stay free on it; 64 MiB. Negative: none
	SpaceEvery time.Duration // between looks whether there is space again; 2 s

	ProgressEvery time.Duration // between calls of Listener.Progress; 1 s
	Listener      Listener
}

// Reuse is a directory whose files may be used.
type Reuse struct {
	Dir string

	// Immutable tells by the path below Dir whether a file never changes once it
	// is there, and may be hard-linked. Nil: none, all are copied.
	Immutable func(path string) bool
}

// Listener hears what Fetch does. Nil fields are silent. Calls are synchronous,
// come from several goroutines and must not block.
type Listener struct {
	Progress     func(p Progress)                // at each change of phase and at intervals, one call after the other
	Retry        func(source string, err error)  // something failed and is tried again
	SourceFailed func(source string, err error)  // the next one is tried
	ImageChanged func(source, from, to string)   // from is "" at first
	FileDone     func(f File, origin FileOrigin) // verified and in place
}

// FileOrigin is where the bytes of a file came from.
type FileOrigin string

// The origins.
const (
	FromSource  FileOrigin = "source"
	FromReuse   FileOrigin = "reuse"   // of Options.Reuse
	FromEarlier FileOrigin = "earlier" // of a transfer into the same directory
)

// Result is an image that is here.
type Result struct {
	Spec     Spec
	Source   string // of its last bytes
	Progress Progress
	Took     time.Duration

	// Lease is that on the image at its source, renewed a moment ago. The caller
	// lets it Run until nothing of the source is needed any more, then calls
	// Release.
	Lease *Lease
}

func (o *Options) setDefaults() error {
	switch {
	case o.Dir == "" || o.Parse == nil || len(o.Sources) == 0:
		return errs.New(errs.Invalid, "transfer.Options", "Dir, Parse and at least one of Sources are required")
	case o.Manifest != "" && (!validPath(o.Manifest) || filepath.Base(o.Manifest) != o.Manifest):
		return errs.New(errs.Invalid, "transfer.Options.Manifest", o.Manifest+" is no name of a file in a directory")
	}
	def(&o.Chunk, 1<<20)
	if o.Chunk < MinChunk || o.Chunk > MaxChunk {
		return errs.New(errs.Invalid, "transfer.Options.Chunk", fmt.Sprintf("%d, allowed are %d to %d", o.Chunk, MinChunk, MaxChunk))
	}
	if o.Retries == 0 {
		o.Retries = 5
	}
	o.Retries = max(o.Retries, 0)
	def(&o.Backoff, 500*time.Millisecond)
	def(&o.MaxBackoff, 30*time.Second)
	def(&o.Stall, time.Minute)
	def(&o.Batch, 64<<20)
	def(&o.Streams, 4)
	def(&o.SpaceEvery, 2*time.Second)
	def(&o.ProgressEvery, time.Second)
	if o.Receiver == "" {
		o.Receiver = "receiver"
	}
	if o.Disk == nil {
		o.Disk = OSDisk{}
	}
	if o.Reserve == 0 {
		o.Reserve = 64 << 20
	}
	o.Reserve = max(o.Reserve, 0)
	if o.Choose == nil {
		o.Choose = firstOrBegun
	}
	return nil
}

func firstOrBegun(_ string, listed []Info, begun string) string {
	for _, i := range listed {
		if i.ID == begun {
			return begun
		}
	}
	if len(listed) > 0 {
		return listed[0].ID
	}
	return ""
}

// localError is a failure of the receiver itself: no other source helps.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// local marks a failure of this node's disk about what.
func local(what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*localError](err); ok {
		return err
	}
	return &localError{&errs.Error{Kind: kindOr(err, errs.Internal), Op: "transfer", Subject: "target " + what, Err: err}}
}

func isLocal(err error) bool {
	_, ok := errors.AsType[*localError](err)
	return ok
}
