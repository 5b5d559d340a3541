// Package fsmtest drives a state machine in tests: it encodes requests, applies
// them, decodes the answers, prints what they did to the rows, and checks what
// must hold of every store. It has no goroutines; a Driver belongs to one.
package fsmtest

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/kv"
	"o3/internal/ns"
)

// Start is the time of a new driver's clock, in milliseconds.
const Start = 1_700_000_000_000

// Request is a request in the making.
type Request struct {
	Body      proto.Message
	TimeMs    int64
	Principal string
	Stamp     *o3v1.Stamp
	BucketID  ns.ObjectID
}

// Encode returns r as the log carries it.
func (r Request) Encode() []byte {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(r.Body)
	if err != nil {
		panic(err)
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(&commandpb.Request{
		Kind: uint32(KindOf(r.Body)), Body: body, TimeMs: r.TimeMs, Principal: r.Principal,
		Stamp: r.Stamp, BucketId: uint64(r.BucketID),
	})
	if err != nil {
		panic(err)
	}
	return raw
}

// KindOf returns the command that takes body.
func KindOf(body proto.Message) command.Kind {
	name := strings.TrimSuffix(string(body.ProtoReflect().Descriptor().Name()), "Request")
	if name == "PurgeDirectories" {
		name = "PurgeDirs"
	}
	for k := command.Kind(1); k < 256; k++ {
		if k.String() == name {
			return k
		}
	}
	panic("no command takes " + name)
}

// Answer is a decoded answer.
type Answer struct {
	Kind            errs.Kind
	Subject, Detail string
	Op              ns.Op
	Body            proto.Message // nil for a refusal or an empty answer
}

// String returns the answer's kind, subject and detail.
func (a Answer) String() string {
	return strings.TrimSuffix(strings.Join([]string{a.Kind.String(), a.Subject, a.Detail}, ": "), ": ")
}

// Decode decodes the answer to a request with the given body.
func Decode(body proto.Message, raw []byte) (Answer, error) {
	var reply commandpb.Reply
	if err := proto.Unmarshal(raw, &reply); err != nil {
		return Answer{}, err
	}
	a := Answer{Kind: errs.Kind(reply.Kind), Subject: reply.Subject, Detail: reply.Detail, Op: ns.Op(reply.Op)}
	if len(reply.Body) == 0 {
		return a, nil
	}
	name := string(body.ProtoReflect().Descriptor().FullName())
	for _, other := range []string{strings.TrimSuffix(name, "Request") + "Response", name + "Reply"} {
		t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(other))
		if err == nil {
			a.Body = t.New().Interface()
			return a, proto.Unmarshal(reply.Body, a.Body)
		}
	}
	return a, fmt.Errorf("no answer is known for %s", name)
}

// Driver applies requests to a machine.
type Driver struct {
	Store     kv.Store
	Machine   *fsm.Machine
	Now       int64  // the leader's clock, in milliseconds
	Principal string // who asks
	Log       []fsm.Entry
}

// New returns a driver of a strict machine over s.
func New(t testing.TB, s kv.Store) *Driver {
	t.Helper()
	m, err := fsm.Open(s, fsm.Position{})
	if err != nil {
		t.Fatal(err)
	}
	m.Strict()
	return &Driver{Store: s, Machine: m, Now: Start, Principal: "root"}
}

// Request returns a request of the driver's principal, now.
func (d *Driver) Request(body proto.Message) Request {
	return Request{Body: body, TimeMs: d.Now, Principal: d.Principal}
}

// Apply applies one entry of requests and returns their raw answers.
func (d *Driver) Apply(requests ...[]byte) ([][]byte, error) {
	e := fsm.Entry{Index: d.Machine.Position().Index + 1, Term: 1, Requests: requests}
	d.Log = append(d.Log, e)
	answers, err := d.Machine.Apply([]fsm.Entry{e})
	if err != nil {
		return nil, err
	}
	return answers[0], nil
}

// Send applies one request and returns its answer. A fault ends the test.
func (d *Driver) Send(t testing.TB, r Request) Answer {
	t.Helper()
	raw, err := d.Apply(r.Encode())
	if err != nil {
		t.Fatalf("%v: %v", KindOf(r.Body), err)
	}
	a, err := Decode(r.Body, raw[0])
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Do applies one request of the driver's principal, now.
func (d *Driver) Do(t testing.TB, body proto.Message) Answer {
	t.Helper()
	return d.Send(t, d.Request(body))
}

// Must is Do for requests that must not be refused.
func (d *Driver) Must(t testing.TB, body proto.Message) Answer {
	t.Helper()
	a := d.Do(t, body)
	if a.Kind != errs.OK {
		t.Fatalf("%v %v: %v", KindOf(body), body, a)
	}
	return a
}
