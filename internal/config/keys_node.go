package config

import (
	"errors"
	"regexp"
	"strings"
)

func nodeKeys() group {
	return group{"The node", "", []Key{
		{
			Name: "ozone.metadata.dirs", Type: Path, Default: "./o3-data", ShownBy: "app.TestKeyDataDir",
			Doc:   "The directory in which the node keeps everything; `--data DIR` overrides every other way to set it.",
			field: func(c *Config) any { return &c.Node.DataDir },
		}, {
			Name: "ozone.service.shutdown.timeout", Type: Duration, Default: "60s", Min: "0s", Max: "1h", ShownBy: "app.TestKeyShutdownTimeout",
			Doc:   "How long a shutdown waits for requests in flight before it cuts them off.",
			field: func(c *Config) any { return &c.Node.ShutdownGrace },
		}, {
			Name: "o3.root.access.key", Type: String, ShownBy: "app.TestKeyRootCredentials", check: checkAccessKey,
			Doc:   "The access key id of the root user; unset, one is created at first start and printed once.",
			field: func(c *Config) any { return &c.Node.RootAccessKey },
		}, {
			Name: "o3.root.secret.key", Type: Text, ShownBy: "app.TestKeyRootCredentials", check: checkSecretKey,
			Doc:   "The secret key of the root user, set together with `o3.root.access.key`; not accepted by `-D`, where everybody on the machine could read it.",
			field: func(c *Config) any { return &c.Node.RootSecretKey },
		},
	}}
}

var accessKeyForm = regexp.MustCompile(`^[A-Za-z0-9._-]{3,128}$`)

func checkAccessKey(s string) error {
	if !accessKeyForm.MatchString(s) {
		return errors.New("an access key has 3 to 128 of A-Z a-z 0-9 . _ -")
	}
	return nil
}

func checkSecretKey(s string) error {
	if len(s) < 8 || len(s) > 128 || strings.TrimSpace(s) != s {
		return errors.New("a secret key has 8 to 128 bytes and no space at its ends")
	}
	return nil
}
