package tlsconf

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"time"

	"o3/internal/errs"
)

// CA is a certificate authority: it signs certificates for hosts and clients.
// It is immutable and safe for concurrent use.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  Pair
}

// Pair is a certificate and its private key in PEM form. Key is a secret.
type Pair struct {
	Cert []byte
	Key  []byte
}

// Write writes the pair to two files of mode 0644 and 0600. They must not exist.
func (p Pair) Write(certFile, keyFile string) error {
	if err := create(keyFile, p.Key, 0o600); err != nil {
		return err
	}
	return create(certFile, p.Cert, 0o644)
}

func create(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// backdate is how long before now certificates become valid, for clocks that
// differ a little.
const backdate = 5 * time.Minute

// NewCA makes an authority of that name which is valid so long from now.
func NewCA(name string, valid time.Duration) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t, err := template(name, valid)
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return sign(t, t, key, key)
}

// LoadCA reads an authority that Pair.Write wrote. Errors are of kind Invalid.
func LoadCA(p Pair) (*CA, error) {
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, "certificate authority", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, errs.New(errs.Invalid, "certificate authority", "not an authority with an ECDSA key")
	}
	return &CA{pair.Leaf, key, p}, nil
}

// Pair returns the authority itself: its certificate is the CA file of the
// other side.
func (ca *CA) Pair() Pair { return ca.pem }

// Request says what a certificate is for.
type Request struct {
	Name   string        // who: the common name
	Hosts  []string      // host names and IP addresses it serves; empty for a pure client
	Client bool          // it may be presented by a client
	Valid  time.Duration // from now; never beyond the authority's own end
}

// Issue signs a new certificate with a new key.
func (ca *CA) Issue(r Request) (Pair, error) {
	if len(r.Hosts) == 0 && !r.Client {
		return Pair{}, errs.New(errs.Invalid, r.Name, "a certificate is for hosts, for a client or for both")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	t, err := template(r.Name, r.Valid)
	if err != nil {
		return Pair{}, err
	}
	if t.NotAfter.After(ca.cert.NotAfter) {
		t.NotAfter = ca.cert.NotAfter
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	for _, h := range r.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	if len(r.Hosts) > 0 {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if r.Client {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	made, err := sign(t, ca.cert, key, ca.key)
	if err != nil {
		return Pair{}, err
	}
	return made.pem, nil
}

func template(name string, valid time.Duration) (*x509.Certificate, error) {
	if name == "" || valid <= 0 {
		return nil, errs.New(errs.Invalid, name, "a certificate needs a name and a time for which it is valid")
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: name, Organization: []string{"O3"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(valid),
	}, nil
}

func sign(t, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (*CA, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &CA{cert, key, Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}}, nil
}

// parseCerts reads the certificates of a PEM file, the leaf first.
func parseCerts(data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("one of its certificates is damaged: " + err.Error())
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no certificate in PEM form")
	}
	return out, nil
}

// parseKey tells a file that holds no usable private key from one that holds
// the key of another certificate.
func parseKey(data []byte) error {
	if !bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return errors.New("it holds no private key in PEM form")
	}
	if bytes.Contains(data, []byte("ENCRYPTED")) {
		return errors.New("its private key is encrypted; give it without a passphrase")
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			return nil
		}
		if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return nil
		}
		if _, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return nil
		}
	}
	return errors.New("its private key is damaged")
}
