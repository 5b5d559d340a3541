package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/durable"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/transfer"
)

// oldDir holds what an earlier round fetched, for its files.
const oldDir = "old"

// longTransfer is how long a transfer with the bytes of objects may take until a
// second image is fetched: the log after an image with bytes cannot be replayed,
// since it names bytes that did not come along.
const longTransfer = 10 * time.Minute

// transfer fetches the image.
func (r *run) transfer(ctx context.Context) error {
	begun := r.o.now()
	if err := r.fetch(ctx); err != nil {
		return err
	}
	if r.o.WithBlocks && r.o.now().Sub(begun) > longTransfer {
		if err := r.again(ctx); err != nil {
			return err
		}
	}
	return nil
}

// again fetches a second image: only what has changed since is sent. If no source
// makes one, the first will do.
func (r *run) again(ctx context.Context) error {
	r.note("the transfer took long: what changed meanwhile is fetched with a second image", nil)
	id, err := r.makeImage(ctx)
	if err != nil {
		r.note("there is no second image; the first one will do", err)
		return ctx.Err()
	}
	r.want = id
	return r.fetch(ctx)
}

// fetch brings one image, whose manifest is in r.m afterwards.
func (r *run) fetch(ctx context.Context) error {
	t := r.o.transferOptions()
	t.Sources = r.ordered()
	t.Reuse = r.o.reuse()
	t.Choose = r.choose
	t.Listener = transfer.Listener{
		Progress: r.transferring,
		Retry:    r.retrying,
		SourceFailed: func(source string, err error) {
			r.note("source "+source+" is given up", err)
		},
		ImageChanged: func(source, from, to string) {
			if from != "" {
				r.note("source "+source+" goes on with image "+to+" in place of "+from, nil)
			}
		},
	}
	got, err := transfer.Fetch(ctx, t)
	if err != nil {
		return err
	}
	if r.lease != nil {
		r.lease.end(ctx)
	}
	r.lease = hold(ctx, got.Lease)
	r.m, err = image.Decode(got.Spec.Manifest)
	if err != nil {
		return err
	}
	p := got.Progress
	r.done.Source, r.done.Image, r.done.NodeID, r.done.Blocks = got.Source, got.Spec.ID, r.nodeID(), r.m.Blocks
	r.done.Files, r.done.Bytes, r.done.Reused, r.done.Resumed = len(got.Spec.Files), p.Bytes, p.Reused, p.Resumed
	r.done.Sent += p.Sent
	r.done.Index, r.done.Term, r.done.Digest = r.m.Index, r.m.Term, r.m.Digest
	a := &r.att
	a.Source, a.Image, a.Index, a.Digest = got.Source, got.Spec.ID, r.m.Index, r.m.Digest
	a.Bytes, a.Sent, a.Reused, a.Resumed = p.Bytes, r.done.Sent, p.Reused, p.Resumed
	if s := got.Took.Seconds(); s > 0 {
		a.Rate = int64(float64(p.Sent) / s)
	}
	r.say(fmt.Sprintf("%d files, %s: %s over the network (%s/s), %s that was here, %s that an earlier run brought",
		r.done.Files, size(p.Bytes), size(p.Sent), size(a.Rate), size(p.Reused), size(p.Resumed)))
	return nil
}

func (r *run) nodeID() string {
	if r.o.NodeID != "" {
		return r.o.NodeID
	}
	return r.m.Node.ID
}

// ordered returns the sources, that of the choice first.
func (r *run) ordered() []transfer.Source {
	out := []transfer.Source{r.o.Sources[r.choice.source].Source}
	for i, s := range r.o.Sources {
		if i != r.choice.source {
			out = append(out, s.Source)
		}
	}
	return out
}

// choose takes the chosen image where it is listed, else the one begun, else the
// newest that will do.
func (r *run) choose(_ string, listed []transfer.Info, begun string) string {
	for _, id := range []string{r.want, begun} {
		for _, i := range listed {
			if i.ID == id {
				return id
			}
		}
	}
	var all []candidate
	for _, i := range listed {
		all = append(all, newCandidate(0, i))
	}
	if best := suitable(r.o, all); len(best) > 0 {
		return best[0].info.ID
	}
	return ""
}

// transferring tells how far the transfer is.
func (r *run) transferring(p transfer.Progress) {
	r.progress(Progress{
		Phase: Transfer, What: string(p.Phase), Source: p.Source, Image: p.Image, Done: p.Done, Total: p.Bytes,
		Sent: p.Sent, Reused: p.Reused, Rate: p.Rate, ETA: p.ETA, Need: p.Need, Free: p.Free,
	})
}

// startOver begins a round with a newer image.
func (r *run) startOver(ctx context.Context) error {
	if r.lease != nil {
		r.lease.end(ctx)
		r.lease = nil
	}
	r.adopt = false
	if err := r.putAside(); err != nil {
		return err
	}
	r.see = newInspection(r.o)
	r.see.ask(ctx)
	return r.see.verdict()
}

// putAside takes what was made of an image out of the way: the next one takes
// over its files.
func (r *run) putAside() error {
	old := r.o.staged(oldDir)
	if err := os.RemoveAll(old); err != nil {
		return errs.Wrap(errs.Internal, old, err)
	}
	if err := os.Remove(r.o.staged(applyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errs.Wrap(errs.Internal, r.o.staged(applyFile), err)
	}
	if err := durable.MakeDir(old); err != nil {
		return errs.Wrap(errs.Internal, old, err)
	}
	for _, name := range []string{nodeDir, fetchDir} {
		if from := r.o.staged(name); exists(from) {
			if err := os.Rename(from, filepath.Join(old, name)); err != nil {
				return errs.Wrap(errs.Internal, from, err)
			}
		}
	}
	return errors.Join(durable.SyncDir(old), durable.SyncDir(r.o.staged()))
}

// position asks the source where its log is.
func (r *run) position(ctx context.Context) (uint64, error) {
	for _, s := range r.o.Sources {
		if s.Name == r.done.Source {
			st, err := s.Peer.Status(ctx, &o3v1.StatusRequest{})
			if err != nil {
				return 0, err
			}
			return st.AppliedIndex, nil
		}
	}
	return 0, nil
}
