package generation

import (
	"context"
	"errors"

	"o3/internal/pebblekv"
)

// Agrees reports whether replica and derived tables reflect the same entry. After a
// crash they may not until the log was applied again; nobody can look meanwhile.
func (g *Generation) Agrees() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	at := g.Position().Index
	store, sql, err := g.set.Cursors()
	return err == nil && store == at && sql == at
}

// Verify reads all files of the derived tables and checks their checksums. Kind
// Corrupt where one is wrong.
func (g *Generation) Verify(ctx context.Context) error {
	var damaged error
	err := g.derived.Verify(ctx, func(f pebblekv.File) { damaged = errors.Join(damaged, f.Err) })
	return errors.Join(damaged, err, g.sql.Verify(ctx))
}
