package tlsconf

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"o3/internal/errs"
)

func newCA(t *testing.T, name string) *CA {
	t.Helper()
	ca, err := NewCA(name, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *CA, r Request) Pair {
	t.Helper()
	if r.Valid == 0 {
		r.Valid = time.Hour
	}
	p, err := ca.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// write puts the pair and the authorities into dir and returns their names. It
// replaces what is there, as an operator does: new file, then rename.
func write(t *testing.T, dir string, p Pair, authorities ...*CA) Files {
	t.Helper()
	f := Files{}
	put := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if p.Cert != nil {
		f.Cert, f.Key = put("cert.pem", p.Cert), put("key.pem", p.Key)
	}
	var bundle []byte
	for _, ca := range authorities {
		bundle = append(bundle, ca.Pair().Cert...)
	}
	if bundle != nil {
		f.CA = put("ca.pem", bundle)
	}
	return f
}

func open(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shake makes one connection and returns each side's error and the client's
// view of it.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error, state tls.ConnectionState) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			_, err = tls.Server(c, server).Write([]byte("x"))
		}
		done <- err
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Error(err)
		return
	}
	c := tls.Client(conn, client)
	if clientErr = c.Handshake(); clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 1)) // with TLS 1.3 the server's refusal comes here
	}
	state = c.ConnectionState()
	_ = conn.Close()
	return <-done, clientErr, state
}

func TestWhoMayTalk(t *testing.T) {
	ours, theirs := newCA(t, "ours"), newCA(t, "theirs")
	both := Request{Name: "node", Hosts: []string{"node.test", "127.0.0.1"}, Client: true}
	dir := func(p Pair, authorities ...*CA) Files { return write(t, t.TempDir(), p, authorities...) }
	serverOnly := dir(issue(t, ours, Request{Name: "s", Hosts: []string{"node.test"}}))
	mutual := dir(issue(t, ours, both), ours)
	for _, c := range []struct {
		name           string
		server, client Files
		as             string // the name the client asks for
		wrong          string // what the failing side says; "" = it works
	}{
		{"server known", serverOnly, dir(Pair{}, ours), "node.test", ""},
		{"server of another authority", serverOnly, dir(Pair{}, theirs), "node.test", "unknown authority"},
		{"server of another name", serverOnly, dir(Pair{}, ours), "other.test", "not other.test"},
		{"server by address", mutual, mutual, "127.0.0.1", ""},
		{"client without name to check", serverOnly, dir(Pair{}, ours), "", "ServerName"},
		{"server of another address", mutual, mutual, "127.0.0.2", "not 127.0.0.2"},
		{"mutual", mutual, mutual, "node.test", ""},
		{"no client certificate", mutual, dir(Pair{}, ours), "node.test", "certificate"},
		{"client of another authority", mutual, dir(issue(t, theirs, both), ours), "node.test", "certificate"},
		{"client with a server's certificate", mutual, dir(issue(t, ours, Request{Name: "s", Hosts: []string{"x"}}), ours), "node.test", "certificate"},
		{"server with a client's certificate", dir(issue(t, ours, Request{Name: "c", Client: true})), dir(Pair{}, ours), "node.test", "certificate"},
		{"two authorities in the file", mutual, dir(issue(t, ours, both), theirs, ours), "node.test", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, client := open(t, Options{Files: c.server}), open(t, Options{Files: c.client})
			serverErr, clientErr, state := shake(t, server.Server(), client.Client(c.as))
			err := errors.Join(serverErr, clientErr)
			if c.wrong == "" && err != nil {
				t.Fatal(err)
			}
			if c.wrong != "" && (clientErr == nil || !strings.Contains(err.Error(), c.wrong)) {
				t.Fatalf("server: %v, client: %v", serverErr, clientErr)
			}
			if c.wrong == "" && state.Version < tls.VersionTLS12 {
				t.Errorf("version %x", state.Version)
			}
		})
	}
}

func TestOldVersionsAreRefused(t *testing.T) {
	ca := newCA(t, "ca")
	f := write(t, t.TempDir(), issue(t, ca, Request{Name: "s", Hosts: []string{"node.test"}}), ca)
	f.CA = ""
	server := open(t, Options{Files: f})
	client := open(t, Options{Files: write(t, t.TempDir(), Pair{}, ca)})
	old := client.Client("node.test")
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err, _ := shake(t, server.Server(), old); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
	if s, c, _ := shake(t, server.Server(), client.Client("node.test")); s != nil || c != nil {
		t.Errorf("now: %v, %v", s, c)
	}
}

