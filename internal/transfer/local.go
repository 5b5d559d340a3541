package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/zeebo/xxh3"

	"o3/internal/errs"
)

// begin makes the target ready and locks it.
func (f *fetch) begin() (*os.File, error) {
	if err := f.claim(); err != nil {
		return nil, err
	}
	for _, dir := range []string{"", "parts", "have"} {
		if err := os.MkdirAll(f.state(dir), 0o700); err != nil {
			return nil, local("directory "+f.state(dir), err)
		}
	}
	lock, err := lockDir(f.state("lock"))
	if err != nil {
		return nil, local("directory "+f.o.Dir, err)
	}
	return lock, nil
}

// claim refuses a directory that is not a transfer's. One with the manifest of a
// finished transfer is taken up like one that was stopped.
func (f *fetch) claim() error {
	if err := os.MkdirAll(f.o.Dir, 0o700); err != nil {
		return local("directory "+f.o.Dir, err)
	}
	entries, err := os.ReadDir(f.o.Dir)
	if err != nil {
		return local("directory "+f.o.Dir, err)
	}
	finished := false
	for _, e := range entries {
		if e.Name() == stateDir {
			return nil
		}
		finished = finished || f.o.Manifest != "" && e.Name() == f.o.Manifest
	}
	if len(entries) == 0 {
		return nil
	}
	if !finished {
		return local("directory "+f.o.Dir, errs.New(errs.NotEmpty, "", "it holds something that no transfer put there"))
	}
	if err := os.Mkdir(f.state(), 0o700); err != nil {
		return local("directory "+f.state(), err)
	}
	return local("file "+f.o.Manifest, os.Rename(f.target(f.o.Manifest), f.state("manifest")))
}

