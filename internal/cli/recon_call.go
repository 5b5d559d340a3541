package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"o3/client"
	"o3/internal/errs"
	"o3/internal/recon/web"
	"o3/internal/s3/sigv4"
)

// reconPort is Recon's port by default.
const reconPort = "9888"

// maxReconAnswer bounds what is read of an answer, in bytes.
const maxReconAnswer = 256 << 20

// reconFlags are the flags of commands that ask Recon.
type reconFlags struct {
	ReconEndpoint string `placeholder:"URL" help:"Address of Recon (default: O3_RECON_ENDPOINT, then port 9888 of the host in --endpoint or O3_ENDPOINT, then ozone.recon.http-address on this machine)."`
}

// reconEndpoint returns where Recon listens.
func (f reconFlags) endpoint(s *Session) (string, error) {
	if given := first(f.ReconEndpoint, s.env("O3_RECON_ENDPOINT")); given != "" {
		return given, nil
	}
	if om := first(s.Endpoint, s.env("O3_ENDPOINT")); om != "" {
		om, _, _ = strings.Cut(om, ",")
		if !strings.Contains(om, "://") {
			om = "http://" + om
		}
		u, err := url.Parse(om)
		if err != nil || u.Hostname() == "" {
			return "", errs.New(errs.Invalid, "--endpoint "+om, "it is no URL; --recon-endpoint says where Recon is")
		}
		return u.Scheme + "://" + net.JoinHostPort(u.Hostname(), reconPort), nil
	}
	c, err := s.settings()
	if err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(c.Recon.Address)
	if err != nil {
		return "", errs.Wrap(errs.Invalid, "ozone.recon.http-address "+c.Recon.Address, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http://"
	if c.Recon.TLS.Enabled() {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port), nil
}

// ask sends a request to Recon's API and reads the answer into out. raw is the
// answer as it came.
func (f reconFlags) ask(ctx context.Context, s *Session, method, path string, query url.Values, out any) (raw []byte, err error) {
	at, status, raw, err := f.send(ctx, s, method, web.Prefix+path, query, time.Minute)
	if err != nil {
		return nil, err
	}
	if status/100 != 2 && status != http.StatusConflict {
		return nil, reconError(at, status, raw)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return nil, errs.New(errs.Unavailable, "Recon at "+at, "what answers there is not Recon: "+err.Error())
	}
	return raw, nil
}

// send sends a request to Recon and returns the answer, whatever it is, and who
// gave it. patience bounds the wait for its beginning; 0 does not.
func (f reconFlags) send(ctx context.Context, s *Session, method, path string, query url.Values, patience time.Duration) (at string, status int, raw []byte, err error) {
	if at, err = f.endpoint(s); err != nil {
		return at, 0, nil, err
	}
	r, err := f.request(ctx, s, method, at, path, query)
	if err != nil {
		return at, 0, nil, err
	}
	conf, err := s.TLS()
	if err != nil {
		return at, 0, nil, err
	}
	pool := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: patience,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}
	defer pool.CloseIdleConnections()
	resp, err := (&http.Client{Transport: pool}).Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return at, 0, nil, errs.Wrap(errs.Canceled, "", ctx.Err())
		}
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the URL stands there already
		}
		return at, 0, nil, &errs.Error{Kind: errs.Unavailable, Subject: "Recon at " + at, Detail: "it cannot be reached; --recon-endpoint says where it is: " + err.Error(), Err: err}
	}
	defer resp.Body.Close()
	if raw, err = io.ReadAll(io.LimitReader(resp.Body, maxReconAnswer)); err != nil {
		return at, 0, nil, errs.Wrap(errs.Unavailable, "Recon at "+at, err)
	}
	return at, resp.StatusCode, raw, nil
}

// request returns a signed request.
func (f reconFlags) request(ctx context.Context, s *Session, method, at, path string, query url.Values) (*http.Request, error) {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, errs.New(errs.Invalid, "--recon-endpoint "+at, "it must be http[s]://HOST:PORT")
	}
	u.Path, u.RawQuery = path, query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, at, err)
	}
	r.Header.Set("User-Agent", "o3-cli/"+s.deps.Version)
	id, secret, err := s.Credentials()
	if err != nil {
		return nil, err
	}
	if id != "" {
		signer := &sigv4.Signer{AccessKeyID: id, Secret: secret, Region: client.DefaultRegion, Service: "o3"}
		signer.Sign(r, sigv4.EmptySHA256, time.Now())
	}
	return r, nil
}

// reconError makes an error of an answer that is one.
func reconError(at string, status int, raw []byte) error {
	var e web.Error
	if json.Unmarshal(raw, &e) == nil {
		for _, k := range errs.Kinds() {
			if k.String() == e.Kind {
				return errs.New(k, e.Subject, e.Detail)
			}
		}
	}
	kind := errs.Unavailable
	if status == http.StatusNotFound {
		kind = errs.NotImplemented
	}
	return errs.New(kind, "Recon at "+at, fmt.Sprintf("what answers there is not Recon, or not one of this version: %d %s", status, http.StatusText(status)))
}

// printRaw prints an answer on a line of its own.
func (s *Session) printRaw(raw []byte) error {
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return errs.Wrap(errs.Internal, "JSON", err)
	}
	line.WriteByte('\n')
	_, err := s.Stdout.Write(line.Bytes())
	return written(err)
}

// describeRaw prints an answer as it came, or as lines of name and value.
func (s *Session) describeRaw(raw []byte, fields ...field) error {
	if s.JSON {
		return s.printRaw(raw)
	}
	return s.describe(nil, fields...)
}
