package fsmtest

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Row is a replicated row: its encoded key and value.
type Row struct{ Key, Value string }

// Rows returns every replicated row of r, in order.
func Rows(r kv.Reader) ([]Row, error) {
	it, err := r.Iter(schema.FirstReplicated(), []byte{schema.NodeLocal})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var out []Row
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			return nil, err
		}
		out = append(out, Row{string(it.Key()), string(v)})
	}
	return out, it.Err()
}

// Printer prints the difference of two states for people.
type Printer struct{ names map[uint64]string }

// Diff prints, row by row, what after has more (+), less (-) or otherwise (~)
// than before.
func Diff(before, after []Row) string {
	p := &Printer{names: map[uint64]string{}}
	p.learn(before)
	p.learn(after)
	var b strings.Builder
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].Key < after[0].Key:
			fmt.Fprintf(&b, "  - %s\n", p.key(before[0].Key))
			before = before[1:]
		case len(before) == 0 || after[0].Key < before[0].Key:
			fmt.Fprintf(&b, "  + %s  %s\n", p.key(after[0].Key), p.record(after[0]))
			after = after[1:]
		default:
			if before[0].Value != after[0].Value {
				fmt.Fprintf(&b, "  ~ %s  %s\n", p.key(after[0].Key), p.change(before[0], after[0]))
			}
			before, after = before[1:], after[1:]
		}
	}
	return b.String()
}

// learn notes the names of buckets and directories; that of a directory that is
// known from history only has its id in it.
func (p *Printer) learn(rows []Row) {
	type hung struct {
		id  uint64
		row *schemapb.Dir
	}
	var dirs, past []hung
	for _, r := range rows {
		switch m := decode(r).(type) {
		case *schemapb.Volume:
			p.names[m.ObjectId] = r.Key[1:]
		case *schemapb.Bucket:
			k, _ := schema.Buckets.ParseKey([]byte(r.Key))
			p.names[m.ObjectId] = k.Name + ":"
		case *schemapb.Dir:
			if k, err := schema.Dirs.ParseKey([]byte(r.Key)); err == nil {
				dirs = append(dirs, hung{uint64(k.Dir), m})
			} else if k, err := schema.DirHistory.ParseKey([]byte(r.Key)); err == nil {
				past = append(past, hung{uint64(k.Dir), m})
			}
		}
	}
	for _, d := range past {
		d.row.Name = strings.TrimSuffix(d.row.Name, "/") + "#" + ID(d.id) + "/"
	}
	for _, list := range [][]hung{dirs, append(dirs, past...)} { // what is live first
		for more := true; more; {
			more = false
			for _, d := range list {
				parent, ok := p.names[d.row.ParentId]
				if _, known := p.names[d.id]; ok && !known {
					p.names[d.id], more = parent+d.row.Name, true
				}
			}
		}
	}
}

// ID prints an object id as the op that made it and its number in that op.
func ID(id uint64) string { return fmt.Sprintf("%d.%d", id>>10, id&1023) }

// ParseID reads what ID prints.
func ParseID(s string) (uint64, error) {
	var op, n uint64
	_, err := fmt.Sscanf(s, "%d.%d", &op, &n)
	return op<<10 | n, err
}

func (p *Printer) name(id ns.ObjectID) string {
	if s, ok := p.names[uint64(id)]; ok {
		return s
	}
	return "#" + ID(uint64(id)) + "/"
}

func (p *Printer) key(key string) string {
	b := []byte(key)
	t, _ := schema.TableOf(b)
	s := "?"
	switch t.Name {
	case "buckets":
		k, _ := schema.Buckets.ParseKey(b)
		s = p.name(k.Volume) + "/" + k.Name
	case "entries":
		k, _ := schema.Entries.ParseKey(b)
		s = p.name(k.Parent) + k.Name
	case "dirs":
		k, _ := schema.Dirs.ParseKey(b)
		s = p.name(k.Bucket) + ID(uint64(k.Dir))
	case "smalls":
		k, _ := schema.Smalls.ParseKey(b)
		s = ID(k)
	case "refs":
		k, _ := schema.Refs.ParseKey(b)
		s = blockText(k.Container, k.Local)
	case "uploads":
		k, _ := schema.Uploads.ParseKey(b)
		s = p.name(k.Bucket) + k.Name + " " + ID(uint64(k.Upload))
	case "parts":
		k, _ := schema.Parts.ParseKey(b)
		s = fmt.Sprintf("%s%s part %d", p.name(k.Bucket), ID(uint64(k.Upload)), k.Number)
	case "openKeys":
		k, _ := schema.OpenKeys.ParseKey(b)
		s = p.name(k.Bucket) + k.Name + " " + ID(k.Session)
	case "deleted":
		k, _ := schema.Deleted.ParseKey(b)
		s = fmt.Sprintf("%d/%d", k.Op, k.N)
	case "deletedDirs":
		k, _ := schema.DeletedDirs.ParseKey(b)
		s = fmt.Sprintf("%d/%d", k.Op, k.N)
	case "clients":
		k, _ := schema.Clients.ParseKey(b)
		s = fmt.Sprint(k)
	case "snapshots", "reclaims":
		k, _ := schema.Snapshots.ParseKey(append(schema.Snapshots.Prefix(), b[1:]...))
		s = fmt.Sprintf("%s%d", p.name(k.Bucket), k.Op)
	case "snapshotNames":
		k, _ := schema.SnapshotNames.ParseKey(b)
		s = p.name(k.Bucket) + k.Name
	case "history":
		k, _ := schema.History.ParseKey(b)
		s = fmt.Sprintf("%s%s until %d", p.name(k.Parent), k.Name, k.Until)
	case "dirHistory":
		k, _ := schema.DirHistory.ParseKey(b)
		s = fmt.Sprintf("%s%s until %d", p.name(k.Bucket), ID(uint64(k.Dir)), k.Until)
	case "journal":
		k, _ := schema.Journal.ParseKey(b)
		s = fmt.Sprintf("%d %s%s", k.Op, p.name(k.Parent), k.Name)
	case "cells", "cellEnds":
		s = p.cell(b)
	case "lifecycleConfigurationTable", "lifecycleStateTable", "lifecycleSuspensions":
		k, _ := schema.Lifecycles.ParseKey(append(schema.Lifecycles.Prefix(), b[1:]...))
		if s = p.name(k); k == schema.EveryBucket {
			s = "every bucket"
		}
	case "snapDiffJobTable":
		k, _ := schema.DiffJobs.ParseKey(b)
		s = fmt.Sprintf("%s%d-%d options %d", p.name(k.Bucket), k.From, k.To, k.Options)
	default:
		s = key[1:]
	}
	return t.Name + " " + s
}

