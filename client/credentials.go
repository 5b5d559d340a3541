package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"o3/internal/errs"
)

// CredentialsFile is the name, below a server's data directory, of the file
// with the root access key (docs/formats/root-credentials.md).
const CredentialsFile = "root-credentials"

const credentialsVersion = 1

// Credentials are what the credentials file holds: JSON, which is YAML too.
type Credentials struct {
	Version   int    `json:"version"`
	AccessKey string `json:"accessKey"`
	SecretKey string `json:"secretKey"`
}

// ReadCredentials reads a credentials file. It refuses one that others than
// its owner may read, one of a later version (FormatTooNew), and one that is
// none (FormatUnknown). An absent file is an error that matches
// fs.ErrNotExist.
func ReadCredentials(path string) (Credentials, error) {
	var c Credentials
	info, err := os.Stat(path)
	if err != nil {
		return c, errs.Wrap(errs.Unauthenticated, "credentials file "+path, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return c, errs.New(errs.Unauthenticated, "credentials file "+path, fmt.Sprintf("mode %04o lets others read it: it must be 0600", mode))
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return c, errs.Wrap(errs.Unauthenticated, "credentials file "+path, err)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, errs.New(errs.FormatUnknown, "credentials file "+path, "it must be a JSON object with version, accessKey and secretKey")
	}
	switch {
	case c.Version > credentialsVersion:
		return c, errs.New(errs.FormatTooNew, "credentials file "+path, fmt.Sprintf("version %d; this program knows up to %d", c.Version, credentialsVersion))
	case c.Version < 1 || c.AccessKey == "" || c.SecretKey == "":
		return c, errs.New(errs.FormatUnknown, "credentials file "+path, "version, accessKey and secretKey must all be set")
	}
	return c, nil
}

// WriteCredentials replaces the file durably and at once, with mode 0600.
func WriteCredentials(path string, c Credentials) (err error) {
	c.Version = credentialsVersion
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return errs.Wrap(errs.Internal, path, err)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return errs.Wrap(errs.Internal, path, err)
	}
	_, err = f.Write(append(raw, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errs.Wrap(errs.Internal, path, errors.Join(err, os.Remove(f.Name())))
	}
	d, err := os.Open(dir)
	if err != nil {
		return errs.Wrap(errs.Internal, dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil && !errors.Is(err, fs.ErrInvalid) {
		return errs.Wrap(errs.Internal, dir, err)
	}
	return nil
}
