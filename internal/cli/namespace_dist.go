package cli

import (
	"context"

	"o3/internal/recon/query"
	"o3/internal/recon/task"
)

type namespaceDist struct{ pathArg }

// Run shows the sizes that there are.
func (c *namespaceDist) Run(ctx context.Context, s *Session) error {
	var out query.DistResponse
	raw, err := c.ask(ctx, s, "dist", nil, &out, &out.Status)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.printRaw(raw)
	}
	t := s.table("SIZE UP TO", "KEYS")
	for bin, n := range out.Dist {
		if n == 0 {
			continue
		}
		limit := "more"
		if bytes, ok := task.SizeBinLimit(bin); ok {
			limit = size(bytes)
		}
		if err := t.row(nil, limit, n); err != nil {
			return err
		}
	}
	return t.end()
}
