package cli

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"o3/client"
	"o3/internal/bootstrap"
	"o3/internal/errs"
	"o3/internal/s3/sigv4"
	"o3/internal/transfer"
)

// source is a node to bootstrap from, asked with the credentials of the session.
func (c *bootstrapCmd) source(s *Session, address string, streams int) (bootstrap.Source, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return bootstrap.Source{}, errs.New(errs.Invalid, "--from "+address, "it must be the address of an OM API: http[s]://HOST:PORT")
	}
	id, secret, err := s.Credentials()
	if err != nil {
		return bootstrap.Source{}, err
	}
	conf, err := s.TLS()
	if err != nil {
		return bootstrap.Source{}, err
	}
	retryFor := s.Timeout
	if c.Check || retryFor <= 0 {
		retryFor = -1
	}
	peer, err := client.New(client.Options{
		Address: u.Scheme + "://" + u.Host, AccessKey: id, SecretKey: secret, TLS: conf, RetryFor: retryFor, UserAgent: "o3-cli/" + s.deps.Version,
	})
	if err != nil {
		return bootstrap.Source{}, err
	}
	s.closing = append(s.closing, peer.Close)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // a connection for each stream: HTTP/2's one would share its window among them
	requests := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig: overHTTP1(conf), Protocols: protocols, MaxIdleConnsPerHost: streams + 1, IdleConnTimeout: time.Minute, DisableCompression: true, ReadBufferSize: 64 << 10,
	}
	s.closing = append(s.closing, func() error { requests.CloseIdleConnections(); return nil })
	out := bootstrap.Source{Peer: peer, Source: transfer.Source{
		Name: u.Host, URL: u.Scheme + "://" + u.Host + "/transfer",
		Client: &http.Client{Transport: requests, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}}
	if id != "" {
		signer := &sigv4.Signer{AccessKeyID: id, Secret: secret, Region: client.DefaultRegion, Service: "o3", Keys: new(sigv4.KeyCache)}
		out.Sign = func(r *http.Request) error { signer.Sign(r, sigv4.EmptySHA256, time.Now()); return nil }
	}
	return out, nil
}

// overHTTP1 is c for connections that offer no other protocol.
func overHTTP1(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	c = c.Clone()
	c.NextProtos = nil
	return c
}
