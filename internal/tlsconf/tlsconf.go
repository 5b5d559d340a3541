// Package tlsconf makes tls.Configs from PEM files and follows the files: when
// one changes, connections made from then on use the new certificate, and a
// bad new file leaves the old one in use and is reported.
//
// A Source owns no goroutine and nothing to close: the files are looked at
// when a connection is made, at most once per interval. It is safe for
// concurrent use. TLS 1.2 is the oldest version spoken.
//
// The package also has a small certificate authority (CA) for development,
// tests and clusters without one of their own.
package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"o3/internal/errs"
)

// Files names PEM files.
type Files struct {
	Cert string // certificate and its intermediates; with Key, or neither
	Key  string // its private key
	CA   string // authorities the other side's certificate must come from
}

// Listener hears what happens to the files. Nil fields are silent. Calls are
// made while a connection waits and must not block.
type Listener struct {
	Reloaded func(f Files, notAfter time.Time) // changed files are in use
	Failed   func(f Files, err error)          // changed files are bad; the old ones stay in use. Once per change
}

// Options is the configuration of a Source.
type Options struct {
	Files
	CheckEvery time.Duration // between looks at the files; 0 means 1 s
	Listener   Listener
}

// Source holds the newest good certificate and authorities of its files.
type Source struct {
	opts Options
	mu   struct {
		sync.Mutex
		good    material
		stamp   [3]stamp // of the files when last looked at
		checked time.Time
	}
}

// material is what the files held.
type material struct {
	cert *tls.Certificate // nil without Cert
	pool *x509.CertPool   // nil without CA
}

// stamp tells whether a file changed.
type stamp struct {
	modified time.Time
	size     int64
	info     fs.FileInfo
}

// Open loads the files. Its error is of kind Invalid and names the file.
func Open(o Options) (*Source, error) {
	if o.CheckEvery == 0 {
		o.CheckEvery = time.Second
	}
	s := &Source{opts: o}
	s.mu.stamp = stamps(o.Files)
	m, err := load(o.Files)
	if err != nil {
		return nil, err
	}
	s.mu.good, s.mu.checked = m, time.Now()
	return s, nil
}

// NotAfter returns when the certificate in use expires; zero without one.
func (s *Source) NotAfter() time.Time { return s.current().notAfter() }

func (m material) notAfter() time.Time {
	if m.cert == nil {
		return time.Time{}
	}
	return m.cert.Leaf.NotAfter
}

// current returns the newest good material, after a look at the files if the
// last one is long ago.
func (s *Source) current() material {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if d := now.Sub(s.mu.checked); d >= 0 && d < s.opts.CheckEvery {
		return s.mu.good
	}
	s.mu.checked = now
	seen := stamps(s.opts.Files)
	if same(seen, s.mu.stamp) {
		return s.mu.good
	}
	s.mu.stamp = seen
	m, err := load(s.opts.Files)
	switch {
	case err == nil:
		s.mu.good = m
		if f := s.opts.Listener.Reloaded; f != nil {
			f(s.opts.Files, m.notAfter())
		}
	case s.opts.Listener.Failed != nil:
		s.opts.Listener.Failed(s.opts.Files, err)
	}
	return s.mu.good
}

func stamps(f Files) (out [3]stamp) {
	for i, path := range []string{f.Cert, f.Key, f.CA} {
		if path == "" {
			continue
		}
		if st, err := os.Stat(path); err == nil {
			out[i] = stamp{st.ModTime(), st.Size(), st}
		}
	}
	return out
}

func same(a, b [3]stamp) bool {
	for i := range a {
		if !a[i].modified.Equal(b[i].modified) || a[i].size != b[i].size || (a[i].info == nil) != (b[i].info == nil) {
			return false
		}
		if a[i].info != nil && !os.SameFile(a[i].info, b[i].info) {
			return false
		}
	}
	return true
}

// load reads the files; its error names the first one that is wrong.
func load(f Files) (material, error) {
	var m material
	if (f.Cert == "") != (f.Key == "") {
		return m, errs.New(errs.Invalid, f.Cert+f.Key, "a certificate and its key belong together, and one of them is missing")
	}
	for path, err := range f.check(&m) {
		return m, errs.Wrap(errs.Invalid, path, err)
	}
	return m, nil
}

// Check loads the files and yields each one that is wrong with the reason.
func (f Files) Check() func(yield func(path string, err error) bool) {
	return f.check(&material{})
}

// check yields what is wrong and leaves the rest in m.
func (f Files) check(m *material) func(yield func(string, error) bool) {
	return func(yield func(string, error) bool) {
		certPEM, certErr := read(f.Cert)
		keyPEM, keyErr := read(f.Key)
		if certErr != nil && !yield(f.Cert, certErr) || keyErr != nil && !yield(f.Key, keyErr) {
			return
		}
		if f.Cert != "" && f.Key != "" && certErr == nil && keyErr == nil {
			path, err := f.pair(m, certPEM, keyPEM)
			if err != nil && !yield(path, err) {
				return
			}
		}
		if f.CA == "" {
			return
		}
		caPEM, err := read(f.CA)
		if err == nil {
			m.pool = x509.NewCertPool()
			if !m.pool.AppendCertsFromPEM(caPEM) {
				err = errors.New("it holds no certificate in PEM form")
			}
		}
		if err != nil {
			yield(f.CA, err)
		}
	}
}

// pair makes the certificate of m, or says which file is at fault.
func (f Files) pair(m *material, certPEM, keyPEM []byte) (string, error) {
	certs, err := parseCerts(certPEM)
	if err != nil {
		return f.Cert, err
	}
	if err := parseKey(keyPEM); err != nil {
		return f.Key, err
	}
	if now := time.Now(); now.After(certs[0].NotAfter) {
		return f.Cert, errors.New("the certificate expired at " + certs[0].NotAfter.UTC().Format(time.RFC3339))
	} else if now.Before(certs[0].NotBefore) {
		return f.Cert, errors.New("the certificate is not valid before " + certs[0].NotBefore.UTC().Format(time.RFC3339))
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return f.Key, errors.New("it is not the key of the certificate in " + f.Cert)
	}
	pair.Leaf = certs[0]
	m.cert = &pair
	return "", nil
}

// maxFile bounds a PEM file, in bytes.
const maxFile = 4 << 20

func read(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	st, err := os.Stat(path)
	if err == nil && (!st.Mode().IsRegular() || st.Size() > maxFile) {
		return nil, errors.New("not a file of at most 4 MB")
	}
	if err != nil {
		return nil, plain(err)
	}
	data, err := os.ReadFile(path)
	return data, plain(err)
}

// plain drops the path from a file's error: callers name it.
func plain(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
