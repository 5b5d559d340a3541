package config

func bootstrapKeys() group {
	bootstrap := func(f func(*Bootstrap) any) func(*Config) any { return func(c *Config) any { return f(&c.Bootstrap) } }
	return group{"Bootstrap of a node", "What `o3 admin om bootstrap` goes by on the machine of the new node; a running server does not read these keys.", []Key{
		{
			Name: "ozone.om.bootstrap.timeout", Type: Duration, Default: "24h", Min: "1s", Max: "3650d", ShownBy: "app.TestKeyBootstrapTimeout",
			Doc:   "How long a bootstrap may take as a whole; then it ends, keeps what is here, and goes on when it is run again.",
			field: bootstrap(func(b *Bootstrap) any { return &b.Timeout }),
		}, {
			Name: "ozone.om.bootstrap.retry.count", Type: Int, Default: "5", Min: "0", Max: "1000000", ShownBy: "app.TestKeyBootstrapRetries",
			Doc:   "How often in a row, without a byte of progress, something is tried again at one source before the next source is asked.",
			field: bootstrap(func(b *Bootstrap) any { return &b.Retries }),
		}, {
			Name: "ozone.om.bootstrap.validation.strict", Type: Bool, Default: "true", ShownBy: "app.TestKeyBootstrapStrict",
			Doc:   "Whether beside the checksums of all files also every block of every table is verified and the digest of the state recomputed: it costs one more reading of the names, and finds what was damaged before the image was made.",
			field: bootstrap(func(b *Bootstrap) any { return &b.Strict }),
		},
	}}
}
