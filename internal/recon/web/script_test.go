package web_test

import (
	"context"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"o3/internal/recon/web"
)

// TestScripts runs the transcripts in testdata: `do` changes the namespace, one
// line each, `ask` sends requests. Rewritten by -rewrite.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if !strings.HasSuffix(path, ".txt") {
			return
		}
		r := newRig(t)
		r.o.Rows = 50
		r.o.Images = images
		r.serve()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var b strings.Builder
			for _, line := range strings.Split(d.Input, "\n") {
				switch d.Cmd {
				case "do":
					if out := r.do(line); out != "" {
						b.WriteString(out + "\n")
					}
				case "state":
					r.state(line)
				case "ask":
					b.WriteString(r.askLine(line))
				default:
					t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
				}
			}
			r.catchUp()
			if b.Len() == 0 {
				return "ok\n"
			}
			return b.String()
		})
	})
}

// images are those of an OM.
func images(context.Context) ([]web.Image, error) {
	return []web.Image{{ID: "7-1-abc", Index: 7, Term: 1, Op: "9", CreationTime: 1_700_000_000_000, Digest: "abc", Bytes: 4096, Files: 3}}, nil
}

// askLine sends a request: [METHOD] target [Header: value | …].
func (r *rig) askLine(line string) string {
	line, rest, _ := strings.Cut(line, " | ")
	method, target, ok := strings.Cut(line, " ")
	if !ok {
		method, target = "GET", line
	}
	var headers []string
	if rest != "" {
		headers = strings.Split(rest, " | ")
	}
	return "> " + target + "\n" + show(r.ask(method, "/api/v1"+target, headers...))
}

// state changes how Recon is.
func (r *rig) state(line string) {
	switch line {
	case "blank":
		r.blank = true
	case "ready":
		r.blank = false
	case "busy":
		r.busy = true
	case "behind":
		r.status.Commit = 1_000_000
		r.status.Heard = r.o.Now()
	case "readers may look":
		r.o.ReadersMayLook = true
		r.serve()
	case "no images":
		r.o.Images = nil
		r.serve()
	default:
		r.t.Fatalf("unknown state %q", line)
	}
}

var _ web.Source = (*rig)(nil)
