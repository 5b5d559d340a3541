package transfer

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/zeebo/xxh3"

	"o3/internal/errs"
)

const (
	journalMagic   = "o3tj"
	journalVersion = 1
	recordLen      = 52
)

// record says that a range of a part file was written with this checksum. It is
// a hint: whoever reads a journal checks the bytes themselves.
type record struct {
	key key
	off int64
	n   uint32
	sum uint64
}

func (r *record) append(b []byte) []byte {
	at := len(b)
	b = r.key.append(b)
	b = binary.BigEndian.AppendUint64(b, uint64(r.off))
	b = binary.BigEndian.AppendUint32(b, r.n)
	b = binary.BigEndian.AppendUint64(b, r.sum)
	return binary.BigEndian.AppendUint64(b, xxh3.Hash(b[at:]))
}

func (r *record) get(b []byte) bool {
	if binary.BigEndian.Uint64(b[recordLen-8:]) != xxh3.Hash(b[:recordLen-8]) {
		return false
	}
	copy(r.key.sum[:], b)
	r.key.size = int64(binary.BigEndian.Uint64(b[16:]))
	r.off = int64(binary.BigEndian.Uint64(b[24:]))
	r.n = binary.BigEndian.Uint32(b[32:])
	r.sum = binary.BigEndian.Uint64(b[36:])
	return r.off >= 0 && r.n > 0 && r.n <= MaxChunk && r.key.size >= 0 && r.off <= r.key.size-int64(r.n)
}

// journal is the file that remembers which bytes came in. It is not synced: what
// is lost of it is fetched again.
type journal struct {
	mu   sync.Mutex
	file DiskFile
	end  int64
}

// readJournal returns the records by content, as far as they can be read.
func readJournal(dir string) (map[key][]record, error) {
	f, err := os.Open(filepath.Join(dir, "journal"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil || len(raw) < headLen || string(raw[:4]) != journalMagic || binary.BigEndian.Uint16(raw[6:]) != uint16(xxh3.Hash(raw[:6])) {
		return nil, err // not written to its head, or damaged: it says nothing
	}
	if v := binary.BigEndian.Uint16(raw[4:]); v > journalVersion {
		return nil, errs.New(errs.FormatTooNew, "journal of the transfer in "+filepath.Dir(dir), "it was begun by a later version of the program")
	}
	out := map[key][]record{}
	for raw = raw[headLen:]; len(raw) >= recordLen; raw = raw[recordLen:] {
		var r record
		if !r.get(raw) {
			break
		}
		out[r.key] = append(out[r.key], r)
	}
	return out, nil
}

// newJournal replaces the journal by one that holds records.
func newJournal(disk Disk, dir string, records []record) (*journal, error) {
	b := make([]byte, headLen, headLen+len(records)*recordLen)
	putHead(b, journalMagic, journalVersion)
	for i := range records {
		b = records[i].append(b)
	}
	name := filepath.Join(dir, "journal")
	f, err := disk.OpenFile(name+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &journal{file: f, end: int64(len(b))}, nil
}

// add notes a range. A failure leaves the journal as it was.
func (j *journal) add(r record) error {
	var b [recordLen]byte
	r.append(b[:0])
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.WriteAt(b[:], j.end); err != nil {
		return err
	}
	j.end += recordLen
	return nil
}

func (j *journal) close() { _ = j.file.Close() } // nothing in it is needed
