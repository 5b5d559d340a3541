package view

import (
	"strings"

	"o3/internal/errs"
	"o3/internal/keys"
	"o3/internal/ns"
)

// listSnapshots lists what is below .snapshot/: the snapshots as common
// prefixes, or the keys of one or all of them. A page holds keys of one snapshot
// at most.
func (v View) listSnapshots(b Bucket, o ListOptions) (Page, error) {
	if name, _, ok := ns.CutSnapshot(o.Prefix); ok {
		s, err := v.Snapshot(b, name)
		if errs.KindOf(err) == errs.NoSuchSnapshot {
			return Page{}, nil // as any prefix that no key has
		}
		if err != nil {
			return Page{}, err
		}
		return v.At(s.Op).list(b, o, mountOf(name))
	}
	if o.Delimiter != "" && o.Delimiter != "/" {
		return Page{}, errs.New(errs.Invalid, "delimiter "+o.Delimiter, `below .snapshot/ only "/" is allowed`)
	}
	start, err := o.start()
	if err != nil {
		return Page{}, err
	}
	var page Page
	err = v.SnapshotNames(b, o.Prefix[len(ns.SnapshotPrefix)+1:], "", func(name string, at ns.Op) (bool, error) {
		mount := mountOf(name)
		if string(keys.PrefixEnd([]byte(mount))) <= start || mount == o.StartAfter && o.Delimiter != "" {
			return true, nil
		}
		if len(page.Prefixes) >= o.Limit || page.Marker != "" && o.Delimiter == "" {
			page.Truncated, page.NextToken = true, encodeToken(mount)
			return false, nil
		}
		if o.Delimiter != "" {
			page.Prefixes, page.Marker = append(page.Prefixes, mount), mount
			return true, nil
		}
		whole := o
		whole.Prefix = mount
		var err error
		page, err = v.At(at).list(b, whole, mount)
		if !page.Truncated && page.Marker == "" { // it has nothing from start on
			page.Marker = string(keys.PrefixEnd([]byte(mount)))
		}
		return !page.Truncated, err
	})
	return page, err
}

// mountOf returns the prefix of the paths into a snapshot.
func mountOf(name string) string { return strings.Join([]string{ns.SnapshotPrefix, name, ""}, "/") }
