package cli

import (
	"context"
	"net/url"

	"o3/internal/errs"
	"o3/internal/recon/query"
)

// namespaceCmd asks Recon, as `ozone admin namespace` does.
type namespaceCmd struct {
	Summary namespaceSummary `cmd:"" help:"What is at a path, and how many volumes, buckets, directories and keys are below it."`
	Du      namespaceDu      `cmd:"" name:"du" help:"How large what is directly in a path is."`
	Quota   namespaceQuota   `cmd:"" help:"How much a volume or bucket may have, and has."`
	Dist    namespaceDist    `cmd:"" help:"How many keys of which size are below a path."`
}

// pathArg is the path of a question to Recon.
type pathArg struct {
	reconFlags
	Path string `arg:"" help:"/, /volume, /volume/bucket or a path in a bucket"`
}

// ask asks about the path; status must be where out keeps what Recon says of it.
func (p pathArg) ask(ctx context.Context, s *Session, what string, more url.Values, out any, status *query.Status) (raw []byte, err error) {
	if more == nil {
		more = url.Values{}
	}
	more.Set("path", p.Path)
	if raw, err = p.reconFlags.ask(ctx, s, "GET", "/namespace/"+what, more, out); err != nil {
		return nil, err
	}
	switch *status {
	case query.StatusNotFound:
		return nil, errs.New(errs.NoSuchKey, p.Path, "there is nothing at this path, as far as Recon has read")
	case query.StatusNotApplicable:
		return nil, errs.New(errs.Invalid, p.Path, "what is at this path does not have it")
	}
	return raw, nil
}

// count shows a number that a path may not have.
func count(n int64) any {
	if n < 0 {
		return ""
	}
	return n
}
