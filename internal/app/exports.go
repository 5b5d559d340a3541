package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/audit"
	"o3/internal/errs"
	"o3/internal/image"
)

// export is an export of an image. Its fields up to mu do not change.
type export struct {
	id        string
	dir       string // or URL
	blocks    bool
	scheduled bool // the node began it by itself
	started   time.Time
	line      audit.Record
	cancel    context.CancelCauseFunc
	over      chan struct{} // closed when it has ended

	mu       sync.Mutex
	state    o3v1.ExportState
	phase    string
	image    string    // its id; "": it is being made
	names    int64     // bytes of the image without blocks
	copying  time.Time // when bytes began to go
	done     int64
	total    int64
	written  int64 // bytes
	files    int
	finished time.Time
	err      error
}

// The phases of a running export.
const (
	phaseImage    = "IMAGE"
	phaseNames    = "NAMES"
	phaseBlocks   = "BLOCKS"
	phaseManifest = "MANIFEST"
)

// Why an export ended that did not fail by itself.
var (
	errExportCancelled = errs.New(errs.Canceled, "export", "cancelled by an admin")
	errExportStopped   = errs.New(errs.Unavailable, "export", "the node was stopped while it ran; begin it again: what is there already is not written again")
)

var exportID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ExportImage begins an export. One with the id of the last one begins nothing.
func (i *images) ExportImage(ctx context.Context, q *o3v1.ExportImageRequest) (*o3v1.ExportImageResponse, error) {
	params := map[string]string{"directory": targetName(q.Directory)}
	if q.WithBlocks {
		params["withBlocks"] = "true"
	}
	line, err := i.act(ctx, "ExportImage", "", params)
	if err != nil {
		return nil, err
	}
	i.starting.Lock()
	defer i.starting.Unlock()
	if last := i.latest(); last != nil && q.ExportId == last.id {
		return &o3v1.ExportImageResponse{Export: last.info()}, nil
	}
	e, err := i.startExport(ctx, q, line, false)
	if err != nil {
		i.note(ctx, line, err)
		return nil, err
	}
	return &o3v1.ExportImageResponse{Export: e.info()}, nil
}

// startExport begins an export; the caller holds starting.
func (i *images) startExport(ctx context.Context, q *o3v1.ExportImageRequest, line audit.Record, scheduled bool) (*export, error) {
	if q.ExportId != "" && !exportID.MatchString(q.ExportId) {
		return nil, errs.New(errs.Invalid, "export id", "it must be 1 to 64 of the letters A-Z a-z 0-9 . _ -")
	}
	last := i.latest()
	if last != nil && last.running() {
		return nil, errs.New(errs.Conflict, "export to "+targetName(q.Directory), "export "+last.id+" to "+last.dir+" runs; a node runs one at a time")
	}
	if i.pruning {
		return nil, errs.New(errs.Conflict, "export to "+targetName(q.Directory), "the node is removing old images at "+targetName(i.exports.Target)+"; try again in a while")
	}
	to, err := i.target(ctx, q.Directory)
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancelCause(context.Background())
	e := &export{id: q.ExportId, dir: to.name, blocks: q.WithBlocks, scheduled: scheduled, started: time.Now(), line: line, cancel: cancel,
		over: make(chan struct{}), state: o3v1.ExportState_EXPORT_STATE_RUNNING, phase: phaseImage}
	if e.id == "" {
		e.id = rand.Text()
	}
	i.history.add(e)
	i.keep()
	err = i.begin(ctx, func(ctx context.Context) {
		defer context.AfterFunc(ctx, func() { cancel(errExportStopped) })()
		defer close(e.over)
		defer to.Close()
		i.export(run, e, to)
	})
	if err != nil {
		i.history.remove(e)
		i.keep()
		cancel(nil)
		to.Close()
	}
	return e, err
}

// export runs an export and tells how it ended: first the audit log and the
// operators, then those who wait for it.
func (i *images) export(ctx context.Context, e *export, to *destination) {
	out, err := i.bring(ctx, e, to)
	state := o3v1.ExportState_EXPORT_STATE_DONE
	switch cause := context.Cause(ctx); {
	case err == nil:
	case errs.KindOf(err) == errs.Canceled && errors.Is(cause, error(errExportCancelled)):
		state, err = o3v1.ExportState_EXPORT_STATE_CANCELLED, cause
	case cause != nil && errs.KindOf(err) == errs.Canceled:
		state, err = o3v1.ExportState_EXPORT_STATE_FAILED, cause
	default:
		state = o3v1.ExportState_EXPORT_STATE_FAILED
	}
	e.cancel(nil)
	e.set(func() {
		e.finished, e.err = time.Now(), err
		if err == nil {
			e.files, e.done, e.total, e.written = out.Files, out.Bytes, out.Bytes, out.Written
		}
	})
	line := e.line
	line.Params["image"], line.Params["export"] = e.info().ImageId, e.id
	i.note(ctx, line, err)
	i.ended(e, state)
	e.set(func() { e.state, e.phase = state, "" })
	i.keep()
}

