package cli

import (
	"context"

	"o3/internal/recon/query"
)

type namespaceQuota struct{ pathArg }

// Run shows the quota.
func (c *namespaceQuota) Run(ctx context.Context, s *Session) error {
	var out query.QuotaResponse
	raw, err := c.ask(ctx, s, "quota", nil, &out, &out.Status)
	if err != nil {
		return err
	}
	allowed, left := "unlimited", ""
	if out.Allowed >= 0 {
		allowed, left = size(uint64(out.Allowed)), size(uint64(max(out.Allowed-out.Used, 0)))
	}
	return s.describeRaw(raw, field{"Allowed", allowed}, field{"Used", size(uint64(out.Used))}, field{"Left", left})
}
