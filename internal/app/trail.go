package app

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync/atomic"

	"o3/internal/access"
	"o3/internal/audit"
	"o3/internal/errs"
	"o3/internal/rpc"
	"o3/internal/s3"
)

// trail writes the audit log from what the edges report: every change and
// every admin act, done or refused.
type trail struct {
	log    *audit.Log // nil: off
	strict bool
	broken atomic.Pointer[error] // why the last record could not be written; strict only
}

func (n *node) openAudit() error {
	a := n.cfg.Audit
	if !a.Enabled {
		return nil
	}
	log, err := audit.Open(audit.Options{
		Path: a.Path, MaxSize: a.MaxSize, MaxFiles: a.MaxFiles, Queue: a.Queue, Strict: a.Strict,
		Sync:     map[string]audit.Sync{"always": audit.SyncAlways, "interval": audit.SyncInterval, "never": audit.SyncNever}[a.Sync],
		Listener: n.obs.Audit(),
	})
	if err != nil {
		return err
	}
	n.audit = log
	n.trail.log, n.trail.strict = log, a.Strict
	n.closing(log.Close)
	return nil
}

func (t *trail) run(ctx context.Context) error {
	if t.log == nil {
		return nil
	}
	return t.log.Run(ctx)
}

// guard refuses changes while a strict audit log cannot be written.
func (t *trail) guard(ctx context.Context) error {
	if t.log == nil || !t.strict || t.broken.Load() == nil {
		return nil
	}
	p := access.FromContext(ctx)
	t.record(ctx, audit.Record{Principal: p.User, AccessKey: p.AccessKey, Action: "audit:Retry", Result: errs.OK.String()})
	if why := t.broken.Load(); why != nil {
		return errs.New(errs.Unavailable, "audit log", "it cannot be written, and ozone.audit.strict allows no change without: "+(*why).Error())
	}
	return nil
}

func (t *trail) record(ctx context.Context, r audit.Record) {
	if t.log == nil {
		return
	}
	if err := t.log.Record(context.WithoutCancel(ctx), r); err != nil {
		t.broken.Store(&err)
	} else if t.broken.Load() != nil {
		t.broken.Store(nil)
	}
}

func (t *trail) s3(r s3.Request) {
	if t.log == nil || !r.Changes {
		return
	}
	resource := "/" + strings.Join([]string{r.Volume, r.Bucket, r.Key}, "/")
	result, detail := s3Outcome(r)
	t.record(context.Background(), audit.Record{
		Time: r.Started.Add(r.Duration), RequestID: r.ID, Principal: r.Principal.User, AccessKey: r.Principal.AccessKey,
		From: r.RemoteAddr, Action: "s3:" + r.Action, Resource: strings.TrimRight(resource, "/"),
		Params: params(r.Details, r.Keys, r.Refused), Result: result, Detail: detail,
	})
}

// s3Outcome returns result and detail of a request. What the gateway itself
// refused has a code of S3 and no kind.
func s3Outcome(r s3.Request) (result, detail string) {
	kind := errs.KindOf(r.Err)
	if kind == errs.Internal && r.Code != "InternalError" {
		kind = errs.Invalid
		for k, code := range map[errs.Kind]string{
			errs.NotImplemented: "NotImplemented", errs.SlowDown: "SlowDown", errs.Denied: "AccessDenied",
			errs.Unauthenticated: "SignatureDoesNotMatch", errs.NoSuchPrincipal: "InvalidAccessKeyId",
		} {
			if r.Code == code {
				kind = k
			}
		}
	}
	if detail = errorDetail(r.Err); detail == "" {
		detail = r.Code
	}
	return kind.String(), detail
}

func (t *trail) rpc(c rpc.Call) {
	stranger := c.Procedure == "ReadLog" && errs.KindOf(c.Err) == errs.Unauthenticated // others are noted as they begin
	if t.log == nil || !c.Write && !stranger {
		return
	}
	t.record(context.Background(), audit.Record{
		RequestID: c.RequestID, Principal: c.Principal.User, AccessKey: c.AccessKey, From: c.Remote,
		Action: "om:" + c.Procedure, Resource: c.Subject, Params: params(c.Details, c.Keys, c.Refused), Result: errs.KindOf(c.Err).String(), Detail: errorDetail(c.Err),
	})
}

// params are the parameters of a record: details, and the keys of a request
// that names several.
func params(details map[string]string, keys, refused []string) map[string]string {
	if len(keys)+len(refused) == 0 {
		return details
	}
	out := map[string]string{}
	maps.Copy(out, details)
	if len(keys) > 0 {
		out["keys"] = audit.List(keys)
	}
	if len(refused) > 0 {
		out["refused"] = audit.List(refused)
	}
	return out
}

func errorDetail(err error) string {
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return e.Detail
	}
	return ""
}
