package xmlapi

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
)

var stamp = time.Date(2026, 11, 22, 3, 4, 5, 678_900_000, time.UTC)

// documents are one of each result, with names that need escaping.
func documents() map[string]Document {
	owner := Owner{"id<1>", "A & B"}
	objects := []Object{
		{Key: `a<b>&"c"'d'.txt`, LastModified: stamp, ETag: "d41d8cd98f00b204e9800998ecf8427e", Size: 5 << 40, Owner: &owner, ChecksumAlgorithm: "CRC32", ChecksumType: "FULL_OBJECT"},
		{Key: "line\nbreak\ttab\x01\u007f ü 日+%", LastModified: stamp, Size: 0, StorageClass: "STANDARD_IA"},
	}
	sums := []Checksum{{"CRC64NVME", "AAAAAAAAAAA="}}
	prefixes := []string{"p & q/", "r/"}
	return map[string]Document{
		"ListBuckets":             &ListBuckets{Owner: owner, Buckets: []Bucket{{"b1", stamp, "eu"}, {Name: "b2", Created: stamp}}, Prefix: "b", ContinuationToken: "t="},
		"ListBuckets empty":       &ListBuckets{},
		"ListObjects":             &ListObjects{Name: "b", Prefix: "a b", Marker: "m&", NextMarker: "n", MaxKeys: 1000, Delimiter: "/", IsTruncated: true, Contents: objects, CommonPrefixes: prefixes},
		"ListObjectsV2":           &ListObjectsV2{Name: "b", Prefix: "a b", StartAfter: "s", ContinuationToken: "t1", NextContinuationToken: "t2", KeyCount: 4, MaxKeys: 2, Delimiter: "/", IsTruncated: true, Contents: objects, CommonPrefixes: prefixes},
		"ListObjectsV2 url":       &ListObjectsV2{Name: "b", Prefix: "a b", StartAfter: "s+", MaxKeys: 2, Delimiter: "&", EncodingType: EncodingURL, Contents: objects, CommonPrefixes: prefixes},
		"ListObjectsV2 empty":     &ListObjectsV2{Name: "b", MaxKeys: 1000},
		"ListVersions":            &ListVersions{Name: "b", KeyMarker: "k", VersionIDMarker: "v", NextKeyMarker: "k2", NextVersionIDMarker: "v2", MaxKeys: 3, IsTruncated: true, Versions: []Version{{Object: objects[0], VersionID: "null", IsLatest: true}, {Object: Object{Key: "gone", LastModified: stamp, Owner: &owner}, VersionID: "7", DeleteMarker: true}}, CommonPrefixes: prefixes},
		"InitiateMultipartUpload": &InitiateMultipartUpload{"b", "k&", "u"},
		"CompletedUpload":         &CompletedUpload{Location: "http://h/b/k?a&b", Bucket: "b", Key: "k", ETag: "e-2", Checksums: sums, ChecksumType: "FULL_OBJECT"},
		"ListUploads":             &ListUploads{Bucket: "b", MaxUploads: 10, NextKeyMarker: "k", NextUploadIDMarker: "u", IsTruncated: true, Uploads: []Upload{{Key: "k&", UploadID: "u", Initiator: owner, Owner: owner, Initiated: stamp, ChecksumAlgorithm: "CRC64NVME", ChecksumType: "FULL_OBJECT"}}, CommonPrefixes: prefixes},
		"ListParts":               &ListParts{Bucket: "b", Key: "k", UploadID: "u", Initiator: owner, Owner: owner, PartNumberMarker: 1, NextMarker: 3, MaxParts: 2, IsTruncated: true, Parts: []Part{{2, stamp, "e2", 5 << 20, sums}, {Number: 3, LastModified: stamp, ETag: "e3", Size: 1}}},
		"CopyObject":              &Copied{LastModified: stamp, ETag: "e", Checksums: sums, ChecksumType: "FULL_OBJECT"},
		"CopyPart":                &Copied{Part: true, LastModified: stamp, ETag: "e"},
		"Error":                   &ErrorDocument{Code: "NoSuchKey", Message: "The <key>", Resource: "/b/k&", RequestID: "r", HostID: "h", Elements: [][2]string{{"Key", "k\x02"}}},
		"Location":                &Location{"eu-west-1"},
		"Location default":        &Location{},
		"DeleteResult":            &DeleteResult{[]Deleted{{Key: "k&"}, {Key: "v", VersionID: "1", DeleteMarker: true, DeleteMarkerVersionID: "2"}}, []DeleteError{{"k", "3", "AccessDenied", "No"}}},
		"Tagging":                 &Tagging{[]Tag{{"a", "b c"}, {"empty", ""}}},
		"ACL":                     OwnerFullControl(owner),
		"ACL of a group":          &AccessControlPolicy{owner, []Grant{{Grantee{URI: "http://acs.amazonaws.com/groups/global/AllUsers"}, "READ"}}},
		"Versioning":              &Versioning{Status: "Enabled"},
		"Versioning none":         &Versioning{},
		"Lifecycle":               &Lifecycle{lifecycleRules()},
	}
}

