package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"o3/internal/errs"
)

// printJSON prints m on a line of its own. Field names are those of the API.
func (s *Session) printJSON(m proto.Message) error {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return errs.Wrap(errs.Internal, "JSON", err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil { // protojson varies its spaces on purpose
		return errs.Wrap(errs.Internal, "JSON", err)
	}
	line.WriteByte('\n')
	_, err = s.Stdout.Write(line.Bytes())
	return written(err)
}

// written gives the error of an output stream a kind.
func written(err error) error {
	if err == nil {
		return nil
	}
	return errs.Wrap(errs.Internal, "writing the output", err)
}

// jsonError prints err on the error stream as an object.
func (s *Session) jsonError(err error) {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		e = &errs.Error{Kind: errs.Internal, Detail: err.Error()}
	}
	var out struct {
		Error struct {
			Kind    string `json:"kind"`
			Subject string `json:"subject,omitempty"`
			Detail  string `json:"detail,omitempty"`
			Cause   string `json:"cause,omitempty"`
		} `json:"error"`
	}
	out.Error.Kind, out.Error.Subject, out.Error.Detail = e.Kind.String(), e.Subject, e.Detail
	if e.Err != nil {
		out.Error.Cause = e.Err.Error()
	}
	_ = json.NewEncoder(s.Stderr).Encode(out) // nowhere else to tell it
}

// done prints the result of a change: the object as JSON, or a sentence.
func (s *Session) done(m proto.Message, format string, args ...any) error {
	if s.JSON {
		return s.printJSON(m)
	}
	_, err := fmt.Fprintf(s.Stdout, format+"\n", args...)
	return written(err)
}

// doneAs is done for an object that is no message of the API.
func (s *Session) doneAs(object any, format string, args ...any) error {
	if !s.JSON {
		return s.done(nil, format, args...)
	}
	e := json.NewEncoder(s.Stdout)
	e.SetEscapeHTML(false)
	return written(e.Encode(object))
}

// field is a line of a description.
type field struct {
	name  string
	value any
}

// describe prints an object as JSON or as lines of name and value, leaving out
// empty texts.
func (s *Session) describe(m proto.Message, fields ...field) error {
	if s.JSON {
		return s.printJSON(m)
	}
	w := tabwriter.NewWriter(s.Stdout, 0, 8, 2, ' ', 0)
	for _, f := range fields {
		if text := fmt.Sprint(f.value); text != "" {
			fmt.Fprintf(w, "%s:\t%s\n", f.name, text)
		}
	}
	return written(w.Flush())
}

// table prints rows as they come: as JSON, or in columns. Columns line up
// within batches, so that a listing of millions needs no memory.
type table struct {
	s     *Session
	w     *tabwriter.Writer
	head  []string
	rows  int
	batch int
}

// tableBatch is how many rows line up with each other.
const tableBatch = 1000

func (s *Session) table(head ...string) *table {
	return &table{s: s, w: tabwriter.NewWriter(s.Stdout, 0, 8, 2, ' ', 0), head: head}
}

// row prints m, or the cells.
func (t *table) row(m proto.Message, cells ...any) error {
	t.rows++
	if t.s.JSON {
		return t.s.printJSON(m)
	}
	if t.head != nil {
		fmt.Fprintln(t.w, strings.Join(t.head, "\t"))
		t.head = nil
	}
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = oneLine(fmt.Sprint(c))
	}
	fmt.Fprintln(t.w, strings.Join(text, "\t"))
	if t.batch++; t.batch == tableBatch {
		t.batch = 0
		return written(t.w.Flush())
	}
	return nil
}

// end prints what is left.
func (t *table) end() error { return written(t.w.Flush()) }

// oneLine keeps control characters in names from disturbing the table or the
// terminal.
func oneLine(s string) string {
	clean := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\uFFFD' }) < 0
	if clean {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// when shows a time in milliseconds; 0 is never.
func when(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05Z")
}

// size shows bytes: exactly, and in a unit where that is shorter.
func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// quota shows a limit; 0 is none.
func quota[N uint64 | string](show N, n uint64) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(show)
}

// copyTo copies r to the output.
func (s *Session) copyTo(w io.Writer, r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, 256<<10))
}
