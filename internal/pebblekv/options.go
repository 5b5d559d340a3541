package pebblekv

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options is the configuration of a store. Dir must be set; the zero value of
// every other field is its default.
type Options struct {
	// Dir is the store's directory, its own. It is made if it is absent and the
	// store is not read-only.
	Dir string

	// FS is the file system; nil means the operating system's.
	FS vfs.FS

	// Name is the kind of store, of a-z, 0-9 and '-'. It is written beside the
	// database; a directory of another kind is refused. "" means "store".
	Name string

	// Version is the newest format of the rows that the caller can read, and
	// the one it writes. A new store gets it, and one with a lower version when
	// it is opened to write; one with a higher version is refused. 0 means 1.
	Version int

	// DisableWAL writes no log: a crash loses what was not flushed, as a whole
	// suffix of commits, and a commit with sync is refused.
	DisableWAL bool

	// ReadOnly opens an existing store and changes nothing in it. The log, if
	// there is one, is read into memory.
	ReadOnly bool

	// NoLock, with ReadOnly, takes no lock and makes no file: for a directory
	// that nobody writes, such as a checkpoint, which then may be open many times.
	NoLock bool

	// CacheBytes bounds the memory for blocks of table files; 0 means 128 MiB.
	CacheBytes int64

	// MemTableBytes is the size at which rows in memory are flushed; up to four
	// times as much is held while flushing falls behind. 0 means 32 MiB.
	MemTableBytes int

	// MaxOpenFiles bounds the open table files; 0 means 1,000.
	MaxOpenFiles int

	// BytesPerSync starts writing a table file back each time so many bytes
	// were added, so that its final sync is short; 0 means 1 MiB.
	BytesPerSync int

	// WALBytesPerSync does the same for the log; 0 means never.
	WALBytesPerSync int

	// DiskSlowAfter is how long one disk operation may take before
	// Listener.DiskSlow hears of it; 0 means 5 s, less than 0 means never.
	DiskSlowAfter time.Duration

	// BeforeFlush, if it is set, is called before rows in memory become durable,
	// whether the caller asked for that or the engine decided it. All rows that
	// will be durable were committed before the call. It runs with locks of the
	// store held: it must not use the store. On an error the store fails, and
	// nothing becomes durable.
	BeforeFlush func() error

	// Listener hears what happens.
	Listener Listener
}

// Listener hears what a store does. Nil fields are silent. Calls come from the
// store's goroutines, sometimes with its locks held: they must return at once
// and must not call the store.
type Listener struct {
	// Fatal is called once, when the store fails: it takes no more writes, and
	// the node must halt. Before Open has returned, Open returns the error
	// instead.
	Fatal func(err error)

	// Corruption is called when stored bytes fail their checksum; the reader
	// gets an error as well. path is the file.
	Corruption func(path string, err error)

	// StallBegin and StallEnd surround a time in which commits wait for flushes
	// or compactions. reason is "memtables" or "level 0".
	StallBegin func(reason string)
	StallEnd   func(reason string, waited time.Duration)

	// DiskSlow is called while an operation on path takes longer than
	// Options.DiskSlowAfter.
	DiskSlow func(path, operation string, sofar time.Duration)

	// Flushed is called when rows in memory became table files. in is their
	// size in memory, out the size of the files, in bytes.
	Flushed func(in, out uint64, took time.Duration)

	// Compacted is called when table files were merged into the level to. in
	// and out are bytes of files.
	Compacted func(to int, in, out uint64, took time.Duration)

	// Notice is called with what the engine finds worth saying and has no call
	// of its own here, for a log.
	Notice func(text string)
}

// withDefaults returns o with every field set.
func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Name == "" {
		o.Name = "store"
	}
	if o.Version == 0 {
		o.Version = 1
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 128 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 32 << 20
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = 1000
	}
	if o.BytesPerSync == 0 {
		o.BytesPerSync = 1 << 20
	}
	if o.DiskSlowAfter == 0 {
		o.DiskSlowAfter = 5 * time.Second
	}
	o.Listener = o.Listener.withDefaults()
	return o
}

func (l Listener) withDefaults() Listener {
	if l.Fatal == nil {
		l.Fatal = func(error) {}
	}
	if l.Corruption == nil {
		l.Corruption = func(string, error) {}
	}
	if l.StallBegin == nil {
		l.StallBegin = func(string) {}
	}
	if l.StallEnd == nil {
		l.StallEnd = func(string, time.Duration) {}
	}
	if l.DiskSlow == nil {
		l.DiskSlow = func(string, string, time.Duration) {}
	}
	if l.Flushed == nil {
		l.Flushed = func(uint64, uint64, time.Duration) {}
	}
	if l.Compacted == nil {
		l.Compacted = func(int, uint64, uint64, time.Duration) {}
	}
	if l.Notice == nil {
		l.Notice = func(string) {}
	}
	return l
}
