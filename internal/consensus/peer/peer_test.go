package peer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/consensus"
	"o3/internal/consensus/consensustest"
	"o3/internal/consensus/peer"
	"o3/internal/errs"
	"o3/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// directory knows where each node listens.
type directory struct {
	mu sync.Mutex
	m  map[uint64]string
}

func (d *directory) set(id uint64, addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.m[id] = addr
}

func (d *directory) get(id uint64) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.m[id]
	return a, ok
}

// serve serves p on a loopback port until the test ends; with a certificate,
// over TLS.
func serve(t *testing.T, p *peer.Peers, conf *tls.Config) (addr string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	mux := http.NewServeMux()
	mux.Handle(p.Handler())
	s := &http.Server{Handler: mux, Protocols: &http.Protocols{}}
	s.Protocols.SetUnencryptedHTTP2(conf == nil)
	s.Protocols.SetHTTP2(conf != nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conf != nil {
			s.TLSConfig = conf
			s.ServeTLS(ln, "", "")
			return
		}
		s.Serve(ln)
	}()
	var once sync.Once
	stop = func() { once.Do(func() { s.Close(); <-done }) }
	t.Cleanup(stop)
	return addr, stop
}

// TestGroup runs three nodes over real connections: they elect a leader,
// replicate, survive the loss of a node, and agree.
func TestGroup(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) { group(t, secure) })
	}
}

type member struct {
	node    *consensus.Node
	machine *consensustest.Machine
	stop    func()
}

func group(t *testing.T, secure bool) {
	dir := &directory{m: map[uint64]string{}}
	oracle := consensustest.NewOracle()
	var ca *authority
	if secure {
		ca = newAuthority(t)
	}
	members := map[uint64]*member{}
	for id := uint64(1); id <= 3; id++ {
		members[id] = start(t, id, dir, oracle, ca)
	}
	ctx := t.Context()
	// On a slow machine leaders change at any time: both try again.
	write := func(i int) {
		for {
			for _, m := range members {
				if _, err := m.node.Propose(ctx, fmt.Appendf(nil, "w%d reg v%d", i, i)); err == nil {
					return
				}
			}
		}
	}
	read := func(m *member) {
		for {
			if index, err := m.node.ReadIndex(ctx); err == nil && m.node.WaitApplied(ctx, index) == nil {
				return
			}
		}
	}
	for i := range 50 {
		write(i)
	}
	for id, m := range members { // a follower's read goes to the leader and back
		if read(m); m.machine.Get("reg") != "v49" {
			t.Errorf("node %d reads %q", id, m.machine.Get("reg"))
		}
	}
	for id, m := range members { // the loss of a follower
		if r, _ := m.node.Role(); r.Role != consensus.Leader {
			m.stop()
			delete(members, id)
			break
		}
	}
	for i := 50; i < 80; i++ {
		write(i)
	}
	acked := make([]string, 80)
	for i := range acked {
		acked[i] = fmt.Sprint("w", i)
	}
	for id, m := range members {
		if read(m); m.machine.Get("reg") != "v79" || len(m.machine.Missing(acked)) > 0 {
			t.Errorf("node %d reads %q, has not %v", id, m.machine.Get("reg"), m.machine.Missing(acked))
		}
	}
	for _, f := range oracle.Faults() {
		t.Error(f)
	}
}

func start(t *testing.T, id uint64, dir *directory, oracle *consensustest.Oracle, ca *authority) *member {
	t.Helper()
	var client, server *tls.Config
	if ca != nil {
		client, server = ca.configs(t, id, peer.Name("test", id))
	}
	p, err := peer.New(peer.Options{ID: id, Cluster: "test", Address: dir.get, TLS: client})
	if err != nil {
		t.Fatal(err)
	}
	m := &member{machine: consensustest.NewMachine(id, oracle)}
	m.node, err = consensus.Open(consensus.Options{
		ID: id, Bootstrap: []uint64{1, 2, 3}, Machine: m.machine, FS: vfs.NewMem(), Dir: "raft",
		Transport: p, TickInterval: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Bind(m.node)
	addr, stopServer := serve(t, p, server)
	dir.set(id, addr)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { p.Run(ctx) })
	wg.Go(func() {
		if err := m.node.Run(ctx); err != nil {
			t.Errorf("node %d: %v", id, err)
		}
	})
	var once sync.Once
	m.stop = func() {
		once.Do(func() {
			cancel()
			wg.Wait()
			stopServer()
			m.node.Close()
		})
	}
	t.Cleanup(m.stop)
	return m
}

// target collects what arrives.
type target struct {
	got         chan consensus.Message
	unreachable chan uint64
}

func newTarget() *target {
	return &target{got: make(chan consensus.Message, 100), unreachable: make(chan uint64, 100)}
}

func (g *target) Deliver(ms []consensus.Message) {
	for _, m := range ms {
		select {
		case g.got <- m:
		default: // what a slow machine has queued meanwhile
		}
	}
}

func (g *target) Unreachable(id uint64) {
	select {
	case g.unreachable <- id:
	default:
	}
}

// TestRefused: who may not speak, and the reason the receiver gives.
func TestRefused(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	for _, c := range []struct {
		name    string
		cluster string // the sender's
		cert    string // the name in the sender's certificate; empty: no TLS
		ca      *authority
		member  bool
		says    string // by the receiver; empty: the connection fails before
		arrives bool
	}{
		{"member", "test", peer.Name("test", 1), ca, true, "", true},
		{"the receiver is another node", "test", peer.Name("test", 1), ca, true, "", false},
		{"another cluster", "foreign", peer.Name("test", 1), ca, true, "", false},
		{"another cluster in plain text", "foreign", "", nil, true, `not "foreign"`, false},
		{"not a member in plain text", "test", "", nil, false, "not a member", false},
		{"another node's certificate", "test", peer.Name("test", 3), ca, true, "node 3's", false},
		{"another cluster's certificate", "test", peer.Name("foreign", 1), ca, true, "names no node", false},
		{"not a member", "test", peer.Name("test", 1), ca, false, "not a member", false},
		{"an unknown authority", "test", peer.Name("test", 1), other, true, "", false},
		{"plain text to TLS", "test", "", nil, true, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			receiver := uint64(2)
			if c.name == "the receiver is another node" {
				receiver = 3
			}
			serverClient, server := ca.configs(t, 2, peer.Name("test", receiver))
			if strings.HasSuffix(c.name, "in plain text") {
				serverClient, server = nil, nil
			}
			refused := make(chan string, 100)
			dir := &directory{m: map[uint64]string{1: "127.0.0.1:1"}}
			b, err := peer.New(peer.Options{
				ID: 2, Cluster: "test", Address: dir.get, TLS: serverClient,
				Member:   func(uint64) bool { return c.member },
				Listener: peer.Listener{Refused: func(_ uint64, why string) { refused <- why }},
			})
			if err != nil {
				t.Fatal(err)
			}
			tb := newTarget()
			b.Bind(tb)
			addr, _ := serve(t, b, server)
			dir.set(2, addr)
			o := peer.Options{ID: 1, Cluster: c.cluster, Address: dir.get}
			if c.cert != "" {
				o.TLS, _ = c.ca.configs(t, 1, c.cert)
				o.TLS.RootCAs = ca.pool
			}
			send(t, o, tb, refused, c.says, c.arrives)
		})
	}
}

