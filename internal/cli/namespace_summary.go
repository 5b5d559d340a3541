package cli

import (
	"context"

	"o3/internal/recon/query"
)

type namespaceSummary struct{ pathArg }

// Run shows what is at the path.
func (c *namespaceSummary) Run(ctx context.Context, s *Session) error {
	var out struct {
		Path       string
		Type       query.Type
		CountStats query.CountStats
		Status     query.Status
	}
	raw, err := c.ask(ctx, s, "summary", nil, &out, &out.Status)
	if err != nil {
		return err
	}
	n := out.CountStats
	return s.describeRaw(raw, field{"Path", out.Path}, field{"Type", out.Type}, field{"Volumes", count(n.NumVolume)},
		field{"Buckets", count(n.NumBucket)}, field{"Directories", count(n.NumDir)}, field{"Keys", count(n.NumKey)})
}
