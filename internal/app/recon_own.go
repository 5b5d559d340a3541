package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/image"
	"o3/internal/pebblekv"
	"o3/internal/schema"
)

// ownOM is the OM in the same process: its log is read without a connection, and
// an image of it is hard links.
type ownOM struct{ n *node }

// ownHold keeps the log from an image on until the generation made of it is in
// force. It is no lease: it lasts as long as the process at most.
const ownHold = "taking an image for Recon"

// Name implements recon.Source.
func (o *ownOM) Name() string { return o.n.id.ID }

// Follow implements recon.Source.
func (o *ownOM) Follow(ctx context.Context, after, term uint64, f func(*o3v1.ReadLogResponse) error) error {
	r := logReader{
		t: o.n.transfers, q: &o3v1.ReadLogRequest{AfterIndex: after, AfterTerm: term, Follow: true, MaxBytes: logBytes},
		after: after, term: term, out: logSink(f), state: o.n.replica.Position(),
	}
	return r.run(ctx)
}

// logSink takes messages of the log in place of a connection.
type logSink func(*o3v1.ReadLogResponse) error

// Send implements logOut.
func (f logSink) Send(m *o3v1.ReadLogResponse) error { return f(m) }

// Image implements recon.Source: a checkpoint of the store.
func (o *ownOM) Image(ctx context.Context, dir string, _ []string, progress func(done, total int64)) (m *image.Manifest, err error) {
	began := time.Now()
	defer func() {
		id, bytes := "", int64(0)
		if err == nil {
			id, bytes = m.ID, m.Bytes
		}
		o.n.obs.ReconImage(o.Name(), id, bytes, 0, time.Since(began), err)
	}()
	pos := o.n.replica.Position()
	if pos.Index == 0 {
		return nil, errs.New(errs.Unavailable, "this node", "nothing was applied yet")
	}
	if err := o.n.log.Hold(ownHold, pos.Index); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil { // of a try that failed
		return nil, errs.Wrap(errs.Internal, dir, err)
	}
	if err := o.n.store.Checkpoint(dir); err != nil {
		return nil, err
	}
	if m, err = o.describe(dir); err != nil {
		return nil, err
	}
	progress(m.Bytes, m.Bytes)
	return m, ctx.Err()
}

// describe returns the manifest of a checkpoint, without its files.
func (o *ownOM) describe(dir string) (*image.Manifest, error) {
	s, err := pebblekv.Open(pebblekv.Options{
		Dir: dir, Name: "om", Version: schema.Format, DisableWAL: true, ReadOnly: true, NoLock: true, CacheBytes: 1 << 20, DiskSlowAfter: -1,
	})
	if err != nil {
		return nil, err
	}
	pos, _, err := fsm.ReadPosition(s)
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, dir, err)
	}
	m := &image.Manifest{
		ID: filepath.Base(filepath.Dir(dir)), CreatedMs: time.Now().UnixMilli(), Index: pos.Index, Term: pos.Term, Op: uint64(pos.Op),
		TimeMs: pos.TimeMs, Conf: pos.Conf, Digest: pos.Digest.String(), StoreName: "om", Format: schema.Format,
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			m.Bytes += info.Size()
		}
	}
	return m, nil
}

func (o *ownOM) release() { o.n.log.Release(ownHold) }

func (o *ownOM) close() {}

func (o *ownOM) images(context.Context) (out []listedImage, err error) {
	for _, i := range o.n.images.list() {
		out = append(out, listImage(imageInfo(i)))
	}
	return out, nil
}
