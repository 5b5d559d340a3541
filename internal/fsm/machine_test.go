package fsm_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv"
	"o3/internal/kv/memkv"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

func volume(name string) []byte {
	return fsmtest.Request{Body: &o3v1.CreateVolumeRequest{Volume: name}, TimeMs: fsmtest.Start, Principal: "root"}.Encode()
}

// set writes one raw row.
func set(t *testing.T, s kv.Store, key, value []byte) {
	t.Helper()
	b := s.NewBatch()
	defer b.Close()
	if err := errors.Join(b.Set(key, value), b.Commit(false)); err != nil {
		t.Fatal(err)
	}
}

// wantFault checks kind and text of a fault.
func wantFault(t *testing.T, err error, kind errs.Kind, parts ...string) {
	t.Helper()
	if errs.KindOf(err) != kind {
		t.Fatalf("got %v, want kind %v", err, kind)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
}

func TestEntriesAppliedBeforeAreSkipped(t *testing.T) {
	s := new(memkv.Store)
	m, err := fsm.Open(s, fsm.Position{Index: 10, Term: 3, Conf: []byte("conf")})
	if err != nil {
		t.Fatal(err)
	}
	old := fsm.Entry{Index: 10, Term: 3, Requests: [][]byte{volume("old")}}
	answers, err := m.Apply([]fsm.Entry{old, {Index: 11, Term: 4, Requests: [][]byte{volume("new")}}, {Index: 12, Term: 4}})
	if err != nil || answers[0] != nil || len(answers[1]) != 1 || len(answers[2]) != 0 {
		t.Fatalf("%v, %v", answers, err)
	}
	p := m.Position()
	if p.Index != 12 || p.Term != 4 || p.Op != 1 || string(p.Conf) != "conf" {
		t.Errorf("position %+v", p)
	}
	rows, err := fsmtest.Rows(s)
	if err != nil || len(rows) != 1 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	again, err := fsm.Open(s, fsm.Position{Index: 99})
	if err != nil || !same(again.Position(), p) {
		t.Errorf("opened again at %+v, %v, want %+v", again.Position(), err, p)
	}
}

func TestGapIsAFault(t *testing.T) {
	s := new(memkv.Store)
	m, _ := fsm.Open(s, fsm.Position{})
	_, err := m.Apply([]fsm.Entry{{Index: 1, Requests: [][]byte{volume("one")}}, {Index: 3}})
	wantFault(t, err, errs.Corrupt, "entry 3 cannot follow entry 1")
	if rows, _ := fsmtest.Rows(s); len(rows) != 0 {
		t.Error("a failed call left rows")
	}
	if p, _, _ := fsm.ReadPosition(s); p.Index != 0 {
		t.Error("a failed call moved the position")
	}
}

func TestUnknownCommandIsRefusedByName(t *testing.T) {
	raw, _ := proto.Marshal(&commandpb.Request{Kind: 999})
	m, _ := fsm.Open(new(memkv.Store), fsm.Position{})
	_, err := m.Apply([]fsm.Entry{{Index: 1, Requests: [][]byte{raw}}})
	wantFault(t, err, errs.FormatTooNew, "entry 1, request 0", "command 999", "newer version")
}

func TestDamagedRequestIsAFault(t *testing.T) {
	body, _ := proto.Marshal(&commandpb.Request{Kind: 1, Body: []byte{0xff}})
	for _, raw := range [][]byte{{0xff, 0xff}, body} {
		m, _ := fsm.Open(new(memkv.Store), fsm.Position{})
		_, err := m.Apply([]fsm.Entry{{Index: 1, Requests: [][]byte{volume("ok1"), raw}}})
		wantFault(t, err, errs.Corrupt, "entry 1")
	}
}

func TestNewerFormatIsRefusedByName(t *testing.T) {
	s := new(memkv.Store)
	value, err := schema.Meta.Encode(&schemapb.Position{Index: schema.Format + 1})
	if err != nil {
		t.Fatal(err)
	}
	set(t, s, schema.Meta.Key(schema.FormatKey), value)
	_, err = fsm.Open(s, fsm.Position{})
	wantFault(t, err, errs.FormatTooNew, "store", fmt.Sprintf("format %d", schema.Format+1), fmt.Sprintf("up to %d", schema.Format))
}

// TestLostPositionIsNoEmptyStore: rows without a position are never taken for
// a new store.
func TestLostPositionIsNoEmptyStore(t *testing.T) {
	s := new(memkv.Store)
	set(t, s, schema.Volumes.Key("s3v"), []byte{1})
	_, err := fsm.Open(s, fsm.Position{})
	wantFault(t, err, errs.Corrupt, "no position")
	local := new(memkv.Store)
	set(t, local, []byte{schema.NodeLocal}, []byte("a row of the node's own"))
	if _, err := fsm.Open(local, fsm.Position{}); err != nil {
		t.Error(err)
	}
}

// TestCorruptRowStopsTheMachine: a damaged row is named, and nothing of the
// call is in the store.
func TestCorruptRowStopsTheMachine(t *testing.T) {
	for name, c := range map[string]struct {
		value []byte
		kind  errs.Kind
		text  string
	}{
		"empty":          {nil, errs.Corrupt, "has no record version"},
		"version 0":      {[]byte{0}, errs.Corrupt, "has no record version"},
		"newer version":  {[]byte{2}, errs.FormatTooNew, "record version 2, this program reads up to 1"},
		"damaged record": {[]byte{1, 0xff}, errs.Corrupt, "volumes: row 10"},
	} {
		t.Run(name, func(t *testing.T) {
			d := fsmtest.New(t, new(memkv.Store))
			d.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
			set(t, d.Store, schema.Volumes.Key("s3v"), c.value)
			_, err := d.Machine.Apply([]fsm.Entry{{Index: 2, Requests: [][]byte{volume("other"), volume("s3v")}}})
			wantFault(t, err, c.kind, "volumes", c.text, "entry 2, request 1 (CreateVolume)", fmt.Sprintf("%x", "s3v"))
			if p, _, _ := fsm.ReadPosition(d.Store); p.Index != 1 {
				t.Errorf("the position is %d", p.Index)
			}
		})
	}
}

// TestMissingListIsAFault: a key whose list of extents is gone cannot be
// deleted as if it had no blocks.
func TestMissingListIsAFault(t *testing.T) {
	d := fsmtest.New(t, new(memkv.Store))
	d.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
	d.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "bkt", Layout: "OBS"})
	r := &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "bkt", Key: "k", Size: 33, DeadlineMs: 1 << 60}
	for i := range uint64(33) {
		r.Extents = append(r.Extents, &o3v1.Extent{Container: 1, Local: i, Length: 1})
	}
	d.Must(t, r)
	b := d.Store.NewBatch()
	lower, upper := schema.Smalls.All()
	it, err := d.Store.Iter(lower, upper)
	if err != nil || !it.First() {
		t.Fatal(err)
	}
	if err := errors.Join(b.Delete(it.Key()), it.Close(), b.Commit(false), b.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = d.Apply(d.Request(&o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "bkt", Keys: []*o3v1.DeleteKey{{Key: "k"}}}).Encode())
	wantFault(t, err, errs.Corrupt, "the list of extents is missing")
}

