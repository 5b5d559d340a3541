package xmlapi

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

// decoders decode a body by the name of its document.
var decoders = map[string]func(io.Reader) (any, error){
	"create-bucket":   func(r io.Reader) (any, error) { return DecodeCreateBucket(r) },
	"delete":          func(r io.Reader) (any, error) { return DecodeDelete(r) },
	"complete-upload": func(r io.Reader) (any, error) { return DecodeCompleteUpload(r) },
	"tagging":         func(r io.Reader) (any, error) { return DecodeTagging(r, MaxObjectTags) },
	"acl":             func(r io.Reader) (any, error) { return DecodeACL(r) },
	"versioning":      func(r io.Reader) (any, error) { return DecodeVersioning(r) },
	"lifecycle":       func(r io.Reader) (any, error) { return DecodeLifecycle(r) },
	"lifecycle-text":  func(r io.Reader) (any, error) { return DecodeLifecycleText(r) },
	"tag-header": func(r io.Reader) (any, error) {
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		return ParseTagHeader(string(b))
	},
}

// TestDecode runs the bodies of testdata, each with what it decodes to or the
// error it gets. $NS is S3's namespace.
func TestDecode(t *testing.T) {
	datadriven.RunTest(t, filepath.Join("testdata", "decode"), func(t *testing.T, d *datadriven.TestData) string {
		decode, ok := decoders[d.Cmd]
		if !ok {
			d.Fatalf(t, "no decoder")
		}
		body := strings.ReplaceAll(d.Input, "$NS", Namespace)
		v, err := decode(strings.NewReader(body))
		if err != nil {
			return describe(t, err)
		}
		if c, ok := v.(*o3v1.LifecycleConfiguration); ok { // as it is answered
			return strings.ReplaceAll(string(Body((&Lifecycle{c.Rules}).AppendXML(nil))), Namespace, "$NS") + "\n"
		}
		return fmt.Sprintf("%+v\n", v)
	})
}

func describe(t *testing.T, err error) string {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || !slices.Contains(Codes(), e.AWSCode()) {
		t.Fatalf("an error without a code: %v", err)
	}
	out := e.AWSCode()
	if e.Code != codeMalformedXML || !strings.HasPrefix(e.AWSMessage(), "The XML you provided was not well-formed") {
		out += ": " + e.AWSMessage()
	}
	for _, x := range e.AWSElements() {
		out += "; " + x[0] + " " + x[1]
	}
	return out + "\n"
}

