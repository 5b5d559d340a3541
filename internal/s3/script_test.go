package s3_test

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/cockroachdb/datadriven"

	"o3/internal/s3"
	"o3/internal/s3/s3test"
	"o3/internal/s3/sigv4"
)

// TestScripts runs the transcripts of testdata/scripts: raw requests, and what they are
// answered. The commands:
//
//	send [as=NAME] [payload=WORD] [skew=D] [presign=D] [length=N] [cut] [after=HEADER] [body]
//
// The input is a request line, header lines, an empty line and a body, which
// is sent as it stands. as: alice, bob, root (default alice); nobody (no
// signature), stranger (an unknown key), liar (a wrong secret). payload: the
// x-amz-content-sha256 ("sha256", the default, is computed). skew moves the
// clock of the signer. length overrides Content-Length, cut closes the
// connection after the body. after adds a header line after signing. In the
// input, {md5} is the body's Content-MD5, {TEXT*N} repeats, {upload} is the id
// of an upload of the key "multi" with a part 1 of five bytes, {etag} that
// part's ETag, {hello} the ETag of the key "hello".
//
// The output is the status and, for an error, code, message and elements; with
// the argument body, the document, without its first line.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := s3test.New(t, s3.Options{InlineMax: 1 << 10}, s3test.Deps{})
		x := &script{service: s, vars: fixture(t, s)}
		datadriven.RunTest(t, path, x.run)
	})
}

// fixture makes the buckets and keys that the scripts speak of.
func fixture(t *testing.T, s *s3test.Service) *strings.Replacer {
	c := sdk(s, s3test.Alice, styles[0])
	for bucket, layout := range map[string]string{"photos": "OBJECT_STORE", "tree": "FILE_SYSTEM_OPTIMIZED"} {
		_, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket}, withHeader("x-o3-layout", layout))
		check(t, err)
		put(t, c, bucket, "hello", []byte("hello world"))
	}
	id := upload(t, c, "photos", "multi", nil)
	p := part(t, c, "photos", "multi", id, 1, []byte("part1"), "")
	return strings.NewReplacer("{upload}", *id, "{etag}", strings.Trim(*p.ETag, `"`), "{hello}", etag([]byte("hello world")))
}

type script struct {
	service *s3test.Service
	vars    *strings.Replacer
}

var repeated = regexp.MustCompile(`\{([^{}*]+)\*(\d+)\}`)

