package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"o3/client"
	"o3/internal/config"
	"o3/internal/errs"
	"o3/internal/tlsconf"
)

// Globals are the flags of every command.
type Globals struct {
	JSON   bool     `name:"json" help:"Print JSON, one object per line."`
	Quiet  bool     `short:"q" help:"Show no progress and no remarks."`
	Config string   `placeholder:"FILE" help:"Configuration file (YAML)."`
	Define []string `short:"D" sep:"none" placeholder:"KEY=VALUE" help:"Set a configuration key; may be repeated."`

	Endpoint  string        `placeholder:"URL" help:"Address of the namespace manager (default: O3_ENDPOINT, then ozone.om.address on this machine); several are separated by commas."`
	AccessKey string        `placeholder:"ID" help:"Access key (default: O3_ACCESS_KEY, AWS_ACCESS_KEY_ID, then the server's root-credentials file)."`
	SecretKey string        `placeholder:"SECRET" help:"Its secret; better given as O3_SECRET_KEY, since others can see command lines."`
	CA        string        `name:"ca" placeholder:"FILE" help:"Authorities to trust for https (default: O3_CA_FILE, then the system's)."`
	Cert      string        `placeholder:"FILE" help:"Client certificate, instead of an access key; with --cert-key."`
	CertKey   string        `placeholder:"FILE" help:"Private key of --cert."`
	Timeout   time.Duration `default:"10s" help:"How long to repeat a call while the server cannot be reached."`
}

// Session is what a command runs with. It belongs to one goroutine.
type Session struct {
	IO
	Globals

	deps    Deps
	config  *config.Config
	client  *client.Client
	closing []func() error // connections of the command's own
	code    int            // what the command wants to exit with, if it does not fail
}

