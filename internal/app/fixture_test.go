package app

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/access"
	"o3/internal/cli"
	"o3/internal/config"
	"o3/internal/durable/fixture"
	"o3/internal/errs"
	"o3/internal/schema"
)

var updateFixture = flag.String("update-fixture", "", "write the data directory of a node as a new fixture, v2 and so on; never one that is there")

const fixturesDir = "testdata/formats"

// fixtureNode is what node.json says of the data directory in node.tar.gz.
type fixtureNode struct {
	Objects map[string]fixtureObject // by path in S3
	Lists   map[string][]string      // the keys of each bucket, in order
	Gone    []string                 // objects that were deleted
	Snaps   map[string][]string      // the snapshots of each bucket, in order; from format 2 on
	Upload  string                   // id of the upload at uploadPath, which is not complete
	Parts   []fixturePart
	Lease   string            // on the log, from format 3 on: it has expired since, and nobody told the node yet
	Rules   map[string]string // the lifecycle of each bucket, as S3 answers; from format 4 on
}

type fixtureObject struct {
	Sum    string // SHA-256
	Size   int
	Header map[string]string // those of fixtureHeaders that are there
	Tags   []string          // name=value
}

type fixturePart struct {
	ETag, Sum string
	Size      int
}

const uploadPath = "/tree/m/upload"

var (
	fixtureHeaders = []string{"Etag", "Last-Modified", "Content-Type", "Cache-Control", "X-Amz-Meta-Colour"}
	fixtureRoot    = client.Credentials{AccessKey: "AKROOT", SecretKey: "not-a-secret-of-root"}
	fixtureAlice   = client.Credentials{AccessKey: "AKALICE", SecretKey: "not-a-secret-of-alice"}
	fixtureBob     = client.Credentials{AccessKey: "AKBOB", SecretKey: "not-a-secret-of-bob"}
)

// TestNodeFixtures: a node of every format ever released starts from its data
// directory, with all that was in it, and goes on. The fixtures never change;
// see docs/formats/README.md.
func TestNodeFixtures(t *testing.T) {
	if *updateFixture != "" {
		writeFixture(t, filepath.Join(fixturesDir, *updateFixture))
	}
	dirs, err := os.ReadDir(fixturesDir)
	if err != nil || len(dirs) == 0 {
		t.Fatal(dirs, err)
	}
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) {
			dir := filepath.Join(fixturesDir, d.Name())
			raw, err := os.ReadFile(filepath.Join(dir, "node.json"))
			if err != nil {
				t.Fatal(err)
			}
			var x fixtureNode
			if err := json.Unmarshal(raw, &x); err != nil || len(x.Objects) < 10 || len(x.Parts) < 2 || len(x.Gone) < 2 {
				t.Fatalf("%+v, %v", x, err)
			}
			data := unpack(t, filepath.Join(dir, "node.tar.gz"))
			t.Run("Identity", func(t *testing.T) { testIdentity(t, filepath.Join(data, "node"), d.Name()) })
			t.Run("Start", func(t *testing.T) { testFixtureNode(t, data, x) })
		})
	}
}

