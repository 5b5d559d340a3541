package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/zeebo/xxh3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"o3/internal/errs"
)

// Version is the newest format of a manifest that this package reads, and the
// one it writes.
const Version = 1

// MaxManifest bounds a manifest, in bytes.
const MaxManifest = 256 << 20

// Kind says what a file of an image is.
type Kind string

// The kinds.
const (
	Table     Kind = "table"     // rows: a table file of the store
	Store     Kind = "store"     // another file of the store
	Container Kind = "container" // a file of the block store
)

// Node is whose state an image holds, as its identity file says.
type Node struct {
	ID     string `json:"id"`     // ozone.om.node.id
	Number uint16 `json:"number"` // in Raft and in container ids, at least 1
	Store  string `json:"store"`  // the random number that names and blocks share; "" when the node has none
}

// File is one file of an image.
type File struct {
	Path string `json:"path"` // "store/NAME" or "blocks/NAME"
	Size int64  `json:"size"` // bytes
	XXH3 string `json:"xxh3"` // XXH3-128 of the content, 32 hexadecimal digits
	Kind Kind   `json:"kind"`

	// Modified is when the file was last changed where it came from, in
	// nanoseconds, where an unchanged time says that the content is too; else 0.
	Modified int64 `json:"modified,omitempty"`
}

// Manifest describes an image. It is not changed once it is made.
type Manifest struct {
	ID        string `json:"id"`         // "<index>-<term>-<first 8 digits of the digest>"
	CreatedMs int64  `json:"created_ms"` // Unix milliseconds
	Node      Node   `json:"node"`

	Index  uint64 `json:"index"` // of the last log entry in it
	Term   uint64 `json:"term"`
	Op     uint64 `json:"op"`
	TimeMs int64  `json:"time_ms"` // of the last command
	Conf   []byte `json:"conf"`    // marshalled raftpb.ConfState at Index
	Digest string `json:"digest"`  // of the state, 32 hexadecimal digits

	StoreName  string `json:"store_name"`      // kind of store (docs/formats/store.md)
	Format     int    `json:"store_format"`    // of its rows
	FirstIndex uint64 `json:"log_first_index"` // of the source's log when the image was made; 0: not known
	Blocks     bool   `json:"blocks"`          // the block store's files are in it

	Bytes int64  `json:"bytes"` // of all files
	Files []File `json:"-"`     // in order of their paths
}

// A manifest is JSON in one exact form: what is encoded otherwise is refused.
const (
	magicText   = "{\n \"magic\": \"o3 image\",\n \"version\": "
	sealText    = ",\n \"xxh3\": \""
	sealEnd     = "\"\n}\n"
	filesText   = ",\n \"files\": [\n"
	filesEnd    = "\n ]"
	sealedBytes = len(sealText) + 32 + len(sealEnd)
)

// Encode returns the manifest's bytes.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, errs.Wrap(errs.Internal, "manifest of image "+m.ID, err)
	}
	head, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, errs.Wrap(errs.Internal, "manifest of image "+m.ID, err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%d,%s%s", magicText, Version, head[1:len(head)-2], filesText)
	for i, f := range m.Files {
		if i > 0 {
			b.WriteString(",\n")
		}
		line, err := json.Marshal(f)
		if err != nil {
			return nil, errs.Wrap(errs.Internal, f.Path, err)
		}
		b.WriteString("  ")
		b.Write(line)
	}
	b.WriteString(filesEnd)
	sum := hashOf(b.Bytes())
	b.WriteString(sealText + sum + sealEnd)
	return b.Bytes(), nil
}