// env returns an environment variable.
func (s *Session) env(name string) string {
	for i := len(s.Env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(s.Env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// path returns a file name of the command line as this process must open it.
func (s *Session) path(name string) string {
	if s.Dir == "" || name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.Dir, name)
}

// settings loads the configuration, once.
func (s *Session) settings() (*config.Config, error) {
	if s.config != nil {
		return s.config, nil
	}
	c, err := config.Load(config.Sources{File: s.path(s.Config), Env: s.Env, Set: s.Define})
	if err != nil {
		return nil, errs.New(errs.Invalid, "configuration", err.Error())
	}
	s.config = c
	return c, nil
}

// checkSettings refuses a --config or -D that is wrong, also where nothing of
// the configuration is used. The server tells its own.
func (s *Session) checkSettings(command string) error {
	if s.Config == "" && len(s.Define) == 0 || command == "server" {
		return nil
	}
	_, err := s.settings()
	return err
}

// dataDir returns the data directory: as given, else as configured.
func (s *Session) dataDir(given string) (string, error) {
	if given != "" {
		return s.path(given), nil
	}
	c, err := s.settings()
	if err != nil {
		return "", err
	}
	return s.path(c.Node.DataDir), nil
}

// Client returns the connection to the server, made at the first call.
func (s *Session) Client() (*client.Client, error) { return s.dial(s.Timeout) }

// bucket reads the path of a bucket and returns it with the connection.
func (s *Session) bucket(text string) (path, *client.Client, error) {
	p, err := parsePath(text, 2)
	if err != nil {
		return p, nil, err
	}
	o3, err := s.Client()
	return p, o3, err
}

func (s *Session) dial(retryFor time.Duration) (*client.Client, error) {
	if s.client != nil {
		return s.client, nil
	}
	addresses, err := s.endpoints()
	if err != nil {
		return nil, err
	}
	told := false
	opts := client.Options{Address: addresses[0], Addresses: addresses[1:], RetryFor: retryFor, UserAgent: "o3-cli/" + s.deps.Version}
	opts.Listener.Retry = func(_, address string, err error) {
		if !told {
			told = true
			s.remark("%s; trying again for %v", message(err), retryFor)
		}
	}
	if opts.RetryFor <= 0 {
		opts.RetryFor = -1
	}
	if opts.AccessKey, opts.SecretKey, err = s.Credentials(); err != nil {
		return nil, err
	}
	if opts.TLS, err = s.TLS(); err != nil {
		return nil, err
	}
	s.client, err = client.New(opts)
	return s.client, err
}

// endpoints returns where the namespace manager listens.
func (s *Session) endpoints() ([]string, error) {
	if given := first(s.Endpoint, s.env("O3_ENDPOINT")); given != "" {
		return strings.Split(given, ","), nil
	}
	c, err := s.settings()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(c.OM.Address)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, "ozone.om.address "+c.OM.Address, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}
	if c.OM.TLS.Enabled() {
		u.Scheme = "https"
	}
	return []string{u.String()}, nil
}

// TLS returns what https connections trust and present, as --ca, --cert and
// --cert-key say; nil is the system's trust and no certificate.
func (s *Session) TLS() (*tls.Config, error) {
	ca := first(s.CA, s.env("O3_CA_FILE"))
	if ca == "" && s.Cert == "" && s.CertKey == "" {
		return nil, nil
	}
	source, err := tlsconf.Open(tlsconf.Options{Files: tlsconf.Files{Cert: s.path(s.Cert), Key: s.path(s.CertKey), CA: s.path(ca)}})
	if err != nil {
		return nil, err
	}
	return source.Client(""), nil
}

// Credentials returns the access key to sign with; none with a certificate.
func (s *Session) Credentials() (id, secret string, err error) {
	for _, pair := range []struct{ from, id, secret string }{
		{"--access-key and --secret-key", s.AccessKey, first(s.SecretKey, onlyWith(s.AccessKey, s.env("O3_SECRET_KEY")))},
		{"O3_ACCESS_KEY and O3_SECRET_KEY", s.env("O3_ACCESS_KEY"), s.env("O3_SECRET_KEY")},
		{"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", s.env("AWS_ACCESS_KEY_ID"), s.env("AWS_SECRET_ACCESS_KEY")},
	} {
		if pair.id == "" && pair.secret == "" {
			continue
		}
		if pair.id == "" || pair.secret == "" {
			return "", "", errs.New(errs.Unauthenticated, pair.from, "go together; one of them is empty")
		}
		return pair.id, pair.secret, nil
	}
	if s.Cert != "" {
		return "", "", nil
	}
	path, err := s.credentialsFile()
	if err != nil {
		return "", "", err
	}
	c, err := client.ReadCredentials(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", errs.New(errs.Unauthenticated, "no access key", "give --access-key with O3_SECRET_KEY, or set O3_ACCESS_KEY and O3_SECRET_KEY; "+
			"on the server's machine its root key is used, but there is no "+path)
	}
	return c.AccessKey, c.SecretKey, err
}

// onlyWith returns v if id is not empty.
func onlyWith(id, v string) string {
	if id == "" {
		return ""
	}
	return v
}

// credentialsFile returns the path of the server's root credentials.
func (s *Session) credentialsFile() (string, error) {
	dir, err := s.dataDir("")
	return filepath.Join(dir, client.CredentialsFile), err
}

func (s *Session) close() {
	if s.client != nil {
		s.closing = append(s.closing, s.client.Close)
	}
	for _, f := range s.closing {
		_ = f() // it only drops idle connections
	}
}

// finish reports err and returns the exit code.
func (s *Session) finish(err error) int {
	if err == nil {
		return s.code
	}
	kind := errs.KindOf(err)
	code, _ := exitCode(kind)
	if s.JSON {
		s.jsonError(err)
		return code
	}
	fmt.Fprintln(s.Stderr, "o3:", message(err))
	return code
}

// message is what a person reads of err. On this side of the wire nothing is
// secret, so causes are shown too.
func message(err error) string {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		return err.Error()
	}
	if e.Detail != "" {
		return errs.Message(e)
	}
	return (&errs.Error{Kind: e.Kind, Subject: e.Subject, Err: e.Err}).Error()
}

// remark tells the user something that is no result.
func (s *Session) remark(format string, args ...any) {
	if !s.Quiet && !s.JSON {
		fmt.Fprintf(s.Stderr, format+"\n", args...)
	}
}

// create makes a temporary file beside the file to be written.
func (s *Session) create(path string) (*os.File, error) {
	name := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%08x", filepath.Base(path), rand.Uint32()))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, errs.New(errs.Invalid, "file "+path, plain(err))
	}
	return f, nil
}
