package report

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/zeebo/xxh3"
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/durable"
	"o3/internal/errs"
)

// TempSuffix ends the name of a report that is being written. A file with it
// that no Writer holds was left by a crash and can go.
const TempSuffix = ".tmp"

// Writer writes a report. Nothing is under the report's name before Finish.
type Writer struct {
	path   string
	head   []byte
	file   *os.File // nil once finished or aborted
	w      *bufio.Writer
	block  []byte
	inside int    // entries in block
	offset uint64 // where block will begin
	index  *os.File
	iw     *bufio.Writer
	blocks uint64
	counts Counts
}

// NewWriter begins the report that will be at path. Its directory must exist.
func NewWriter(path string, m Meta) (*Writer, error) {
	w := &Writer{path: path, head: appendHead(m), offset: headSize}
	var err error
	if w.file, err = os.OpenFile(path+TempSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
		return nil, w.fault(err)
	}
	// The index goes to a file of its own, so that memory does not grow with it.
	if w.index, err = os.OpenFile(path+".index"+TempSuffix, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600); err != nil {
		return nil, errors.Join(w.fault(err), w.Close())
	}
	w.w, w.iw = bufio.NewWriterSize(w.file, 64<<10), bufio.NewWriterSize(w.index, 8<<10)
	if _, err := w.w.Write(w.head); err != nil {
		return nil, errors.Join(w.fault(err), w.Close())
	}
	return w, nil
}

func (w *Writer) fault(err error) error { return errs.Wrap(errs.Internal, w.path, err) }

// Add appends an entry, which is copied.
func (w *Writer) Add(e *o3v1.DiffEntry) error {
	if w.file == nil {
		return errs.New(errs.Internal, w.path, "the report was finished or given up")
	}
	size := proto.Size(e)
	if size > maxEntry {
		return errs.New(errs.TooLarge, w.path, fmt.Sprintf("an entry has %d bytes, at most %d are allowed", size, maxEntry))
	}
	if !w.counts.Add(e.Type) {
		return errs.New(errs.Internal, w.path, fmt.Sprintf("an entry has the unknown type %q", e.Type))
	}
	var err error
	w.block = binary.AppendUvarint(w.block, uint64(size))
	w.block, err = proto.MarshalOptions{Deterministic: true, UseCachedSize: true}.MarshalAppend(w.block, e)
	if err != nil {
		return errs.Wrap(errs.Internal, w.path, err)
	}
	if w.inside++; w.inside < blockEntries {
		return nil
	}
	return w.endBlock()
}

func (w *Writer) endBlock() error {
	if w.inside == 0 {
		return nil
	}
	r := record{offset: w.offset, length: uint32(len(w.block)), sum: xxh3.Hash(w.block)}
	if _, err := w.w.Write(w.block); err != nil {
		return w.fault(err)
	}
	if _, err := w.iw.Write(appendRecord(nil, w.blocks, r)); err != nil {
		return w.fault(err)
	}
	w.offset += uint64(len(w.block))
	w.blocks++
	w.block, w.inside = w.block[:0], 0
	return nil
}

// Counts returns the entries added so far, by type.
func (w *Writer) Counts() Counts { return w.counts }

// Finish makes the report durable under its name and returns its size in bytes.
func (w *Writer) Finish() (size int64, err error) {
	defer func() { err = errors.Join(err, w.Close()) }()
	if w.file == nil {
		return 0, errs.New(errs.Internal, w.path, "the report was finished or given up")
	}
	if err := w.endBlock(); err != nil {
		return 0, err
	}
	if err := w.iw.Flush(); err != nil {
		return 0, w.fault(err)
	}
	if _, err := w.index.Seek(0, io.SeekStart); err != nil {
		return 0, w.fault(err)
	}
	n, err := io.Copy(w.w, w.index)
	if err != nil || uint64(n) != w.blocks*recordSize {
		return 0, w.fault(errors.Join(err, fmt.Errorf("the index has %d bytes", n)))
	}
	foot := appendFoot(w.head, footer{index: w.offset, counts: w.counts})
	if _, err := w.w.Write(foot); err != nil {
		return 0, w.fault(err)
	}
	if err := errors.Join(w.w.Flush(), w.file.Sync()); err != nil {
		return 0, w.fault(err)
	}
	if err := w.file.Close(); err != nil {
		return 0, w.fault(err)
	}
	if err := errors.Join(os.Rename(w.path+TempSuffix, w.path), durable.SyncDir(filepath.Dir(w.path))); err != nil {
		return 0, w.fault(err)
	}
	w.file = nil
	return int64(w.offset) + n + footSize, nil
}

// Close gives up a report that was not finished and removes what was written.
// It may be called twice, and after Finish.
func (w *Writer) Close() error {
	var all []error
	if w.file != nil {
		_ = w.file.Close() // it goes anyway, and may be closed already
		all = append(all, os.Remove(w.path+TempSuffix))
		w.file = nil
	}
	if w.index != nil {
		_ = w.index.Close()
		all = append(all, os.Remove(w.path+".index"+TempSuffix))
		w.index = nil
	}
	if err := errors.Join(all...); err != nil {
		return w.fault(err)
	}
	return nil
}
