package image

import (
	"strings"

	"o3/internal/transfer"
)

// BlocksSuffix ends the id under which an image with the bytes of objects is
// fetched: the one without has the same manifest id.
const BlocksSuffix = "-blocks"

// FetchID returns the id under which an image is fetched.
func FetchID(m *Manifest) string {
	if m.Blocks {
		return m.ID + BlocksSuffix
	}
	return m.ID
}

// CutFetchID returns the manifest id in the id under which an image is fetched,
// and whether it has the bytes of objects.
func CutFetchID(id string) (manifest string, blocks bool) { return strings.CutSuffix(id, BlocksSuffix) }

// ParseSpec decodes the manifest of an image that is fetched; it is a
// transfer.Options.Parse.
func ParseSpec(raw []byte) (transfer.Spec, error) {
	m, err := Decode(raw)
	if err != nil {
		return transfer.Spec{}, err
	}
	return NewSpec(m, raw)
}

// NewSpec returns what is to be fetched of an image whose manifest's bytes are
// raw.
func NewSpec(m *Manifest, raw []byte) (transfer.Spec, error) {
	s := transfer.Spec{ID: FetchID(m), Manifest: raw, Files: make([]transfer.File, len(m.Files))}
	for i, f := range m.Files {
		sum, err := transfer.ParseSum(f.XXH3)
		if err != nil {
			return s, err
		}
		s.Files[i] = transfer.File{Path: f.Path, Size: f.Size, Sum: sum}
	}
	return s, s.Validate()
}
