package rpc

import (
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/lifecycle/rule"
	"o3/internal/ns"
)

// detailFields are the fields of requests that say what a write changes,
// beside its subject. Whatever is secret or the bytes of users is not among them.
var detailFields = [...]protoreflect.Name{
	"to", "overwrite", "recursive", "owner", "quota_bytes", "quota_names", "set_grants", "grants", "set_tags", "tags",
	"layout", "role", "disabled", "replace", "description", "upload_id", "number", "name", "prefix", "exact", "dry_run", "from_key",
	"reason",
}

// detailsOf returns those of a message that it has.
func detailsOf(m protoreflect.MessageDescriptor) (out []protoreflect.FieldDescriptor) {
	for _, name := range detailFields {
		if fd := m.Fields().ByName(name); fd != nil {
			out = append(out, fd)
		}
	}
	return out
}

// describe fills in what a write was to change.
func (c *Call) describe(m proto.Message, fields []protoreflect.FieldDescriptor) {
	r := m.ProtoReflect()
	for _, fd := range fields {
		if !r.Has(fd) {
			continue
		}
		name, value := fd.JSONName(), ""
		switch fd.Name() {
		case "set_grants":
			name, value = "grants", "none"
		case "set_tags":
			name, value = "tags", "none"
		case "grants":
			value = joined(r.Get(fd).List(), grantText)
		case "tags":
			value = joined(r.Get(fd).List(), func(p *o3v1.Pair) string { return p.Name + "=" + p.Value })
		case "to":
			value = pathOf(r, "volume", "bucket", "to")
		case "from_key":
			name, value = "source", pathOf(r, "from_volume", "from_bucket", "from_key")
		default:
			value = r.Get(fd).String()
		}
		c.detail(name, value)
	}
	switch q := m.(type) {
	case *o3v1.DeleteKeysRequest:
		for _, k := range q.Keys {
			c.Keys = append(c.Keys, k.GetKey())
		}
	case *o3v1.CreateAccessKeyRequest:
		c.keyID(q.Id)
	case *o3v1.SetLifecycleRequest:
		c.detail("rules", rule.Summary(q.Configuration.GetRules()))
	case *o3v1.RenameSnapshotRequest:
		c.detail("to", "/"+q.Volume+"/"+q.Bucket+"/"+ns.SnapshotPrefix+"/"+q.To)
	case *o3v1.RestoreSnapshotRequest:
		if q.Key != "" {
			c.detail("key", q.Key)
		}
	}
	c.diff(m)
}

// diff fills in which diff a request is about.
func (c *Call) diff(m proto.Message) {
	set := func(name, value string) {
		if value != "" {
			c.detail(name, value)
		}
	}
	if spec := diffSpec(m); spec != nil {
		set("from", spec.From)
		set("to", spec.To)
	}
	if q, ok := m.(interface{ GetJobId() string }); ok {
		set("job", shorten(q.GetJobId()))
	}
}

// diffSpec returns what a request about a diff says of it, nil for others.
func diffSpec(m proto.Message) *o3v1.DiffSpec {
	if q, ok := m.(interface{ GetSpec() *o3v1.DiffSpec }); ok {
		return q.GetSpec()
	}
	return nil
}

// snapshotName returns the snapshot that a request is about; ok is false for
// requests about anything else.
func snapshotName(m proto.Message) (name string, ok bool) {
	switch q := m.(type) {
	case *o3v1.CreateSnapshotRequest:
		return q.Name, true
	case *o3v1.GetSnapshotRequest:
		return q.Name, true
	case *o3v1.DeleteSnapshotRequest:
		return q.Name, true
	case *o3v1.RestoreSnapshotRequest:
		return q.Name, true
	case *o3v1.RenameSnapshotRequest:
		return q.From, true
	}
	return "", false
}

// outcome fills in what only the answer tells.
func (c *Call) outcome(resp connect.AnyResponse) {
	switch a := resp.Any().(type) {
	case *o3v1.DeleteKeysResponse:
		if len(a.Results) != len(c.Keys) {
			return
		}
		var done []string
		for i, result := range a.Results {
			if kind := errs.Kind(result.Kind); kind != errs.OK {
				c.Refused = append(c.Refused, c.Keys[i]+": "+kind.String())
			} else {
				done = append(done, c.Keys[i])
			}
		}
		c.Keys = done
	case *o3v1.CreateAccessKeyResponse:
		c.keyID(a.Key.GetId())
	case *o3v1.CreateSnapshotResponse:
		c.detail("name", a.Snapshot.GetName())
	case *o3v1.RestoreSnapshotResponse:
		c.detail("restored", strconv.FormatUint(a.Restored, 10))
		c.detail("removed", strconv.FormatUint(a.Removed, 10))
		for _, r := range a.Refused {
			c.Refused = append(c.Refused, r.Path+": "+errs.Kind(r.Kind).String())
		}
	case *o3v1.SubmitDiffResponse:
		if id := a.Job.GetJobId(); id != "" {
			c.detail("job", id)
		}
	}
}

func (c *Call) keyID(id string) {
	if id != "" {
		c.detail("accessKey", shorten(id))
	}
}

func (c *Call) detail(name, value string) {
	if c.Details == nil {
		c.Details = map[string]string{}
	}
	c.Details[name] = value
}

// pathOf joins fields of a message as /volume/bucket/key.
func pathOf(r protoreflect.Message, names ...protoreflect.Name) string {
	var b strings.Builder
	for _, name := range names {
		if fd := r.Descriptor().Fields().ByName(name); fd != nil && fd.Kind() == protoreflect.StringKind {
			b.WriteString("/" + r.Get(fd).String())
		}
	}
	return b.String()
}

// joined is a list of messages as text, in the order of the list.
func joined[M proto.Message](list protoreflect.List, text func(M) string) string {
	out := make([]string, 0, list.Len())
	for i := range list.Len() {
		if m, ok := list.Get(i).Message().Interface().(M); ok {
			out = append(out, text(m))
		}
	}
	return strings.Join(out, " ")
}

func grantText(g *o3v1.Grant) string {
	var words []string
	for _, p := range g.Permissions {
		words = append(words, strings.TrimPrefix(p.String(), "PERMISSION_"))
	}
	slices.Sort(words)
	return g.Grantee + ":" + strings.Join(words, ",")
}
