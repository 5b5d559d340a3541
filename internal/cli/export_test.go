package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"o3/internal/errs"
)

// Update tells the tests to rewrite their expectations.
var Update = flag.Bool("update", false, "rewrite docs/cli.md and the expectations of the scripts")

// DepsForTest has everything, each function saying what it was called with.
func DepsForTest() Deps {
	return Deps{
		Version: "1.2.3",
		Serve: func(_ context.Context, f ServeFlags, stdout, _ io.Writer) error {
			fmt.Fprintf(stdout, "serve config=%s set=%v data=%s\n", filepath.Base(f.Config), f.Set, filepath.Base(f.Data))
			return nil
		},
		DebugDBDump: func(_ context.Context, dir string, o DumpOptions, w io.Writer) error {
			fmt.Fprintf(w, "dump %s %+v\n", filepath.Base(dir), o)
			return nil
		},
		DebugDBVerify: func(_ context.Context, dir string, o VerifyOptions, w io.Writer) error {
			o.Step(1, 2)
			fmt.Fprintf(w, "verified %s json=%v\n", filepath.Base(dir), o.JSON)
			return nil
		},
		DebugBlockVerify: func(_ context.Context, dir string, _ VerifyOptions, _ io.Writer) error {
			return errs.New(errs.Corrupt, "container 3, block 7, offset 4096", "checksum mismatch")
		},
		Commands: []Command{{Name: "freon", Help: "Load generator.", Cmd: &loader{}}},
	}
}

// loader stands for the commands of another package.
type loader struct {
	Threads int `default:"1" help:"Goroutines."`
}

func (l *loader) Run(_ context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Stdout, "%d threads against %s\n", l.Threads, strings.Split(o3.Address(), ":")[0])
	return err
}
