// Package transfer moves the files of an image from a node that has it to a
// directory of one that does not. It knows nothing of what the files mean: an
// image is an opaque manifest and a list of paths, sizes and checksums.
//
// A Server is the source: an http.Handler over a Catalog. Fetch is the
// receiver. What Fetch returns without an error is an image whose every file
// was read back from the receiver's disk and has the size and the checksum that
// the manifest says; bytes that were not verified are never kept, whatever was
// cut, restarted or damaged on the way. docs/formats/transfer.md describes the
// wire and the directory of a transfer under way.
//
// Fetch owns the goroutines it starts and ends them before it returns. A Server
// starts none but timers, which Close stops.
package transfer

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/zeebo/xxh3"

	"o3/internal/errs"
)

// Bounds of what is transferred.
const (
	MaxFiles    = 1 << 24  // of an image
	MaxManifest = 64 << 20 // bytes
	MaxChunk    = 8 << 20  // bytes
	MinChunk    = 4 << 10  // bytes

	maxList = 16 << 20 // bytes of a list of images
)

// Sum is the XXH3-128 of a file's content, most significant byte first.
type Sum [16]byte

// SumOf returns the checksum of b.
func SumOf(b []byte) Sum { return xxh3.Hash128(b).Bytes() }

// ParseSum reads what String wrote.
func ParseSum(s string) (Sum, error) {
	var out Sum
	if len(s) != 2*len(out) {
		return out, errs.New(errs.Invalid, s, "a checksum has 32 hexadecimal digits")
	}
	if _, err := hex.Decode(out[:], []byte(s)); err != nil {
		return out, errs.New(errs.Invalid, s, "a checksum has 32 hexadecimal digits")
	}
	return out, nil
}

// String returns 32 hexadecimal digits.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// File is one file of an image. Path is relative, with slashes.
type File struct {
	Path string
	Size int64
	Sum  Sum
}

// Spec is an image: Files are in the order of the manifest, which is the order
// in which both sides number them.
type Spec struct {
	ID       string
	Manifest []byte
	Files    []File
}

// Bytes returns the size of all files together.
func (s *Spec) Bytes() (n int64) {
	for i := range s.Files {
		n += s.Files[i].Size
	}
	return n
}

// stateDir is the directory of a transfer's own files inside its target.
const stateDir = ".transfer"

// Validate reports what makes s no image that may be written to a directory: a
// bad id, too much of anything, a path that leaves the directory, is another
// file's parent or occurs twice.
func (s *Spec) Validate() error {
	bad := func(format string, args ...any) error {
		return errs.New(errs.Invalid, "image "+shorten(s.ID), fmt.Sprintf(format, args...))
	}
	if !validID(s.ID) {
		return bad("an id has 1 to 128 of letters, digits, '.', '_' and '-', and begins with a letter or digit")
	}
	if len(s.Files) > MaxFiles {
		return bad("%d files, at most %d are allowed", len(s.Files), MaxFiles)
	}
	if len(s.Manifest) == 0 || len(s.Manifest) > MaxManifest {
		return bad("a manifest of %d bytes, 1 to %d are allowed", len(s.Manifest), MaxManifest)
	}
	files := make(map[string]bool, len(s.Files))
	var total int64
	for i := range s.Files {
		f := &s.Files[i]
		switch {
		case !validPath(f.Path):
			return bad("the path %q is not allowed: relative, with slashes, no '.', '..' or '\\', not below %s", shorten(f.Path), stateDir)
		case files[f.Path]:
			return bad("the path %q occurs twice", f.Path)
		case f.Size < 0 || total+f.Size < 0:
			return bad("file %s has %d bytes", f.Path, f.Size)
		}
		files[f.Path] = true
		total += f.Size
	}
	for i := range s.Files {
		for dir := path.Dir(s.Files[i].Path); dir != "."; dir = path.Dir(dir) {
			if files[dir] {
				return bad("%q is a file and a directory", dir)
			}
		}
	}
	return nil
}

func validPath(p string) bool {
	return len(p) <= 1024 && p != "." && fs.ValidPath(p) && filepath.IsLocal(p) && !strings.ContainsAny(p, "\\\x00") &&
		p != stateDir && !strings.HasPrefix(p, stateDir+"/")
}

func validID(id string) bool {
	if len(id) == 0 || len(id) > 128 || !alnum(id[0]) {
		return false
	}
	for i := range len(id) {
		if !alnum(id[i]) && !strings.ContainsRune("._-", rune(id[i])) {
			return false
		}
	}
	return true
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func shorten(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// Info is an image as a source lists it. Attributes say what the image is to
// those who choose one; the transfer does not read them.
type Info struct {
	ID         string            `json:"id"`
	Created    int64             `json:"created"` // Unix milliseconds
	Files      int               `json:"files"`
	Bytes      int64             `json:"bytes"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Catalog is what a source has. It is called from many goroutines.
type Catalog interface {
	// Images lists the images that may be fetched, the best one first.
	Images(ctx context.Context) ([]Info, error)

	// Open returns an image and keeps it: its manifest and files are neither
	// removed nor changed until Close. The error is of kind
	// errs.NoSuchSnapshot when there is no such image (any more).
	Open(ctx context.Context, id string) (Image, error)
}

// Image is an open image of a Catalog, safe for concurrent use.
type Image interface {
	// Spec returns the same value at each call; nobody changes it.
	Spec() *Spec

	// OpenFile opens a file of the spec by its path.
	OpenFile(path string) (Content, error)

	// Close gives the image back; nothing else is called after it.
	Close() error
}

// Content is an open file of an image: *os.File is one.
type Content interface {
	io.ReaderAt
	io.Closer
}
