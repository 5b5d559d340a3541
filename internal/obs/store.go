package obs

import (
	"strconv"
	"time"

	"o3/internal/pebblekv"
)

// Store is what the namespace store reports. fatal is called when it fails for
// good.
func (o *Obs) Store(fatal func(error)) pebblekv.Listener {
	corruptions, slow := o.Counter("o3_store_corruptions_total"), o.Counter("o3_store_disk_slow_total")
	flush, compaction := o.Histogram("o3_store_flush_seconds"), o.Histogram("o3_store_compaction_seconds")
	return pebblekv.Listener{
		Fatal: fatal,
		Corruption: func(path string, err error) {
			corruptions.Inc()
			o.Log.Error("store: a table is damaged", "file", path, "error", err)
		},
		StallBegin: func(reason string) { o.Log.Warn("store: writes wait", "reason", reason) },
		StallEnd: func(reason string, waited time.Duration) {
			o.Counter("o3_store_stall_seconds_total", reason).Add(waited.Seconds())
			o.Log.Warn("store: writes go on", "reason", reason, "waited", waited)
		},
		DiskSlow: func(path, operation string, sofar time.Duration) {
			slow.Inc()
			o.Log.Warn("store: the disk is slow", "file", path, "operation", operation, "so_far", sofar)
		},
		Flushed:   func(_, _ uint64, took time.Duration) { flush.Observe(took.Seconds()) },
		Compacted: func(_ int, _, _ uint64, took time.Duration) { compaction.Observe(took.Seconds()) },
		Notice:    func(text string) { o.Log.Debug("store", "notice", text) },
	}
}

// SampleStore shows the state of the namespace store at each scrape.
func (o *Obs) SampleStore(store *pebblekv.Store) {
	o.Sample(func(s *Sampler) {
		m := store.Metrics()
		s.Set("o3_store_disk_bytes", float64(m.DiskBytes))
		s.Set("o3_store_memtable_bytes", float64(m.MemTableBytes))
		s.Set("o3_store_compaction_debt_bytes", float64(m.CompactionDebt))
		s.Set("o3_store_read_amplification", float64(m.ReadAmplification))
		for i, l := range m.Levels {
			s.Set("o3_store_level_bytes", float64(l.Bytes), strconv.Itoa(i))
		}
		s.Set("o3_store_cache_bytes", float64(m.CacheBytes))
		s.Set("o3_store_cache_hits_total", float64(m.CacheHits))
		s.Set("o3_store_cache_misses_total", float64(m.CacheMisses))
		s.Set("o3_store_failed", truth(m.Failed))
	})
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
