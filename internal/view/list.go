package view

import (
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/keys"
	"o3/internal/ns"
)

// ListOptions says what a page of a listing holds.
type ListOptions struct {
	Prefix      string
	Delimiter   string
	StartAfter  string // names strictly after it; a common prefix equal to it is left out
	Token       string // from an earlier page; wins over StartAfter
	Limit       int    // keys and common prefixes; at least 1
	MaxRows     int    // rows looked at before the page ends early; 0: no bound
	Directories bool   // implicit directories too
	Full        bool   // entries whole: also what listings leave out

	// keep takes the entries, which then are not in the Page; a Row is valid until
	// keep returns.
	keep func(Entry)
}

// Page is a page of a listing in the byte order of names.
type Page struct {
	Entries   []Entry
	Prefixes  []string
	Truncated bool
	NextToken string // where the next page starts, when truncated
	Marker    string // the last name or common prefix that was listed or passed over: StartAfter of the next page
}

// List returns a page of the keys of b. The work is bounded by Limit and
// MaxRows, whatever lies below the common prefixes; a page may be empty and yet
// truncated.
//
// A prefix that starts with .snapshot/ lists snapshots.
func (v View) List(b Bucket, o ListOptions) (Page, error) {
	if strings.HasPrefix(o.Prefix, ns.SnapshotPrefix+"/") {
		return v.listSnapshots(b, o)
	}
	return v.list(b, o, "")
}

// list is List of the view's own keys, whose names get mount put before them.
func (v View) list(b Bucket, o ListOptions, mount string) (Page, error) {
	var page Page
	start, err := o.start()
	if err != nil {
		return page, err
	}
	if !strings.HasPrefix(start, mount) {
		if start > mount {
			return page, nil
		}
		start = mount
	}
	c, err := newCursor(v, b)
	if err != nil {
		return page, err
	}
	defer c.close()
	c.full, c.reuse = o.Full, o.keep != nil
	names := 0 // keys and common prefixes
	ok := c.seek(start[len(mount):])
	c.steps = 0 // finding the start counts for nothing, so that every page gets on
	for ok {
		path := mount + c.path()
		if !strings.HasPrefix(path, o.Prefix) {
			break
		}
		if names >= o.Limit || o.MaxRows > 0 && c.steps >= o.MaxRows && page.Marker != "" {
			page.Truncated, page.NextToken = true, encodeToken(path)
			break
		}
		if c.row == nil { // the snapshot does not have it
			// As a marker, a common prefix would leave out what starts with it. Of a
			// directory that is not there, nothing does.
			if o.common(path) != path || c.tree && strings.HasSuffix(path, "/") {
				page.Marker = path
			}
			ok = c.next()
			continue
		}
		if common := o.common(path); common != "" {
			if common != o.StartAfter {
				names++
				page.Prefixes = append(page.Prefixes, common)
				page.Marker = common
			}
			end := keys.PrefixEnd([]byte(common))
			rest, mounted := strings.CutPrefix(string(end), mount)
			if end == nil || !mounted {
				break
			}
			ok = c.seek(rest)
			continue
		}
		if !c.row.Implicit || o.Directories {
			names++
			if e := (Entry{Path: path, Parent: c.key.Parent, Row: c.row}); o.keep != nil {
				o.keep(e)
			} else {
				page.Entries = append(page.Entries, e)
			}
		}
		page.Marker = path
		ok = c.next()
	}
	return page, c.err
}

// start returns the first path the page may hold.
func (o ListOptions) start() (string, error) {
	start := o.Prefix
	if o.Token != "" {
		position, err := decodeToken(o.Token)
		return max(start, position), err
	}
	if o.StartAfter != "" && o.StartAfter >= start {
		start = o.StartAfter + "\x00"
		if strings.HasPrefix(o.StartAfter, o.Prefix) && o.common(o.StartAfter) == o.StartAfter {
			if end := keys.PrefixEnd([]byte(o.StartAfter)); end != nil && o.Delimiter != "" {
				start = string(end)
			}
		}
	}
	return start, nil
}

// common returns the common prefix that path falls under, "" for none.
func (o ListOptions) common(path string) string {
	if o.Delimiter == "" {
		return ""
	}
	i := strings.Index(path[len(o.Prefix):], o.Delimiter)
	if i < 0 {
		return ""
	}
	return path[:len(o.Prefix)+i+len(o.Delimiter)]
}

// ListInfo is List with the entries described; o.Full adds what listings leave
// out.
func (v View) ListInfo(b Bucket, o ListOptions) ([]*o3v1.KeyInfo, Page, error) {
	out := make([]*o3v1.KeyInfo, 0, min(o.Limit, 1000))
	var infos slab[o3v1.KeyInfo]
	var failed error
	o.keep = func(e Entry) {
		info := infos.next()
		command.SetKeyInfo(info, e.Path, e.Parent, e.Row)
		out = append(out, info)
		if o.Full && failed == nil {
			info.Extents, failed = v.Extents(e.Row)
		}
	}
	page, err := v.List(b, o)
	if err == nil {
		err = failed
	}
	return out, page, err
}

var errToken = errs.New(errs.Invalid, "continuation token", "is not one that a listing returned")