// keep writes what the node remembers of exports. That it cannot be written, on a
// full disk, say, is no reason to make no backup.
func (i *images) keep() {
	if err := i.history.save(); err != nil {
		i.unsaved(err)
	}
}

// bring exports a new image. Blocks that it names are not freed before it is
// over: frees are held back since before the image is made.
func (i *images) bring(ctx context.Context, e *export, to *destination) (out image.Exported, err error) {
	if e.blocks {
		defer i.hold()()
	}
	img, err := i.keeper.Create(ctx)
	if err != nil {
		return out, err
	}
	defer img.Close()
	e.made(img.Manifest)
	o := image.ExportOptions{Progress: e.progress, Rate: i.exports.Rate}
	if e.blocks {
		o.Blocks = i.blocks
	}
	return image.Export(ctx, img, watched{to, e}, o)
}

func (e *export) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func (e *export) made(m *image.Manifest) {
	e.set(func() { e.image, e.names, e.phase, e.copying, e.total = m.ID, m.Bytes, phaseNames, time.Now(), m.Bytes })
}

func (e *export) progress(done, total int64) {
	e.set(func() {
		e.done, e.total = done, total
		if done >= e.names && e.blocks && e.phase == phaseNames {
			e.phase = phaseBlocks
		}
	})
}

// info tells where the export stands.
func (e *export) info() *o3v1.ExportInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := &o3v1.ExportInfo{
		ExportId: e.id, ImageId: e.image, State: e.state, Directory: e.dir, WithBlocks: e.blocks, Phase: e.phase, BytesDone: uint64(e.done), BytesTotal: uint64(e.total),
		BytesWritten: uint64(e.written), Files: uint64(e.files), StartedMs: e.started.UnixMilli(),
	}
	if e.total > 0 {
		r.Percent = uint32(float64(e.done) / float64(e.total) * 100)
	}
	if e.state != o3v1.ExportState_EXPORT_STATE_RUNNING {
		r.FinishedMs = e.finished.UnixMilli()
	} else if e.done > 0 {
		r.EtaMs = int64(float64(time.Since(e.copying).Milliseconds()) * float64(e.total-e.done) / float64(e.done))
	}
	if e.err != nil && e.state != o3v1.ExportState_EXPORT_STATE_RUNNING {
		r.ErrorKind, r.Error = uint32(errs.KindOf(e.err)), errorText(e.err)
	}
	return r
}

// errorText is err as an admin may see it, with its causes, without its kind.
func errorText(err error) string {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		return err.Error()
	}
	text := (&errs.Error{Kind: e.Kind, Subject: e.Subject, Detail: e.Detail, Err: e.Err}).Error()
	return strings.TrimPrefix(text, e.Kind.String()+": ")
}

func (e *export) running() bool { return e.info().State == o3v1.ExportState_EXPORT_STATE_RUNNING }

func (i *images) latest() *export { return i.history.find("") }

// find returns the export of that id, "" meaning the last one.
func (i *images) find(id string) (*export, error) {
	e := i.history.find(id)
	if e == nil {
		return nil, errs.New(errs.NoSuchJob, "export "+id, fmt.Sprintf("this node has not begun it, or has begun %d others after it", maxExports))
	}
	return e, nil
}

// GetExport tells where an export stands.
func (i *images) GetExport(ctx context.Context, q *o3v1.GetExportRequest) (*o3v1.GetExportResponse, error) {
	if err := mustAdmin(ctx, "GetExport"); err != nil {
		return nil, err
	}
	e, err := i.find(q.ExportId)
	if err != nil {
		return nil, err
	}
	return &o3v1.GetExportResponse{Export: e.info()}, nil
}

// CancelExport stops an export; GetExport tells when it has ended. One that is
// over stays as it is.
func (i *images) CancelExport(ctx context.Context, q *o3v1.CancelExportRequest) (*o3v1.CancelExportResponse, error) {
	line, err := i.act(ctx, "CancelExport", "", nil)
	if err != nil {
		return nil, err
	}
	e, err := i.find(q.ExportId)
	if err == nil {
		line.Params = map[string]string{"export": e.id, "directory": e.dir}
		e.cancel(errExportCancelled)
	}
	i.note(ctx, line, err)
	if err != nil {
		return nil, err
	}
	return &o3v1.CancelExportResponse{Export: e.info()}, nil
}

// exportEnded tells operators how an export ended.
func (n *node) exportEnded(e *export, state o3v1.ExportState) {
	r := e.info()
	result := strings.ToLower(strings.TrimPrefix(state.String(), "EXPORT_STATE_"))
	n.obs.ImageExport(result, e.dir, r.ImageId, int64(r.BytesWritten), e.finished.Sub(e.started), e.err)
}