// testIdentity reads the file "node", and writes the same.
func testIdentity(t *testing.T, path, name string) {
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var id identity
	if err := id.read(path); err != nil || id.ID != "om1" || id.Number != 1 {
		t.Errorf("%+v, %v", id, err)
	}
	cfg, err := config.Load(config.Sources{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{cfg: cfg}
	if err := n.openIdentity(); err != nil {
		t.Fatal(err)
	}
	var made identity // as written, but for the random number, which the fixture is older than
	if err := made.read(n.dir("node")); err != nil || made.Store == "" {
		t.Fatalf("%+v, %v", made, err)
	}
	made.Store = ""
	got, err := json.Marshal(made)
	if name == fmt.Sprintf("v%d", identityFormat) && (err != nil || !bytes.Equal(append(got, '\n'), want)) {
		t.Errorf("this program writes another identity: undo the change, or make a new format (docs/formats/README.md): %q, want %q; %v", got, want, err)
	}
	bad := filepath.Join(t.TempDir(), "node")
	for now, k := range map[string]errs.Kind{
		fmt.Sprintf(`{"format":%d,`, identityFormat+1): errs.FormatTooNew, `{"fermat":1,`: errs.FormatUnknown, `["format":1,`: errs.FormatUnknown,
	} {
		_, rest, _ := strings.Cut(string(want), ",")
		if err := os.WriteFile(bad, []byte(now+rest), 0o600); err != nil {
			t.Fatal(err)
		}
		kind(t, new(identity).read(bad), k, bad)
	}
}

// testFixtureNode starts the node twice: as it was killed, then as it was shut.
func testFixtureNode(t *testing.T, data string, x fixtureNode) {
	set := []string{"ozone.s3g.multipart.min.part.size=1"}
	last, applied := verifyStopped(t, data)
	if last <= applied {
		t.Errorf("the log ends at %d, the store is at %d: the fixture has nothing to replay", last, applied)
	}
	s := start(t, settings{dir: data, set: set, hooks: hooks{holds: time.Hour}})
	if _, held := s.node.log.Status().Holds[x.Lease]; x.Lease != "" && !held {
		t.Errorf("the log is not held for %s: %v", x.Lease, s.node.log.Status().Holds)
	}
	x.check(t, s)
	x.complete(t, s)
	s.must("PUT", "/flat/new", []byte("by a later version"))
	x.Objects["/flat/new"] = s.fetch("/flat/new")
	x.Objects[uploadPath] = s.fetch(uploadPath)
	x.Lists["flat"], x.Lists["tree"] = s.keys("flat"), s.keys("tree")
	x.Upload = ""
	x.check(t, s)
	x.snapshot(s, "flat", "third")
	x.snapshot(s, "tree", "third")
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	marker, err := os.ReadFile(filepath.Join(data, "om", "store", "FORMAT"))
	if want := fmt.Sprintf("\nversion %d\n", schema.Format); err != nil || !strings.Contains(string(marker), want) {
		t.Errorf("the store was not raised to the newest format: %q, %v", marker, err)
	}
	if last, applied := verifyStopped(t, data); last != applied {
		t.Errorf("the log ends at %d, the store is at %d", last, applied)
	}
	x.check(t, start(t, settings{dir: data, set: set}))
}

// verifyStopped checks all rows and all blocks of a node that does not run. It
// returns where its log ends and where its store is.
func verifyStopped(t *testing.T, data string) (last, applied uint64) {
	t.Helper()
	o := cli.VerifyOptions{Step: func(int64, int64) {}}
	var out bytes.Buffer
	if err := errors.Join(verifyStore(t.Context(), data, o, &out), verifyBlocks(t.Context(), data, o, &out)); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	var first uint64
	for line := range strings.Lines(out.String()) {
		if _, err := fmt.Sscanf(line, "index %d", &applied); err != nil {
			_, _ = fmt.Sscanf(line, "log entries %d to %d", &first, &last)
			if _, err := fmt.Sscanf(line, "no log entries; the next one is %d", &last); err == nil {
				last--
			}
		}
	}
	if last == 0 || applied == 0 {
		t.Fatalf("verify does not say where log and store are:\n%s", out.String())
	}
	return last, applied
}

// check reads everything back.
func (x *fixtureNode) check(t *testing.T, s *server) {
	t.Helper()
	if s.root.AccessKey != fixtureRoot.AccessKey || s.root.SecretKey != fixtureRoot.SecretKey {
		t.Errorf("root's key is %s", s.root.AccessKey)
	}
	for path, want := range x.Objects {
		if got := s.fetch(path); got.Sum != want.Sum || got.Size != want.Size || !slices.Equal(got.Tags, want.Tags) || !maps.Equal(got.Header, want.Header) {
			t.Errorf("%s: got\n%+v, want\n%+v", path, got, want)
		}
		bucket, key, _ := strings.Cut(path[1:], "/")
		k, err := s.om.GetKey(t.Context(), &o3v1.GetKeyRequest{Volume: "s3v", Bucket: bucket, Key: key})
		if err != nil || k.Key.Size != uint64(want.Size) || `"`+k.Key.Etag+`"` != want.Header["Etag"] {
			t.Errorf("%s: the OM says %v, %v; want %+v", path, k, err, want)
		}
	}
	for _, path := range x.Gone {
		if a := s.s3("GET", path, nil); a.status != 404 {
			t.Errorf("%s was deleted: %v", path, a)
		}
	}
	for bucket, want := range x.Lists {
		if got := s.keys(bucket); !slices.Equal(got, want) {
			t.Errorf("bucket %s: got\n%q, want\n%q", bucket, got, want)
		}
		b, err := s.om.GetBucket(t.Context(), &o3v1.GetBucketRequest{Volume: "s3v", Bucket: bucket})
		if want := map[string]string{"flat": "OBJECT_STORE", "tree": "FILE_SYSTEM_OPTIMIZED", "empty": "FILE_SYSTEM_OPTIMIZED"}[bucket]; err != nil || b.Bucket.Layout != want {
			t.Errorf("bucket %s: %v, %v", bucket, b, err)
		}
	}
	for _, bucket := range []string{"flat", "tree"} {
		list, err := s.om.ListSnapshots(t.Context(), &o3v1.ListSnapshotsRequest{Volume: "s3v", Bucket: bucket})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, snap := range list.Snapshots {
			got = append(got, snap.Name)
		}
		if !slices.Equal(got, x.Snaps[bucket]) {
			t.Errorf("snapshots of %s: %q, want %q", bucket, got, x.Snaps[bucket])
		}
	}
	for _, c := range []struct {
		who    client.Credentials
		method string
		status int
	}{{fixtureAlice, "GET", 200}, {fixtureAlice, "PUT", 403}, {fixtureBob, "GET", 403}, {client.Credentials{AccessKey: "AKALICE", SecretKey: "wrong"}, "GET", 403}} {
		if a, err := s.ask(c.who, "", c.method, "/flat/small", nil); err != nil || a.status != c.status {
			t.Errorf("%s by %s: %v, %v", c.method, c.who.AccessKey, a, err)
		}
	}
	for bucket, want := range x.Rules {
		if got := string(s.must("GET", "/"+bucket+"?lifecycle=", nil).body); got != want {
			t.Errorf("rules of %s: got\n%s, want\n%s", bucket, got, want)
		}
	}
	users, err := s.om.ListUsers(t.Context(), &o3v1.ListUsersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, u := range users.Users {
		names = append(names, fmt.Sprintf("%s %s %t", u.Name, u.Role, u.Disabled))
	}
	if got := strings.Join(names, ", "); got != "alice user false, bob user true, root admin false" {
		t.Errorf("users: %s", got)
	}
	if x.Upload != "" {
		a := s.must("GET", uploadPath+"?uploadId="+x.Upload, nil)
		if n := strings.Count(string(a.body), "<PartNumber>"); n != len(x.Parts) {
			t.Errorf("%d parts: %v", n, a)
		}
	}
}

// complete makes an object of the parts that were there and one more.
func (x *fixtureNode) complete(t *testing.T, s *server) {
	t.Helper()
	more := []byte("and a part by a later version")
	a := s.must("PUT", fmt.Sprintf("%s?partNumber=%d&uploadId=%s", uploadPath, len(x.Parts)+1, x.Upload), more)
	finish(s, uploadPath, x.Upload, append(x.Parts[:len(x.Parts):len(x.Parts)], fixturePart{ETag: a.header.Get("Etag")}))
	whole := s.must("GET", uploadPath, nil).body
	for i, p := range x.Parts {
		if len(whole) < p.Size || sum(whole[:p.Size]) != p.Sum {
			t.Fatalf("part %d has changed", i+1)
		}
		whole = whole[p.Size:]
	}
	if !bytes.Equal(whole, more) {
		t.Errorf("after the parts: %q", whole)
	}
}

// finish completes an upload.
func finish(s *server, path, id string, parts []fixturePart) {
	s.t.Helper()
	var doc strings.Builder
	for i, p := range parts {
		fmt.Fprintf(&doc, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, p.ETag)
	}
	s.must("POST", path+"?uploadId="+id, []byte("<CompleteMultipartUpload>"+doc.String()+"</CompleteMultipartUpload>"))
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// pattern returns n bytes that differ by seed and compress well.
func pattern(seed string, n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%s %d\n", seed, i/100)
	}
	return b[:n]
}

func partData(n int) []byte { return pattern(fmt.Sprint("part ", n), 30_000) }

// fetch gets an object as a fixture has it.
func (s *server) fetch(path string) fixtureObject {
	s.t.Helper()
	a := s.must("GET", path, nil)
	o := fixtureObject{Sum: sum(a.body), Size: len(a.body), Header: map[string]string{}}
	var doc struct {
		Tags []struct{ Key, Value string } `xml:"TagSet>Tag"`
	}
	if err := xml.Unmarshal(s.must("GET", path+"?tagging=", nil).body, &doc); err != nil {
		s.t.Fatal(err)
	}
	for _, tag := range doc.Tags {
		o.Tags = append(o.Tags, tag.Key+"="+tag.Value)
	}
	for _, h := range fixtureHeaders {
		if v := a.header.Get(h); v != "" {
			o.Header[h] = v
		}
	}
	return o
}

// keys lists a bucket.
func (s *server) keys(bucket string) (out []string) {
	s.t.Helper()
	a := s.must("GET", "/"+bucket+"?list-type=2", nil)
	for _, part := range strings.Split(string(a.body), "<Key>")[1:] {
		key, _, _ := strings.Cut(part, "</Key>")
		out = append(out, key)
	}
	return out
}

// writeFixture makes a node, and writes its directory as it is when the node is
// killed: some of it sealed and flushed by a shutdown before, the rest only in
// open containers and in the log.
func writeFixture(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil { // fails when it is there
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	o := settings{dir: data, set: []string{"ozone.s3g.multipart.min.part.size=1", "ozone.om.db.flush.interval=1d"},
		env: []string{"O3_ROOT_ACCESS_KEY=" + fixtureRoot.AccessKey, "O3_ROOT_SECRET_KEY=" + fixtureRoot.SecretKey}}
	x := fixtureNode{Objects: map[string]fixtureObject{}, Lists: map[string][]string{}}
	first := o
	first.set = append(slices.Clone(o.set), "ozone.block.free.grace=0s", "ozone.block.deleting.service.interval=10ms")
	s := start(t, first)
	x.principals(t, s)
	x.fill(t, s)
	s.flushed()
	wait(t, "the block of a deleted object is freed", func() bool { return s.node.blocks.Stats().DeadBlocks > 0 })
	wait(t, "the first scrub ends", func() bool { return s.status().Blocks.ScrubFinishedMs > 0 })
	s.scrub()
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	s = start(t, o)
	x.Lease = `root "node b" 2-2-00000000`
	err := s.node.holds.take(access.NewContext(t.Context(), access.System), x.Lease, s.node.log.Applied(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	x.fillMore(t, s)
	for _, path := range slices.Collect(maps.Keys(x.Objects)) {
		x.Objects[path] = s.fetch(path)
	}
	for path, data := range map[string][]byte{
		"/flat/replaced": pattern("new", 8_000), "/flat/.snapshot/first/replaced": pattern("old", 9_000),
		"/flat/.snapshot/second/later/block": pattern("later", 20_000), "/tree/.snapshot/first/a/b/07": pattern("object 7", 3_500),
	} {
		if x.Objects[path].Sum != sum(data) {
			t.Fatalf("%s is not what was put", path)
		}
	}
	for _, bucket := range []string{"flat", "tree", "empty"} {
		x.Lists[bucket] = s.keys(bucket)
	}
	raw, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "node.json"), append(raw, '\n'), 0o644),
		fixture.Pack(data, filepath.Join(dir, "node.tar.gz"))); err != nil {
		t.Fatal(err)
	}
}

// principals makes users and buckets.
func (x *fixtureNode) principals(t *testing.T, s *server) {
	t.Helper()
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for user, c := range map[string]client.Credentials{"alice": fixtureAlice, "bob": fixtureBob} {
		do(s.om.CreateUser(t.Context(), &o3v1.CreateUserRequest{User: user, Role: "user"}))
		do(s.om.CreateAccessKey(t.Context(), &o3v1.CreateAccessKeyRequest{User: user, Id: c.AccessKey, Secret: c.SecretKey}))
	}
	disabled := true
	do(s.om.UpdateUser(t.Context(), &o3v1.UpdateUserRequest{User: "bob", Disabled: &disabled}))
	read := []o3v1.Permission{o3v1.Permission_PERMISSION_READ, o3v1.Permission_PERMISSION_LIST}
	do(s.om.CreateBucket(t.Context(), &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "flat", Layout: "OBJECT_STORE",
		QuotaBytes: 1 << 30, Grants: []*o3v1.Grant{{Grantee: "alice", Permissions: read}, {Grantee: "bob", Permissions: read}}}))
	s.bucket("tree", "FILE_SYSTEM_OPTIMIZED")
	s.bucket("empty", "FILE_SYSTEM_OPTIMIZED")
}

// put puts an object.
func (x *fixtureNode) put(s *server, path string, data []byte, edits ...func(*http.Request)) {
	s.t.Helper()
	s.must("PUT", path, data, edits...)
	x.Objects[path] = fixtureObject{}
}

func (x *fixtureNode) drop(s *server, path string) {
	s.t.Helper()
	s.must("DELETE", path, nil)
	delete(x.Objects, path)
	x.Gone = append(x.Gone, path)
}

// fill is the first run: rows, blocks short and long, a copy, a rename, uploads.
func (x *fixtureNode) fill(t *testing.T, s *server) {
	t.Helper()
	x.put(s, "/flat/small", []byte("small"), header("Content-Type", "text/plain"), header("Cache-Control", "no-cache"),
		header("x-amz-meta-colour", "blue"), header("x-amz-tagging", "a=1&b=two"))
	x.put(s, "/flat/none", nil)
	x.put(s, "/flat/dir/block", pattern("block", 20_000))
	x.put(s, "/flat/dir/long", pattern("long", 700_000)) // it is streamed, in several chunks
	x.put(s, "/flat/dir/copy", nil, header("x-amz-copy-source", "/flat/dir/long"))
	x.put(s, "/flat/replaced", pattern("old", 9_000))
	x.put(s, "/flat/old", pattern("gone", 10_000))
	for i := range 20 {
		x.put(s, fmt.Sprintf("/tree/a/b/%02d", i), pattern(fmt.Sprint("object ", i), 500*i))
	}
	x.put(s, "/tree/explicit/", nil)
	x.put(s, "/tree/moved", []byte("moved"))
	if _, err := s.om.RenameKey(t.Context(), &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "tree", From: "moved", To: "a/renamed"}); err != nil {
		t.Fatal(err)
	}
	delete(x.Objects, "/tree/moved")
	x.Objects["/tree/a/renamed"] = fixtureObject{}
	x.Gone = append(x.Gone, "/tree/moved")
	parts := func(path, id string, from, to int) (out []fixturePart) {
		for n := from; n <= to; n++ {
			a := s.must("PUT", fmt.Sprintf("%s?partNumber=%d&uploadId=%s", path, n, id), partData(n))
			out = append(out, fixturePart{a.header.Get("Etag"), sum(partData(n)), len(partData(n))})
		}
		return out
	}
	id := s.uploadID("/flat/multipart")
	finish(s, "/flat/multipart", id, parts("/flat/multipart", id, 1, 3))
	x.Objects["/flat/multipart"] = fixtureObject{}
	x.Upload = s.uploadID(uploadPath)
	x.Parts = parts(uploadPath, x.Upload, 1, 2)
	x.drop(s, "/flat/old")
	x.snapshot(s, "flat", "first")
	x.snapshot(s, "tree", "first")
}

// snapshot makes a snapshot.
func (x *fixtureNode) snapshot(s *server, bucket, name string) {
	s.t.Helper()
	if _, err := s.om.CreateSnapshot(s.t.Context(), &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: name}); err != nil {
		s.t.Fatal(err)
	}
	if x.Snaps == nil {
		x.Snaps = map[string][]string{}
	}
	x.Snaps[bucket] = append(x.Snaps[bucket], name)
}