// adopt makes spec the image to be fetched: what is here of it already is kept,
// and what is not of it goes.
func (f *fetch) adopt(ctx context.Context, source string, spec *Spec) error {
	f.looking = true
	defer func() { f.looking = false }()
	before := f.begun()
	if f.journal != nil {
		f.journal.close()
		f.journal = nil
	}
	p := newPlan(spec)
	f.plan = p
	f.meter.done.Store(0)
	f.meter.files.Store(0)
	f.meter.update(func(now *Progress) {
		now.Phase, now.Image = PhaseLooking, spec.ID
		now.Files, now.Bytes, now.Reused, now.Resumed = len(spec.Files), spec.Bytes(), 0, 0
	})
	if l := f.o.Listener.ImageChanged; l != nil {
		l(source, before, spec.ID)
	}
	err := f.remember(ctx)
	for _, step := range []func(context.Context) error{f.sortFiles, f.useHave, f.useParts, f.reuse} {
		if err == nil {
			err = step(ctx)
		}
	}
	switch {
	case err == nil:
		p.fill()
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return local("directory "+f.o.Dir, err)
}

// remember writes down which image is begun. A full disk is waited for.
func (f *fetch) remember(ctx context.Context) error {
	for {
		err := f.writeFile(f.state("manifest.new"), f.plan.spec.Manifest)
		if err == nil {
			return os.Rename(f.state("manifest.new"), f.state("manifest"))
		}
		if !full(err) {
			return err
		}
		f.space.ranOut()
		if err := f.room(ctx); err != nil {
			return err
		}
	}
}

// sortFiles looks at each file of the target: it stays where it is, or is kept
// for another place, or goes.
func (f *fetch) sortFiles(ctx context.Context) error {
	p := f.plan
	paths := map[string]*item{}
	dirs := map[string]bool{}
	sizes := p.sizes()
	for _, it := range p.items {
		for _, name := range it.missing {
			paths[name] = it
			for d := path.Dir(name); d != "."; d = path.Dir(d) {
				dirs[d] = true
			}
		}
	}
	known := f.verified
	f.verified = map[string]key{}
	var old []string
	settled := map[*item]string{}
	err := f.walk(func(name string, d fs.DirEntry) error {
		if d.IsDir() {
			if !dirs[name] {
				old = append(old, name)
			}
			return ctx.Err()
		}
		k, found, err := f.contentOf(ctx, name, d, sizes, known)
		if err != nil {
			return err
		}
		it := p.byKey[k]
		switch {
		case found && it != nil && paths[name] == it:
			f.keep(it.key.size)
			f.settled(it, name, FromEarlier)
			settled[it] = name
			return nil
		case found && it != nil:
			return os.Rename(f.target(name), f.haveName(k))
		}
		return os.Remove(f.target(name))
	})
	if err != nil {
		return err
	}
	slices.Reverse(old) // children first
	for _, name := range old {
		if err := os.Remove(f.target(name)); err != nil {
			return err
		}
	}
	for it, name := range settled {
		if len(it.missing) > 0 {
			if err := f.copyOver(ctx, it, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// contentOf returns what a file of the target holds, if it can be of the image.
func (f *fetch) contentOf(ctx context.Context, name string, d fs.DirEntry, sizes map[int64]bool, known map[string]key) (key, bool, error) {
	info, err := d.Info()
	if err != nil {
		return key{}, false, err
	}
	if !info.Mode().IsRegular() || !sizes[info.Size()] {
		return key{}, false, nil
	}
	if k, ok := known[name]; ok && k.size == info.Size() {
		return k, true, nil
	}
	sum, err := f.hashFile(ctx, f.target(name))
	return key{sum, info.Size()}, err == nil, err
}

func (p *plan) sizes() map[int64]bool {
	out := map[int64]bool{}
	for _, it := range p.items {
		out[it.key.size] = true
	}
	return out
}

// copyOver copies a file that is in place to the other places of its item. When
// the disk is full, they are fetched: that waits for space.
func (f *fetch) copyOver(ctx context.Context, it *item, at string) error {
	have := f.haveName(it.key)
	err := f.copyFile(ctx, f.target(at), have, it.key)
	if err == nil {
		return nil // useHave puts it in place
	}
	if full(err) {
		return nil
	}
	return err
}

// useHave puts the contents in place that are kept under their checksum.
func (f *fetch) useHave(ctx context.Context) error {
	entries, err := os.ReadDir(f.state("have"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := f.state("have", e.Name())
		k, ok := parseKey(e.Name())
		it := f.plan.byKey[k]
		if !ok || it == nil || len(f.plan.pending(it)) == 0 {
			if err := os.Remove(name); err != nil {
				return err
			}
			continue
		}
		info, err := os.Lstat(name)
		if err != nil {
			return err
		}
		sum, err := Sum{}, error(nil)
		if info.Mode().IsRegular() && info.Size() == k.size {
			if sum, err = f.hashFile(ctx, name); err != nil {
				return err
			}
		}
		if sum != k.sum {
			if err := os.Remove(name); err != nil {
				return err
			}
			continue
		}
		f.keep(k.size)
		if err := f.place(ctx, it, name, FromEarlier); err != nil {
			if !full(err) {
				return err
			}
			f.held(it) // the rest is copied when there is room
		}
	}
	return nil
}

// held notes that an item's content is here, but not at all of its places.
func (f *fetch) held(it *item) {
	f.plan.mu.Lock()
	defer f.plan.mu.Unlock()
	it.have, it.got = extents{{0, it.key.size}}, it.key.size
}

// keep counts bytes that an earlier transfer left.
func (f *fetch) keep(n int64) {
	f.meter.done.Add(n)
	f.meter.mu.Lock()
	defer f.meter.mu.Unlock()
	f.meter.now.Resumed += n
}

// useParts takes up the parts of files that came in before: every range that the
// journal names is read and kept only if it has the checksum that it had when it
// came.
func (f *fetch) useParts(ctx context.Context) error {
	records, err := readJournal(f.state())
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(f.state("parts"))
	if err != nil {
		return err
	}
	var good []record
	for _, e := range entries {
		name := f.state("parts", e.Name())
		k, ok := parseKey(e.Name())
		it := f.plan.byKey[k]
		if !ok || it == nil || len(it.missing) == 0 || it.got > 0 || len(records[k]) == 0 || !e.Type().IsRegular() {
			if err := os.Remove(name); err != nil {
				return err
			}
			continue
		}
		kept, err := f.usePart(ctx, name, it, records[k])
		if err != nil {
			return err
		}
		good = append(good, kept...)
	}
	for {
		f.journal, err = newJournal(f.o.Disk, f.state(), good)
		if !full(err) {
			return err
		}
		f.space.ranOut()
		if err := f.room(ctx); err != nil {
			return err
		}
	}
}

func (f *fetch) usePart(ctx context.Context, name string, it *item, records []record) (good []record, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var buf []byte
	for _, r := range records {
		if int(r.n) > cap(buf) {
			buf = make([]byte, r.n)
		}
		if err := f.disk.wait(ctx, int(r.n)); err != nil {
			return nil, err
		}
		n, err := file.ReadAt(buf[:r.n], r.off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if n < int(r.n) || xxh3.Hash(buf[:r.n]) != r.sum {
			continue // lost in a crash: it is fetched again
		}
		good = append(good, r)
		fresh := it.have.add(r.off, r.off+int64(r.n))
		it.got += fresh
		f.keep(fresh)
	}
	return good, nil
}

func (f *fetch) hashFile(ctx context.Context, name string) (Sum, error) {
	file, err := os.Open(name)
	if err != nil {
		return Sum{}, err
	}
	defer file.Close()
	sum, err := f.hash(ctx, file, nil)
	if err != nil {
		return sum, fmt.Errorf("reading %s: %w", filepath.Base(name), err)
	}
	return sum, nil
}
