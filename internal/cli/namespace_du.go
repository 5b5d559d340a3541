package cli

import (
	"context"
	"net/url"
	"strconv"

	"o3/internal/recon/query"
)

type namespaceDu struct {
	pathArg
	Files bool `short:"f" help:"Keys too, not only what is below buckets and directories."`
	Limit int  `short:"n" default:"0" help:"Show so many in their order, instead of the 30 largest."`
}

// Run shows the sizes.
func (c *namespaceDu) Run(ctx context.Context, s *Session) error {
	more := url.Values{"files": {strconv.FormatBool(c.Files)}}
	if c.Limit != 0 {
		more.Set("sortSubPaths", "false")
		more.Set("limit", strconv.Itoa(c.Limit))
	}
	var out query.UsageResponse
	raw, err := c.ask(ctx, s, "usage", more, &out, &out.Status)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.printRaw(raw)
	}
	t := s.table("SIZE", "PATH")
	for _, p := range out.SubPaths {
		if err := t.row(nil, size(uint64(p.Size)), p.Path); err != nil {
			return err
		}
	}
	if out.SizeDirectKey > 0 && !c.Files {
		if err := t.row(nil, size(uint64(out.SizeDirectKey)), "(keys directly in it)"); err != nil {
			return err
		}
	}
	if err := t.row(nil, size(uint64(out.Size)), out.Path); err != nil {
		return err
	}
	if err := t.end(); err != nil {
		return err
	}
	if shown := int64(len(out.SubPaths)); shown < out.SubPathCount || out.LastKey != "" {
		s.remark("%d of %d are shown; --limit shows more", shown, out.SubPathCount)
	}
	return nil
}
