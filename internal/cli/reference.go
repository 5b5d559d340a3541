package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Reference writes docs/cli.md for the commands that deps has.
func Reference(w io.Writer, deps Deps) error {
	k, err := parser(new(commandLine), deps, kong.Writers(io.Discard, io.Discard))
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# The command line\n\n")
	b.WriteString("Generated from the program by `go test ./cmd/o3 -run TestReference -update`; do not edit.\n\n")
	b.WriteString(introduction)
	b.WriteString("\n## Flags of every command\n\n")
	flags(&b, k.Model.Flags)
	b.WriteString("\n## Exit codes\n\n| Code | Meaning |\n|---|---|\n")
	for _, m := range exitMeanings() {
		fmt.Fprintf(&b, "| %d | %s |\n", m.Code, m.Text)
	}
	b.WriteString("\n`o3 admin status` uses 0, 1 and 2 in the sense of monitors: good, warning, critical.\n")
	for _, top := range k.Model.Children {
		section(&b, top, 2)
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// section writes a command or a group of them.
func section(b *strings.Builder, n *kong.Node, level int) {
	if n.Hidden {
		return
	}
	fmt.Fprintf(b, "\n%s %s\n\n%s\n", strings.Repeat("#", level), commandName(n), n.Help)
	if len(n.Aliases) > 0 {
		fmt.Fprintf(b, "\nAlso: `%s`.\n", strings.Join(n.Aliases, "`, `"))
	}
	if len(n.Children) > 0 {
		for _, c := range n.Children {
			section(b, c, min(level+1, 4))
		}
		return
	}
	fmt.Fprintf(b, "\n    %s\n", usage(n))
	if n.Detail != "" {
		fmt.Fprintf(b, "\n%s\n", n.Detail)
	}
	if len(n.Positional) > 0 {
		b.WriteString("\n| Argument | |\n|---|---|\n")
		for _, a := range n.Positional {
			fmt.Fprintf(b, "| `%s` | %s |\n", a.Summary(), cell(a.Help))
		}
	}
	if len(n.Flags) > 0 {
		b.WriteString("\n")
		flags(b, n.Flags)
	}
}

// commandName is the program's name and the words that lead to a command,
// without its other names.
func commandName(n *kong.Node) string {
	if n.Parent == nil {
		return n.Name
	}
	return commandName(n.Parent) + " " + n.Name
}

// usage is the command line of a command in short.
func usage(n *kong.Node) string {
	text := commandName(n)
	for _, f := range n.Flags {
		if f.Required {
			text += " --" + f.Name + "=" + f.FormatPlaceHolder()
		}
	}
	for _, a := range n.Positional {
		text += " " + a.Summary()
	}
	if len(n.Flags) > 0 {
		text += " [flags]"
	}
	return text
}

func flags(b *strings.Builder, list []*kong.Flag) {
	b.WriteString("| Flag | |\n|---|---|\n")
	for _, f := range list {
		if f.Hidden {
			continue
		}
		name := "--" + f.Name
		if f.Short != 0 {
			name = fmt.Sprintf("-%c, %s", f.Short, name)
		}
		if !f.IsBool() {
			name += "=" + f.FormatPlaceHolder()
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, cell(f.Help))
	}
}

// cell keeps a text within its table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

const introduction = "`o3` is server and client in one program. Paths are `/volume/bucket/key`; S3 buckets live in volume `s3v`.\n" + `
Results go to standard output, everything else (errors, progress, remarks) to standard error. With ` + "`--json`" + ` each
result is one JSON object on a line of its own, with the field names of the API (` + "`api/o3/v1`" + `; 64-bit numbers are
strings, as protobuf has it), and an error is an object ` + "`{\"error\": {\"kind\", \"subject\", \"detail\"}}`" + `.

A client command finds its server by ` + "`--endpoint`, `O3_ENDPOINT`" + `, else where the configuration says a server on this
machine listens. It signs with ` + "`--access-key`, else `O3_ACCESS_KEY` and `O3_SECRET_KEY`, else `AWS_ACCESS_KEY_ID` and\n`AWS_SECRET_ACCESS_KEY`" + `, else the root key that a server on this machine keeps in ` + "`root-credentials`" + ` of its data directory.
`
