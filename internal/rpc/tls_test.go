package rpc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/errs"
	"o3/internal/rpc"
	"o3/internal/rpc/rpctest"
)

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{pool: x509.NewCertPool()}
	c := issue(t, nil, "test CA")
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(a.cert)
	return a
}

func issue(t *testing.T, by *authority, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, signer := tmpl, key
	if by == nil {
		tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestClientCertificate: a verified certificate speaks for the user it names;
// anything else does not.
func TestClientCertificate(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	var heard calls
	s := rpctest.Start(t, rpctest.NewMemory(), rpc.Options{
		TLS:      &tls.Config{Certificates: []tls.Certificate{issue(t, ca, "server")}, ClientCAs: ca.pool, ClientAuth: tls.VerifyClientCertIfGiven},
		Listener: heard.listener(),
	})
	call := func(conf *tls.Config, key, secret string) error {
		c, err := client.New(client.Options{Address: s.URL, TLS: conf, AccessKey: key, SecretKey: secret, RetryFor: -1})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.CreateVolume(t.Context(), &o3v1.CreateVolumeRequest{Volume: "vol"})
		return err
	}
	with := func(c ...tls.Certificate) *tls.Config { return &tls.Config{RootCAs: ca.pool, Certificates: c} }

	if err := call(with(issue(t, ca, "root")), "", ""); err != nil {
		t.Errorf("root's certificate: %v", err)
	}
	if c := heard.last(); c.Principal.User != "root" || c.Bytes == 0 {
		t.Errorf("%+v", c)
	}
	for name, c := range map[string]struct {
		err  error
		kind errs.Kind
		want string
	}{
		"a user that is none":     {call(with(issue(t, ca, "nobody")), "", ""), errs.Unauthenticated, `common name "nobody"`},
		"no common name":          {call(with(issue(t, ca, "")), "", ""), errs.Unauthenticated, "must be a user"},
		"another authority":       {call(with(issue(t, other, "root")), "", ""), errs.Unavailable, ""},
		"server is not trusted":   {call(&tls.Config{RootCAs: other.pool}, rpctest.RootKey, rpctest.RootSecret), errs.Unauthenticated, "not trusted"},
		"a signature counts more": {call(with(issue(t, ca, "root")), rpctest.RootKey, "wrong"), errs.Unauthenticated, "does not match"},
	} {
		if errs.KindOf(c.err) != c.kind || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	if err := call(with(), rpctest.RootKey, rpctest.RootSecret); errs.KindOf(err) != errs.VolumeExists {
		t.Errorf("signed over TLS: %v", err)
	}
}