// fillMore is the second run, which is not shut.
func (x *fixtureNode) fillMore(t *testing.T, s *server) {
	t.Helper()
	x.put(s, "/flat/later/small", []byte("later"))
	x.put(s, "/flat/later/block", pattern("later", 20_000))
	x.put(s, "/flat/later/long", pattern("later and long", 400_000))
	x.put(s, "/flat/replaced", pattern("new", 8_000))
	x.put(s, "/tree/a/b/later", pattern("later", 6_000))
	x.drop(s, "/tree/a/b/07")
	x.drop(s, "/tree/a/b/19")
	x.snapshot(s, "flat", "second")
	x.drop(s, "/flat/later/block")
	for _, path := range []string{"/flat/.snapshot/first/replaced", "/flat/.snapshot/first/small", "/flat/.snapshot/second/replaced",
		"/flat/.snapshot/second/later/block", "/tree/.snapshot/first/a/b/07", "/tree/.snapshot/first/a/renamed"} {
		x.Objects[path] = fixtureObject{}
	}
	x.Gone = append(x.Gone, "/flat/.snapshot/first/later/small", "/flat/.snapshot/first/old", "/tree/.snapshot/first/a/b/later")
	a := s.must("PUT", fmt.Sprintf("%s?partNumber=%d&uploadId=%s", uploadPath, 3, x.Upload), partData(3))
	x.Parts = append(x.Parts, fixturePart{a.header.Get("Etag"), sum(partData(3)), len(partData(3))})
	x.rule(s, "flat", "<Filter><And><Prefix>never/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter><Expiration><Days>3650</Days></Expiration>")
	x.rule(s, "tree", "<Prefix>never/</Prefix><AbortIncompleteMultipartUpload><DaysAfterInitiation>3650</DaysAfterInitiation></AbortIncompleteMultipartUpload>")
}

// rule gives a bucket a rule.
func (x *fixtureNode) rule(s *server, bucket, body string) {
	s.t.Helper()
	doc := []byte("<LifecycleConfiguration><Rule><ID>one</ID><Status>Enabled</Status>" + body + "</Rule></LifecycleConfiguration>")
	check := md5.Sum(doc)
	s.must("PUT", "/"+bucket+"?lifecycle=", doc, header("Content-MD5", base64.StdEncoding.EncodeToString(check[:])))
	if x.Rules == nil {
		x.Rules = map[string]string{}
	}
	x.Rules[bucket] = string(s.must("GET", "/"+bucket+"?lifecycle=", nil).body)
}

// unpack returns the directory that an archive holds.
func unpack(t *testing.T, from string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := fixture.Unpack(from, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}
