package schema

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"o3/internal/errs"
	"o3/internal/schema/schemapb"
)

// Description is what people and `o3 debug db dump` need of a table.
type Description struct {
	Space  byte
	Name   string
	Tuple  string
	Record string
	Since  int

	// Row renders a row as JSON: {"table":…,"key":{…},"row":{…}}. Secrets are
	// left out.
	Row func(key, value []byte) ([]byte, error)

	// Check tells whether a row decodes.
	Check func(key, value []byte) error
}

// Tables returns every table in key order.
func Tables() []Description {
	return []Description{
		describe(Meta, nil),
		describe(Volumes, nil),
		describe(Buckets, nil),
		describe(Users, nil),
		describe(AccessKeys, hideSecret),
		describe(Entries, nil),
		describe(Dirs, nil),
		describe(Smalls, nil),
		describe(Refs, nil),
		describe(Uploads, nil),
		describe(Parts, nil),
		describe(OpenKeys, nil),
		describe(Deleted, nil),
		describe(DeletedDirs, nil),
		describe(Reclaims, nil),
		describe(History, nil),
		describe(Journal, nil),
		describe(SnapshotNames, nil),
		describe(Snapshots, nil),
		describe(Cells, nil),
		describe(CellEnds, nil),
		describe(DirHistory, nil),
		describe(DiffJobs, nil),
		describe(Lifecycles, nil),
		describe(LifecycleScans, nil),
		describe(LifecycleSuspensions, nil),
		describe(Clients, hideAnswers),
		describe(Counters, nil),
		describe(LogHolds, nil),
	}
}

// bySpace holds every table by its table byte.
var bySpace = func() map[byte]Description {
	m := map[byte]Description{}
	for _, t := range Tables() {
		m[t.Space] = t
	}
	return m
}()

// TableOf returns the table that key belongs to.
func TableOf(key []byte) (Description, bool) {
	if len(key) == 0 {
		return Description{}, false
	}
	t, ok := bySpace[key[0]]
	return t, ok
}

func describe[K, R any, P Message[R]](t *Table[K, R, P], hide func(P)) Description {
	var zero R
	return Description{
		Space: t.space, Name: t.name, Tuple: t.tuple, Since: t.since,
		Record: string(P(&zero).ProtoReflect().Descriptor().Name()),
		Row: func(key, value []byte) ([]byte, error) {
			k, err := t.ParseKey(key)
			if err != nil {
				return nil, err
			}
			row, err := t.Decode(key, value)
			if err != nil {
				return nil, err
			}
			if hide != nil {
				hide(row)
			}
			return render(t.name, k, row)
		},
		Check: func(key, value []byte) error {
			if _, err := t.ParseKey(key); err != nil {
				return err
			}
			_, err := t.Decode(key, value)
			return err
		},
	}
}

func render(table string, k any, row proto.Message) ([]byte, error) {
	body, err := protojson.Marshal(row)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, table, err)
	}
	return json.Marshal(struct {
		Table string          `json:"table"`
		Key   any             `json:"key"`
		Row   json.RawMessage `json:"row"`
	}{table, fmt.Sprintf("%+v", k), body})
}

func hideSecret(k *schemapb.AccessKey) { k.Secret = "***" }

func hideAnswers(c *schemapb.Client) {
	for _, a := range c.Answers {
		a.Reply = nil
	}
}