// Decode reads the bytes of a manifest. Kinds: FormatUnknown (not a manifest),
// FormatTooNew, Corrupt (any byte is not as it was written, or what it says
// cannot be).
func Decode(raw []byte) (*Manifest, error) {
	const subject = "image manifest"
	rest, ok := strings.CutPrefix(string(raw[:min(len(raw), len(magicText)+20)]), magicText)
	if !ok || len(raw) < sealedBytes {
		return nil, errs.New(errs.FormatUnknown, subject, "it does not begin as a manifest of an image")
	}
	body, seal := raw[:len(raw)-sealedBytes], string(raw[len(raw)-sealedBytes:])
	if seal != sealText+hashOf(body)+sealEnd {
		return nil, errs.New(errs.Corrupt, subject, "its checksum does not match")
	}
	var version int
	if _, err := fmt.Sscanf(rest, "%d,", &version); err != nil || version < 1 {
		return nil, errs.New(errs.Corrupt, subject, "it has no version")
	}
	if version > Version {
		return nil, errs.New(errs.FormatTooNew, subject, fmt.Sprintf("it has version %d, this program knows versions up to %d", version, Version))
	}
	var text struct {
		Manifest
		List []File `json:"files"`
	}
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, errs.Wrap(errs.Corrupt, subject, err)
	}
	m := &text.Manifest
	m.Files = text.List
	if err := m.validate(); err != nil {
		return nil, errs.Wrap(errs.Corrupt, subject, err)
	}
	if again, err := m.Encode(); err != nil || !bytes.Equal(again, raw) {
		return nil, errs.New(errs.Corrupt, subject, "it is not in the form in which manifests are written")
	}
	return m, nil
}

func hashOf(b []byte) string {
	h := xxh3.Hash128(b).Bytes()
	return fmt.Sprintf("%x", h)
}

var (
	hex128   = regexp.MustCompile(`^[0-9a-f]{32}$`)
	baseName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$`)
	idForm   = regexp.MustCompile(`^[1-9][0-9]*-[1-9][0-9]*-[0-9a-f]{8}$`)
)

// validate returns what cannot be in m.
func (m *Manifest) validate() error {
	bad := func(format string, a ...any) error { return fmt.Errorf(format, a...) }
	conf := &pb.ConfState{}
	switch {
	case !hex128.MatchString(m.Digest):
		return bad("the state digest %q is not one", m.Digest)
	case m.Index == 0 || m.Term == 0:
		return bad("index %d of term %d", m.Index, m.Term)
	case m.ID != imageID(m.Index, m.Term, m.Digest):
		return bad("the id %q does not belong to index %d, term %d, digest %s", m.ID, m.Index, m.Term, m.Digest)
	case m.Node.ID == "" || m.Node.Number == 0:
		return bad("the node is %q, number %d", m.Node.ID, m.Node.Number)
	case m.StoreName == "" || m.Format < 1:
		return bad("the store is %q of format %d", m.StoreName, m.Format)
	case proto.Unmarshal(m.Conf, conf) != nil || len(conf.GetVoters()) == 0:
		return bad("it names no members")
	case len(m.Files) == 0:
		return bad("it has no files")
	}
	var total int64
	seen := map[string]bool{}
	last := ""
	for _, f := range m.Files {
		if err := f.validate(m.Blocks); err != nil {
			return err
		}
		folded := strings.ToLower(f.Path) // some disks take them for one
		if f.Path <= last || seen[folded] {
			return bad("file %q after %q: twice, or not in order", f.Path, last)
		}
		seen[folded], last = true, f.Path
		if total += f.Size; total < f.Size {
			return bad("the sizes of the files overflow")
		}
	}
	if total != m.Bytes {
		return bad("the files have %d bytes, not %d", total, m.Bytes)
	}
	return nil
}

func (f File) validate(blocks bool) error {
	dir, base, _ := strings.Cut(f.Path, "/")
	if dir != storeDir && dir != blocksDir || !baseName.MatchString(base) || base == lockName {
		return fmt.Errorf("the path %q is not one of an image", f.Path)
	}
	if f.Kind != kindOf(f.Path) || f.Kind == Container && !blocks {
		return fmt.Errorf("the file %q cannot be of kind %q", f.Path, f.Kind)
	}
	if f.Size < 0 || f.Modified < 0 || !hex128.MatchString(f.XXH3) {
		return fmt.Errorf("file %q: size %d, modified %d, checksum %q", f.Path, f.Size, f.Modified, f.XXH3)
	}
	return nil
}

func kindOf(path string) Kind {
	switch {
	case strings.HasPrefix(path, blocksDir+"/"):
		return Container
	case strings.HasSuffix(path, ".sst"):
		return Table
	}
	return Store
}

func imageID(index, term uint64, digest string) string {
	return fmt.Sprintf("%d-%d-%.8s", index, term, digest)
}
