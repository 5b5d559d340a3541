package container

import "io"

// Sealed reports whether the container file that r reads is sealed, by both
// copies of its seal: nothing is written to it any more. A file that is damaged
// there, or is none of ours, is not.
func Sealed(r io.ReaderAt) bool {
	page := make([]byte, headSize)
	if _, err := r.ReadAt(page, 0); err != nil {
		return false
	}
	h, err := decodeFileHead("", page[:fileHeadSize])
	if err != nil {
		return false
	}
	first, err1 := decodeSeal(h.salt, page[sealAt:sealAt+sealSize])
	second, err2 := decodeSeal(h.salt, page[sealCopyAt:sealCopyAt+sealSize])
	return err1 == nil && err2 == nil && first == second
}
