// Package s3test runs the S3 front in one process for tests: the real
// namespace over a store in memory, a block store in memory, and an HTTP server
// on 127.0.0.1. It starts no goroutine but the server's, which ends with the
// test.
package s3test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/block"
	"o3/internal/block/memblock"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/s3"
)

// Key is an access key. The id of each user's key is the user's name in
// capitals with "KEY" behind it.
type Key struct{ ID, Secret string }

// The users there are: an admin and two without a role.
var (
	Root  = Key{"ROOTKEY", "root-secret-0123456789"}
	Alice = Key{"ALICEKEY", "alice-secret-0123456789"}
	Bob   = Key{"BOBKEY", "bob-secret-0123456789"}
)

// Host is a domain below which the server takes a host name for a bucket.
const Host = "s3.o3.test"

// Service is a running S3 front.
type Service struct {
	Gateway   *s3.Gateway
	Namespace *om.Service
	Server    *httptest.Server

	tb testing.TB
}

// Deps replaces parts of a Service; nil fields leave what New makes.
type Deps struct {
	Namespace func(s3.Namespace) s3.Namespace
	Blocks    func(block.Store) block.Store
}

// New starts a service. It ends with the test.
func New(tb testing.TB, opts s3.Options, deps Deps) *Service {
	tb.Helper()
	service := Namespace(tb)
	var namespace s3.Namespace = service
	if deps.Namespace != nil {
		namespace = deps.Namespace(namespace)
	}
	var blocks block.Store = memblock.New()
	if deps.Blocks != nil {
		blocks = deps.Blocks(blocks)
	}
	opts.Domains = append(opts.Domains, Host)
	gateway, err := s3.New(namespace, blocks, service, opts)
	if err != nil {
		tb.Fatal(err)
	}
	s := &Service{Gateway: gateway, Namespace: service, tb: tb}
	volumes := gateway.VolumeHandler()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// No mux: it would clean paths, and keys may hold "//" and "..".
		if strings.HasPrefix(r.URL.Path, s3.VolumePrefix+"vol") {
			volumes.ServeHTTP(w, r)
			return
		}
		gateway.ServeHTTP(w, r)
	}))
	tb.Cleanup(func() {
		s.Server.Close()
		if err := blocks.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// Client returns an HTTP client for which every host is this server, so that
// virtual-host style works without a name server.
func (s *Service) Client() *http.Client {
	address := s.Server.Listener.Addr().String()
	t := s.Server.Client().Transport.(*http.Transport).Clone()
	t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	s.tb.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// Namespace returns a namespace with the volumes s3v, where every user may
// create buckets, and vol1, which is root's, and with the users.
func Namespace(tb testing.TB) *om.Service {
	tb.Helper()
	store := new(memkv.Store)
	machine, err := fsm.Open(store, fsm.Position{})
	if err != nil {
		tb.Fatal(err)
	}
	machine.Strict()
	service := om.New(om.Options{Store: store, Log: &log{machine: machine}})
	ctx := access.NewContext(context.Background(), access.System)
	must := func(err error) {
		if err != nil {
			tb.Helper()
			tb.Fatal(err)
		}
	}
	for user, key := range map[string]Key{"root": Root, "alice": Alice, "bob": Bob} {
		role := "user"
		if user == "root" {
			role = "admin"
		}
		_, err := service.CreateUser(ctx, &o3v1.CreateUserRequest{User: user, Role: role})
		must(err)
		_, err = service.CreateAccessKey(ctx, &o3v1.CreateAccessKeyRequest{User: user, Id: key.ID, Secret: key.Secret})
		must(err)
	}
	for _, volume := range []string{ns.S3Volume, "vol1"} {
		req := &o3v1.CreateVolumeRequest{Volume: volume, Owner: "root"}
		if volume == ns.S3Volume {
			req.Grants = []*o3v1.Grant{{Grantee: access.SignedIn, Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_CREATE}}}
		}
		_, err = service.CreateVolume(ctx, req)
		must(err)
	}
	return service
}

// log is a log of one node without a disk: what is proposed is applied.
type log struct {
	mu      sync.Mutex
	machine *fsm.Machine
	broken  error
}

// Propose implements om.Log.
func (l *log) Propose(_ context.Context, request []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return nil, l.broken
	}
	index := l.machine.Position().Index + 1
	answers, err := l.machine.Apply([]fsm.Entry{{Index: index, Term: 1, Requests: [][]byte{request}}})
	if err != nil {
		l.broken = errs.Wrap(errs.Unavailable, "log", err)
		return nil, l.broken
	}
	return answers[0][0], nil
}

// ReadIndex implements om.Log.
func (l *log) ReadIndex(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.machine.Position().Index, l.broken
}

// WaitApplied implements om.Log.
func (l *log) WaitApplied(context.Context, uint64) error { return nil }
