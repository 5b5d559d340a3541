package s3

import (
	"context"
	"flag"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"o3/internal/errs"
	"o3/internal/lifecycle/rule"
	"o3/internal/s3/checksum"
	"o3/internal/s3/chunked"
	"o3/internal/s3/sigv4"
	"o3/internal/s3/xmlapi"
)

var update = flag.Bool("update", false, "rewrite docs/s3.md")

// TestCoverage keeps docs/s3.md the image of the tables.
func TestCoverage(t *testing.T) {
	const path, begins, ends = "../../docs/s3.md", "<!-- coverage begins -->\n", "<!-- coverage ends -->"
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(raw), begins)
	_, after, ok2 := strings.Cut(rest, ends)
	if !ok || !ok2 {
		t.Fatalf("%s has lost its marks", path)
	}
	want := before + begins + "\n" + Coverage() + "\n" + ends + after
	if string(raw) == want {
		return
	}
	if !*update {
		t.Fatalf("%s does not show the tables of today; run the test with -update", path)
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestEveryOperationHasARow compares the table with the operations that the
// official SDK knows.
func TestEveryOperationHasARow(t *testing.T) {
	rows := map[string]bool{}
	for _, r := range routes {
		if rows[r.action] {
			t.Errorf("%s has two rows", r.action)
		}
		rows[r.action] = true
	}
	client := reflect.TypeFor[*awss3.Client]()
	n := 0
	for i := range client.NumMethod() {
		m := client.Method(i)
		if m.Type.NumIn() != 4 || m.Type.NumOut() != 2 { // receiver, context, input, options
			continue
		}
		n++
		if !rows[m.Name] {
			t.Errorf("the SDK has %s, the table has not", m.Name)
		}
	}
	if n < 100 {
		t.Fatalf("found only %d operations in the SDK", n)
	}
}

// TestEveryRowIsReachable sends each row's own pattern through the router.
func TestEveryRowIsReachable(t *testing.T) {
	router := newRouter(routes)
	for i := range routes {
		r := &routes[i]
		var q query
		for _, need := range strings.Split(r.query, "&") {
			if name, value, _ := strings.Cut(need, "="); name != "" {
				q = append(q, param{name, value})
			}
		}
		for _, name := range strings.Fields(r.params) {
			if !q.has(name) && name != "list-type" {
				q = append(q, param{name, "1"})
			}
		}
		h := http.Header{}
		if r.header != "" {
			h[r.header] = []string{"x"}
		}
		got, err := router.find(r.method, r.level, q, h)
		if err != nil || got.action != r.action {
			t.Errorf("%s leads to %v (%v), not to %s", r.pattern(), got, err, r.action)
			continue
		}
		if err := router.checkParams(got, q); err != nil {
			t.Errorf("%s refuses its own parameters: %v", r.action, err)
		}
	}
}

// TestErrorsAreTotal: every kind and every code of the packages below has a
// status and a text.
func TestErrorsAreTotal(t *testing.T) {
	for _, kind := range errs.Kinds() {
		name, ok := kindCodes[kind]
		if _, known := codes[name]; !ok || !known {
			t.Errorf("kind %v has code %q", kind, name)
		}
		if a := answerOf(errs.New(kind, "secret-subject", "")); a.status < 300 || a.message == "" || strings.Contains(a.message, "secret") {
			t.Errorf("kind %v is answered %+v", kind, a)
		}
	}
	for _, all := range [][]string{sigv4.Codes(), chunked.Codes(), checksum.Codes(), xmlapi.Codes()} {
		for _, name := range all {
			if codes[name].status == 0 {
				t.Errorf("code %s is not in the table", name)
			}
		}
	}
	for _, p := range rule.Problems() {
		if word := lifecycleCodes[p]; codes[word.code].status == 0 {
			t.Errorf("problem %d of a lifecycle configuration has code %q", p, word.code)
		}
	}
	for name, c := range codes {
		if c.status < 300 || c.text == "" {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if a := answerOf(errs.Wrap(errs.Internal, "x", os.ErrPermission)); strings.Contains(a.message, "permission") {
		t.Error("an internal cause is shown to the client: " + a.message)
	}
}

// TestOutcome: the kinds after which a change may yet be applied.
func TestOutcome(t *testing.T) {
	unknown := map[errs.Kind]bool{errs.Internal: true, errs.NotLeader: true, errs.Unavailable: true, errs.Corrupt: true,
		errs.Canceled: true, errs.DeadlineExceeded: true, errs.FormatTooNew: true, errs.FormatUnknown: true}
	for _, kind := range errs.Kinds() {
		if outcomeKnown(kind) == unknown[kind] {
			t.Errorf("%v: known is %v", kind, outcomeKnown(kind))
		}
	}
}

func TestOptions(t *testing.T) {
	if err := (Options{}).Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Options{BlockSize: 1 << 40, InlineMax: -1, MinPartSize: -1, MaxParts: 10001, ListMax: -1, MaxInFlight: -1, Layout: "TREE", IdleTimeout: -1, ClockSkew: -1, OpenAbove: -1}
	err := bad.Validate()
	for _, name := range []string{"BlockSize", "InlineMax", "MinPartSize", "MaxParts", "ListMax", "MaxInFlight", "Layout", "IdleTimeout", "ClockSkew", "OpenAbove"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not reported: %v", name, err)
		}
	}
}

func TestRanges(t *testing.T) {
	for _, x := range []struct {
		header string
		size   int64
		want   span
		code   string
	}{
		{"bytes=0-0", 10, span{0, 1, true}, ""},
		{"bytes=0-", 10, span{0, 10, true}, ""},
		{"bytes=9-20", 10, span{9, 1, true}, ""},
		{"bytes=-3", 10, span{7, 3, true}, ""},
		{"bytes=-30", 10, span{0, 10, true}, ""},
		{"bytes=10-", 10, span{}, "InvalidRange"},
		{"bytes=-0", 10, span{}, "InvalidRange"},
		{"bytes=0-", 0, span{}, "InvalidRange"},
		{"bytes=-1", 0, span{}, "InvalidRange"},
		{"bytes=0-1,2-3", 10, span{}, "NotImplemented"},
		{"bytes=5-3", 10, span{0, 10, false}, ""},
		{"bytes=-", 10, span{0, 10, false}, ""},
		{"bytes=a-b", 10, span{0, 10, false}, ""},
		{"items=0-1", 10, span{0, 10, false}, ""},
		{"bytes=0-9223372036854775807", 10, span{0, 10, true}, ""},
		{"bytes=4-18446744073709551615", 10, span{4, 6, true}, ""},
		{"bytes=-18446744073709551615", 10, span{0, 10, true}, ""},
		{"bytes=18446744073709551615-", 10, span{}, "InvalidRange"},
		{"bytes=18446744073709551616-18446744073709551615", 10, span{}, "InvalidRange"},
	} {
		got, err := parseRange(x.header, x.size)
		if answerCode(err) != x.code || err == nil && got != x.want {
			t.Errorf("%s of %d: got %+v %v, want %+v %s", x.header, x.size, got, err, x.want, x.code)
		}
	}
}

// TestCommitting: a commit outlives its client, but not for ever.
func TestCommitting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, leave := context.WithCancel(t.Context())
		r := &request{ctx: client}
		ctx, cancel := r.committing()
		defer cancel()
		leave()
		time.Sleep(cleanupTime - time.Nanosecond)
		if ctx.Err() != nil {
			t.Fatal("the commit ended with its client")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if ctx.Err() == nil {
			t.Fatal("the commit goes on without end")
		}
	})
}
