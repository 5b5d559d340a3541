package pebblekv

import "time"

// Metrics is what a store is doing, for an operator. Sizes are bytes; counts
// are since Open unless they say "now".
type Metrics struct {
	Levels [7]LevelMetrics

	DiskBytes     uint64 // of all files, now, those to be removed included
	MemTables     int64  // now
	MemTableBytes uint64 // now
	LogFiles      int64  // now
	LogBytes      uint64 // now

	Flushes            int64
	Compactions        int64
	CompactionsRunning int64  // now
	CompactionDebt     uint64 // bytes still to compact, estimated, now
	ReadAmplification  int    // tables one read may touch, now

	CacheBytes   int64 // now
	CacheHits    int64
	CacheMisses  int64
	FilterHits   int64 // reads that a filter spared
	FilterMisses int64

	Iterators int64 // open iterators over table files, now
	Snapshots int   // open, now

	Stalls    int64 // times commits had to wait
	StallTime time.Duration
	Failed    bool
}

// LevelMetrics is one level of the tree.
type LevelMetrics struct {
	Files        int64
	Bytes        int64
	Score        float64 // above 1 the level wants compaction
	BytesIn      uint64  // read from the level above
	BytesWritten uint64  // by flushes and compactions
}

// Metrics returns the figures of now; all zero when the store is closed. It
// costs some tens of microseconds.
func (s *Store) Metrics() Metrics {
	if s.enter("pebblekv.Metrics") != nil {
		return Metrics{}
	}
	defer s.life.RUnlock()
	p := s.db.Metrics()
	m := Metrics{
		DiskBytes:          p.DiskSpaceUsage(),
		MemTables:          p.MemTable.Count,
		MemTableBytes:      p.MemTable.Size,
		LogFiles:           p.WAL.Files,
		LogBytes:           p.WAL.Size,
		Flushes:            p.Flush.Count,
		Compactions:        p.Compact.Count,
		CompactionsRunning: p.Compact.NumInProgress,
		CompactionDebt:     p.Compact.EstimatedDebt,
		ReadAmplification:  p.ReadAmp(),
		CacheBytes:         p.BlockCache.Size,
		CacheHits:          p.BlockCache.Hits,
		CacheMisses:        p.BlockCache.Misses,
		FilterHits:         p.Filter.Hits,
		FilterMisses:       p.Filter.Misses,
		Iterators:          p.TableIters,
		Snapshots:          p.Snapshots.Count,
		Stalls:             s.stall.count.Load(),
		StallTime:          time.Duration(s.stall.waited.Load()),
		Failed:             s.failure.get() != nil,
	}
	for i := range m.Levels {
		l := &p.Levels[i]
		m.Levels[i] = LevelMetrics{
			Files: l.TablesCount, Bytes: l.TablesSize, Score: l.Score,
			BytesIn: l.TableBytesIn, BytesWritten: l.TableBytesFlushed + l.TableBytesCompacted,
		}
	}
	return m
}
