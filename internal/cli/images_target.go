package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/image/s3target"
)

// keysOfBuckets is said where a command takes the URL of a bucket.
const keysOfBuckets = `A bucket of any S3 store is written s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION, in quotes for the shell; path-style=true|false, checksum=crc64nvme|sha256|none and lock=on|off are allowed too. ` +
	`Without an endpoint it is AWS_ENDPOINT_URL_S3 or Amazon's. Keys are never part of it: `

// fromHere is said where the command itself goes to the bucket.
const fromHere = keysOfBuckets + `they come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from ~/.aws/credentials. AWS_CA_BUNDLE names authorities to trust.`

// imageTarget returns the place of images that is given as a directory or URL.
func (s *Session) imageTarget(name string) (image.Target, error) {
	if s3target.IsURL(name) {
		place, err := s3target.Parse(name)
		if err != nil {
			return nil, err
		}
		at, err := s3target.New(s3target.Options{Place: place, Getenv: s.env, Owner: owner()})
		if err != nil {
			return nil, err
		}
		s.closing = append(s.closing, at.Close)
		return at, nil
	}
	path, err := filepath.Abs(s.path(name))
	if err != nil {
		return nil, errs.Wrap(errs.Internal, name, err)
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errs.New(errs.Invalid, "directory "+name, "there is no such directory")
	case err != nil:
		return nil, errs.New(errs.Invalid, "directory "+name, plain(err))
	case !st.IsDir():
		return nil, errs.New(errs.Invalid, "directory "+name, "it is not a directory")
	}
	return image.Directory{Dir: path}, nil
}

// owner names this process for those who find its lock.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), host)
}
