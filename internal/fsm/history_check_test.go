package fsm_test

import (
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"

	"o3/internal/fsm/fsmtest"
	"o3/internal/ns"
	"o3/internal/view"
)

// check compares the store with the model.
func (h *history) check() {
	h.settle()
	state, err := fsmtest.Check(h.d.Store)
	if err != nil {
		h.errorf("%v", err)
		return
	}
	h.checkBlocks(state)
	v := view.New(h.d.Store)
	for name, b := range h.buckets {
		row, err := v.Bucket("s3v", name)
		if err != nil {
			h.errorf("%v", err)
			return
		}
		h.checkBucket(v, row, b)
		h.checkLifecycle(v, row, b)
		h.checkSnapshots(v, row, b)
	}
	name, b := h.anyBucket()
	row, _ := v.Bucket("s3v", name)
	h.checkList(v, row, b)
	if h.rng.IntN(4) == 0 {
		h.checkDiff(name, b)
	}
}

// checkBlocks: every block a row ever named is named still, or waits to be
// freed, or is gone; never two of these.
func (h *history) checkBlocks(state *fsmtest.State) {
	for id := range state.Names {
		if id.Container != 0 {
			h.stored[id] = true
		}
	}
	for id := range h.stored {
		if n := b2i(state.Names[id] > 0) + b2i(state.Freed[id]) + b2i(h.gone[id]); n != 1 {
			h.errorf("block %v: named %d times, to be freed %v, gone %v", id, state.Names[id], state.Freed[id], h.gone[id])
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// checkBucket compares every key, directory and counter of a bucket.
func (h *history) checkBucket(v view.View, row view.Bucket, b *mbucket) {
	h.checkEntries(v, row, b, false)
	if row.Row.PendingDirectories == 0 {
		have := [3]uint64{row.Row.UsedBytes, row.Row.UsedKeys, row.Row.UsedDirectories}
		if want := b.usage(); have != want {
			h.errorf("the bucket counts bytes, keys, directories %v, want %v", have, want)
		}
	}
}

// checkEntries compares every key and directory of a bucket, or of a snapshot,
// which never change.
func (h *history) checkEntries(v view.View, row view.Bucket, b *mbucket, past bool) {
	page, err := v.List(row, view.ListOptions{Full: true, Limit: 1 << 20, Directories: true})
	if err != nil {
		h.errorf("%v", err)
		return
	}
	dirs := b.dirs()
	var got []string
	for _, e := range page.Entries {
		got = append(got, e.Path)
		if dirs[e.Path] && b.tree {
			h.checkDir(v, row, b, e, past)
		} else if k := b.keys[e.Path]; k != nil {
			h.checkKey(v, row, k, e)
		}
	}
	if want := b.names(true); !slices.Equal(got, want) {
		h.errorf("the bucket has %q, want %q", got, want)
	}
}

func (h *history) checkDir(v view.View, row view.Bucket, b *mbucket, e view.Entry, past bool) {
	id, known := b.dirIDs[e.Path]
	switch {
	case known && id != e.Row.ObjectId:
		h.errorf("directory %q changed its id from %d to %d", e.Path, id, e.Row.ObjectId)
	case !known && (past || h.used[e.Row.ObjectId]):
		h.errorf("directory %q has an id that another object had", e.Path)
	case e.Row.Implicit == b.marks[e.Path]:
		h.errorf("directory %q: implicit is %v", e.Path, e.Row.Implicit)
	}
	h.used[e.Row.ObjectId] = true
	b.dirIDs[e.Path] = e.Row.ObjectId
	if p, err := v.Path(row.ID(), ns.ObjectID(e.Row.ObjectId)); err != nil || p != e.Path {
		h.errorf("upwards directory %q is %q, %v", e.Path, p, err)
	}
}

func (h *history) checkKey(v view.View, row view.Bucket, k *mkey, e view.Entry) {
	extents, err := v.Extents(e.Row)
	if err != nil {
		h.errorf("%v", err)
		return
	}
	c, err := contentOf(v, extents)
	if err != nil || !reflect.DeepEqual(c, k.data) && len(c)+len(k.data) > 0 {
		h.errorf("%q holds %v, %v, want %v", e.Path, c, err, k.data)
	}
	tags := ""
	if len(e.Row.Tags) > 0 {
		tags = e.Row.Tags[0].Value
	}
	if e.Row.ObjectId != k.id || e.Row.Etag != k.etag || tags != k.tags {
		h.errorf("%q is %d %s %s, want %+v", e.Path, e.Row.ObjectId, e.Row.Etag, tags, k)
	}
	again, err := v.Key(row, e.Path)
	if err != nil || again.Row.ObjectId != k.id || again.Parent != e.Parent {
		h.errorf("a look up of %q gives %v, %v", e.Path, again, err)
	}
}

// checkList compares a random listing, in pages of random size and work.
func (h *history) checkList(v view.View, row view.Bucket, b *mbucket) {
	o := view.ListOptions{Full: true,
		Delimiter: h.pick([]string{"", "/", "/", "a", "-", "a/"}), Directories: h.rng.IntN(4) == 0,
		Limit: 1 + h.rng.IntN(5), MaxRows: h.rng.IntN(4),
	}
	if h.rng.IntN(2) == 0 {
		p := h.path(b)
		o.Prefix = p[:h.rng.IntN(len(p)+1)]
	}
	if h.rng.IntN(3) == 0 {
		o.StartAfter = h.path(b) + h.pick([]string{"", "/", "0", "\x00"})
	}
	want := b.list(o)
	all := o
	var got []string
	for pages := 0; ; pages++ {
		page, err := v.List(row, o)
		if err != nil || pages > 1000 {
			h.errorf("listing %+v: page %d: %v", all, pages, err)
			return
		}
		if len(page.Entries)+len(page.Prefixes) > o.Limit || page.Truncated != (page.NextToken != "") {
			h.errorf("listing %+v: a page of %d and %d, truncated %v, token %q", all, len(page.Entries), len(page.Prefixes), page.Truncated, page.NextToken)
		}
		h.checkListInfo(v, row, o, page)
		got = append(got, merge(page)...)
		if !page.Truncated {
			break
		}
		o.Token = page.NextToken
		if h.rng.IntN(4) == 0 && page.Marker != "" && o.MaxRows == 0 { // as S3's first listing does it
			o.Token, o.StartAfter = "", page.Marker
		}
	}
	if !slices.Equal(got, want) {
		h.errorf("listing %+v gives %q, want %q", all, got, want)
	}
}

// checkListInfo compares a page with the same one described.
func (h *history) checkListInfo(v view.View, row view.Bucket, o view.ListOptions, page view.Page) {
	o.Full = h.rng.IntN(2) == 0
	infos, rest, err := v.ListInfo(row, o)
	if err != nil || len(infos) != len(page.Entries) || !slices.Equal(rest.Prefixes, page.Prefixes) || rest.NextToken != page.NextToken || rest.Marker != page.Marker {
		h.errorf("listing %+v described: %d entries, %+v, %v; want %d, %+v", o, len(infos), rest, err, len(page.Entries), page)
		return
	}
	for i, e := range page.Entries {
		want := e.Info()
		if !o.Full {
			want.Headers, want.Tags, want.Grants, want.PartSizes = nil, nil, nil, nil
		} else if want.Extents, err = v.Extents(e.Row); err != nil {
			h.errorf("extents of %q: %v", e.Path, err)
		}
		if !proto.Equal(infos[i], want) {
			h.errorf("listing %+v describes %q as %v, want %v", o, e.Path, infos[i], want)
		}
	}
}

// merge returns the entries and prefixes of a page in order.
func merge(page view.Page) (out []string) {
	e, p := page.Entries, page.Prefixes
	for len(e)+len(p) > 0 {
		if len(p) == 0 || len(e) > 0 && e[0].Path < p[0] {
			out, e = append(out, e[0].Path), e[1:]
		} else {
			out, p = append(out, "prefix "+p[0]), p[1:]
		}
	}
	return out
}
