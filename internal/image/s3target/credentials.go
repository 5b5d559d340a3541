package s3target

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"o3/internal/errs"
)

// credentials finds the keys: given, in the environment, or in the shared file.
func (o Options) credentials() (aws.CredentialsProvider, error) {
	c := aws.Credentials{AccessKeyID: o.AccessKey, SecretAccessKey: o.SecretKey, Source: "given"}
	if c.AccessKeyID == "" && c.SecretAccessKey == "" {
		c = aws.Credentials{AccessKeyID: o.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: o.Getenv("AWS_SECRET_ACCESS_KEY"),
			SessionToken: o.Getenv("AWS_SESSION_TOKEN"), Source: "environment"}
	}
	if c.AccessKeyID == "" && c.SecretAccessKey == "" {
		var err error
		if c, err = o.sharedFile(); err != nil {
			return nil, err
		}
	}
	if !c.HasKeys() {
		return nil, errs.New(errs.Unauthenticated, o.Place.short(),
			"there are no keys for it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (both), or for a node ozone.om.image.s3.access.key and ozone.om.image.s3.secret.key")
	}
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil }), nil
}

// sharedFile reads the keys of a profile from the file that Amazon's tools share.
func (o Options) sharedFile() (c aws.Credentials, err error) {
	file, named := o.Getenv("AWS_SHARED_CREDENTIALS_FILE"), true
	if file == "" {
		home := o.Getenv("HOME")
		if home == "" {
			return c, nil
		}
		file, named = filepath.Join(home, ".aws", "credentials"), false
	}
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return c, nil
	}
	if err != nil {
		return c, &errs.Error{Kind: errs.Invalid, Subject: "credentials file " + file, Detail: "it cannot be read", Err: err}
	}
	want, in := first(o.Getenv("AWS_PROFILE"), "default"), ""
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if name, ok := strings.CutPrefix(line, "["); ok {
			in = strings.TrimSpace(strings.TrimSuffix(name, "]"))
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || in != want || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "aws_access_key_id":
			c.AccessKeyID = value
		case "aws_secret_access_key":
			c.SecretAccessKey = value
		case "aws_session_token":
			c.SessionToken = value
		}
	}
	c.Source = "credentials file"
	return c, lines.Err()
}
