package cli

import (
	"context"
	"fmt"
	"runtime"

	"o3/internal/config"
)

type serverCmd struct {
	Data        string `placeholder:"DIR" help:"Data directory (default: ozone.metadata.dirs, ./o3-data)."`
	PrintConfig bool   `help:"Print the configuration that results, with the source of each value, and end."`
}

// Run runs a server until it is told to stop.
func (c *serverCmd) Run(ctx context.Context, s *Session) error {
	if c.PrintConfig {
		cfg, err := config.Load(config.Sources{File: s.path(s.Config), Env: s.Env, Set: s.Define, Data: s.path(c.Data)})
		if err != nil {
			return err
		}
		return written(cfg.Dump(s.Stdout))
	}
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
