package pebblekv

import (
	"fmt"
	"math"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// engineFormat is the on-disk format of Pebble that our stores are pinned to.
// Raising it is a change of engineVersion, which older programs refuse.
const engineFormat = pebble.FormatTableFormatV6

// engineOptions returns how we run Pebble. Keys are compared as bytes and have
// no suffix, so that a seek by prefix is a seek of one key and may use filters.
func (s *Store) engineOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                 s.fs,
		FormatMajorVersion: engineFormat,
		Comparer:           pebble.DefaultComparer,
		CacheSize:          s.opts.CacheBytes,
		MemTableSize:       uint64(s.opts.MemTableBytes),
		MaxOpenFiles:       s.opts.MaxOpenFiles,
		BytesPerSync:       s.opts.BytesPerSync,
		WALBytesPerSync:    s.opts.WALBytesPerSync,
		DisableWAL:         s.opts.DisableWAL,
		ReadOnly:           s.opts.ReadOnly,
		Logger:             logger{s},
		EventListener:      s.events(),

		// The engine would wait inside a commit without an end; we wait before it
		// (see stall), and can give up.
		MemTableStopWritesThreshold: 1 << 20,
		L0StopWritesThreshold:       math.MaxInt32,

		L0CompactionThreshold:     2,
		L0CompactionFileThreshold: 500,
		LBaseMaxBytes:             64 << 20,

		// The manifest is copied by each checkpoint and replayed by each open.
		MaxManifestFileSize: 2 << 20,
	}
	// Sizes count from the first level in use, so that the last one has files
	// of 32 to 64 MiB from some ten million rows on.
	for i, mib := range []int64{4, 16, 32, 64, 64, 64, 64} {
		o.TargetFileSizes[i] = mib << 20
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = blockBytes
		o.Levels[i].IndexBlockSize = 256 << 10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].FilterType = pebble.TableFilter
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	o.CompactionConcurrencyRange = func() (int, int) { return 1, max(2, runtime.GOMAXPROCS(0)/2) }
	o.EnsureDefaults()
	o.Experimental.CompactionScheduler = &scheduler{failure: s.failure}
	return o
}

// blockBytes is the size of a table block before compression: a point read
// decodes one.
const blockBytes = 16 << 10

// events connects the engine's events to the store and its listener.
func (s *Store) events() *pebble.EventListener {
	l := s.opts.Listener
	e := &pebble.EventListener{
		BackgroundError: func(err error) {
			s.failure.fail(s.diskError("background work", err))
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			if s.failure.get() == nil { // else files may be cut short on purpose
				l.Corruption(info.Path, info.Details)
			}
		},
		FlushBegin: func(pebble.FlushInfo) {
			if s.opts.BeforeFlush == nil {
				return
			}
			if err := s.opts.BeforeFlush(); err != nil {
				s.failure.fail(s.diskError("what must be durable before it", err))
			}
		},
		FlushEnd: func(info pebble.FlushInfo) {
			s.filesChanged()
			if info.Err != nil {
				return
			}
			var out uint64
			for _, t := range info.Output {
				out += t.Size
			}
			l.Flushed(info.InputBytes, out, info.TotalDuration)
		},
		CompactionEnd: func(info pebble.CompactionInfo) {
			s.filesChanged()
			if info.Err != nil {
				return
			}
			var in, out uint64
			for _, level := range info.Input {
				for _, t := range level.Tables {
					in += t.Size
				}
			}
			for _, t := range info.Output.Tables {
				out += t.Size
			}
			l.Compacted(info.Output.Level, in, out, info.TotalDuration)
		},
	}
	e.EnsureDefaults(nil)
	return e
}

// filesChanged says that iterators kept for point reads hold old files, and
// that waiting commits may look again.
func (s *Store) filesChanged() {
	s.latest.Add(1)
	s.filesets.Add(1)
	s.stall.wake()
}

// logger takes what the engine would print, and what it would die of.
type logger struct{ s *Store }

func (l logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	l.s.opts.Listener.Notice(fmt.Sprintf(format, args...))
}

// Fatalf is called where the engine cannot go on. It must return: the guard
// has frozen, or now freezes, what is on disk.
func (l logger) Fatalf(format string, args ...any) {
	l.s.failure.fail(l.s.diskError("the engine", fmt.Errorf(format, args...)))
}