// lifecycleRules are one of each shape.
func lifecycleRules() []*o3v1.LifecycleRule {
	midnight := proto.Int64(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	return []*o3v1.LifecycleRule{
		{Id: "a & b", Enabled: true, Prefix: proto.String("logs/<x>"), ExpireDays: proto.Int32(30)},
		{Id: "everything", Filter: &o3v1.LifecycleFilter{}, ExpireDateMs: midnight, AbortDays: proto.Int32(7)},
		{Id: "tag", Enabled: true, Filter: &o3v1.LifecycleFilter{Tags: []*o3v1.Pair{{Name: "k&", Value: ""}}}, ExpireDays: proto.Int32(1)},
		{Id: "all", Enabled: true, Filter: &o3v1.LifecycleFilter{And: true, Prefix: proto.String(""), Tags: []*o3v1.Pair{{Name: "k", Value: "v"}, {Name: "l", Value: "w"}},
			SizeGreaterThan: proto.Uint64(0), SizeLessThan: proto.Uint64(1<<64 - 1)}, ExpireDays: proto.Int32(1)},
	}
}

// TestDocuments compares every document with its text in testdata, indented.
func TestDocuments(t *testing.T) {
	docs := documents()
	datadriven.RunTest(t, filepath.Join("testdata", "documents"), func(t *testing.T, d *datadriven.TestData) string {
		doc, ok := docs[strings.TrimSpace(d.Input)]
		if !ok {
			d.Fatalf(t, "no such document")
		}
		delete(docs, strings.TrimSpace(d.Input))
		out := string(doc.AppendXML([]byte("before")))
		out, ok = strings.CutPrefix(out, "before"+Header)
		if !ok || string(Body(doc.AppendXML(nil))) != out {
			d.Fatalf(t, "no header: %q", out)
		}
		out = strings.ReplaceAll(out, "><", ">\n<")
		return regexp.MustCompile(`<(\w+)>\n</`).ReplaceAllString(out, "<$1></") + "\n"
	})
	for name := range docs {
		t.Errorf("testdata has no %q", name)
	}
}

// TestWellFormed parses every document with encoding/xml, control characters
// aside, which XML does not know.
func TestWellFormed(t *testing.T) {
	for name, doc := range documents() {
		out := bytes.ReplaceAll(bytes.ReplaceAll(doc.AppendXML(nil), []byte("&#x1;"), nil), []byte("&#x2;"), nil)
		d := xml.NewDecoder(bytes.NewReader(out))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, out)
			}
		}
	}
}

// The same listing as encoding/xml would write it.
type plainList struct {
	XMLName     xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name        string
	Prefix      string
	StartAfter  string `xml:",omitempty"`
	KeyCount    int
	MaxKeys     int
	Delimiter   string `xml:",omitempty"`
	IsTruncated bool
	Contents    []plainObject
	Prefixes    []plainPrefix `xml:"CommonPrefixes"`
}

type plainPrefix struct{ Prefix string }

type plainObject struct {
	Key          string
	LastModified string
	ETag         string
	Size         int64
	StorageClass string
}

