package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"connectrpc.com/connect"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	raftv1 "o3/api/o3/raft/v1"
	"o3/api/o3/raft/v1/raftv1connect"
	"o3/internal/consensus"
)

// caller is who a connection belongs to.
type caller struct {
	id    uint64 // by its certificate; 0: plain text on loopback
	error error  // why it may not speak at all
}

type callerKey struct{}

// Handler returns the path and the handler of this node's end.
func (p *Peers) Handler() (string, http.Handler) {
	path, h := raftv1connect.NewRaftServiceHandler(receiver{p}, connect.WithReadMaxBytes(maxFrame))
	return path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), callerKey{}, p.whois(r))
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (p *Peers) whois(r *http.Request) caller {
	if r.TLS == nil {
		if p.opt.TLS != nil || !loopback(r.RemoteAddr) {
			return caller{error: errors.New("plain text is served on loopback, and only without TLS")}
		}
		return caller{}
	}
	if len(r.TLS.VerifiedChains) == 0 {
		return caller{error: errors.New("no verified client certificate")}
	}
	id, err := identify(p.opt.Cluster, r.TLS.VerifiedChains[0][0])
	return caller{id: id, error: err}
}

type receiver struct{ p *Peers }

// Deliver implements raftv1connect.RaftServiceHandler.
func (r receiver) Deliver(ctx context.Context, s *connect.ClientStream[raftv1.DeliverRequest]) (*raftv1.DeliverResponse, error) {
	select {
	case <-r.p.bound:
	default:
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("the node is starting"))
	}
	who, _ := ctx.Value(callerKey{}).(caller)
	var from, received uint64
	for s.Receive() {
		f := s.Msg()
		if from == 0 {
			from = f.GetFrom()
			if err := r.admit(who, f); err != nil {
				return nil, r.refuse(from, connect.CodePermissionDenied, err)
			}
		}
		if !r.p.opt.Member(from) {
			return nil, r.refuse(from, connect.CodePermissionDenied, fmt.Errorf("node %d is not a member", from))
		}
		ms, err := decode(from, r.p.opt.ID, f.GetMessages())
		if err != nil {
			return nil, r.refuse(from, connect.CodeInvalidArgument, err)
		}
		r.p.target.Deliver(ms)
		received += uint64(len(ms))
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	return &raftv1.DeliverResponse{Received: received}, nil
}

// admit checks a stream's first frame.
func (r receiver) admit(who caller, f *raftv1.DeliverRequest) error {
	switch {
	case who.error != nil:
		return who.error
	case f.GetCluster() != r.p.opt.Cluster:
		return fmt.Errorf("this is cluster %q, not %q", r.p.opt.Cluster, f.GetCluster())
	case f.GetTo() != r.p.opt.ID:
		return fmt.Errorf("this is node %d, not %d", r.p.opt.ID, f.GetTo())
	case f.GetFrom() == 0 || f.GetFrom() == r.p.opt.ID:
		return fmt.Errorf("node %d cannot be the sender", f.GetFrom())
	case who.id != 0 && who.id != f.GetFrom():
		return fmt.Errorf("the certificate is node %d's, the messages are node %d's", who.id, f.GetFrom())
	}
	return nil
}

func (r receiver) refuse(from uint64, code connect.Code, err error) error {
	if l := r.p.opt.Listener.Refused; l != nil {
		l(from, err.Error())
	}
	return connect.NewError(code, err)
}

// decode makes messages of a frame. A message that names another sender or
// receiver than the stream does refuses the frame.
func decode(from, to uint64, in []*raftv1.Message) ([]consensus.Message, error) {
	out := make([]consensus.Message, 0, len(in))
	for _, m := range in {
		c := consensus.Message{From: from, To: to}
		switch k := m.GetKind().(type) {
		case *raftv1.Message_Raft:
			c.Raft = &pb.Message{}
			if err := proto.Unmarshal(k.Raft, c.Raft); err != nil {
				return nil, fmt.Errorf("a message of node %d: %w", from, err)
			}
			if c.Raft.GetFrom() != from || c.Raft.GetTo() != to {
				return nil, fmt.Errorf("node %d sent node %d a message from %d to %d", from, to, c.Raft.GetFrom(), c.Raft.GetTo())
			}
		case *raftv1.Message_Ask:
			c.Ask = &consensus.Ask{}
		case *raftv1.Message_Answer:
			a := k.Answer
			c.Answer = &consensus.Answer{
				Incarnation: a.GetIncarnation(), Applied: a.GetApplied(), Fetching: a.GetFetching(), Progress: a.GetProgress(),
			}
		default:
			continue // of a later version
		}
		out = append(out, c)
	}
	return out, nil
}
