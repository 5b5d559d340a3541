package obs

import (
	"o3/internal/block"
	"o3/internal/block/container"
)

// Blocks is what the container store reports. fatal is called when it fails for
// good, space when the disk is full or its reserve reached, and when it is not any more.
func (o *Obs) Blocks(fatal func(error), space func(low bool)) container.Listener {
	damages, torn := o.Counter("o3_block_damages_total"), o.Counter("o3_block_torn_total")
	rewritten := o.Counter("o3_block_rewritten_bytes_total")
	return container.Listener{
		Fatal: fatal,
		Damaged: func(d container.Damage) {
			damages.Inc()
			o.Log.Error("blocks: damage", "container", d.ID.Container, "block", d.ID.Local, "file", d.File,
				"offset", d.Offset, "bytes", d.Length, "part", string(d.Part), "detail", d.Detail)
		},
		Torn: func(file string, offset, bytes int64) {
			torn.Inc()
			o.Log.Warn("blocks: removed the torn end of a crash", "file", file, "offset", offset, "bytes", bytes)
		},
		ReadOnly: func(on bool, free int64) {
			space(on)
			if on {
				o.Log.Error("blocks: the disk is full or its reserve reached: writes are refused", "free", free)
			} else {
				o.Log.Info("blocks: there is space again: writes are taken", "free", free)
			}
		},
		Sealed: func(id uint64, blocks int, bytes int64) {
			o.Log.Debug("blocks: container sealed", "container", id, "blocks", blocks, "bytes", bytes)
		},
		Rewritten: func(id uint64, before, after int64) {
			rewritten.Add(float64(before - after))
			o.Log.Debug("blocks: dead space freed", "container", id, "before", before, "after", after)
		},
		Failed: func(what string, id uint64, err error) {
			o.Counter("o3_block_failures_total", what).Inc()
			o.Log.Warn("blocks: will be tried again", "what", what, "container", id, "error", err)
		},
		Scrubbed: func(r container.ScrubReport) {
			o.Log.Info("blocks: scrub", "finished", !r.Finished.IsZero(), "blocks", r.Blocks, "bytes", r.Bytes, "damages", r.Damages)
		},
	}
}

// BlocksLeft notes blocks of a failed write that the sweep has to free.
func (o *Obs) BlocksLeft(blocks []block.ID, err error) {
	o.Counter("o3_block_left_total").Add(float64(len(blocks)))
	o.Log.Warn("blocks of a failed write are left to the sweep", "blocks", len(blocks), "error", err)
}

// SampleBlocks shows the state of the container store at each scrape.
func (o *Obs) SampleBlocks(store *container.Store) {
	o.Sample(func(s *Sampler) {
		st, scrub := store.Stats(), store.ScrubStatus()
		s.Set("o3_block_containers", float64(st.Containers-st.Unsealed-st.Broken), "sealed")
		s.Set("o3_block_containers", float64(st.Unsealed), "unsealed")
		s.Set("o3_block_containers", float64(st.Broken), "broken")
		s.Set("o3_block_live_blocks", float64(st.LiveBlocks))
		s.Set("o3_block_live_bytes", float64(st.LiveBytes))
		s.Set("o3_block_dead_bytes", float64(st.DeadBytes))
		s.Set("o3_block_disk_bytes", float64(st.DiskBytes))
		s.Set("o3_block_disk_free_bytes", float64(st.Free))
		s.Set("o3_block_read_only", truth(st.ReadOnly))
		s.Set("o3_block_puts_total", float64(st.Puts))
		s.Set("o3_block_put_bytes_total", float64(st.PutBytes))
		s.Set("o3_block_gets_total", float64(st.Gets))
		s.Set("o3_block_get_bytes_total", float64(st.GetBytes))
		s.Set("o3_block_deletes_total", float64(st.Deletes))
		s.Set("o3_block_syncs_total", float64(st.Syncs))
		s.Set("o3_block_scrub_blocks", float64(scrub.Blocks))
		s.Set("o3_block_scrub_damages", float64(scrub.Damages))
	})
}