// TestAnswersAreBounded: a client that never acknowledges makes the store
// remember 1,024 answers, the latest ones.
func TestAnswersAreBounded(t *testing.T) {
	d := fsmtest.New(t, new(memkv.Store))
	d.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
	var raw [][]byte
	for seq := uint64(1); seq <= 1030; seq++ {
		r := d.Request(&o3v1.UpdateVolumeRequest{Volume: "s3v", Owner: proto.String(fmt.Sprint(seq))})
		r.Stamp = &o3v1.Stamp{ClientId: 7, Sequence: seq}
		raw = append(raw, r.Encode())
	}
	first, err := d.Apply(raw...)
	if err != nil {
		t.Fatal(err)
	}
	row, ok, err := schema.Clients.Get(d.Store, 7)
	if err != nil || !ok || len(row.Answers) != 1024 || row.Answers[0].Sequence != 7 {
		t.Fatalf("%d answers, %v", len(row.GetAnswers()), err)
	}
	before := d.Machine.Position().Digest
	again, err := d.Apply(raw[6:]...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range again {
		if string(again[i]) != string(first[6+i]) {
			t.Fatalf("request %d was answered otherwise", 7+i)
		}
	}
	if d.Machine.Position().Digest != before {
		t.Error("answered requests changed something")
	}
}

// TestDigest: the order of changes does not matter, every byte does, and rows
// of the node's own do not count.
func TestDigest(t *testing.T) {
	var a, b fsm.Digest
	a.Add([]byte("k1"), []byte("v1"))
	a.Add([]byte("k2"), []byte("v2"))
	b.Add([]byte("k2"), []byte("v2"))
	b.Add([]byte("k3"), []byte("v3"))
	b.Add([]byte("k1"), []byte("v1"))
	if a == b {
		t.Error("a row does not count")
	}
	b.Remove([]byte("k3"), []byte("v3"))
	if a != b {
		t.Error("the order counts")
	}
	var c, d fsm.Digest
	c.Add([]byte("ab"), []byte("c"))
	d.Add([]byte("a"), []byte("bc"))
	if c == d {
		t.Error("the border of key and value does not count")
	}
	s := new(memkv.Store)
	for key, value := range map[string]string{"\x01meta": "x", "\x10v": "y", "\xe0local": "z"} {
		set(t, s, []byte(key), []byte(value))
	}
	var want fsm.Digest
	want.Add([]byte("\x10v"), []byte("y"))
	if got, err := fsm.Scan(s); err != nil || got != want {
		t.Errorf("scan gives %v, %v, want %v", got, err, want)
	}
	if s := want.String(); len(s) != 32 {
		t.Errorf("printed as %s", s)
	}
}

// TestConfChangeIsKept: the members ride with the index.
func TestConfChangeIsKept(t *testing.T) {
	s := new(memkv.Store)
	m, _ := fsm.Open(s, fsm.Position{Conf: []byte("a")})
	if _, err := m.Apply([]fsm.Entry{{Index: 1, Conf: []byte("b")}, {Index: 2}}); err != nil {
		t.Fatal(err)
	}
	p, ok, err := fsm.ReadPosition(s)
	if err != nil || !ok || string(p.Conf) != "b" || p.Index != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}
