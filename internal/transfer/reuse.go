package transfer

import (
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// candidate is a file of a reuse directory that has the size of a missing one.
type candidate struct {
	name      string // full
	immutable bool
	base      string
	sum       Sum // if hashed
	info      fs.FileInfo
	hashed    bool
	bad       bool // cannot be read
}

// reuse takes from Options.Reuse what is missing. A file that cannot be read
// there is fetched.
func (f *fetch) reuse(ctx context.Context) error {
	found := map[int64][]*candidate{}
	for _, it := range f.plan.items {
		if it.got == 0 && it.key.size > 0 && len(it.missing) > 0 {
			found[it.key.size] = nil
		}
	}
	for _, r := range f.o.Reuse {
		if len(found) > 0 {
			f.candidates(r, found)
		}
	}
	for _, it := range f.plan.items {
		if it.got == 0 && it.key.size > 0 && len(it.missing) > 0 {
			if err := f.reuseItem(ctx, it, found[it.key.size]); err != nil {
				return err
			}
		}
	}
	return nil
}

// candidates adds the files below r that have one of the sizes in found.
func (f *fetch) candidates(r Reuse, found map[int64][]*candidate) {
	_ = filepath.WalkDir(r.Dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // not there, or not ours to read: it helps nothing
		}
		if d.IsDir() && d.Name() == stateDir {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		list, wanted := found[info.Size()]
		if !wanted {
			return nil
		}
		rel, err := filepath.Rel(r.Dir, full)
		if err != nil {
			return nil
		}
		found[info.Size()] = append(list, &candidate{
			name: full, base: d.Name(),
			immutable: r.Immutable != nil && r.Immutable(filepath.ToSlash(rel)),
		})
		return nil
	})
}

// reuseItem takes an item from the first candidate that has its content; those
// of the same name are looked at first.
func (f *fetch) reuseItem(ctx context.Context, it *item, list []*candidate) error {
	base := path.Base(it.missing[0])
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *candidate) int {
		switch {
		case (a.base == base) == (b.base == base):
			return 0
		case a.base == base:
			return -1
		}
		return 1
	})
	for _, c := range list {
		if err := f.look(ctx, c); err != nil {
			return err
		}
		if c.bad || c.sum != it.key.sum || !f.bring(ctx, c, it) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		n := it.key.size * int64(len(f.plan.pending(it)))
		f.meter.done.Add(it.key.size)
		err := f.place(ctx, it, f.haveName(it.key), FromReuse)
		if full(err) {
			f.held(it)
			n, err = it.key.size, nil
		}
		f.meter.mu.Lock()
		f.meter.now.Reused += n
		f.meter.mu.Unlock()
		return err
	}
	return nil
}

// look reads a candidate, once.
func (f *fetch) look(ctx context.Context, c *candidate) error {
	if c.hashed || c.bad {
		return nil
	}
	c.bad = true
	file, err := os.Open(c.name)
	if err != nil {
		return nil
	}
	defer file.Close()
	if c.info, err = file.Stat(); err != nil {
		return nil
	}
	if c.sum, err = f.hash(ctx, file, nil); err != nil {
		return ctx.Err()
	}
	c.hashed, c.bad = true, false
	return nil
}

// bring links or copies a candidate to where the item's content is kept, and
// reports whether it is there and right.
func (f *fetch) bring(ctx context.Context, c *candidate, it *item) bool {
	have := f.haveName(it.key)
	_ = os.Remove(have)
	if c.immutable && os.Link(c.name, have) == nil {
		info, err := os.Lstat(have)
		if err == nil && os.SameFile(info, c.info) && info.Size() == it.key.size && syncFile(have) == nil {
			return true
		}
		_ = os.Remove(have)
	}
	return f.copyFile(ctx, c.name, have, it.key) == nil
}

// syncFile makes a file durable that another wrote.
func syncFile(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}
