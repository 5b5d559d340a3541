package app

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	id, dir string
	blocks  bool
	started time.Time
	line    audit.Record
	cancel  context.CancelCauseFunc

	mu       sync.Mutex
	state    o3v1.ExportState
	phase    string
	image    *image.Manifest // nil: it is being made
	copying  time.Time       // when bytes began to go
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

// errExportCancelled is why an export ended that an admin cancelled.
var errExportCancelled = errs.New(errs.Canceled, "export", "cancelled by an admin")

var exportID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ExportImage begins an export. One with the id of the last one begins nothing.
func (i *images) ExportImage(ctx context.Context, q *o3v1.ExportImageRequest) (*o3v1.ExportImageResponse, error) {
	params := map[string]string{"directory": q.Directory}
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
	e, err := i.startExport(ctx, q, line)
	if err != nil {
		i.note(ctx, line, err)
		return nil, err
	}
	return &o3v1.ExportImageResponse{Export: e.info()}, nil
}

// startExport begins an export; the caller holds starting.
func (i *images) startExport(ctx context.Context, q *o3v1.ExportImageRequest, line audit.Record) (*export, error) {
	if q.ExportId != "" && !exportID.MatchString(q.ExportId) {
		return nil, errs.New(errs.Invalid, "export id", "it must be 1 to 64 of the letters A-Z a-z 0-9 . _ -")
	}
	last := i.latest()
	if last != nil && last.info().State == o3v1.ExportState_EXPORT_STATE_RUNNING {
		return nil, errs.New(errs.Conflict, "export to "+q.Directory, "export "+last.id+" to "+last.dir+" runs; a node runs one at a time")
	}
	dir, err := i.targetDir(q.Directory)
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancelCause(context.Background())
	e := &export{id: q.ExportId, dir: dir, blocks: q.WithBlocks, started: time.Now(), line: line, cancel: cancel,
		state: o3v1.ExportState_EXPORT_STATE_RUNNING, phase: phaseImage}
	if e.id == "" {
		e.id = rand.Text()
	}
	i.mu.Lock()
	i.last = e
	i.mu.Unlock()
	err = i.begin(ctx, func(ctx context.Context) {
		defer context.AfterFunc(ctx, func() { cancel(errs.New(errs.Canceled, "export", "the node was stopped")) })()
		i.export(run, e)
	})
	if err != nil {
		cancel(nil)
		i.mu.Lock()
		i.last = last
		i.mu.Unlock()
	}
	return e, err
}

// targetDir returns the directory to export to, which it makes if need be, or
// why nothing can be exported to it.
func (i *images) targetDir(dir string) (string, error) {
	bad := func(detail string, err error) (string, error) {
		return "", &errs.Error{Kind: errs.Invalid, Subject: "directory " + dir, Detail: detail, Err: err}
	}
	if !filepath.IsAbs(dir) {
		return bad("it must be an absolute path, on the node's machine", nil)
	}
	dir = filepath.Clean(dir)
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if real, err = filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
			real = filepath.Join(real, filepath.Base(dir))
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return bad("neither it nor the directory it is in exists on the node's machine; is the disk mounted?", nil)
	}
	if err != nil {
		return bad("the node cannot look at it: "+err.Error(), err)
	}
	for own, what := range i.own {
		if own, err = filepath.Abs(own); err == nil {
			own, err = filepath.EvalSymlinks(own)
		}
		if err != nil {
			return "", errs.Wrap(errs.Internal, own, err)
		}
		if rel, err := filepath.Rel(own, real); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return bad("it lies in the node's "+what+" "+own+": what is there is lost with the node", nil)
		}
	}
	if err := os.Mkdir(real, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return bad("the node cannot make it: "+err.Error(), err)
	}
	if st, err := os.Stat(real); err != nil || !st.IsDir() {
		return bad("it is not a directory", err)
	}
	f, err := os.CreateTemp(real, ".o3-export-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return bad("the node cannot write to it: "+err.Error(), err)
	}
	return dir, nil
}

// export runs an export and tells how it ended: first the audit log and the
// operators, then those who wait for it.
func (i *images) export(ctx context.Context, e *export) {
	out, err := i.bring(ctx, e)
	state := o3v1.ExportState_EXPORT_STATE_DONE
	switch cause := context.Cause(ctx); {
	case err == nil:
	case cause != nil && errs.KindOf(err) == errs.Canceled:
		state, err = o3v1.ExportState_EXPORT_STATE_CANCELLED, cause
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
}

// bring exports a new image. Blocks that it names are not freed before it is
// over: frees are held back since before the image is made.
func (i *images) bring(ctx context.Context, e *export) (out image.Exported, err error) {
	if e.blocks {
		defer i.hold()()
	}
	img, err := i.keeper.Create(ctx)
	if err != nil {
		return out, err
	}
	defer img.Close()
	e.made(img.Manifest)
	o := image.ExportOptions{Progress: e.progress}
	if e.blocks {
		o.Blocks = i.blocks
	}
	return image.Export(ctx, img, target{image.Directory{Dir: e.dir, Reserve: i.reserve}, e}, o)
}

// target is a directory that tells the export what is written.
type target struct {
	image.Directory
	e *export
}

// Put implements image.Target.
func (t target) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	file := strings.HasPrefix(name, "files/")
	if !file {
		t.e.set(func() { t.e.phase = phaseManifest })
	}
	err := t.Directory.Put(ctx, name, size, r)
	if err == nil && file {
		t.e.set(func() { t.e.files, t.e.written = t.e.files+1, t.e.written+size })
	}
	return err
}

func (e *export) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func (e *export) made(m *image.Manifest) {
	e.set(func() { e.image, e.phase, e.copying, e.total = m, phaseNames, time.Now(), m.Bytes })
}

func (e *export) progress(done, total int64) {
	e.set(func() {
		e.done, e.total = done, total
		if done >= e.image.Bytes && e.blocks && e.phase == phaseNames {
			e.phase = phaseBlocks
		}
	})
}

// info tells where the export stands.
func (e *export) info() *o3v1.ExportInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := &o3v1.ExportInfo{
		ExportId: e.id, State: e.state, Directory: e.dir, WithBlocks: e.blocks, Phase: e.phase, BytesDone: uint64(e.done), BytesTotal: uint64(e.total),
		BytesWritten: uint64(e.written), Files: uint64(e.files), StartedMs: e.started.UnixMilli(),
	}
	if e.image != nil {
		r.ImageId = e.image.ID
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

func (i *images) latest() *export {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.last
}

// find returns the export of that id, "" meaning the last one.
func (i *images) find(id string) (*export, error) {
	e := i.latest()
	if e == nil || id != "" && e.id != id {
		return nil, errs.New(errs.NoSuchJob, "export "+id, "this node has not begun it since it was started, or began another after it")
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
