package query

import (
	"fmt"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/view"
)

// ListKeysResponse answers /keys/listKeys.
type ListKeysResponse struct {
	Status               Status     `json:"status"`
	Path                 string     `json:"path" doc:"startPrefix"`
	ReplicatedDataSize   int64      `json:"replicatedDataSize" doc:"of this page"`
	UnReplicatedDataSize int64      `json:"unReplicatedDataSize" doc:"likewise"`
	LastKey              string     `json:"lastKey" doc:"prevKey of the next page; empty: there is none"`
	Keys                 []BasicKey `json:"keys"`
}

// Empty reports whether there is nothing, here and on further pages.
func (r ListKeysResponse) Empty() bool { return len(r.Keys) == 0 && r.LastKey == "" }

// BasicKey is a key in a list.
type BasicKey struct {
	Key              string      `json:"key" doc:"prevKey of a page that begins after it"`
	Path             string      `json:"path"`
	Size             int64       `json:"size"`
	ReplicatedSize   int64       `json:"replicatedSize"`
	ReplicationInfo  Replication `json:"replicationInfo"`
	CreationTime     int64       `json:"creationTime"`
	ModificationTime int64       `json:"modificationTime"`
	IsKey            bool        `json:"isKey"`
}

// ListKeysOptions says which keys are asked for.
type ListKeysOptions struct {
	StartPrefix     string // /volume/bucket, or longer
	ReplicationType string // "": any; but for ReplicationType there are none
	CreatedFrom     int64  // milliseconds
	MinSize         int64  // bytes
	Page
}

// ListKeys lists the keys below a prefix by their paths. In a file-system bucket
// the path of a directory means what is in it.
func ListKeys(v *generation.View, o ListKeysOptions) (ListKeysResponse, error) {
	r := ListKeysResponse{Status: StatusOK, Path: o.StartPrefix, Keys: []BasicKey{}}
	in, err := parsePrefix(v, o.StartPrefix)
	if err != nil {
		return r, err
	}
	if o.ReplicationType != "" && o.ReplicationType != ReplicationType {
		return r, nil
	}
	b := in.bucket
	if strings.HasPrefix(in.prefix, ns.SnapshotPrefix+"/") {
		return r, errs.New(errs.Invalid, fmt.Sprintf("startPrefix %q", o.StartPrefix), "keys of snapshots are not listed here")
	}
	if b.Layout() == ns.FileSystem && in.prefix != "" && !strings.HasSuffix(in.prefix, "/") {
		switch _, err := v.Key(b, in.prefix+"/"); errs.KindOf(err) {
		case errs.OK:
			in.prefix += "/"
		case errs.NoSuchKey:
		default:
			return r, err
		}
	}
	root := "/" + b.VolumeName + "/" + b.Name + "/"
	list := view.ListOptions{Prefix: in.prefix, Limit: o.limit(), MaxRows: o.rows()}
	if o.After != "" {
		name, ok := strings.CutPrefix(o.After, root)
		if !ok {
			return r, badCursor("prevKey", o.After, root+"key")
		}
		list.StartAfter = name
	}
	return r, o.fill(v, b, list, root, &r)
}

// fill lists pages until enough keys are found or enough rows were looked at.
func (o ListKeysOptions) fill(v *generation.View, b view.Bucket, list view.ListOptions, root string, r *ListKeysResponse) error {
	for left := o.rows(); ; {
		page, err := v.List(b, list)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			left--
			if e.Row.Kind != o3v1.EntryKind_ENTRY_KIND_KEY || e.Row.CreatedMs < o.CreatedFrom || int64(e.Row.Size) < o.MinSize {
				continue
			}
			path, size := root+e.Path, int64(e.Row.Size)
			r.Keys = append(r.Keys, BasicKey{path, path, size, size, once(), e.Row.CreatedMs, e.Row.ModifiedMs, true})
			r.UnReplicatedDataSize += size
			r.ReplicatedDataSize += size
		}
		if !page.Truncated {
			return nil
		}
		if left -= 1; len(r.Keys) >= o.limit() || left <= 0 || len(page.Entries) < list.Limit {
			r.LastKey = root + page.Marker
			return nil
		}
		list.Token, list.StartAfter = "", page.Marker
		list.Limit, list.MaxRows = min(o.limit()-len(r.Keys), left), left
	}
}