// TestHTTP: net/http over both configurations, HTTP/2 included, the client's
// name taken from the URL.
func TestHTTP(t *testing.T) {
	ca := newCA(t, "ca")
	f := write(t, t.TempDir(), issue(t, ca, Request{Name: "n", Hosts: []string{"127.0.0.1"}, Client: true}), ca)
	source := open(t, Options{Files: f})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	server.Listener = tls.NewListener(server.Listener, source.Server())
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetHTTP2(true)
	server.Start()
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DialTLSContext: source.DialTLS, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(strings.Replace(server.URL, "http://", "https://", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "n" || resp.ProtoMajor != 2 {
		t.Errorf("%q over %s", body, resp.Proto)
	}
}

// serial tells certificates apart.
func serial(t *testing.T, server *tls.Config, client *Source) string {
	t.Helper()
	serverErr, clientErr, state := shake(t, server, client.Client("node.test"))
	if serverErr != nil || clientErr != nil {
		t.Fatalf("server: %v, client: %v", serverErr, clientErr)
	}
	return state.PeerCertificates[0].SerialNumber.String()
}

func TestReload(t *testing.T) {
	ca, dir := newCA(t, "ca"), t.TempDir()
	r := Request{Name: "n", Hosts: []string{"node.test"}}
	f := write(t, dir, issue(t, ca, r))
	long := time.Now().Add(-time.Hour) // the clock of files may stand still for some milliseconds
	if err := os.Chtimes(f.Cert, long, long); err != nil {
		t.Fatal(err)
	}
	var reloaded int
	var failures []string
	source := open(t, Options{Files: f, CheckEvery: time.Nanosecond, Listener: Listener{
		Reloaded: func(Files, time.Time) { reloaded++ },
		Failed:   func(_ Files, err error) { failures = append(failures, err.Error()) },
	}})
	server := source.Server() // made once, as listeners do
	client := open(t, Options{Files: write(t, t.TempDir(), Pair{}, ca)})

	first := serial(t, server, client)
	if again := serial(t, server, client); again != first || reloaded != 0 {
		t.Fatalf("reloaded without a change (%d)", reloaded)
	}
	next := issue(t, ca, r)
	if err := os.WriteFile(f.Cert, next.Cert, 0o600); err != nil { // the key is still the old one
		t.Fatal(err)
	}
	if got := serial(t, server, client); got != first || len(failures) != 1 || !strings.Contains(failures[0], "not the key") {
		t.Fatalf("half replaced: %v", failures)
	}
	if got := serial(t, server, client); got != first || len(failures) != 1 {
		t.Fatalf("one bad change was told more than once: %v", failures)
	}
	write(t, dir, next)
	second := serial(t, server, client)
	if second == first || reloaded == 0 {
		t.Fatal("the new certificate is not in use")
	}
	for _, bad := range []string{"", "garbage", string(next.Cert[:len(next.Cert)/2])} {
		if err := os.WriteFile(f.Cert, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := serial(t, server, client); got != second {
			t.Errorf("%.10q replaced a good certificate", bad)
		}
	}
	if err := os.Remove(f.Key); err != nil {
		t.Fatal(err)
	}
	if got := serial(t, server, client); got != second || !strings.Contains(failures[len(failures)-1], "no such file") {
		t.Errorf("removed: %v", failures)
	}
	third := issue(t, ca, r)
	write(t, dir, third)
	if got := serial(t, server, client); got == second {
		t.Error("a good file after bad ones is not in use")
	}
	if source.NotAfter().Before(time.Now()) {
		t.Error("no end")
	}
}

// TestAuthorityIsReplaced: both sides follow the CA file too, so that a
// cluster can change its authority without a restart.
func TestAuthorityIsReplaced(t *testing.T) {
	old, next := newCA(t, "old"), newCA(t, "next")
	r := Request{Name: "n", Hosts: []string{"node.test"}, Client: true}
	dir := t.TempDir()
	source := open(t, Options{Files: write(t, dir, issue(t, old, r), old), CheckEvery: time.Nanosecond})
	server := source.Server() // made once, as listeners do
	works := func() bool {
		s, c, _ := shake(t, server, source.Client("node.test"))
		return s == nil && c == nil
	}
	stranger := open(t, Options{Files: write(t, t.TempDir(), issue(t, next, r), next)})
	strangerWorks := func() bool {
		s, c, _ := shake(t, server, stranger.Client("node.test"))
		return s == nil && c == nil
	}
	for _, step := range []struct {
		pair        Pair
		authorities []*CA
		stranger    bool
	}{
		{issue(t, old, r), []*CA{old}, false},
		{issue(t, old, r), []*CA{old, next}, false}, // it does not know old yet
		{issue(t, next, r), []*CA{old, next}, true},
		{issue(t, next, r), []*CA{next}, true},
	} {
		write(t, dir, step.pair, step.authorities...)
		if !works() || strangerWorks() != step.stranger {
			t.Errorf("%d authorities: the node with itself %v, with the stranger %v", len(step.authorities), works(), strangerWorks())
		}
	}
}

// TestLooksSeldom: between two looks at the files a change is not seen.
func TestLooksSeldom(t *testing.T) {
	ca, dir := newCA(t, "ca"), t.TempDir()
	r := Request{Name: "n", Hosts: []string{"node.test"}, Valid: 30 * time.Minute}
	synctest.Test(t, func(t *testing.T) {
		// In the bubble it is long ago, so the certificates are made in it.
		ca = newCA(t, "ca")
		reloads := 0
		source := open(t, Options{Files: write(t, dir, issue(t, ca, r)), CheckEvery: 10 * time.Second,
			Listener: Listener{Reloaded: func(Files, time.Time) { reloads++ }}})
		write(t, dir, issue(t, ca, r))
		time.Sleep(9 * time.Second)
		if source.NotAfter(); reloads != 0 {
			t.Error("too early")
		}
		time.Sleep(time.Second)
		if source.NotAfter(); reloads != 1 {
			t.Error("not seen")
		}
	})
}

func TestConcurrentReload(t *testing.T) {
	ca, dir := newCA(t, "ca"), t.TempDir()
	r := Request{Name: "n", Hosts: []string{"node.test"}, Client: true}
	source := open(t, Options{Files: write(t, dir, issue(t, ca, r), ca), CheckEvery: time.Nanosecond})
	server := source.Server()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				if s, c, _ := shake(t, server, source.Client("node.test")); s != nil || c != nil {
					t.Errorf("server: %v, client: %v", s, c)
				}
			}
		})
	}
	for range 20 {
		write(t, dir, issue(t, ca, r), ca)
	}
	all.Wait()
}