func (p *Printer) cell(key []byte) string {
	k, err := schema.Cells.ParseKey(key)
	if err != nil {
		k, _ = schema.CellEnds.ParseKey(key)
	}
	return fmt.Sprintf("%s[%d,%d]", p.name(k.Bucket), k.First, k.Last)
}

// decode returns the record of a row, nil when it has none.
func decode(r Row) proto.Message {
	k, v := []byte(r.Key), []byte(r.Value)
	t, _ := schema.TableOf(k)
	var m proto.Message
	var err error
	switch t.Name {
	case "volumes":
		m, err = schema.Volumes.Decode(k, v)
	case "buckets":
		m, err = schema.Buckets.Decode(k, v)
	case "users":
		m, err = schema.Users.Decode(k, v)
	case "accessKeys":
		m, err = schema.AccessKeys.Decode(k, v)
	case "entries":
		m, err = schema.Entries.Decode(k, v)
	case "dirs":
		m, err = schema.Dirs.Decode(k, v)
	case "smalls":
		m, err = schema.Smalls.Decode(k, v)
	case "refs":
		m, err = schema.Refs.Decode(k, v)
	case "uploads":
		m, err = schema.Uploads.Decode(k, v)
	case "parts":
		m, err = schema.Parts.Decode(k, v)
	case "openKeys":
		m, err = schema.OpenKeys.Decode(k, v)
	case "deleted":
		m, err = schema.Deleted.Decode(k, v)
	case "deletedDirs":
		m, err = schema.DeletedDirs.Decode(k, v)
	case "clients":
		m, err = schema.Clients.Decode(k, v)
	case "reclaims":
		m, err = schema.Reclaims.Decode(k, v)
	case "history":
		m, err = schema.History.Decode(k, v)
	case "dirHistory":
		m, err = schema.DirHistory.Decode(k, v)
	case "journal":
		m, err = schema.Journal.Decode(k, v)
	case "snapshots":
		m, err = schema.Snapshots.Decode(k, v)
	case "snapshotNames":
		m, err = schema.SnapshotNames.Decode(k, v)
	case "cells":
		m, err = schema.Cells.Decode(k, v)
	case "cellEnds":
		m, err = schema.CellEnds.Decode(k, v)
	case "logHolds":
		m, err = schema.LogHolds.Decode(k, v)
	case "snapDiffJobTable":
		m, err = schema.DiffJobs.Decode(k, v)
	case "counters":
		m, err = schema.Counters.Decode(k, v)
	case "lifecycleConfigurationTable":
		m, err = schema.Lifecycles.Decode(k, v)
	case "lifecycleStateTable":
		m, err = schema.LifecycleScans.Decode(k, v)
	case "lifecycleSuspensions":
		m, err = schema.LifecycleSuspensions.Decode(k, v)
	}
	if err != nil {
		return nil
	}
	return m
}

func (p *Printer) record(r Row) string {
	m := decode(r)
	if small, ok := m.(*schemapb.Small); ok {
		return smallText(small.Data)
	}
	if e, ok := m.(*schemapb.Entry); ok && r.Key[0] == schema.History.Prefix()[0] {
		return pastText(e)
	}
	return Text(m)
}

// pastText prints a row of history: whose it is, and the tag of the rest, which
// is that of the live row before.
func pastText(e *schemapb.Entry) string {
	return fmt.Sprintf("object_id:%s since:%d born:%d size:%d tag:%s", ID(e.ObjectId), e.Since, e.Born, e.Size, tagText(command.ContentTag(e)))
}

