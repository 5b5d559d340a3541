// Package cli is the command line of O3: one file per group of commands, each
// command a struct that kong fills and whose Run does the work through the
// client, or through a function of Deps where there is no server to ask.
//
// Run is a function of its arguments: it reads no global state, so a whole
// command line can run inside a test. It starts no goroutine that outlives it.
// The reference docs/cli.md is generated from the same structs.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"o3/internal/errs"
)

// Deps is what the command line cannot do by itself. A nil function makes the
// commands that need it absent.
type Deps struct {
	// Version is what `o3 version` prints.
	Version string

	// Serve runs a server until ctx ends.
	Serve func(ctx context.Context, f ServeFlags, stdout, stderr io.Writer) error

	// DebugDBDump prints rows of the store below the data directory dir.
	DebugDBDump func(ctx context.Context, dir string, o DumpOptions, w io.Writer) error
	// DebugDBVerify checks the store below dir and prints what it found; kind
	// Corrupt when that is damage.
	DebugDBVerify func(ctx context.Context, dir string, o VerifyOptions, w io.Writer) error
	// DebugBlockVerify does the same for the blocks below dir.
	DebugBlockVerify func(ctx context.Context, dir string, o VerifyOptions, w io.Writer) error

	// Commands are contributed by other packages.
	Commands []Command
}

// ServeFlags are what `o3 server` was given.
type ServeFlags struct {
	Config string   // file; "": none
	Set    []string // "key=value" of each -D
	Data   string   // directory; "": as configured
	Env    []string // as os.Environ returns it
}

// DumpOptions says which rows to print.
type DumpOptions struct {
	Table string // "": every table
	From  string // first key, in the form the dump prints; "": the first
	Limit int    // rows per table; 0: all
	JSON  bool
}

// VerifyOptions says how a check tells what it finds.
type VerifyOptions struct {
	JSON bool                    // an object per problem, then {"summary": …}; else lines of text
	Step func(done, total int64) // is called with the work done
}

// Command is a command of another package. Cmd points to a struct as kong
// takes it; its Run may have the parameters context.Context and *Session.
type Command struct {
	Name string
	Help string
	Cmd  any
}

// IO is what a command line reads and writes.
type IO struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Env    []string // as os.Environ returns it
	Dir    string   // what relative paths are relative to; "": the process's
}

// commandLine is the grammar.
type commandLine struct {
	Globals

	Server  serverCmd  `cmd:"" help:"Run a server: all roles in one process."`
	Sh      shCmd      `cmd:"" help:"Work with volumes, buckets, keys and snapshots."`
	Admin   adminCmd   `cmd:"" help:"Look after a cluster."`
	Debug   debugCmd   `cmd:"" help:"Look into the files of a server that is stopped."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// parser returns the parser of the command line, without the commands that
// deps cannot serve.
func parser(into *commandLine, deps Deps, options ...kong.Option) (*kong.Kong, error) {
	options = append(options,
		kong.Name("o3"),
		kong.Description("O3 is an object store. Paths are /volume/bucket/key; S3 buckets live in volume s3v."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.PostBuild(func(k *kong.Kong) error { prune(k.Model.Node, deps); return nil }),
	)
	for _, c := range deps.Commands {
		options = append(options, kong.DynamicCommand(c.Name, c.Help, "", c.Cmd))
	}
	return kong.New(into, options...)
}

// prune removes the commands that cannot be served.
func prune(root *kong.Node, deps Deps) {
	absent := map[string]bool{
		"server": deps.Serve == nil, "debug db dump": deps.DebugDBDump == nil,
		"debug db verify": deps.DebugDBVerify == nil, "debug block verify": deps.DebugBlockVerify == nil,
	}
	var walk func(n *kong.Node, path string)
	walk = func(n *kong.Node, path string) {
		n.Children = slices.DeleteFunc(n.Children, func(c *kong.Node) bool {
			at := strings.TrimSpace(path + " " + c.Name)
			had := len(c.Children)
			walk(c, at)
			return absent[at] || had > 0 && len(c.Children) == 0
		})
	}
	walk(root, "")
}

// Run runs one command line (without the program's name) and returns the exit
// code; docs/cli.md lists them.
func Run(ctx context.Context, args []string, streams IO, deps Deps) int {
	var line commandLine
	exited, code := false, 0
	k, err := parser(&line, deps,
		kong.Writers(streams.Stdout, streams.Stderr),
		kong.Exit(func(c int) { exited, code = true, c }),
	)
	if err != nil {
		fmt.Fprintln(streams.Stderr, "o3:", err)
		return ExitFailure
	}
	parsed, err := k.Parse(args)
	if exited { // --help
		return code
	}
	if err != nil {
		text := usageError(k, err)
		if line.JSON || slices.Contains(args, "--json") { // kong sets no flags when it meets an unknown word
			(&Session{IO: streams}).jsonError(errs.New(errs.Invalid, "command line", strings.ReplaceAll(text, "\nTry: ", "; try: ")))
			return ExitUsage
		}
		fmt.Fprintln(streams.Stderr, "o3:", text)
		return ExitUsage
	}
	s := &Session{IO: streams, Globals: line.Globals, deps: deps}
	defer s.close()
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err = s.checkSettings(parsed.Command()); err == nil {
		err = parsed.Run(s)
	}
	if ctx.Err() != nil && errs.KindOf(err) == errs.Unavailable {
		err = errs.New(errs.Canceled, "", "interrupted")
	}
	return s.finish(err)
}

// usageError makes kong's message about an unknown word name the nearest that
// exists.
func usageError(k *kong.Kong, err error) string {
	text := err.Error()
	node := k.Model.Node
	if p, ok := errors.AsType[*kong.ParseError](err); ok && p.Context != nil {
		if n := p.Context.Selected(); n != nil {
			node = n
		} else {
			for _, step := range p.Context.Path {
				if step.Command != nil {
					node = step.Command
				}
			}
		}
	}
	rest, unknown := strings.CutPrefix(text, "unexpected argument ")
	if unknown && len(node.Children) > 0 {
		word, _, _ := strings.Cut(rest, ",")
		var names []string
		for _, c := range node.Children {
			if !c.Hidden {
				names = append(names, c.Name)
			}
		}
		slices.Sort(names)
		text = fmt.Sprintf("%q is no command of %q: there are %s", word, commandName(node), strings.Join(names, ", "))
		if near := nearest(word, names); near != "" {
			text += fmt.Sprintf("; did you mean %q?", near)
		}
	}
	return text + "\nTry: " + commandName(node) + " --help"
}

// nearest returns the name with the smallest distance from word, or "" if none
// is near.
func nearest(word string, names []string) string {
	best, least := "", max(len(word)/2, 2)+1
	for _, n := range names {
		d := distance(word, n)
		if strings.HasPrefix(n, word) || strings.HasPrefix(word, n) {
			d = 1
		}
		if d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