func TestBadFiles(t *testing.T) {
	ca := newCA(t, "ca")
	dir := t.TempDir()
	good := issue(t, ca, Request{Name: "n", Hosts: []string{"h"}})
	other := issue(t, ca, Request{Name: "o", Hosts: []string{"h"}})
	put := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key, otherKey := put("c", good.Cert), put("k", good.Key), put("o", other.Key)
	text, empty := put("t", []byte("text")), put("e", nil)
	encrypted := put("x", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	damaged := put("d", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	damagedCert := put("dc", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	for _, c := range []struct {
		name string
		Files
		about, want string
	}{
		{"key missing", Files{Cert: cert}, cert, "belong together"},
		{"cert missing", Files{Key: key}, key, "belong together"},
		{"absent", Files{Cert: dir + "/no", Key: key}, dir + "/no", "no such file"},
		{"a directory", Files{Cert: dir, Key: key}, dir, "not a file"},
		{"text as certificate", Files{Cert: text, Key: key}, text, "no certificate in PEM form"},
		{"damaged certificate", Files{Cert: damagedCert, Key: key}, damagedCert, "damaged"},
		{"empty key", Files{Cert: cert, Key: empty}, empty, "no private key in PEM form"},
		{"certificate as key", Files{Cert: cert, Key: cert}, cert, "no private key in PEM form"},
		{"encrypted key", Files{Cert: cert, Key: encrypted}, encrypted, "encrypted"},
		{"damaged key", Files{Cert: cert, Key: damaged}, damaged, "damaged"},
		{"another key", Files{Cert: cert, Key: otherKey}, otherKey, "not the key of the certificate in " + cert},
		{"text as authorities", Files{Cert: cert, Key: key, CA: text}, text, "no certificate in PEM form"},
		{"authorities absent", Files{CA: dir + "/no"}, dir + "/no", "no such file"},
	} {
		_, err := Open(Options{Files: c.Files})
		if errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), c.about+": ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestTimes(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "ca")
		f := write(t, dir, issue(t, ca, Request{Name: "n", Hosts: []string{"h"}, Valid: 10 * time.Minute}))
		open(t, Options{Files: f})
		time.Sleep(11 * time.Minute)
		if _, err := Open(Options{Files: f}); err == nil || !strings.Contains(err.Error(), "expired at 2000-01-01T00:10:00Z") {
			t.Errorf("expired: %v", err)
		}
	})
	now := newCA(t, "ca")
	f := write(t, dir, issue(t, now, Request{Name: "n", Hosts: []string{"h"}}))
	synctest.Test(t, func(t *testing.T) { // where it is the year 2000
		if _, err := Open(Options{Files: f}); err == nil || !strings.Contains(err.Error(), "not valid before") {
			t.Errorf("not yet valid: %v", err)
		}
	})
}

func TestAuthority(t *testing.T) {
	ca := newCA(t, "ca")
	again, err := LoadCA(ca.Pair())
	if err != nil {
		t.Fatal(err)
	}
	p := issue(t, again, Request{Name: "n", Hosts: []string{"node.test"}, Valid: 24 * time.Hour})
	certs, err := parseCerts(p.Cert)
	if err != nil || certs[0].NotAfter.After(time.Now().Add(time.Hour)) {
		t.Errorf("valid until %v, longer than its authority: %v", certs[0].NotAfter, err)
	}
	if _, err := LoadCA(p); err == nil {
		t.Error("a host's certificate became an authority")
	}
	for _, r := range []Request{{Name: "n", Valid: time.Hour}, {Hosts: []string{"h"}, Valid: time.Hour}, {Name: "n", Hosts: []string{"h"}}} {
		if _, err := ca.Issue(r); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%+v: %v", r, err)
		}
	}
	dir := t.TempDir()
	if err := p.Write(dir+"/c", dir+"/k"); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(dir + "/k"); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", st.Mode(), err)
	}
	if err := p.Write(dir+"/c2", dir+"/k"); err == nil {
		t.Error("a key was overwritten")
	}
}