func send(t *testing.T, o peer.Options, tb *target, refused chan string, says string, arrives bool) {
	a, err := peer.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ta := newTarget()
	a.Bind(ta)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); a.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for {
		a.Send([]consensus.Message{{From: 1, To: 2, Ask: &consensus.Ask{}}})
		select {
		case m := <-tb.got:
			if !arrives || m.Ask == nil || m.From != 1 {
				t.Errorf("arrived: %+v", m)
			}
			return
		case why := <-refused:
			if says == "" || !strings.Contains(why, says) {
				t.Errorf("refused: %s", why)
			}
			return
		case <-ta.unreachable:
			if arrives {
				t.Error("unreachable")
				return
			}
			if says == "" {
				return
			}
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestPlainOnlyOnLoopback: without TLS nothing leaves the machine.
func TestPlainOnlyOnLoopback(t *testing.T) {
	broken := make(chan error, 100)
	a, err := peer.New(peer.Options{
		ID: 1, Cluster: "test", Address: func(uint64) (string, bool) { return "192.0.2.1:9872", true },
		Listener: peer.Listener{Disconnected: func(_ uint64, err error) { broken <- err }},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.Bind(newTarget())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); a.Run(ctx) }()
	defer func() { cancel(); <-done }()
	a.Send([]consensus.Message{{From: 1, To: 2, Ask: &consensus.Ask{}}})
	if err := <-broken; errs.KindOf(err) != errs.Denied {
		t.Errorf("got %v", err)
	}
}

// TestQueueBound: a receiver that cannot be reached does not fill the memory.
func TestQueueBound(t *testing.T) {
	dropped := 0
	a, err := peer.New(peer.Options{
		ID: 1, Cluster: "test", QueueBytes: 1000, Address: func(uint64) (string, bool) { return "", false },
		Listener: peer.Listener{Dropped: func(_ uint64, n int) { dropped += n }},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		a.Send([]consensus.Message{{From: 1, To: 2, Ask: &consensus.Ask{}}})
	}
	if dropped < 80 || dropped == 100 {
		t.Errorf("%d of 100 dropped", dropped)
	}
}

func TestOptions(t *testing.T) {
	addr := func(uint64) (string, bool) { return "", false }
	for _, o := range []peer.Options{
		{Cluster: "c", Address: addr}, {ID: 1, Address: addr}, {ID: 1, Cluster: "a/b", Address: addr}, {ID: 1, Cluster: "c"},
	} {
		if _, err := peer.New(o); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{pool: x509.NewCertPool()}
	a.cert, a.key = sign(t, nil, nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a.pool.AddCert(a.cert)
	return a
}

func sign(t *testing.T, ca *x509.Certificate, caKey *ecdsa.PrivateKey, tmpl *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber = big.NewInt(time.Now().UnixNano())
	tmpl.NotBefore, tmpl.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if ca == nil {
		ca, caKey = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// configs returns a node's TLS configurations, as client and as server.
func (a *authority) configs(t *testing.T, id uint64, name string) (client, server *tls.Config) {
	t.Helper()
	u, err := url.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	c, key := sign(t, a.cert, a.key, &x509.Certificate{
		Subject: pkix.Name{CommonName: fmt.Sprint("node ", id)}, URIs: []*url.URL{u},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	pair := tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}
	client = &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: a.pool}
	server = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: a.pool, ClientAuth: tls.RequireAndVerifyClientCert}
	return client, server
}
