package config

import (
	"errors"
	"path/filepath"
	"strings"

	"o3/internal/errs"
	"o3/internal/image/s3target"
)

func exportKeys() group {
	export := func(f func(*Export) any) func(*Config) any { return func(c *Config) any { return f(&c.Export) } }
	return group{"Exports of images", "An export brings an image, with the bytes of objects, to a directory or to a bucket of any S3 store: a backup.", []Key{
		{
			Name: "ozone.om.image.s3.access.key", Type: String, ShownBy: "app.TestKeyExportCredentials", check: checkAccessKey,
			Doc:   "The access key with which the node exports to buckets; unset, the keys come from the environment (`AWS_ACCESS_KEY_ID` …) or from `~/.aws/credentials`.",
			field: export(func(e *Export) any { return &e.AccessKey }),
		}, {
			Name: "ozone.om.image.s3.secret.key", Type: Text, ShownBy: "app.TestKeyExportCredentials", check: checkSecretKey,
			Doc:   "The secret key of it, set together with `ozone.om.image.s3.access.key`; not accepted by `-D`, where everybody on the machine could read it.",
			field: export(func(e *Export) any { return &e.SecretKey }),
		}, {
			Name: "ozone.om.image.export.bytes.per.second", Type: Size, Default: "0", Min: "0", Max: "1PB", ShownBy: "app.TestKeyExportRate",
			Doc:   "How fast an export reads the files that it brings; 0 is without bound.",
			field: export(func(e *Export) any { return &e.Rate }),
		}, {
			Name: "ozone.om.image.export.target", Type: String, ShownBy: "app.TestKeyExportSchedule", check: checkTarget,
			Doc:   "Where the node exports to by itself, with the bytes of objects: an absolute path, or `s3://BUCKET/PREFIX?endpoint=…` without keys; it is for one node alone. Unset, only admins begin exports.",
			field: export(func(e *Export) any { return &e.Target }),
		}, {
			Name: "ozone.om.image.export.interval", Type: Duration, Default: "1d", Min: "100ms", Max: "3650d", ShownBy: "app.TestKeyExportSchedule",
			Doc:   "How long after a good export to `ozone.om.image.export.target` the next one begins.",
			field: export(func(e *Export) any { return &e.Interval }),
		}, {
			Name: "ozone.om.image.export.keep", Type: Int, Default: "7", Min: "0", Max: "100000", ShownBy: "app.TestKeyExportKeep",
			Doc:   "How many images stay at `ozone.om.image.export.target`: after an export that the node made by itself the older ones are removed, with the files that only they need; 0 removes none.",
			field: export(func(e *Export) any { return &e.Keep }),
		},
	}}
}

func checkTarget(s string) error {
	if s3target.IsURL(s) {
		if _, err := s3target.Parse(s); err != nil {
			return errors.New(strings.TrimPrefix(errs.Message(err), errs.Invalid.String()+": "))
		}
		return nil
	}
	if !filepath.IsAbs(s) {
		return errors.New("an absolute path, or s3://BUCKET/PREFIX?endpoint=https://HOST")
	}
	return nil
}

func exportKeysAreWhole(l *loader) {
	access, secret := l.config.Export.AccessKey != "", l.config.Export.SecretKey != ""
	if access && !secret {
		l.conflict("ozone.om.image.s3.access.key", "ozone.om.image.s3.secret.key is not set", "both or neither", "ozone.om.image.s3.secret.key")
	}
	if secret && !access {
		l.conflict("ozone.om.image.s3.secret.key", "ozone.om.image.s3.access.key is not set", "both or neither", "ozone.om.image.s3.access.key")
	}
}
