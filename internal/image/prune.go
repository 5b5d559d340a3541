package image

import (
	"context"
	"errors"

	"o3/internal/errs"
)

// Pruned says what Prune removed.
type Pruned struct {
	Images []string `json:"images"`
	Files  int      `json:"files"`
	Bytes  int64    `json:"bytes"`
}

// Prune removes from t all but the newest keep images, at least 1, and every file
// that no image left there names, also what exports that were cut off left. It
// must not run beside an export to the same place; a directory sees to that
// (kind Conflict). A manifest that cannot be read stops it before anything is
// removed: nobody knows what it names.
func Prune(ctx context.Context, t Target, keep int) (out Pruned, err error) {
	if keep < 1 {
		return out, fault(errs.Invalid, "Prune", t.String(), "%d images to keep: at least 1", keep)
	}
	if l, ok := t.(locker); ok {
		lock, err := l.Lock(ctx)
		if err != nil {
			return out, err
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
	}
	var damaged error
	list, err := List(ctx, t, func(_ string, err error) { damaged = errors.Join(damaged, err) })
	if err = errors.Join(err, damaged); err != nil {
		return out, err
	}
	named := map[string]bool{}
	for i, m := range list {
		if i >= keep {
			if err := t.Remove(ctx, manifestAt(m.ID)); err != nil {
				return out, err
			}
			out.Images = append(out.Images, m.ID)
			continue
		}
		for _, f := range m.Files {
			named[fileAt(f)] = true
		}
	}
	garbage := map[string]int64{}
	err = t.List(ctx, filesAt, func(name string, size int64) error {
		if !named[name] {
			garbage[name] = size
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	for name, size := range garbage {
		if err := t.Remove(ctx, name); err != nil {
			return out, err
		}
		out.Files++
		out.Bytes += size
	}
	return out, nil
}
