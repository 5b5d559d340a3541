package lifecycle

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

const (
	trashKeys  = 1000 // keys that one command sets aside or deletes
	trashDirs  = 1000 // of a bucket that are looked at together
	trashNames = 10_000
)

// trashLoop looks after the trash of all buckets that have rules, while the node
// leads. Where nothing is moved to trash, what lies there is a user's.
func (s *Service) trashLoop(ctx context.Context) {
	if !s.o.Trash || s.o.TrashKeep < 0 {
		return
	}
	var looked time.Time
	tick := time.NewTicker(s.o.LeadInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		if !s.o.Leads() {
			looked = time.Time{}
			continue
		}
		if now.Sub(looked) < min(s.o.TrashCheckpoint, s.o.TrashKeep) || !s.o.Window.Open(now) {
			continue
		}
		looked = now
		s.tidy(ctx)
	}
}

// tidy sets aside what is in the trash of each bucket, and deletes what was set
// aside longer ago than the trash is kept. What fails is told and tried again the
// next time; it does not keep other buckets waiting.
func (s *Service) tidy(ctx context.Context) {
	var after ns.ObjectID
	for more := true; more && ctx.Err() == nil; {
		var page []*schemapb.LifecycleConfiguration
		var ids []ns.ObjectID
		err := s.o.Namespace.Read(ctx, func(v view.View) error {
			return v.Lifecycles(after, func(id ns.ObjectID, rules *schemapb.LifecycleConfiguration) (bool, error) {
				if len(page) == trashNames {
					return false, nil
				}
				page, ids = append(page, &schemapb.LifecycleConfiguration{Volume: rules.Volume, Bucket: rules.Bucket}), append(ids, id)
				return true, nil
			})
		})
		if err != nil {
			if ctx.Err() == nil && !passes(err) {
				s.failed("", err)
			}
			return
		}
		for i, b := range page {
			after = ids[i]
			if !s.o.Leads() || !s.o.Window.Open(time.Now()) {
				return
			}
			if err := s.tidyBucket(ctx, b.Volume, b.Bucket, ids[i]); err != nil && ctx.Err() == nil && !stale(err) && !passes(err) {
				s.failed(b.Volume+"/"+b.Bucket, err)
			}
		}
		more = len(page) == trashNames
	}
}

// tidyBucket looks after the trash of one bucket.
func (s *Service) tidyBucket(ctx context.Context, volume, bucket string, id ns.ObjectID) error {
	var after view.TrashDir
	for {
		var dirs []view.TrashDir
		var more bool
		err := s.o.Namespace.Read(ctx, func(v view.View) error {
			b, err := v.Bucket(volume, bucket)
			if err == nil && b.ID() != id {
				err = errs.New(errs.Conflict, volume+"/"+bucket, "the bucket was made anew")
			}
			if err == nil {
				dirs, more, err = v.TrashDirs(b, after, trashDirs)
			}
			return err
		})
		if err != nil {
			return err
		}
		t := &trash{s: s, volume: volume, bucket: bucket, id: id}
		for _, dir := range dirs {
			after = dir
			if err := t.tidy(ctx, dir); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// trash is the trash of a bucket.
type trash struct {
	s              *Service
	volume, bucket string
	id             ns.ObjectID
}

// tidy sets dir aside if it is what was deleted of late, and deletes it if it was
// set aside long ago.
func (t *trash) tidy(ctx context.Context, dir view.TrashDir) error {
	now := time.Now()
	if dir.Name == command.TrashCurrent {
		return t.setAside(ctx, dir, command.TrashCheckpoint(now.UnixMilli()))
	}
	at, ok := command.ParseTrashCheckpoint(dir.Name)
	if !ok || now.Sub(time.UnixMilli(at)) < t.s.o.TrashKeep {
		return nil
	}
	for {
		reply, err := run[commandpb.EmptyTrashReply](ctx, t.s, command.EmptyTrash, &commandpb.EmptyTrash{
			Volume: t.volume, Bucket: t.bucket, BucketId: uint64(t.id), Owner: dir.Owner, Checkpoint: dir.Name, Limit: trashKeys,
		})
		if err != nil {
			return err
		}
		t.tell(Emptied{Owner: dir.Owner, Checkpoint: dir.Name, Keys: reply.Keys, Bytes: reply.Bytes, Gone: true})
		if !reply.More {
			return nil
		}
		if err := t.s.limit.WaitN(ctx, t.s.most); err != nil {
			return err
		}
	}
}

func (t *trash) setAside(ctx context.Context, dir view.TrashDir, checkpoint string) error {
	for {
		reply, err := run[commandpb.CheckpointTrashReply](ctx, t.s, command.CheckpointTrash, &commandpb.CheckpointTrash{
			Volume: t.volume, Bucket: t.bucket, BucketId: uint64(t.id), Owner: dir.Owner, Checkpoint: checkpoint, Limit: trashKeys,
		})
		if err != nil {
			return err
		}
		t.tell(Emptied{Owner: dir.Owner, Checkpoint: checkpoint, Keys: reply.Keys, Bytes: reply.Bytes})
		if !reply.More {
			return nil
		}
		if err := t.s.limit.WaitN(ctx, t.s.most); err != nil {
			return err
		}
	}
}

func (t *trash) tell(e Emptied) {
	e.Volume, e.Bucket = t.volume, t.bucket
	if f := t.s.o.Listener.Emptied; f != nil {
		f(e)
	}
}

// run has a command of trash applied.
func run[R any, P interface {
	*R
	proto.Message
}](ctx context.Context, s *Service, kind command.Kind, body proto.Message) (P, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.StepTimeout)
	defer cancel()
	return om.Execute[R, P](ctx, s.o.Namespace, kind, body)
}