// tagText prints the last digits of a content tag: enough to tell those of a
// script apart.
func tagText(tag uint64) string { return fmt.Sprintf("%04x", tag&0xffff) }

func smallText(data []byte) string {
	var list schemapb.Extents
	if proto.Unmarshal(data, &list) == nil && len(list.Extents) > 1 && len(list.ProtoReflect().GetUnknown()) == 0 {
		return "list of " + Text(&list)
	}
	return bytesText(data)
}

func (p *Printer) change(before, after Row) string {
	old, now := decode(before).ProtoReflect(), decode(after).ProtoReflect()
	var out []string
	for i := range now.Descriptor().Fields().Len() {
		f := now.Descriptor().Fields().Get(i)
		a, b := fieldText(old, f), fieldText(now, f)
		if a != b {
			out = append(out, fmt.Sprintf("%s:%s→%s", f.Name(), orNone(a), orNone(b)))
		}
	}
	return strings.Join(out, " ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Text prints a message on one line: fields in the order of their numbers, ids
// as op.n, times relative to Start.
func Text(m proto.Message) string {
	if m == nil {
		return ""
	}
	r := m.ProtoReflect()
	var out []string
	for i := range r.Descriptor().Fields().Len() {
		f := r.Descriptor().Fields().Get(i)
		if s := fieldText(r, f); s != "" {
			out = append(out, fmt.Sprintf("%s:%s", f.Name(), s))
		}
	}
	return strings.Join(out, " ")
}

// fieldText prints a field, "" when it is not set.
func fieldText(m protoreflect.Message, f protoreflect.FieldDescriptor) string {
	if !m.Has(f) {
		return ""
	}
	if _, ok := m.Interface().(*schemapb.Counters); ok && strings.HasSuffix(string(f.Name()), "_bytes") {
		return "" // the lengths of encoded rows, which Check adds up
	}
	if !f.IsList() {
		return valueText(f, m.Get(f))
	}
	list := m.Get(f).List()
	var parts []string
	for i := range list.Len() {
		if list.Len() > 6 && i > 1 && i < list.Len()-1 {
			if i == 2 {
				parts = append(parts, fmt.Sprintf("…%d…", list.Len()-3))
			}
			continue
		}
		parts = append(parts, valueText(f, list.Get(i)))
	}
	return "[" + strings.Join(parts, " ") + "]"
}

func valueText(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	name := string(f.Name())
	switch f.Kind() {
	case protoreflect.MessageKind:
		return messageText(v.Message().Interface())
	case protoreflect.EnumKind:
		if name == "state" {
			return command.StateName(o3v1.DiffState(v.Enum()))
		}
		s := string(f.Enum().Values().ByNumber(v.Enum()).Name())
		return strings.ToLower(s[strings.LastIndexByte(s, '_')+1:])
	case protoreflect.BytesKind:
		switch name {
		case "reply":
			return replyText(v.Bytes())
		case "cursor":
			k, err := schema.Journal.ParseKey(v.Bytes())
			return fmt.Sprintf("{%d %s %v}", k.Op, k.Name, errs.KindOf(err))
		}
		return bytesText(v.Bytes())
	case protoreflect.StringKind:
		if id := v.String(); slices.Contains([]string{"upload_id", "snapshot_id", "job_id"}, name) {
			var n uint64
			fmt.Sscanf(id, "%x", &n)
			return ID(n)
		}
		return fmt.Sprintf("%q", v.String())
	}
	switch {
	case name == "kind":
		return errs.Kind(v.Uint()).String()
	case name == "state":
		return command.StateName(o3v1.DiffState(v.Uint()))
	case strings.HasSuffix(name, "_tag"):
		return tagText(v.Uint())
	case slices.Contains([]string{"object_id", "parent_id", "bucket_id", "dir_id", "session", "old_id", "new_id", "job_id", "scan_id", "bucketObjID", "scanID"}, name):
		return ID(v.Uint())
	case strings.HasSuffix(name, "_ms"):
		return fmt.Sprintf("%+dms", v.Int()-Start)
	case strings.HasSuffix(name, "Time"):
		return fmt.Sprintf("%+dms", int64(v.Uint())-Start)
	}
	return v.String()
}

func messageText(m proto.Message) string {
	switch m := m.(type) {
	case *o3v1.Extent:
		s := blockText(m.Container, m.Local)
		if m.Indirect {
			s += "*"
		}
		return fmt.Sprintf("%s[%d+%d]", s, m.Offset, m.Length)
	case *o3v1.Pair:
		return m.Name + "=" + m.Value
	}
	return "{" + Text(m) + "}"
}

func blockText(container, local uint64) string {
	if container == 0 {
		return "small " + ID(local)
	}
	return fmt.Sprintf("%d/%d", container, local)
}

func bytesText(b []byte) string {
	if len(b) > 24 {
		return fmt.Sprintf("%q… (%d bytes)", b[:16], len(b))
	}
	return fmt.Sprintf("%q", b)
}

func replyText(raw []byte) string {
	var r commandpb.Reply
	if err := proto.Unmarshal(raw, &r); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("(op %d: %v)", r.Op, errs.Kind(r.Kind))
}