// TestEqualsEncodingXML compares random listings with encoding/xml's.
func TestEqualsEncodingXML(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	text := func() string {
		var b strings.Builder
		for range rnd.IntN(20) {
			r := rune(rnd.IntN(0x300))
			if rnd.IntN(8) == 0 {
				r = rune(rnd.IntN(utf8.MaxRune))
			}
			if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
				r = '<'
			}
			b.WriteRune(r)
		}
		return b.String()
	}
	for range 500 {
		l := ListObjectsV2{Name: text(), Prefix: text(), StartAfter: text(), Delimiter: text(), MaxKeys: rnd.IntN(2000), IsTruncated: rnd.IntN(2) == 0}
		p := plainList{Name: l.Name, Prefix: l.Prefix, StartAfter: l.StartAfter, Delimiter: l.Delimiter, MaxKeys: l.MaxKeys, IsTruncated: l.IsTruncated}
		for range rnd.IntN(5) {
			at := time.Unix(0, rnd.Int64N(int64(time.Hour)*24*365*200)).UTC()
			o := Object{Key: text(), LastModified: at.In(time.FixedZone("", 3600)), ETag: text() + "x", Size: rnd.Int64()}
			l.Contents = append(l.Contents, o)
			p.Contents = append(p.Contents, plainObject{o.Key, at.Format(TimeFormat), `"` + o.ETag + `"`, o.Size, "STANDARD"})
		}
		if rnd.IntN(2) == 0 {
			l.CommonPrefixes = []string{text()}
			p.Prefixes = []plainPrefix{{l.CommonPrefixes[0]}}
		}
		l.KeyCount = len(l.Contents) + len(l.CommonPrefixes)
		p.KeyCount = l.KeyCount
		want, err := xml.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.AppendXML(nil); string(got) != Header+string(want) {
			t.Fatalf("%s\nencoding/xml has\n%s", got, want)
		}
	}
}

// FuzzEscape compares escaped text with encoding/xml's, and what comes back
// with what went in.
func FuzzEscape(f *testing.F) {
	f.Add("a<b>&\"'\t\r\n\x00\x1f\xff\uFFFD\uFFFE\U0010FFFFü")
	f.Fuzz(func(t *testing.T, s string) {
		var want bytes.Buffer
		xml.EscapeText(&want, []byte(s))
		got := string(AppendEscaped(nil, s))
		same := strings.IndexFunc(s, func(r rune) bool {
			return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
		}) < 0
		if same && got != want.String() {
			t.Fatalf("%q, encoding/xml has %q", got, want.String())
		}
		if strings.ContainsAny(got, "<>\"'\t\r\n\x00\x01\x1f") || !utf8.ValidString(got) {
			t.Fatalf("%q is not safe", got)
		}
		back, err := url.QueryUnescape(string(AppendURLEncoded(nil, s)))
		if err != nil || back != s {
			t.Fatalf("%q comes back as %q, %v", s, back, err)
		}
	})
}

func TestURLEncoding(t *testing.T) {
	for in, want := range map[string]string{
		"a/b-c_d.e*f": "a/b-c_d.e*f", "a b": "a+b", "a+b": "a%2Bb", "~": "%7E", "ü": "%C3%BC", "\x01\n": "%01%0A", "%": "%25", "": "",
	} {
		if got := string(AppendURLEncoded(nil, in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestAppendTime(t *testing.T) {
	for _, at := range []time.Time{{}, stamp, stamp.In(time.FixedZone("", -7*3600)), time.Unix(0, 1), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got, want := string(appendTime(nil, at)), at.UTC().Format(TimeFormat); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func list1000() (*ListObjectsV2, plainList) {
	l := &ListObjectsV2{Name: "bucket", MaxKeys: 1000, KeyCount: 1000}
	p := plainList{Name: "bucket", MaxKeys: 1000, KeyCount: 1000}
	for i := range 1000 {
		o := Object{Key: fmt.Sprintf("some/prefix/of/keys/object-%06d.dat", i), LastModified: stamp, ETag: "d41d8cd98f00b204e9800998ecf8427e", Size: 4096}
		l.Contents = append(l.Contents, o)
		p.Contents = append(p.Contents, plainObject{o.Key, stamp.Format(TimeFormat), `"` + o.ETag + `"`, o.Size, "STANDARD"})
	}
	return l, p
}

func BenchmarkList1000(b *testing.B) {
	l, p := list1000()
	b.Run("append", func(b *testing.B) {
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			buf = l.AppendXML(buf[:0])
		}
	})
	b.Run("encoding-xml", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			xml.Marshal(p)
		}
	})
}

// TestOutsideXML pins the characters that encoding/xml would make U+FFFD of.
func TestOutsideXML(t *testing.T) {
	for in, want := range map[string]string{
		"\x00": "&#x0;", "\x01": "&#x1;", "\x1f": "&#x1F;", "\x7f": "\x7f", "\uFFFE": "&#xFFFE;", "\uFFFF": "&#xFFFF;",
		"\xff": "\uFFFD", "\uFFFD": "\uFFFD", "a\xc3": "a\uFFFD", "\xed\xa0\x80": "\uFFFD\uFFFD\uFFFD",
	} {
		if got := string(AppendEscaped(nil, in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
