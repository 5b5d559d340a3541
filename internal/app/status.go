package app

import (
	"context"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

// status adds to an answer of Status what only the whole node knows.
func (n *node) status(_ context.Context, r *o3v1.StatusResponse) {
	st := n.log.Status()
	r.Version, r.NodeId, r.Role = Version, n.id.ID, st.Role.String()
	r.Leader, r.Term, r.CommitIndex = st.Leader, st.Term, st.Commit
	r.FirstIndex, r.DurableIndex = st.First, st.Durable
	r.StartedMs, r.NowMs = n.started.UnixMilli(), nowMs()
	r.StoreDiskBytes = n.store.Metrics().DiskBytes
	r.LogDiskBytes = uint64(st.LogBytes)
	if free, total, err := diskSpace(n.cfg.Node.DataDir); err == nil {
		r.DiskFreeBytes, r.DiskTotalBytes = free, total
	}
	e := n.endpoints()
	for _, at := range []string{e.S3, e.OM, e.Recon} {
		if at != "" {
			r.Endpoints = append(r.Endpoints, at)
		}
	}
	problem := func(name, text string) {
		r.Problems = append(r.Problems, &o3v1.Pair{Name: name, Value: text})
	}
	if err := n.blocks.Err(); err != nil {
		problem("blocks", err.Error())
	}
	if err := n.store.Err(); err != nil {
		problem("store", err.Error())
	}
	if why := n.trail.broken.Load(); why != nil {
		problem("audit", (*why).Error())
	}
	if r.Blocks.GetDamaged() > 0 {
		problem("damage", "stored blocks fail their checksum; see o3 admin block status")
	}
}

// blockAdmin shows the block store to operators.
type blockAdmin struct{ n *node }

// BlockStatus implements om.Blocks.
func (b blockAdmin) BlockStatus() *o3v1.BlockStatusResponse {
	st, scrub := b.n.blocks.Stats(), b.n.blocks.ScrubStatus()
	r := &o3v1.BlockStatusResponse{
		Engine: "container", Containers: uint64(st.Containers), Blocks: uint64(st.LiveBlocks),
		LiveBytes: uint64(st.LiveBytes), DeadBytes: uint64(st.DeadBytes), ReadOnly: st.ReadOnly,
		Failed: b.n.blocks.Err() != nil, ScrubBlocks: uint64(scrub.Blocks), ScrubBytes: uint64(scrub.Bytes),
	}
	if !scrub.Started.IsZero() {
		r.ScrubStartedMs = scrub.Started.UnixMilli()
	}
	if !scrub.Finished.IsZero() {
		r.ScrubFinishedMs = scrub.Finished.UnixMilli()
	}
	r.ScrubRunning = !scrub.Started.IsZero() && scrub.Finished.IsZero()
	damages := b.n.blocks.Damages()
	r.Damaged = uint64(len(damages))
	for i, d := range damages {
		if i == 100 {
			break
		}
		r.Damage = append(r.Damage, d.String())
	}
	return r
}

// StartScrub implements om.Blocks.
func (b blockAdmin) StartScrub() error {
	select {
	case b.n.scrubs <- struct{}{}:
		return nil
	default:
		return errs.New(errs.Conflict, "scrub", "one is waiting to start already")
	}
}
