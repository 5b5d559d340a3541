package query

import (
	"bytes"
	"strings"

	"o3/internal/keys"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// KeyEntity is a key, or a deleted directory, in the insights of Ozone's Recon.
type KeyEntity struct {
	Key              string      `json:"key" doc:"prevKey of a page that begins after it"`
	Path             string      `json:"path"`
	InStateSince     int64       `json:"inStateSince"`
	Size             int64       `json:"size"`
	ReplicatedSize   int64       `json:"replicatedSize"`
	ReplicationInfo  Replication `json:"replicationInfo"`
	CreationTime     int64       `json:"creationTime"`
	ModificationTime int64       `json:"modificationTime"`
	IsKey            bool        `json:"isKey"`
}

// OpenKeysResponse answers /keys/open.
type OpenKeysResponse struct {
	LastKey              string      `json:"lastKey" doc:"prevKey of the next page; empty: there is none"`
	ReplicatedDataSize   int64       `json:"replicatedDataSize" doc:"of this page"`
	UnreplicatedDataSize int64       `json:"unreplicatedDataSize" doc:"likewise"`
	FSO                  []KeyEntity `json:"fso"`
	NonFSO               []KeyEntity `json:"nonFSO"`
	Status               Status      `json:"status"`
}

// Empty reports whether there is nothing, here and on further pages.
func (r OpenKeysResponse) Empty() bool { return len(r.FSO)+len(r.NonFSO) == 0 && r.LastKey == "" }

// OpenKeysOptions says which open keys are asked for.
type OpenKeysOptions struct {
	StartPrefix string // /volume/bucket, or longer; "": all
	FSO, NonFSO bool   // of buckets of which layouts; neither means both
	Page
}

// OpenKeys lists keys that are being written, by bucket and name. Sizes are those
// their writers announced, 0 for unknown.
func OpenKeys(v *generation.View, o OpenKeysOptions) (OpenKeysResponse, error) {
	r := OpenKeysResponse{FSO: []KeyEntity{}, NonFSO: []KeyEntity{}, Status: StatusOK}
	if !o.FSO && !o.NonFSO {
		o.FSO, o.NonFSO = true, true
	}
	lower, upper := schema.OpenKeys.All()
	prefix := ""
	if o.StartPrefix != "" {
		p, err := parsePrefix(v, o.StartPrefix)
		if err != nil {
			return r, err
		}
		lower, upper = schema.OpenKeysOf(p.bucket.ID())
		if prefix = p.prefix; prefix != "" {
			escaped := keys.String(lower, prefix)
			lower = escaped[:len(escaped)-2] // without its end
			upper = keys.PrefixEnd(lower)
		}
	}
	if o.After != "" {
		k, err := openCursor(o.After)
		if err != nil {
			return r, err
		}
		if next := append(schema.OpenKeys.Key(k), 0); bytes.Compare(next, lower) > 0 {
			lower = next
		}
	}
	if upper != nil && bytes.Compare(lower, upper) >= 0 {
		return r, nil
	}
	left := o.rows()
	layouts := map[ns.ObjectID]ns.Layout{}
	last := ""
	err := schema.OpenKeys.Scan(v.Rows, lower, upper, func(k schema.OpenKeyKey, row *schemapb.OpenKey) (bool, error) {
		if len(r.FSO)+len(r.NonFSO) >= o.limit() || left <= 0 {
			r.LastKey = last
			return false, nil
		}
		left--
		layout, ok := layouts[k.Bucket]
		if !ok {
			b, err := v.Bucket(row.Volume, row.Bucket)
			if err != nil {
				return false, err
			}
			layout = b.Layout()
			layouts[k.Bucket] = layout
		}
		e := openEntity(k, row)
		last = e.Key
		switch {
		case layout == ns.FileSystem && o.FSO:
			r.FSO = append(r.FSO, e)
		case layout != ns.FileSystem && o.NonFSO:
			r.NonFSO = append(r.NonFSO, e)
		default:
			return true, nil
		}
		r.ReplicatedDataSize += e.ReplicatedSize
		r.UnreplicatedDataSize += e.Size
		return true, nil
	})
	return r, err
}

func openEntity(k schema.OpenKeyKey, row *schemapb.OpenKey) KeyEntity {
	size := int64(row.ExpectedSize)
	return KeyEntity{
		Key: rowKey(k.Name, uint64(k.Bucket), k.Session), Path: join(row.Volume, row.Bucket, k.Name), InStateSince: row.CreatedMs,
		Size: size, ReplicatedSize: size, ReplicationInfo: once(), CreationTime: row.CreatedMs, ModificationTime: row.CreatedMs,
		IsKey: !strings.HasSuffix(k.Name, "/"),
	}
}

func openCursor(s string) (schema.OpenKeyKey, error) {
	ids, name, ok := parseRowKey(s, 2)
	if !ok {
		return schema.OpenKeyKey{}, badCursor("prevKey", s, "/bucket id/session/name")
	}
	return schema.OpenKeyKey{Bucket: ns.ObjectID(ids[0]), Name: name, Session: ids[1]}, nil
}

// OpenSummaryResponse answers /keys/open/summary.
type OpenSummaryResponse struct {
	TotalOpenKeys             int64 `json:"totalOpenKeys"`
	TotalReplicatedDataSize   int64 `json:"totalReplicatedDataSize"`
	TotalUnreplicatedDataSize int64 `json:"totalUnreplicatedDataSize"`
}

// OpenSummary counts the keys that are being written.
func OpenSummary(v *generation.View) (OpenSummaryResponse, error) {
	s, err := v.SQL.Stats()
	return OpenSummaryResponse{
		s["openKeyTableCount"] + s["openFileTableCount"],
		s["openKeyTableReplicatedDataSize"] + s["openFileTableReplicatedDataSize"],
		s["openKeyTableUnReplicatedDataSize"] + s["openFileTableUnReplicatedDataSize"],
	}, err
}

// MPUSummaryResponse answers /keys/open/mpu/summary.
type MPUSummaryResponse struct {
	TotalOpenMPUKeys        int64 `json:"totalOpenMPUKeys"`
	TotalReplicatedDataSize int64 `json:"totalReplicatedDataSize"`
	TotalDataSize           int64 `json:"totalDataSize"`
}

// MPUSummary counts the unfinished multipart uploads, and the bytes of their
// parts.
func MPUSummary(v *generation.View) (MPUSummaryResponse, error) {
	s, err := v.SQL.Stats()
	return MPUSummaryResponse{
		s["multipartInfoTableCount"], s["multipartInfoTableReplicatedDataSize"], s["multipartInfoTableUnReplicatedDataSize"],
	}, err
}
