package bootstrap

import (
	"context"
	"sync"

	"o3/internal/audit"
	"o3/internal/errs"
)

// trail writes the audit log of the data directory, which no server writes
// meanwhile. The zero value writes nothing.
type trail struct {
	log      *audit.Log
	operator string
	stop     context.CancelFunc
	run      sync.WaitGroup
	err      error // of run, when it has ended
}

// open opens the log and begins to write it.
func (t *trail) open(o *Options) error {
	if o.Audit == nil {
		return nil
	}
	log, err := o.Audit()
	if err != nil || log == nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	t.log, t.operator, t.stop = log, o.Operator, stop
	t.run.Go(func() { t.err = log.Run(ctx) })
	return nil
}

// phase records how a phase ended.
func (t *trail) phase(ctx context.Context, e End, resource string, params map[string]string) error {
	if t.log == nil {
		return nil
	}
	all := map[string]string{"phase": string(e.Phase), "operator": t.operator}
	for k, v := range params {
		if v != "" {
			all[k] = v
		}
	}
	detail := e.Detail
	if e.Err != nil {
		detail = errs.Message(e.Err)
		all["reason"] = string(ReasonOf(e.Phase, e.Err))
	}
	return t.log.Record(context.WithoutCancel(ctx), audit.Record{
		Principal: Principal, Action: "om:Bootstrap", Resource: resource, Params: all, Result: errs.KindOf(e.Err).String(), Detail: detail,
	})
}

// close writes what waits and ends the log.
func (t *trail) close() error {
	if t.log == nil {
		return nil
	}
	t.stop()
	t.run.Wait()
	return t.err
}
