package fsm_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/view"
)

// piece is a range of a block, or "=" and bytes that lie in the store: content
// is a list of pieces with neighbours merged, so that equal content is equal.
type piece struct {
	block  string // "container/local", or "=" and the bytes
	offset int64
	length int64
}

type content []piece

func (c content) size() (n int64) {
	for _, p := range c {
		n += p.length
	}
	return n
}

// join appends d to c.
func (c content) join(d content) content {
	out := slices.Clone(c)
	for _, p := range d {
		if p.length == 0 {
			continue
		}
		n := len(out) - 1
		if n >= 0 && p.block[0] == '=' && out[n].block[0] == '=' {
			out[n].block += p.block[1:]
			out[n].length += p.length
			continue
		}
		if n >= 0 && out[n].block == p.block && out[n].offset+out[n].length == p.offset {
			out[n].length += p.length
			continue
		}
		out = append(out, p)
	}
	return out
}

// cut returns the range [offset, offset+length) of c.
func (c content) cut(offset, length int64) (out content) {
	for _, p := range c {
		if offset >= p.length {
			offset -= p.length
			continue
		}
		n := min(p.length-offset, length)
		switch {
		case n <= 0:
		case p.block[0] == '=':
			out = append(out, piece{"=" + p.block[1+offset:1+offset+n], 0, n})
		default:
			out = append(out, piece{p.block, p.offset + offset, n})
		}
		offset, length = 0, length-n
	}
	return content{}.join(out)
}

// mkey is a key as a client knows it.
type mkey struct {
	id   uint64
	etag string
	tags string
	data content
	born ns.Op // of its lineage
}

// mupload is a multipart upload.
type mupload struct {
	key   string
	parts map[uint32]mpart
}

type mpart struct {
	etag string
	data content
}

// mbucket is a bucket as a client knows it: paths and what they hold. That a
// directory is implied by what is below it is what makes this model differ
// from the store: it has no rows for them.
type mbucket struct {
	tree    bool
	keys    map[string]*mkey
	marks   map[string]bool // explicit directories, with their slash
	dirIDs  map[string]uint64
	uploads map[string]*mupload
	quota   cost // 0: none
	snaps   []*msnap
	lines   *lineages
	life    mlife
}

func newBucket(tree bool) *mbucket {
	return &mbucket{
		tree: tree, keys: map[string]*mkey{}, marks: map[string]bool{}, dirIDs: map[string]uint64{},
		uploads: map[string]*mupload{}, lines: newLineages(),
	}
}

// dirs returns every directory, explicit or implied.
func (b *mbucket) dirs() map[string]bool {
	out := map[string]bool{}
	add := func(path string) {
		for i := range path {
			if path[i] == '/' {
				out[path[:i+1]] = true
			}
		}
	}
	if b.tree {
		for k := range b.keys {
			add(k)
		}
		for d := range b.marks {
			add(d)
		}
	}
	return out
}

func (b *mbucket) isDir(path string) bool { return b.tree && b.dirs()[path] }

// place says why no key or directory can be put at path.
func (b *mbucket) place(path string) errs.Kind {
	if !b.tree {
		return errs.OK
	}
	dirs := b.dirs()
	trimmed := strings.TrimSuffix(path, "/")
	for i := range trimmed {
		if trimmed[i] == '/' && b.keys[trimmed[:i]] != nil {
			return errs.ParentIsKey
		}
	}
	if trimmed == path && dirs[path+"/"] {
		return errs.IsDirectory
	}
	if trimmed != path && b.keys[trimmed] != nil {
		return errs.ParentIsKey
	}
	return errs.OK
}

// newDirs counts the directories that putting path would make, itself excluded.
func (b *mbucket) newDirs(path string) (n int64) {
	if !b.tree {
		return 0
	}
	dirs := b.dirs()
	trimmed := strings.TrimSuffix(path, "/")
	for i := range trimmed {
		if trimmed[i] == '/' && !dirs[trimmed[:i+1]] {
			n++
		}
	}
	return n
}

// names returns what a listing shows: keys and explicit directories, and with
// all those implied too, in byte order.
func (b *mbucket) names(all bool) []string {
	var out []string
	for k := range b.keys {
		out = append(out, k)
	}
	if all {
		for d := range b.dirs() {
			out = append(out, d)
		}
	} else {
		for d := range b.marks {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

// list is what S3 says a listing is: every name in order, those that share a
// common prefix folded into it.
func (b *mbucket) list(o view.ListOptions) (out []string) {
	last := ""
	for _, name := range b.names(o.Directories) {
		if !strings.HasPrefix(name, o.Prefix) || o.StartAfter != "" && name <= o.StartAfter {
			continue
		}
		if i := strings.Index(name[len(o.Prefix):], o.Delimiter); o.Delimiter != "" && i >= 0 {
			common := name[:len(o.Prefix)+i+len(o.Delimiter)]
			if common != last && common != o.StartAfter {
				out = append(out, "prefix "+common)
			}
			last = common
			continue
		}
		out = append(out, name)
	}
	return out
}

// under returns the keys and explicit directories below dir, itself excluded.
func (b *mbucket) under(dir string) (out []string) {
	for _, n := range b.names(false) {
		if strings.HasPrefix(n, dir) && n != dir {
			out = append(out, n)
		}
	}
	return out
}

// move renames path, and what is below it.
func (b *mbucket) move(from, to string) {
	if !strings.HasSuffix(from, "/") || !b.tree {
		b.keys[to] = b.keys[from]
		delete(b.keys, from)
		return
	}
	moveKeys(b.keys, from, to)
	moveKeys(b.marks, from, to)
	moveKeys(b.dirIDs, from, to)
	moveKeys(b.lines.dirs, from, to)
}

func moveKeys[V any](m map[string]V, from, to string) {
	for _, d := range slices.Collect(maps.Keys(m)) {
		if strings.HasPrefix(d, from) {
			m[to+d[len(from):]] = m[d]
			delete(m, d)
		}
	}
}

// check is what preconditions mean.
func precondition(p *o3v1.Preconditions, k *mkey) errs.Kind {
	switch {
	case p == nil:
		return errs.OK
	case p.IfAbsent && k != nil:
		return errs.PreconditionFailed
	case p.IfMatch != "" && k == nil:
		return errs.NoSuchKey
	case p.IfMatch != "" && p.IfMatch != "*" && p.IfMatch != k.etag:
		return errs.PreconditionFailed
	}
	return errs.OK
}

// contentOf flattens extents as the store gives them.
func contentOf(v view.View, extents []*o3v1.Extent) (content, error) {
	var out content
	for _, e := range extents {
		p := piece{fmt.Sprintf("%d/%d", e.Container, e.Local), e.Offset, e.Length}
		if e.Container == 0 {
			data, err := v.Small(e)
			if err != nil {
				return nil, err
			}
			p.block, p.offset = "="+string(data), 0
		}
		out = out.join(content{p})
	}
	return out, nil
}
