package rpc

import (
	"context"
	"fmt"
	"io"
	"log"
	"runtime/debug"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	o3v1 "o3/api/o3/v1"
	"o3/api/o3/v1/o3v1connect"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/rpc/rpcerr"
)

type callKey struct{}

// interceptor runs around every handler.
type interceptor struct{ s *Server }

// WrapUnary implements connect.Interceptor.
func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return i.s.intercept(next) }

// WrapStreamingClient implements connect.Interceptor; there are none.
func (interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler turns a panic into Internal, and translates the error.
func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		call, _ := ctx.Value(callKey{}).(*Call)
		if call == nil {
			call = new(Call)
		}
		defer func() {
			if v := recover(); v != nil {
				err = i.s.panicked(call, v)
			}
			call.Err = nil
			if err != nil {
				call.Err = rpcerr.Of(err)
				err = rpcerr.Encode(err)
			}
		}()
		return next(ctx, conn)
	}
}

// panicked tells the listener of a panic and returns the error to answer.
func (s *Server) panicked(call *Call, v any) error {
	if s.opts.Listener.Panic != nil {
		s.opts.Listener.Panic(*call, v, debug.Stack())
	}
	return &errs.Error{Kind: errs.Internal, Subject: call.Procedure, Err: fmt.Errorf("panic: %v", v)}
}

// intercept runs around every handler whose request was decoded: it names the
// subject, turns a panic into Internal, and translates the error.
func (s *Server) intercept(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (resp connect.AnyResponse, err error) {
		call, _ := ctx.Value(callKey{}).(*Call)
		if call == nil {
			call = new(Call)
		}
		if m, ok := req.Any().(proto.Message); ok {
			call.Subject = subject(m)
			if call.Write {
				call.describe(m, s.methods[o3v1connect.OMName+"/"+call.Procedure].details)
			}
		}
		defer func() {
			if v := recover(); v != nil {
				err = s.panicked(call, v)
			}
			call.Err = nil
			if err != nil {
				call.Err = rpcerr.Of(err)
				resp, err = nil, rpcerr.Encode(err)
			} else if call.Write {
				call.outcome(resp)
			}
		}()
		return next(ctx, req)
	}
}

// subject says what a request is about, from its fields.
func subject(m proto.Message) string {
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	text := func(name protoreflect.Name) string {
		if fd := fields.ByName(name); fd != nil && fd.Kind() == protoreflect.StringKind && fd.Cardinality() != protoreflect.Repeated {
			return r.Get(fd).String()
		}
		return ""
	}
	for _, name := range []protoreflect.Name{"user", "id"} {
		if v := text(name); v != "" {
			return shorten(v)
		}
	}
	var b strings.Builder
	add := func(part string) {
		if part != "" {
			b.WriteString("/" + part)
		}
	}
	if spec := diffSpec(m); spec != nil {
		add(spec.Volume)
		add(spec.Bucket)
	}
	add(text("volume"))
	add(text("bucket"))
	if name, ok := snapshotName(m); ok {
		if name != "" {
			add(ns.SnapshotPrefix + "/" + name)
		}
	} else {
		add(text("key") + text("path") + text("from"))
	}
	if d, ok := m.(*o3v1.DeleteKeysRequest); ok && len(d.Keys) > 0 {
		add(d.Keys[0].GetKey())
		if len(d.Keys) > 1 {
			fmt.Fprintf(&b, " and %d more", len(d.Keys)-1)
		}
	}
	const most = 4 << 10 // keys are shorter
	out := strings.ToValidUTF8(b.String(), "\uFFFD")
	return out[:min(len(out), most)]
}

// method is what the server knows of an RPC.
type method struct {
	write   bool
	stream  bool                           // many answers
	details []protoreflect.FieldDescriptor // of the request, for Call.Details
}

// unstamped are the writes and admin acts whose requests have no stamp: to
// repeat them does no harm.
var unstamped = [...]string{
	o3v1connect.OMStartScrubProcedure, o3v1connect.OMRestoreSnapshotProcedure,
	o3v1connect.OMSubmitDiffProcedure, o3v1connect.OMCancelDiffProcedure, o3v1connect.OMForgetDiffProcedure,
	o3v1connect.OMSuspendLifecycleProcedure, o3v1connect.OMResumeLifecycleProcedure, o3v1connect.OMRunLifecycleProcedure,
}

// methodsOf returns the RPCs of the services, by SERVICE/METHOD. A request with a
// stamp is a write.
func methodsOf() map[string]method {
	out := map[string]method{}
	for _, file := range []protoreflect.FileDescriptor{o3v1.File_api_o3_v1_om_proto, o3v1.File_api_o3_v1_log_proto} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				name := string(service.FullName()) + "/" + string(m.Name())
				out[name] = method{
					write:   m.Input().Fields().ByName("stamp") != nil || slices.Contains(unstamped[:], "/"+name),
					stream:  m.IsStreamingServer(),
					details: detailsOf(m.Input()),
				}
			}
		}
	}
	return out
}

// silent is the error log of net/http: what matters reaches the listener.
func silent() *log.Logger { return log.New(io.Discard, "", 0) }
