package command_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
)

// TestScripts runs the scripts of testdata. A block of commands is one log
// entry each; its expected part is every answer and every row that changed. In
// a script an id is written as op.n, a time as milliseconds from the start. See
// testdata/README.md for the verbs.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	ran := map[command.Kind]bool{}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			s := &script{d: fsmtest.New(t, new(memkv.Store)), ran: ran, ids: map[string]uint64{}}
			datadriven.RunTest(t, f, func(t *testing.T, td *datadriven.TestData) string {
				switch td.Cmd {
				case "run":
					return s.lines(t, td.Input, false)
				case "batch":
					return s.lines(t, td.Input, true)
				case "clock":
					ms, err := strconv.ParseInt(td.CmdArgs[0].Key, 10, 64)
					if err != nil {
						t.Fatal(err)
					}
					s.d.Now = fsmtest.Start + ms
					return ""
				case "quiet":
					if out := s.lines(t, td.Input, false); strings.Contains(out, "refused") {
						return out
					}
					return ""
				}
				return "unknown directive " + td.Cmd
			})
		})
	}
	for k := command.Kind(1); k < 256; k++ {
		if !strings.HasPrefix(k.String(), "command ") && !ran[k] {
			t.Errorf("no script runs %v", k)
		}
	}
}

// script is the state of one script.
type script struct {
	d     *fsmtest.Driver
	ran   map[command.Kind]bool
	ids   map[string]uint64 // what a script calls an id
	label string            // what the present line calls the id it makes
}

// lines runs commands: each as an entry of its own, or all as one.
func (s *script) lines(t *testing.T, input string, together bool) string {
	var out strings.Builder
	var batch []fsmtest.Request
	before := s.rows(t)
	for line := range strings.SplitSeq(strings.TrimSpace(input), "\n") {
		r, ok := s.parse(t, line)
		if !ok {
			continue
		}
		s.ran[fsmtest.KindOf(r.Body)] = true
		if together {
			batch = append(batch, r)
			continue
		}
		a := s.d.Send(t, r)
		s.keep(a)
		after := s.rows(t)
		diff := fsmtest.Diff(before, after)
		if a.Kind != errs.OK && strings.Contains(withoutClients(diff), "  ") {
			t.Errorf("%s: refused, yet it changed\n%s", line, diff)
		}
		out.WriteString(answerText(a) + diff)
		before = after
	}
	if together {
		var raw [][]byte
		for _, r := range batch {
			raw = append(raw, r.Encode())
		}
		answers, err := s.d.Apply(raw...)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range batch {
			a, err := fsmtest.Decode(r.Body, answers[i])
			if err != nil {
				t.Fatal(err)
			}
			out.WriteString(answerText(a))
		}
		out.WriteString(fsmtest.Diff(before, s.rows(t)))
	}
	return out.String()
}

// keep notes the id that a line made under the line's label.
func (s *script) keep(a fsmtest.Answer) {
	switch b := a.Body.(type) {
	case *o3v1.CreateUploadResponse:
		id, _ := command.ParseUploadID(b.Upload.UploadId)
		s.ids[s.label] = uint64(id)
	case *o3v1.OpenKeyResponse:
		s.ids[s.label] = b.Session
	case *o3v1.CreateBucketResponse:
		s.ids[s.label] = b.Bucket.ObjectId
	case *commandpb.CreateDiffJobReply:
		id, _ := command.ParseUploadID(b.Job.JobId)
		s.ids[s.label] = uint64(id)
	case *commandpb.StartLifecycleScanReply:
		s.ids[s.label] = b.State.ScanID
	case *o3v1.CreateDirectoryResponse:
		s.ids[s.label] = b.Key.ObjectId
	default:
		s.ids[s.label] = uint64(a.Op)
	}
}

