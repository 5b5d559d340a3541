package cli

import (
	"context"
	"fmt"
	"runtime"
)

type serverCmd struct {
	Data string `placeholder:"DIR" help:"Data directory (default: ozone.metadata.dirs, ./o3-data)."`
}

// Run runs a server until it is told to stop.
func (c *serverCmd) Run(ctx context.Context, s *Session) error {
	return s.deps.Serve(ctx, ServeFlags{Config: s.path(s.Config), Set: s.Define, Data: s.path(c.Data), Env: s.Env}, s.Stdout, s.Stderr)
}

type versionCmd struct{}

// Run prints the version.
func (c *versionCmd) Run(s *Session) error {
	if s.JSON {
		_, err := fmt.Fprintf(s.Stdout, "{\"version\":%q,\"go\":%q,\"platform\":%q}\n", s.deps.Version, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
		return written(err)
	}
	_, err := fmt.Fprintf(s.Stdout, "o3 %s (%s, %s/%s)\n", s.deps.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return written(err)
}
