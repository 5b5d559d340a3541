package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

// maxExports is how many exports are remembered.
const maxExports = 20

// What om/exports.json begins with (docs/formats/image.md).
const (
	exportsMagic   = "o3 exports"
	exportsVersion = 1
)

// history is the exports of the node, the last of which may run; it is kept in a
// file, so that a restart does not forget them.
type history struct {
	path string

	mu  sync.Mutex
	all []*export // the oldest first
}

// keptExport is an export in the file.
type keptExport struct {
	ID         string `json:"id"`
	Target     string `json:"target"`
	Blocks     bool   `json:"blocks"`
	Scheduled  bool   `json:"scheduled"`
	State      int32  `json:"state"` // of o3.v1.ExportState
	Image      string `json:"image"`
	StartedMs  int64  `json:"started_ms"`
	FinishedMs int64  `json:"finished_ms"`
	Done       int64  `json:"done_bytes"`
	Total      int64  `json:"total_bytes"`
	Written    int64  `json:"written_bytes"`
	Files      int    `json:"files"`
	Kind       uint8  `json:"error_kind"`
	Error      string `json:"error"`
}

type keptExports struct {
	Magic   string       `json:"magic"`
	Version int          `json:"version"`
	Exports []keptExport `json:"exports"`
}

// openHistory reads the file. An export that ran when the node went has failed.
// Kinds: FormatTooNew, FormatUnknown.
func openHistory(path string) (*history, error) {
	h := &history{path: path}
	if left, err := filepath.Glob(path + ".*"); err == nil { // of a power cut
		for _, name := range left {
			_ = os.Remove(name)
		}
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return nil, errs.Wrap(errs.Internal, path, err)
	}
	var kept keptExports
	switch err := json.Unmarshal(raw, &kept); {
	case err != nil || kept.Magic != exportsMagic || kept.Version < 1:
		return nil, &errs.Error{Kind: errs.FormatUnknown, Subject: path, Detail: "it does not tell of exports; move it away", Err: err}
	case kept.Version > exportsVersion:
		return nil, errs.New(errs.FormatTooNew, path, fmt.Sprintf("version %d, this program knows %d", kept.Version, exportsVersion))
	}
	for _, k := range kept.Exports {
		h.all = append(h.all, k.export())
	}
	return h, nil
}

func (k keptExport) export() *export {
	e := &export{
		id: k.ID, dir: k.Target, blocks: k.Blocks, scheduled: k.Scheduled, started: time.UnixMilli(k.StartedMs), cancel: func(error) {}, over: make(chan struct{}),
		state: o3v1.ExportState(k.State), image: k.Image, done: k.Done, total: k.Total, written: k.Written, files: k.Files, finished: time.UnixMilli(k.FinishedMs),
	}
	close(e.over)
	if k.Error != "" {
		e.err = &errs.Error{Kind: errs.Kind(k.Kind), Detail: k.Error}
	}
	if e.state == o3v1.ExportState_EXPORT_STATE_RUNNING {
		e.state, e.finished, e.err = o3v1.ExportState_EXPORT_STATE_FAILED, time.UnixMilli(max(k.StartedMs, k.FinishedMs)), errExportStopped
	}
	return e
}

// kept returns e as it is written.
func (e *export) kept() keptExport {
	r := e.info()
	return keptExport{
		ID: r.ExportId, Target: r.Directory, Blocks: r.WithBlocks, Scheduled: e.scheduled, State: int32(r.State), Image: r.ImageId, StartedMs: r.StartedMs,
		FinishedMs: r.FinishedMs, Done: int64(r.BytesDone), Total: int64(r.BytesTotal), Written: int64(r.BytesWritten), Files: int(r.Files),
		Kind: uint8(r.ErrorKind), Error: r.Error,
	}
}

// add remembers an export.
func (h *history) add(e *export) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, e)
	if n := len(h.all); n > maxExports {
		h.all = slices.Clone(h.all[n-maxExports:])
	}
}

// remove takes back an export that did not begin.
func (h *history) remove(e *export) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = slices.DeleteFunc(slices.Clone(h.all), func(other *export) bool { return other == e })
}

// save writes the file.
func (h *history) save() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := keptExports{Magic: exportsMagic, Version: exportsVersion, Exports: []keptExport{}}
	for _, e := range h.all {
		kept.Exports = append(kept.Exports, e.kept())
	}
	raw, err := json.MarshalIndent(kept, "", " ")
	if err != nil {
		return errs.Wrap(errs.Internal, h.path, err)
	}
	return writeFile(h.path, append(raw, '\n'))
}

// find returns the newest export of that id, "" meaning any; nil: none.
func (h *history) find(id string) *export {
	return h.newest(func(e *export) bool { return id == "" || e.id == id })
}

func (h *history) newest(of func(*export) bool) *export {
	h.mu.Lock()
	all := slices.Clone(h.all)
	h.mu.Unlock()
	for i := len(all) - 1; i >= 0; i-- {
		if of(all[i]) {
			return all[i]
		}
	}
	return nil
}

// good returns when the newest good export to a target ended, "" meaning any; the
// zero time means that there is none.
func (h *history) good(to string) time.Time {
	e := h.newest(func(e *export) bool {
		return e.info().State == o3v1.ExportState_EXPORT_STATE_DONE && (to == "" || e.dir == to)
	})
	if e == nil {
		return time.Time{}
	}
	return time.UnixMilli(e.info().FinishedMs)
}