func withoutClients(diff string) string {
	var out []string
	for line := range strings.SplitSeq(diff, "\n") {
		if !strings.Contains(line, " clients ") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// rows returns all rows, after checking all that must hold of them.
func (s *script) rows(t *testing.T) []fsmtest.Row {
	t.Helper()
	if _, err := fsmtest.Check(s.d.Store); err != nil {
		t.Errorf("after op %d: %v", s.d.Machine.Position().Op, err)
	}
	rows, err := fsmtest.Rows(s.d.Store)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func answerText(a fsmtest.Answer) string {
	if a.Kind != errs.OK {
		return fmt.Sprintf("op %d refused: %v\n", a.Op, a)
	}
	body := ""
	switch b := a.Body.(type) {
	case *o3v1.DeleteKeysResponse:
		for i, r := range b.Results {
			if i == 8 {
				body += fmt.Sprintf(" … %d in all", len(b.Results))
				break
			}
			switch {
			case r.Kind != 0:
				body += fmt.Sprintf(" [%v: %s]", errs.Kind(r.Kind), r.Detail)
			case r.Existed:
				body += " [deleted]"
			default:
				body += " [absent]"
			}
		}
	case *o3v1.CommitKeyResponse:
		body = keyText(b.Key)
	case *o3v1.RenameKeyResponse:
		body = keyText(b.Key)
	case *o3v1.CopyKeyResponse:
		body = keyText(b.Key)
	case *o3v1.UpdateKeyResponse:
		body = keyText(b.Key)
	case *o3v1.CreateDirectoryResponse:
		body = keyText(b.Key)
	case *o3v1.CreateVolumeResponse, *o3v1.UpdateVolumeResponse, *o3v1.CreateBucketResponse, *o3v1.UpdateBucketResponse,
		*o3v1.CreateUserResponse, *o3v1.UpdateUserResponse, *o3v1.CreateAccessKeyResponse: // the row says it all
	case *o3v1.CreateSnapshotResponse:
		body = snapshotText(b.Snapshot)
	case *o3v1.RenameSnapshotResponse:
		body = snapshotText(b.Snapshot)
	case *o3v1.DeleteSnapshotResponse:
		body = snapshotText(b.Snapshot)
	case *commandpb.RestoreKeysReply:
		for _, r := range b.Results {
			switch {
			case r.Kind != 0:
				body += fmt.Sprintf(" [%v: %s]", errs.Kind(r.Kind), r.Detail)
			case r.Restored:
				body += fmt.Sprintf(" [restored %d bytes]", r.Bytes)
			default:
				body += " [as it was]"
			}
		}
	case *o3v1.SetLifecycleResponse:
		body = fmt.Sprintf(" update %d", b.UpdateId)
	case *commandpb.StartLifecycleScanReply:
		body = fmt.Sprintf(" scan %s at %d", fsmtest.ID(b.State.ScanID), b.State.Sequence)
	case *commandpb.LifecycleStepReply:
		body = stepText(b)
	case nil:
	default:
		body = " " + fsmtest.Text(b)
	}
	return fmt.Sprintf("op %d ok%s\n", a.Op, body)
}

func keyText(k *o3v1.KeyInfo) string {
	return fmt.Sprintf(" %s %s", k.Name, fsmtest.ID(k.ObjectId))
}

// snapshotText leaves out what the row of a snapshot shows.
func snapshotText(s *o3v1.SnapshotInfo) string {
	out := fmt.Sprintf(" %s %s", s.Name, s.State)
	if s.ExclusiveBytes > 0 || s.ExclusiveNames > 0 {
		out += fmt.Sprintf(" exclusive:%d bytes, %d names", s.ExclusiveBytes, s.ExclusiveNames)
	}
	if s.PendingDirectories > 0 {
		out += fmt.Sprintf(" pending:%d", s.PendingDirectories)
	}
	return out
}

// words is a parsed line: a verb, its operands and its options.
type words struct {
	t    *testing.T
	line string
	args []string
	opts map[string]string
	used map[string]bool
	ids  map[string]uint64
}

// flags are the options without a value.
var flags = []string{"recursive", "must-exist", "may-exist", "overwrite", "replace", "if-absent", "from-absent", "full", "ordered", "expired"}

func split(t *testing.T, line string) *words {
	w := &words{t: t, line: line, opts: map[string]string{}, used: map[string]bool{}}
	for f := range strings.FieldsSeq(line) {
		if name, value, ok := strings.Cut(f, "="); ok {
			w.opts[name] = value
		} else if slices.Contains(flags, f) {
			w.opts[f] = ""
		} else {
			w.args = append(w.args, f)
		}
	}
	return w
}

func (w *words) arg(i int) string {
	if i >= len(w.args) {
		w.t.Fatalf("%s: operand %d is missing", w.line, i)
	}
	return unquote(w.args[i])
}

// unquote reads the few names that a field of a line cannot be: ” is none.
func unquote(s string) string {
	if s == "''" {
		return ""
	}
	return strings.NewReplacer("%20", " ", "%00", "\x00").Replace(s)
}

func (w *words) has(name string) bool {
	_, ok := w.opts[name]
	w.used[name] = true
	return ok
}

func (w *words) str(name string) string {
	w.used[name] = true
	return unquote(w.opts[name])
}

func (w *words) num(name string) uint64 {
	s := w.str(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		w.t.Fatalf("%s: %v", w.line, err)
	}
	return n
}

func (w *words) id(name string) uint64 {
	if !w.has(name) {
		return 0
	}
	return w.parseID(w.str(name))
}

func (w *words) parseID(s string) uint64 {
	if id, ok := w.ids[s]; ok {
		return id
	}
	id, err := fsmtest.ParseID(s)
	if err != nil {
		w.t.Fatalf("%s: %q: %v", w.line, s, err)
	}
	return id
}

func (w *words) optStr(name string) *string {
	if !w.has(name) {
		return nil
	}
	return proto.String(w.str(name))
}

func (w *words) optNum(name string) *uint64 {
	if !w.has(name) {
		return nil
	}
	return proto.Uint64(w.num(name))
}

func (w *words) list(name string) []string {
	if w.str(name) == "" {
		return nil
	}
	return strings.Split(w.str(name), ",")
}

// pairs reads a:1,b:2.
func (w *words) pairs(name string) (out []*o3v1.Pair) {
	for _, s := range w.list(name) {
		k, v, _ := strings.Cut(s, ":")
		out = append(out, &o3v1.Pair{Name: k, Value: v})
	}
	return out
}

// grants reads bob:READ+WRITE,*:READ.
func (w *words) grants() (out []*o3v1.Grant) {
	for _, s := range w.list("grants") {
		who, what, _ := strings.Cut(s, ":")
		g := &o3v1.Grant{Grantee: who}
		for p := range strings.SplitSeq(what, "+") {
			g.Permissions = append(g.Permissions, o3v1.Permission(o3v1.Permission_value["PERMISSION_"+p]))
		}
		out = append(out, g)
	}
	return out
}

func (w *words) headers() *o3v1.Headers {
	if !w.has("type") {
		return nil
	}
	return &o3v1.Headers{ContentType: w.str("type")}
}

// extents reads 7/1:10 (block 1 of container 7, 10 bytes) and 7/1-40:10 (forty
// blocks), separated by commas.
func (w *words) extents() (out []*o3v1.Extent, size uint64) {
	for _, s := range w.list("blocks") {
		var c, first, last uint64
		var n, offset int64
		if _, err := fmt.Sscanf(s, "%d/%d-%d:%d", &c, &first, &last, &n); err != nil {
			if _, err := fmt.Sscanf(s, "%d/%d:%d+%d", &c, &first, &offset, &n); err != nil {
				offset = 0
				if _, err := fmt.Sscanf(s, "%d/%d:%d", &c, &first, &n); err != nil {
					w.t.Fatalf("%s: %q: %v", w.line, s, err)
				}
			}
			last = first
		}
		for i := first; i <= last; i++ {
			out = append(out, &o3v1.Extent{Container: c, Local: i, Offset: offset, Length: n})
			size += uint64(n)
		}
	}
	return out, size
}

// pre reads the preconditions, whose names start with prefix.
func (w *words) pre(prefix string) *o3v1.Preconditions {
	p := &o3v1.Preconditions{
		IfMatch: w.str(prefix + "match"), IfAbsent: w.has(prefix + "absent"), IfSince: w.num(prefix + "since"),
		IfNoneMatch: w.str(prefix + "none-match"), IfSize: w.num(prefix + "size"), IfSizeSet: w.has(prefix + "size"),
	}
	if w.has(prefix + "unmodified") {
		p.IfUnmodifiedSinceMs = fsmtest.Start + int64(w.num(prefix+"unmodified"))
	}
	if proto.Equal(p, &o3v1.Preconditions{}) {
		return nil
	}
	return p
}

// parse makes a request of a line; a comment makes none.
func (s *script) parse(t *testing.T, line string) (fsmtest.Request, bool) {
	if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
		return fsmtest.Request{}, false
	}
	w := split(t, line)
	w.ids = s.ids
	s.label = w.str("id")
	verb := w.args[0]
	w.args = w.args[1:]
	make, ok := verbs[verb]
	if !ok {
		make, ok = lifecycleVerbs[verb]
	}
	if !ok {
		t.Fatalf("%s: unknown verb", line)
	}
	r := s.d.Request(make(s, w))
	if w.has("as") {
		r.Principal = w.str("as")
	}
	if w.has("client") {
		r.Stamp = &o3v1.Stamp{ClientId: w.num("client"), Sequence: w.num("seq"), Acked: w.num("acked")}
	}
	r.BucketID = ns.ObjectID(w.id("bucket-id"))
	for name := range w.opts {
		if !w.used[name] {
			t.Fatalf("%s: unknown option %s", line, name)
		}
	}
	return r, true
}

// spot splits volume/bucket; a bucket alone is of the volume s3v.
func spot(s string) (volume, bucket string) {
	if v, b, ok := strings.Cut(s, "/"); ok {
		return v, b
	}
	return ns.S3Volume, s
}
