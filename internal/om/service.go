// Package om is the namespace manager of one node: it decides whether a caller
// may do what a request asks, proposes changes as commands through the log, and
// answers reads from views. S3 and RPC are edges of it.
//
// Reads are linearizable: they wait until this node has applied what was
// committed before they began. A write's answer comes from its apply. A Service
// is safe for concurrent use and owns no goroutines.
package om

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/view"
)

// Log is the replicated log, as the service needs it.
type Log interface {
	// Propose returns the answer of the request once it is applied here.
	Propose(ctx context.Context, request []byte) (answer []byte, err error)

	// ReadIndex returns an index; a read at or after it is linearizable.
	ReadIndex(ctx context.Context) (uint64, error)

	// WaitApplied returns once the index is applied here.
	WaitApplied(ctx context.Context, index uint64) error
}

// Options configures a Service. Store and Log are required.
type Options struct {
	Store kv.Store
	Log   Log

	DefaultLayout ns.Layout // of buckets that do not say; 0: OBJECT_STORE
	MaxSnapshots  int       // of the whole store; 0: no bound
	MaxListRows   int       // rows one page of a listing may look at; 0: 100,000

	// SweepGrace is the age below which the sweep leaves a block alone; blocks
	// older than half of it cannot be named any more. 0: 24 h.
	SweepGrace time.Duration

	// LifecycleDay is the length of a day of lifecycle rules; 0: 24 h.
	LifecycleDay time.Duration

	// Settings returns a number that grows whenever volumes, buckets, lifecycle
	// configurations, users or access keys change, before the change is answered: what was read under it
	// may be kept while it stays. Nil: nothing is kept.
	Settings func() uint64

	// ReadOnly returns why the node takes no writes that need space, "" when it
	// does. Nil: it always does.
	ReadOnly func() string

	// Guard is asked before every change that a caller (not a service of the
	// node) makes; its error refuses the change. Nil: none is refused.
	Guard func(context.Context) error

	// Status adds what the service does not know to an answer of Status.
	Status func(context.Context, *o3v1.StatusResponse)

	// Blocks answers for the node's block store; nil: it has none.
	Blocks Blocks
}

// Blocks is the block store as far as operators see it.
type Blocks interface {
	BlockStatus() *o3v1.BlockStatusResponse
	StartScrub() error
}

// Service is the namespace manager. It implements o3v1connect.OMHandler.
type Service struct {
	o        Options
	buckets  kept[view.Bucket]
	secrets  kept[credential]
	inForce  kept[inForce]
	compiled compiled
}

// credential is what Secret answers.
type credential struct {
	secret string
	who    access.Principal
}

// New returns a service.
func New(o Options) *Service {
	if o.DefaultLayout == 0 {
		o.DefaultLayout = ns.ObjectStore
	}
	if o.MaxListRows == 0 {
		o.MaxListRows = 100_000
	}
	if o.SweepGrace == 0 {
		o.SweepGrace = 24 * time.Hour
	}
	return &Service{o: o}
}

// read calls f with a consistent view that reflects every change answered before.
func (s *Service) read(ctx context.Context, f func(view.View) error) error {
	index, err := s.o.Log.ReadIndex(ctx)
	if err != nil {
		return err
	}
	if err := s.o.Log.WaitApplied(ctx, index); err != nil {
		return err
	}
	snap := s.o.Store.Snapshot()
	defer snap.Close()
	return f(view.New(snap))
}

// peek calls f with a view of what is applied here, each row as it is when it
// is read. It serves the checks before a proposal, which apply repeats where it
// matters, and costs half of a snapshot.
func (s *Service) peek(f func(view.View) error) error { return f(view.New(s.o.Store)) }

// request is what a command needs beside its body.
type request struct {
	kind   command.Kind
	body   proto.Message
	stamp  *o3v1.Stamp
	bucket ns.ObjectID // that the caller was allowed to change; 0: none
}

// propose has r applied and decodes its answer.
func propose[R any, P interface {
	*R
	proto.Message
}](ctx context.Context, s *Service, r request) (P, error) {
	if p := access.FromContext(ctx); s.o.Guard != nil && p != access.System {
		if err := s.o.Guard(ctx); err != nil {
			return nil, err
		}
	}
	if err := checkAttributes(r.body); err != nil {
		return nil, err
	}
	body, err := proto.Marshal(r.body)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, r.kind.String(), err)
	}
	raw, err := proto.Marshal(&commandpb.Request{
		Kind: uint32(r.kind), Body: body, TimeMs: time.Now().UnixMilli(),
		Principal: access.FromContext(ctx).User, Stamp: r.stamp, BucketId: uint64(r.bucket),
	})
	if err != nil {
		return nil, errs.Wrap(errs.Internal, r.kind.String(), err)
	}
	answer, err := s.o.Log.Propose(ctx, raw)
	if err != nil {
		return nil, err
	}
	var reply commandpb.Reply
	if err := proto.Unmarshal(answer, &reply); err != nil {
		return nil, errs.Wrap(errs.Internal, r.kind.String(), err)
	}
	if reply.Kind != uint32(errs.OK) {
		return nil, &errs.Error{Kind: errs.Kind(reply.Kind), Subject: reply.Subject, Detail: reply.Detail}
	}
	out := P(new(R))
	if err := proto.Unmarshal(reply.Body, out); err != nil {
		return nil, errs.Wrap(errs.Internal, r.kind.String(), err)
	}
	return out, nil
}

// Execute has a command of the node's own services applied.
func Execute[R any, P interface {
	*R
	proto.Message
}](ctx context.Context, s *Service, kind command.Kind, body proto.Message) (P, error) {
	return propose[R, P](access.NewContext(ctx, access.System), s, request{kind: kind, body: body})
}

// Propose proposes a command for the caller of ctx, who may change (or, where
// that is all the command needs, read) the bucket.
func Propose[R any, P interface {
	*R
	proto.Message
}](ctx context.Context, s *Service, kind command.Kind, bucket ns.ObjectID, body proto.Message) (P, error) {
	return propose[R, P](ctx, s, request{kind: kind, body: body, bucket: bucket})
}

// writable refuses a write that needs space while the node has none to give.
func (s *Service) writable() error {
	if s.o.ReadOnly == nil {
		return nil
	}
	if why := s.o.ReadOnly(); why != "" {
		return errs.New(errs.ReadOnly, "this node", why)
	}
	return nil
}

// Secret returns the secret behind an access key and whom it stands for.
func (s *Service) Secret(ctx context.Context, accessKeyID string) (secret string, p access.Principal, err error) {
	c, err := s.secrets.get(s.o.Settings, accessKeyID, func() (c credential, err error) {
		err = s.peek(func(v view.View) error {
			c.secret, c.who, err = v.Credential(accessKeyID)
			return err
		})
		return c, err
	})
	return c.secret, c.who, err
}

// User returns the principal of an enabled user.
func (s *Service) User(ctx context.Context, name string) (p access.Principal, err error) {
	err = s.peek(func(v view.View) error {
		p, err = v.Principal(name)
		return err
	})
	return p, err
}

// limit returns the page size for a request that asks for n.
func limit(n uint32, most int) int {
	if n == 0 {
		return min(1000, most)
	}
	return min(int(n), most)
}

// isKind reports whether err is of kind k.
func isKind(err error, k errs.Kind) bool {
	e, ok := errors.AsType[*errs.Error](err)
	return ok && e.Kind == k
}
