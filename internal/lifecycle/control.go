package lifecycle

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// mayControl refuses who neither controls the bucket nor, of all buckets, is an admin.
func (s *Service) mayControl(ctx context.Context, volume, bucket, act string) error {
	if volume == "" && bucket == "" {
		if p := access.FromContext(ctx); !p.Admin() {
			return errs.New(errs.Denied, act+" of all buckets", "user "+p.User+": needs the role admin; or name a bucket")
		}
		return nil
	}
	return s.o.Namespace.Controls(ctx, volume, bucket)
}

// SuspendLifecycle stops the scans of a bucket, or of all. The command that is
// under way is done first.
func (s *Service) SuspendLifecycle(ctx context.Context, r *o3v1.SuspendLifecycleRequest) (*o3v1.SuspendLifecycleResponse, error) {
	reply, err := s.suspend(ctx, &commandpb.SuspendLifecycle{Volume: r.Volume, Bucket: r.Bucket, Suspended: true, Reason: r.Reason})
	return &o3v1.SuspendLifecycleResponse{Changed: reply.GetChanged()}, err
}

// ResumeLifecycle lets scans go on from where they stand. A bucket that is
// suspended by itself stays so when all are resumed.
func (s *Service) ResumeLifecycle(ctx context.Context, r *o3v1.ResumeLifecycleRequest) (*o3v1.ResumeLifecycleResponse, error) {
	reply, err := s.suspend(ctx, &commandpb.SuspendLifecycle{Volume: r.Volume, Bucket: r.Bucket})
	return &o3v1.ResumeLifecycleResponse{Changed: reply.GetChanged()}, err
}

func (s *Service) suspend(ctx context.Context, c *commandpb.SuspendLifecycle) (*commandpb.SuspendLifecycleReply, error) {
	if err := s.mayControl(ctx, c.Volume, c.Bucket, "suspension of the lifecycle scans"); err != nil {
		return nil, err
	}
	reply, err := om.Propose[commandpb.SuspendLifecycleReply](ctx, s.o.Namespace, command.SuspendLifecycle, 0, c)
	if err == nil {
		s.poke()
	}
	return reply, err
}

// RunLifecycle begins a scan of a bucket now, unless one is under way.
func (s *Service) RunLifecycle(ctx context.Context, r *o3v1.RunLifecycleRequest) (*o3v1.RunLifecycleResponse, error) {
	if err := s.o.Namespace.Controls(ctx, r.Volume, r.Bucket); err != nil {
		return nil, err
	}
	if s.o.Off {
		return nil, errs.New(errs.Conflict, "lifecycle scans", "they are switched off: ozone.lifecycle.service.enabled is false")
	}
	for {
		b, rules, state, err := s.stored(ctx, r.Volume, r.Bucket)
		if err != nil {
			return nil, err
		}
		resp := &o3v1.RunLifecycleResponse{}
		if state == nil || state.LifecycleConfigurationUpdateID != rules.UpdateId || state.Phase == phaseDone {
			before := state
			if state, err = s.start(access.NewContext(ctx, access.System), b, rules, before); errs.KindOf(err) == errs.Conflict && ctx.Err() == nil {
				if _, _, now, again := s.stored(ctx, r.Volume, r.Bucket); again == nil && !proto.Equal(now, before) {
					continue // another one was faster
				}
			}
			if err != nil {
				return nil, err
			}
			resp.Started = true
		}
		resp.Scan, err = scanInfo(state)
		s.poke()
		return resp, err
	}
}

// stored returns the rules of a bucket and the row of its scan, nil if there is none.
func (s *Service) stored(ctx context.Context, volume, bucket string) (b view.Bucket, rules *schemapb.LifecycleConfiguration, state *schemapb.LifecycleScanState, err error) {
	err = s.o.Namespace.Read(ctx, func(v view.View) error {
		if b, err = v.Bucket(volume, bucket); err != nil {
			return err
		}
		var ok bool
		if rules, ok, err = v.Lifecycle(b.ID()); err != nil || !ok {
			return errors.Join(err, errs.New(errs.NoSuchConfiguration, volume+"/"+bucket, "the bucket has no lifecycle configuration"))
		}
		if state, ok, err = v.LifecycleScan(b.ID()); !ok {
			state = nil
		}
		return err
	})
	return b, rules, state, err
}

// scanInfo is a row of a scan as the API shows it: the fields are the same.
func scanInfo(row *schemapb.LifecycleScanState) (*o3v1.LifecycleScanState, error) {
	if row == nil {
		return nil, nil
	}
	raw, err := proto.Marshal(row)
	if err != nil {
		return nil, err
	}
	out := &o3v1.LifecycleScanState{}
	return out, proto.Unmarshal(raw, out)
}

func suspensionInfo(row *schemapb.LifecycleSuspension, ok bool) *o3v1.LifecycleSuspension {
	if !ok {
		return nil
	}
	return &o3v1.LifecycleSuspension{SinceMs: row.SinceMs, Owner: row.Owner, Reason: row.Reason}
}

// idOf reads a page's token: the id of the last bucket before it.
func idOf(token string) (ns.ObjectID, error) {
	if token == "" {
		return 0, nil
	}
	id, err := command.ParseUploadID(token)
	if err != nil {
		return 0, errs.New(errs.Invalid, "token "+token, "is not one that a status returned")
	}
	return id, nil
}
