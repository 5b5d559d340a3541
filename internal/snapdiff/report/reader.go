package report

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/zeebo/xxh3"
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

// Reader reads a finished report.
type Reader struct {
	file *os.File
	meta Meta
	foot footer
}

// Open opens the report at path, reading its two ends only. The error is of
// kind FormatTooNew for one of a later version, FormatUnknown for another file
// and Corrupt for a damaged one; an absent one satisfies errors.Is with
// fs.ErrNotExist.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, path, err)
	}
	r := &Reader{file: f}
	if err := r.open(); err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return r, nil
}

func (r *Reader) open() error {
	info, err := r.file.Stat()
	if err != nil {
		return r.fault(err)
	}
	head := make([]byte, min(info.Size(), headSize))
	if _, err := r.file.ReadAt(head, 0); err != nil && len(head) > 0 {
		return r.fault(err)
	}
	if r.meta, err = parseHead(r.file.Name(), head); err != nil {
		return err
	}
	foot := make([]byte, min(info.Size()-headSize, footSize))
	if _, err := r.file.ReadAt(foot, info.Size()-int64(len(foot))); err != nil && len(foot) > 0 {
		return r.fault(err)
	}
	r.foot, err = parseFoot(r.file.Name(), head, foot, info.Size())
	return err
}

func (r *Reader) fault(err error) error { return errs.Wrap(errs.Internal, r.file.Name(), err) }

// Meta returns what the report is about.
func (r *Reader) Meta() Meta { return r.meta }

// Counts returns how many entries it has, by type.
func (r *Reader) Counts() Counts { return r.foot.counts }

// Entries returns how many entries it has.
func (r *Reader) Entries() uint64 { return r.foot.counts.Total() }

// Page returns up to n entries from number first (0 is the first) on. It reads
// no more than the blocks that hold them.
func (r *Reader) Page(first uint64, n int) ([]*o3v1.DiffEntry, error) {
	total := r.Entries()
	if first >= total || n <= 0 {
		return nil, nil
	}
	end := total
	if left := total - first; uint64(n) < left {
		end = first + uint64(n)
	}
	out := make([]*o3v1.DiffEntry, 0, end-first)
	for b := first / blockEntries; b*blockEntries < end; b++ {
		entries, err := r.block(b)
		if err != nil {
			return nil, err
		}
		from, to := uint64(0), uint64(len(entries))
		if start := b * blockEntries; start < first {
			from = first - start
		}
		if start := b * blockEntries; start+to > end {
			to = end - start
		}
		out = append(out, entries[from:to]...)
	}
	return out, nil
}

// block reads all entries of a block.
func (r *Reader) block(n uint64) ([]*o3v1.DiffEntry, error) {
	name := r.file.Name()
	raw := make([]byte, recordSize)
	if _, err := r.file.ReadAt(raw, int64(r.foot.index+n*recordSize)); err != nil {
		return nil, r.fault(err)
	}
	rec, err := parseRecord(name, raw, n)
	if err != nil {
		return nil, err
	}
	bad := func(what string) error { return damaged(name, fmt.Sprintf("block %d %s", n, what)) }
	if rec.length > maxBlock || rec.offset < headSize || rec.offset+uint64(rec.length) > r.foot.index {
		return nil, bad("lies outside of the file")
	}
	b := make([]byte, rec.length)
	if _, err := r.file.ReadAt(b, int64(rec.offset)); err != nil {
		return nil, r.fault(err)
	}
	if xxh3.Hash(b) != rec.sum {
		return nil, bad("fails its checksum")
	}
	want := min(blockEntries, r.Entries()-n*blockEntries)
	out := make([]*o3v1.DiffEntry, 0, want)
	for len(b) > 0 {
		size, k := binary.Uvarint(b)
		if k <= 0 || size > uint64(len(b)-k) {
			return nil, bad("is cut")
		}
		e := new(o3v1.DiffEntry)
		if err := proto.Unmarshal(b[k:k+int(size)], e); err != nil {
			return nil, bad("holds what is no entry")
		}
		out, b = append(out, e), b[k+int(size):]
	}
	if uint64(len(out)) != want {
		return nil, bad(fmt.Sprintf("holds %d entries, not %d", len(out), want))
	}
	return out, nil
}

// Verify reads everything and returns the first fault.
func (r *Reader) Verify() error {
	var c Counts
	for n := range blocksOf(r.Entries()) {
		entries, err := r.block(n)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !c.Add(e.Type) {
				return damaged(r.file.Name(), fmt.Sprintf("block %d holds an entry of type %q", n, e.Type))
			}
		}
	}
	if c != r.foot.counts {
		return damaged(r.file.Name(), "the counts are not those of the entries")
	}
	return nil
}

// Close closes the file. Pages must not be read any more.
func (r *Reader) Close() error {
	if err := r.file.Close(); err != nil {
		return r.fault(err)
	}
	return nil
}
