package reclaim

import (
	"context"
	"time"

	"o3/internal/block"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Purge drops the rows below deleted directories until none is left.
func (s *Service) Purge(ctx context.Context) error {
	for {
		pending, err := s.any(schema.DeletedDirs.All())
		if err != nil || !pending {
			return err
		}
		reply, err := om.Execute[commandpb.PurgeDirectoriesReply](ctx, s.o.Namespace, command.PurgeDirs,
			&commandpb.PurgeDirectories{Limit: s.o.PurgeBatch})
		if err != nil {
			return err
		}
		if s.o.Listener.Purged != nil {
			s.o.Listener.Purged(int(reply.Rows))
		}
		if !reply.More {
			return nil
		}
	}
}

// any reports whether there is a row in [lower, upper).
func (s *Service) any(lower, upper []byte) (bool, error) {
	it, err := s.o.Store.Iter(lower, upper)
	if err != nil {
		return false, err
	}
	defer it.Close()
	return it.First(), it.Err()
}

// Free frees the bytes of blocks that lost their last name more than the grace
// ago and that no read still running can have seen.
func (s *Service) Free(ctx context.Context) error {
	for {
		before := time.Now().Add(-max(s.o.FreeGrace, 0))
		done, err := s.freeBatch(ctx, before.UnixMilli())
		if err != nil || done {
			return err
		}
	}
}

// unseen returns the last op whose deletions no read still running can have
// missed. It is asked after the state that names the deletions was fixed: a
// read that begins later sees them.
func (s *Service) unseen() ns.Op {
	if s.o.OldestRead != nil {
		if oldest, ok := s.o.OldestRead(); ok {
			return oldest
		}
	}
	return ^ns.Op(0)
}

// freeBatch frees some blocks deleted before the given time, oldest first; done
// tells that no more are due. Only a deletion that is durable counts: bytes that
// the state on disk still names stay, whatever happens to the log.
func (s *Service) freeBatch(ctx context.Context, beforeMs int64) (done bool, err error) {
	var (
		ids   []block.ID
		bytes int64
		drop  commandpb.FreedBlocks
	)
	durable, err := s.o.Store.Durable()
	if err != nil {
		return true, err
	}
	defer durable.Close()
	unseen := s.unseen()
	done = true
	lower, upper := schema.Deleted.All()
	err = schema.Deleted.Scan(durable, lower, upper, func(k schema.OpKey, d *schemapb.DeletedBlocks) (bool, error) {
		if d.DeletedMs > beforeMs || k.Op > unseen {
			return false, nil // rows are in the order of op and time
		}
		if _, still, err := schema.Deleted.Get(s.o.Store, k); err != nil || !still {
			return true, err // freed since
		}
		if len(ids) >= s.o.FreeBatch {
			done = false
			return false, nil
		}
		for _, e := range d.Extents {
			ids = append(ids, block.ID{Container: e.Container, Local: e.Local})
		}
		bytes += int64(d.Bytes)
		drop.Rows = append(drop.Rows, &commandpb.DeletedKey{Op: uint64(k.Op), N: k.N})
		return true, nil
	})
	if err != nil || len(drop.Rows) == 0 {
		return true, err
	}
	if err := s.o.Blocks.Delete(ctx, ids); err != nil {
		return true, err
	}
	if _, err := om.Execute[commandpb.FreedBlocks](ctx, s.o.Namespace, command.FreedBlocks, &drop); err != nil {
		return true, err
	}
	if s.o.Listener.Freed != nil {
		s.o.Listener.Freed(len(ids), bytes)
	}
	return done, nil
}

// Expire forgets idle client sessions and open keys that are too old. It
// proposes nothing when nothing is due.
func (s *Service) Expire(ctx context.Context) error {
	now := time.Now()
	clientsBefore := now.Add(-s.o.ClientExpiry).UnixMilli()
	keysBefore := now.Add(-s.o.OpenKeyExpiry).UnixMilli()
	clients, keys := 0, 0
	for {
		due, err := s.clientsDue(clientsBefore)
		if err != nil {
			return err
		}
		if !due {
			break
		}
		reply, err := om.Execute[commandpb.ExpireClientsReply](ctx, s.o.Namespace, command.ExpireClients,
			&commandpb.ExpireClients{BeforeMs: clientsBefore, Limit: s.o.ExpireBatch})
		if err != nil {
			return err
		}
		clients += int(reply.Clients)
	}
	for {
		due, err := s.openKeysDue(keysBefore)
		if err != nil {
			return err
		}
		if !due {
			break
		}
		reply, err := om.Execute[commandpb.ExpireOpenKeysReply](ctx, s.o.Namespace, command.ExpireOpenKeys,
			&commandpb.ExpireOpenKeys{BeforeMs: keysBefore, Limit: s.o.ExpireBatch})
		if err != nil {
			return err
		}
		keys += int(reply.Keys)
	}
	if clients+keys > 0 && s.o.Listener.Expired != nil {
		s.o.Listener.Expired(clients, keys)
	}
	return nil
}

func (s *Service) clientsDue(beforeMs int64) (due bool, err error) {
	lower, upper := schema.Clients.All()
	err = schema.Clients.Scan(s.o.Store, lower, upper, func(_ uint64, c *schemapb.Client) (bool, error) {
		due = c.TimeMs < beforeMs
		return !due, nil
	})
	return due, err
}

func (s *Service) openKeysDue(beforeMs int64) (due bool, err error) {
	lower, upper := schema.OpenKeys.All()
	err = schema.OpenKeys.Scan(s.o.Store, lower, upper, func(_ schema.OpenKeyKey, k *schemapb.OpenKey) (bool, error) {
		due = k.CreatedMs < beforeMs
		return !due, nil
	})
	return due, err
}
