package bootstrap

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"o3/internal/block/container"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/schema"
	"o3/internal/transfer"
)

const manifestFile = image.ManifestFile

// candidate is an image that a source lists.
type candidate struct {
	source int
	info   transfer.Info
	index  uint64
	first  uint64 // of the source's log now; 0: not known
	format uint64 // of the store; 0: not known
	blocks bool
	store  string
}

func newCandidate(source int, info transfer.Info) candidate {
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(info.Attributes[name], 10, 64) // not known is 0
		return n
	}
	return candidate{
		source: source, info: info, index: number("index"), first: number("first_index"), format: number("format"),
		blocks: info.Attributes["blocks"] == "yes", store: info.Attributes["store"],
	}
}

// suitable returns those that will do, the best first: the newest index, of
// several the one of the source that was named first.
func suitable(o *Options, all []candidate) []candidate {
	var out []candidate
	for _, c := range all {
		reaches := c.first == 0 || c.index+1 >= c.first // else the log after it is gone
		if c.blocks == o.WithBlocks && c.format <= schema.Format && (reaches || o.WithBlocks) {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.index, a.index), cmp.Compare(a.source, b.source))
	})
	return out
}

// parse reads a manifest as the transfer asks for it. One of a later version is
// refused by name.
func parse(raw []byte) (transfer.Spec, error) {
	m, err := image.Decode(raw)
	if err != nil {
		return transfer.Spec{}, err
	}
	if m.Format > schema.Format {
		return transfer.Spec{}, errs.New(errs.FormatTooNew, "image "+m.ID,
			fmt.Sprintf("its store has format %d, this program knows formats up to %d", m.Format, schema.Format))
	}
	return image.NewSpec(m, raw)
}

// begun returns the id of the image that an earlier run was in the middle of
// fetching, or "".
func (o *Options) begun() string {
	for _, name := range []string{filepath.Join(".transfer", "manifest"), manifestFile} {
		raw, err := os.ReadFile(o.staged(fetchDir, name))
		if err != nil {
			continue
		}
		if s, err := parse(raw); err == nil {
			return s.ID
		}
	}
	return ""
}

// reuse are the directories whose files need not be sent: those of the node that
// makes way, and of what was fetched before. Tables never change once they are
// written, nor do sealed containers: they are linked; the rest is copied.
func (o *Options) reuse() []transfer.Reuse {
	at := func(dir string) transfer.Reuse {
		return transfer.Reuse{Dir: dir, Immutable: func(path string) bool {
			return strings.HasSuffix(path, ".sst") || sealed(filepath.Join(dir, filepath.FromSlash(path)))
		}}
	}
	out := []transfer.Reuse{at(o.staged(oldDir)), at(filepath.Join(o.DataDir, "om", "images")), at(filepath.Join(o.DataDir, "om", "store"))}
	if o.WithBlocks {
		out = append(out, at(o.blockDir()))
	}
	return out
}

// sealed reports whether a file is a container that nothing is written to any
// more.
func sealed(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return container.Sealed(f)
}

// reusable returns how many bytes at most need no space: those that are fetched
// already, and those that may be linked.
func (o *Options) reusable() (n int64) {
	dirs := []string{o.staged(), filepath.Join(o.DataDir, "om")}
	if o.WithBlocks {
		dirs = append(dirs, o.blockDir())
	}
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // what cannot be read is not reused
			if err != nil || d.IsDir() {
				return nil
			}
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
			return nil
		})
	}
	return n
}

// receiver is how this run calls itself at the sources.
func receiver(o *Options) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("bootstrap %s:%s", host, o.DataDir)
}
