package command

import (
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// freedBlocks drops rows of deleted blocks whose bytes are gone. A row that is
// gone already was dropped before.
func freedBlocks(t *Tx, c *commandpb.FreedBlocks) (*commandpb.FreedBlocks, error) {
	for _, r := range c.Rows {
		t.wrote()
		if err := schema.Deleted.Delete(t.w, schema.OpKey{Op: ns.Op(r.Op), N: r.N}); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// expireClients forgets the answers of clients that have been idle since
// before the given time.
func expireClients(t *Tx, c *commandpb.ExpireClients) (*commandpb.ExpireClientsReply, error) {
	if err := t.flushClients(); err != nil { // the scan must see them
		return nil, err
	}
	var idle []uint64
	lower, upper := schema.Clients.All()
	err := schema.Clients.Scan(t.w, lower, upper, func(id uint64, row *schemapb.Client) (bool, error) {
		if row.TimeMs < c.BeforeMs {
			idle = append(idle, id)
		}
		return len(idle) < int(c.Limit), nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range idle {
		t.wrote()
		if err := schema.Clients.Delete(t.w, id); err != nil {
			return nil, err
		}
	}
	return &commandpb.ExpireClientsReply{Clients: uint32(len(idle))}, nil
}

// expireOpenKeys drops open keys whose writer never came back.
func expireOpenKeys(t *Tx, c *commandpb.ExpireOpenKeys) (*commandpb.ExpireOpenKeysReply, error) {
	type found struct {
		key schema.OpenKeyKey
		row *schemapb.OpenKey
	}
	var old []found
	lower, upper := schema.OpenKeys.All()
	err := schema.OpenKeys.Scan(t.w, lower, upper, func(k schema.OpenKeyKey, row *schemapb.OpenKey) (bool, error) {
		if row.CreatedMs < c.BeforeMs {
			old = append(old, found{k, row})
		}
		return len(old) < int(c.Limit), nil
	})
	if err != nil {
		return nil, err
	}
	for _, o := range old {
		b, err := t.anyBucket(o.row.Volume, o.row.Bucket)
		if err != nil {
			return nil, errs.Wrap(errs.Internal, o.key.Name, err) // a bucket takes its open keys along
		}
		if err := t.closeKey(b, o.key.Name, o.key.Session); err != nil {
			return nil, err
		}
	}
	return &commandpb.ExpireOpenKeysReply{Keys: uint32(len(old))}, nil
}