func (x *script) run(t *testing.T, d *datadriven.TestData) string {
	if d.Cmd != "send" {
		t.Fatalf("%s: no command %q", d.Pos, d.Cmd)
	}
	input := repeated.ReplaceAllStringFunc(x.vars.Replace(d.Input), func(m string) string {
		parts := repeated.FindStringSubmatch(m)
		n, err := strconv.Atoi(parts[2])
		check(t, err)
		return strings.Repeat(parts[1], n)
	})
	head, body, _ := strings.Cut(input, "\n\n")
	body = strings.TrimSuffix(body, "\n")
	body = strings.ReplaceAll(body, `\r\n`, "\r\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	r := &http.Request{Method: method, RequestURI: target, Host: "127.0.0.1", Header: http.Header{}}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		sum := md5.Sum([]byte(body))
		value = strings.ReplaceAll(strings.TrimSpace(value), "{md5}", base64.StdEncoding.EncodeToString(sum[:]))
		if strings.EqualFold(name, "host") {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	x.sign(t, d, r, body)
	var after string
	if d.MaybeScanArgs(t, "after", &after) {
		name, value, _ := strings.Cut(after, ":")
		r.Header.Add(name, value)
	}
	return x.exchange(t, d, r, body)
}

// sign signs r as the command says.
func (x *script) sign(t *testing.T, d *datadriven.TestData, r *http.Request, body string) {
	as, payload, region := "alice", "sha256", "us-east-1"
	d.MaybeScanArgs(t, "as", &as)
	d.MaybeScanArgs(t, "payload", &payload)
	d.MaybeScanArgs(t, "region", &region)
	now := time.Now()
	var skew string
	if d.MaybeScanArgs(t, "skew", &skew) {
		by, err := time.ParseDuration(skew)
		check(t, err)
		now = now.Add(by)
	}
	keys := map[string]s3test.Key{"alice": s3test.Alice, "bob": s3test.Bob, "root": s3test.Root,
		"stranger": {ID: "STRANGER", Secret: "x"}, "liar": {ID: s3test.Alice.ID, Secret: "not the secret"}}
	key, ok := keys[as]
	if !ok {
		return // nobody
	}
	if payload == "sha256" {
		sum := sha256.Sum256([]byte(body))
		payload = hex.EncodeToString(sum[:])
	}
	signer := sigv4.Signer{AccessKeyID: key.ID, Secret: key.Secret, Region: region}
	var life string
	if d.MaybeScanArgs(t, "presign", &life) {
		d, err := time.ParseDuration(life)
		check(t, err)
		u, err := http.NewRequest(r.Method, "http://"+r.Host+r.RequestURI, nil)
		check(t, err)
		u.Header = r.Header
		signed, err := signer.Presign(u, d, now)
		check(t, err)
		r.RequestURI = strings.TrimPrefix(signed, "http://"+r.Host)
		return
	}
	signer.Sign(r, payload, now)
}

// exchange sends the request as it is and describes the answer.
func (x *script) exchange(t *testing.T, d *datadriven.TestData, r *http.Request, body string) string {
	conn, err := net.Dial("tcp", x.service.Server.Listener.Addr().String())
	check(t, err)
	defer conn.Close()
	length := len(body)
	d.MaybeScanArgs(t, "length", &length)
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			fmt.Fprintf(&out, "%s: %s\r\n", name, v)
		}
	}
	if r.Header.Get("Transfer-Encoding") == "" && (length > 0 || r.Method == "PUT" || r.Method == "POST") {
		fmt.Fprintf(&out, "Content-Length: %d\r\n", length)
	}
	out.WriteString("\r\n" + body)
	_, err = conn.Write(out.Bytes())
	check(t, err)
	if d.HasArg("cut") {
		check(t, conn.(*net.TCPConn).CloseWrite())
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	check(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(t, err)
	if resp.Header.Get("X-Amz-Request-Id") == "" && resp.StatusCode != http.StatusBadRequest {
		t.Fatalf("%s: the answer has no request id", d.Pos)
	}
	return describe(t, d, resp, text)
}

// describe prints a status, and an error without what changes from run to run.
func describe(t *testing.T, d *datadriven.TestData, resp *http.Response, text []byte) string {
	if d.HasArg("body") && resp.StatusCode == http.StatusOK {
		first, rest, _ := strings.Cut(string(text), "\n")
		if first != "" && !strings.HasPrefix(first, "<?xml") {
			t.Fatalf("%s: %q is no document", d.Pos, text)
		}
		return fmt.Sprintf("%d\n%s\n", resp.StatusCode, rest)
	}
	if resp.StatusCode < 300 || len(text) == 0 || resp.Header.Get("Content-Type") != "application/xml" {
		return fmt.Sprintf("%d %s\n", resp.StatusCode, strings.SplitN(string(text), "\n", 2)[0])
	}
	var e struct {
		Code, Message, RequestId, HostId string
		Rest                             []struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		} `xml:",any"`
	}
	check(t, xml.Unmarshal(text, &e))
	if e.RequestId != resp.Header.Get("X-Amz-Request-Id") || e.RequestId == "" || e.HostId != resp.Header.Get("X-Amz-Id-2") {
		t.Fatalf("%s: ids differ between header and document", d.Pos)
	}
	out := fmt.Sprintf("%d %s: %s\n", resp.StatusCode, e.Code, shorten(e.Message))
	for _, r := range e.Rest {
		switch r.XMLName.Local {
		case "RequestTime", "ServerTime", "CanonicalRequest", "StringToSign", "StringToSignBytes", "CanonicalRequestBytes",
			"SignatureProvided", "UploadId", "X-Amz-Expires", "Expires", "S3ComputedContentSHA256", "ClientComputedContentSHA256":
			continue
		}
		out += fmt.Sprintf("    %s: %s\n", r.XMLName.Local, shorten(r.Text))
	}
	return out
}

func shorten(s string) string {
	if len(s) > 300 {
		return s[:40] + "…"
	}
	return s
}

// withHeader adds a header to one call of the SDK.
func withHeader(name, value string) func(*awss3.Options) {
	return awss3.WithAPIOptions(smithyhttp.SetHeaderValue(name, value))
}
