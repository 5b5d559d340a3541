package rule

import (
	"sort"
	"strings"
)

// Seek returns the first path at or after path, in byte order, that an expiry
// rule may match; ok is false when there is none. A scan in that order, which is
// that of both layouts, may go there at once.
func (s *Set) Seek(path string) (next string, ok bool) { return s.expire.seek(path) }

// SeekUpload is Seek for multipart uploads, by the paths of their keys.
func (s *Set) SeekUpload(path string) (next string, ok bool) { return s.abort.seek(path) }

// Prefixes returns the prefixes of the enabled expiry rules that no other of
// them covers, in byte order: what lies outside of them matches no rule.
func (s *Set) Prefixes() []string { return append([]string(nil), s.expire.tops...) }

// UploadPrefixes is Prefixes for multipart uploads.
func (s *Set) UploadPrefixes() []string { return append([]string(nil), s.abort.tops...) }

// afterTrash is the first path after those that begin with Trash: '0' follows
// the slash.
const afterTrash = ".Trash0"

func (t *tree) seek(path string) (string, bool) {
	if strings.HasPrefix(path, Trash) {
		path = afterTrash
	}
	i := sort.Search(len(t.tops), func(i int) bool { return t.tops[i] > path })
	if i > 0 && strings.HasPrefix(path, t.tops[i-1]) {
		return path, true
	}
	if i == len(t.tops) {
		return "", false
	}
	return t.tops[i], true // not in the trash: no rule begins there
}
