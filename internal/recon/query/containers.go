package query

import (
	"fmt"
	"strconv"
	"time"

	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/schema"
)

// ContainersResponse answers /containers.
type ContainersResponse struct {
	Data ContainersData `json:"data"`
}

// ContainersData is what it holds.
type ContainersData struct {
	TotalCount int64       `json:"totalCount" doc:"of all there are; counted up to 1,000,000"`
	PrevKey    int64       `json:"prevKey" doc:"the last one; prevKey of the next page; 0: there is none"`
	Containers []Container `json:"containers"`
}

// Container is how many keys have blocks in one.
type Container struct {
	ContainerID  uint64   `json:"ContainerID"`
	NumberOfKeys int64    `json:"NumberOfKeys"`
	Pipelines    []string `json:"pipelines" doc:"always empty: O3 has none"`
}

// Containers lists the containers that keys have blocks in, by their ids.
func Containers(v *generation.View, p Page) (ContainersResponse, error) {
	d := ContainersData{Containers: []Container{}}
	after := uint64(0)
	if p.After != "" {
		var err error
		if after, err = strconv.ParseUint(p.After, 10, 63); err != nil {
			return ContainersResponse{d}, badCursor("prevKey", p.After, "of a container's number")
		}
	}
	total, err := countContainers(v)
	if err != nil {
		return ContainersResponse{d}, err
	}
	d.TotalCount = total
	err = task.Containers(v.Derived, after, func(c task.Container) (bool, error) {
		if len(d.Containers) >= p.limit() {
			d.PrevKey = int64(d.Containers[len(d.Containers)-1].ContainerID)
			return false, nil
		}
		d.Containers = append(d.Containers, Container{c.ID, c.Keys, []string{}})
		return true, nil
	})
	return ContainersResponse{d}, err
}

// countContainers counts up to MaxCount.
func countContainers(v *generation.View) (n int64, err error) {
	err = task.Containers(v.Derived, 0, func(task.Container) (bool, error) {
		n++
		return n < MaxCount, nil
	})
	return n, err
}

// KeysResponse answers /containers/{id}/keys.
type KeysResponse struct {
	TotalCount int64         `json:"totalCount" doc:"of all keys that have blocks in the container"`
	Keys       []KeyMetadata `json:"keys"`
	LastKey    string        `json:"lastKey" doc:"prevKey of the next page; empty: there is none"`
}

// KeyMetadata is a key with its blocks in a container.
type KeyMetadata struct {
	Volume           string             `json:"Volume"`
	Bucket           string             `json:"Bucket"`
	Key              string             `json:"Key" doc:"its path in the bucket"`
	CompletePath     string             `json:"CompletePath" doc:"begins with … when a directory above the key is deleted and being purged"`
	DataSize         int64              `json:"DataSize"`
	Versions         []int64            `json:"Versions"`
	Blocks           map[string][]Block `json:"Blocks" doc:"by version"`
	CreationTime     string             `json:"CreationTime" doc:"RFC 3339"`
	ModificationTime string             `json:"ModificationTime" doc:"RFC 3339"`
}

// Block is a block's number.
type Block struct {
	ContainerID uint64 `json:"containerID"`
	LocalID     uint64 `json:"localID"`
}

// KeysOf lists the keys that have blocks in a container, by bucket, parent and
// name.
func KeysOf(v *generation.View, container uint64, p Page) (KeysResponse, error) {
	r := KeysResponse{Keys: []KeyMetadata{}}
	var after *schema.EntryKey
	if p.After != "" {
		k, err := entryCursor("prevKey", p.After)
		if err != nil {
			return r, err
		}
		after = &k
	}
	var err error
	if r.TotalCount, err = task.ContainerKeys(v.Derived, container); err != nil {
		return r, err
	}
	n := newNames(v)
	left := p.rows()
	var last schema.EntryKey
	err = task.KeysOf(v.Derived, container, after, func(k schema.EntryKey, _ int64) (bool, error) {
		if len(r.Keys) >= p.limit() || left <= 0 {
			r.LastKey = entryKey(last)
			return false, nil
		}
		m, blocks, err := keyMetadata(v, n, container, k)
		left -= 1 + blocks
		r.Keys = append(r.Keys, m)
		last = k
		return true, err
	})
	return r, err
}

func entryKey(k schema.EntryKey) string { return rowKey(k.Name, uint64(k.Bucket), uint64(k.Parent)) }

func entryCursor(param, s string) (schema.EntryKey, error) {
	ids, name, ok := parseRowKey(s, 2)
	if !ok {
		return schema.EntryKey{}, badCursor(param, s, "/bucket id/parent id/name")
	}
	return schema.EntryKey{Bucket: ns.ObjectID(ids[0]), Parent: ns.ObjectID(ids[1]), Name: name}, nil
}

// keyMetadata describes a key with its blocks in a container, and returns how
// many blocks the key has.
func keyMetadata(v *generation.View, n *names, container uint64, k schema.EntryKey) (m KeyMetadata, all int, err error) {
	row, ok, err := schema.Entries.Get(v.Rows, k)
	if err == nil && !ok {
		err = errs.New(errs.Corrupt, "containerKeyTable", fmt.Sprintf("it has the key %s, which is not there", entryKey(k)))
	}
	if err != nil {
		return m, 0, err
	}
	if m.Volume, m.Bucket, err = n.title(k.Bucket); err != nil {
		return m, 0, err
	}
	where, err := n.dir(k.Bucket, k.Parent)
	if err != nil {
		return m, 0, err
	}
	m.Key, m.DataSize, m.Versions = where.path+k.Name, int64(row.Size), []int64{0}
	if m.CompletePath, _, err = n.path(k); err != nil {
		return m, 0, err
	}
	m.CreationTime, m.ModificationTime = stamp(row.CreatedMs), stamp(row.ModifiedMs)
	extents, err := v.Extents(row)
	blocks := []Block{}
	for _, x := range extents {
		if x.Container == container {
			blocks = append(blocks, Block{x.Container, x.Local})
		}
	}
	m.Blocks = map[string][]Block{"0": blocks}
	return m, len(extents), err
}

// stamp writes a time as Ozone does where it is text.
func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }
