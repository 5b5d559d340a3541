package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
)

// Server returns the configuration of a listener: it presents the certificate
// and, with a CA, wants every client to present one that the CA signed.
// The Source must have a certificate. HTTP/2 and HTTP/1.1 are offered.
func (s *Source) Server() *tls.Config {
	base := s.server(s.current())
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.server(s.current()), nil }
	return base
}

func (s *Source) server(m material) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if m.cert == nil {
				return nil, errors.New("tlsconf: a server needs a certificate")
			}
			return m.cert, nil
		},
	}
	if m.pool != nil {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, m.pool
		c.SessionTicketsDisabled = true // a ticket would outlive the authority that let its owner in
	}
	return c
}

// Client returns the configuration of one connection to the server of that
// name or IP address: its certificate must be for the name and come from the
// CA, or from the system's authorities without one; the Source's certificate,
// if it has one, is presented when asked for. The authorities are those of the
// moment, so who connects again and again takes a new configuration each time,
// or uses DialTLS. HTTP/2 and HTTP/1.1 are offered.
func (s *Source) Client(serverName string) *tls.Config {
	m := s.current()
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		ServerName: serverName,
		RootCAs:    m.pool,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if m.cert == nil {
				return new(tls.Certificate), nil
			}
			return m.cert, nil
		},
	}
}

// DialTLS connects to address, host:port, and shakes hands as Client says. It
// is what http.Transport takes as DialTLSContext.
func (s *Source) DialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := tls.Dialer{Config: s.Client(host)}
	return d.DialContext(ctx, network, address)
}