func TestBounds(t *testing.T) {
	keys := func(n int) string {
		return "<Delete>" + strings.Repeat("<Object><Key>k</Key></Object>", n) + "</Delete>"
	}
	parts := func(n int) string {
		return "<CompleteMultipartUpload>" + strings.Repeat("<Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>", n) + "</CompleteMultipartUpload>"
	}
	long := strings.Repeat("k", 1024)
	for _, c := range []struct{ name, decoder, body, want string }{
		{"1000 keys", "delete", keys(1000), ""},
		{"1001 keys", "delete", keys(1001), "MalformedXML; Detail more than 1000 keys\n"},
		{"1000 long keys", "delete", strings.ReplaceAll(keys(1000), "<Key>k", "<Key>"+strings.Repeat("&#x10FFFF;", 256)), ""},
		{"a body without end", "delete", "<Delete>" + strings.Repeat(" ", maxDeleteBody), "MaxMessageLengthExceeded: Your request was too large.; MaxMessageLengthBytes 4194304\n"},
		{"10000 parts", "complete-upload", parts(10000), ""},
		{"10001 parts", "complete-upload", parts(10001), "MalformedXML; Detail more than 10000 parts\n"},
		{"deep", "versioning", strings.Repeat("<VersioningConfiguration>", 100_000/30), "MaxMessageLengthExceeded: Your request was too large.; MaxMessageLengthBytes 65536\n"},
		{"deep but short", "versioning", strings.Repeat("<VersioningConfiguration>", 100), "MalformedXML; Detail elements nest too deep\n"},
		{"long name", "versioning", "<" + strings.Repeat("a", 60_000) + "/>", "*"},
		{"large small body", "tagging", "<Tagging>" + strings.Repeat(long, 64), "MaxMessageLengthExceeded: Your request was too large.; MaxMessageLengthBytes 65536\n"},
	} {
		_, err := decoders[c.decoder](strings.NewReader(c.body))
		got := ""
		if err != nil {
			got = describe(t, err)
		}
		if got != c.want && c.want != "*" || c.want == "*" && got == "" {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	if k := errs.KindOf(&Error{Code: codeTooLong}); k != errs.TooLarge {
		t.Error(k)
	}
}

// TestReadError passes on what the body's reader says: a digest or a signature
// that failed must not look like bad XML.
func TestReadError(t *testing.T) {
	broken := errors.New("a bad digest")
	for name, decode := range decoders {
		if _, err := decode(iotest.ErrReader(broken)); err != broken {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := decode(io.MultiReader(strings.NewReader("<x"), iotest.ErrReader(broken))); err != broken {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What encoding/xml makes of the bodies.
type (
	laxDelete struct {
		XMLName xml.Name `xml:"Delete"`
		Quiet   string
		Object  []laxKey
	}
	laxKey struct {
		Key       string
		VersionID string `xml:"VersionId"`
	}
	laxTagging struct {
		XMLName xml.Name `xml:"Tagging"`
		Tags    []Tag    `xml:"TagSet>Tag"`
	}
)

// FuzzDecode decodes anything as everything. Nothing may panic or return an
// error without a code; what is accepted, encoding/xml reads the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`<Delete xmlns="` + Namespace + `"><Quiet>true</Quiet><Object><Key>a&amp;<![CDATA[<b>]]></Key><VersionId>null</VersionId></Object></Delete>`))
	f.Add([]byte(`<?xml version="1.0"?><!-- c --><Tagging><TagSet><Tag><Key>a</Key><Value>&#x41;</Value></Tag></TagSet></Tagging>`))
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY x "y">]><Tagging>&x;</Tagging>`))
	f.Add([]byte(`<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"e"</ETag></Part></CompleteMultipartUpload>`))
	f.Add([]byte(`<LifecycleConfiguration><Rule><ID>&amp;</ID><Status>Enabled</Status><Filter><And><Prefix>a</Prefix><Tag><Key>k</Key><Value/></Tag><ObjectSizeLessThan>5</ObjectSizeLessThan></And></Filter><Expiration><Days> 3 </Days></Expiration></Rule></LifecycleConfiguration>`))
	f.Add([]byte(`<BucketLifecycleConfiguration><Rule><Prefix/><Status>Disabled</Status><Expiration><Date>2030-01-01T00:00:00+01:00</Date></Expiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></BucketLifecycleConfiguration>`))
	f.Add([]byte(`{"Rules":[{"ID":"\u0041","Status":"Enabled","Filter":{"And":{"Prefix":"a","Tags":[{"Key":"k","Value":""}],"ObjectSizeLessThan":5}},"Expiration":{"Days":3}},{"Prefix":"","Status":"Disabled","AbortIncompleteMultipartUpload":{"DaysAfterInitiation":7}}]}`))
	f.Add(OwnerFullControl(Owner{"i", "n"}).AppendXML(nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		for name, decode := range decoders {
			v, err := decode(bytes.NewReader(body))
			if err != nil {
				describe(t, err)
				continue
			}
			switch v := v.(type) {
			case *o3v1.LifecycleConfiguration:
				again, err := DecodeLifecycle(bytes.NewReader((&Lifecycle{v.Rules}).AppendXML(nil)))
				if err != nil || !proto.Equal(again, v) {
					t.Fatalf("%s: %v comes back as %v, %v", name, v, again, err)
				}
			case Delete:
				var lax laxDelete
				if err := xml.Unmarshal(bytes.TrimPrefix(body, []byte("\uFEFF")), &lax); err != nil || len(lax.Object) != len(v.Objects) {
					t.Fatalf("%s: %+v, encoding/xml has %+v, %v", name, v, lax, err)
				}
				for i, o := range lax.Object {
					if o.Key != v.Objects[i].Key || o.VersionID != v.Objects[i].VersionID {
						t.Fatalf("%s: %+v, encoding/xml has %+v", name, v, lax)
					}
				}
			case Tagging:
				if name == "tagging" {
					var lax laxTagging
					if err := xml.Unmarshal(bytes.TrimPrefix(body, []byte("\uFEFF")), &lax); err != nil || !slices.Equal(lax.Tags, v.Tags) {
						t.Fatalf("%s: %+v, encoding/xml has %+v, %v", name, v, lax, err)
					}
				}
				again, err := DecodeTagging(bytes.NewReader(v.AppendXML(nil)), MaxObjectTags)
				if err != nil || !slices.Equal(again.Tags, v.Tags) {
					t.Fatalf("%s: %+v comes back as %+v, %v", name, v, again, err)
				}
			}
		}
	})
}

// TestLifecycleJSON: the JSON that is written is read again as what it was, in
// each shape.
func TestLifecycleJSON(t *testing.T) {
	want := &o3v1.LifecycleConfiguration{Rules: lifecycleRules()}
	text, err := (&Lifecycle{want.Rules}).AppendJSON([]byte(" "))
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeLifecycleText(bytes.NewReader(text))
	if err != nil || !proto.Equal(got, want) {
		t.Errorf("%s is read as %v, %v", text, got, err)
	}
}

// TestOwnDocuments decodes the documents that are both answers and bodies.
func TestOwnDocuments(t *testing.T) {
	acl := OwnerFullControl(Owner{"id & x", "name"})
	acl.Grants = append(acl.Grants, Grant{Grantee{URI: "http://acs.amazonaws.com/groups/global/AllUsers"}, "READ"})
	gotACL, err := DecodeACL(bytes.NewReader(acl.AppendXML(nil)))
	if err != nil || !reflect.DeepEqual(gotACL, *acl) {
		t.Errorf("%+v, %v", gotACL, err)
	}
	v := Versioning{"Suspended", "Disabled"}
	gotV, err := DecodeVersioning(bytes.NewReader(v.AppendXML(nil)))
	if err != nil || gotV != v {
		t.Errorf("%+v, %v", gotV, err)
	}
}

func BenchmarkDecodeDelete1000(b *testing.B) {
	body := "<Delete>" + strings.Repeat("<Object><Key>some/prefix/of/keys/object-000001.dat</Key></Object>", 1000) + "</Delete>"
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeDelete(strings.NewReader(body)); err != nil {
			b.Fatal(err)
		}
	}
}
