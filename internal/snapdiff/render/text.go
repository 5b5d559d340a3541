// Package render writes the pages of a snapshot diff in the forms that Ozone's
// command line prints: text, and JSON. It is pure.
package render

import (
	"bufio"
	"io"

	o3v1 "o3/api/o3/v1"
)

// LiveBucket stands for a snapshot where the live bucket is compared.
const LiveBucket = "live bucket"

// Text is a page, or several, of a diff as text: a header, a line for each
// entry and, where more follows, the next page's token. Names are printed as
// they are; where they may hold line breaks, JSON is the form to parse.
type Text struct {
	w *bufio.Writer
}

// NewText returns a Text that writes to w, with the header written. An empty
// name is the live bucket.
func NewText(w io.Writer, from, to string) *Text {
	t := &Text{w: bufio.NewWriter(w)}
	// A bufio.Writer keeps its first error, which End returns.
	_, _ = t.w.WriteString("Difference between snapshot: " + named(from) + " and snapshot: " + named(to) + "\n")
	return t
}

func named(snapshot string) string {
	if snapshot == "" {
		return LiveBucket
	}
	return snapshot
}

// Entries writes a line for each entry.
func (t *Text) Entries(entries ...*o3v1.DiffEntry) {
	for _, e := range entries {
		_, _ = t.w.WriteString(Line(e))
		_ = t.w.WriteByte('\n')
	}
}

// End writes the next page's token, if there is one, and returns the first
// error of all writes.
func (t *Text) End(nextToken string) error {
	if nextToken != "" {
		_, _ = t.w.WriteString("Next token: " + nextToken + "\n")
	}
	return t.w.Flush()
}

// Line returns an entry as Ozone prints it, without a line break.
func Line(e *o3v1.DiffEntry) string {
	line := e.Type + "\t" + relative(e.SourcePath)
	if e.TargetPath != "" {
		line += " -> " + relative(e.TargetPath)
	}
	return line
}

func relative(path string) string { return "./" + path }
