package config

func dbKeys() group {
	db := func(f func(*DB) any) func(*Config) any { return func(c *Config) any { return f(&c.DB) } }
	return group{"Namespace store", "", []Key{
		{
			Name: "ozone.om.db.cache.size", Type: Size, Default: "256MB", Min: "1MB", Max: "1TB", ShownBy: "app.TestKeyStoreMemory",
			Doc:   "Memory for blocks read from the store's tables.",
			field: db(func(d *DB) any { return &d.CacheSize }),
		}, {
			Name: "ozone.om.db.memtable.size", Type: Size, Default: "64MB", Min: "256KB", Max: "2GB", ShownBy: "app.TestKeyStoreMemory",
			Doc:   "How much of the newest changes is kept in memory before it is written as a table.",
			field: db(func(d *DB) any { return &d.MemtableSize }),
		}, {
			Name: "ozone.om.db.flush.interval", Type: Duration, Default: "1m", Min: "100ms", Max: "1d", ShownBy: "app.TestKeyFlushInterval",
			Doc:   "The longest time applied changes stay in memory only; a restart replays the log from there, so it bounds the time a restart takes.",
			field: db(func(d *DB) any { return &d.FlushInterval }),
		},
	}}
}

func blockKeys() group {
	block := func(f func(*Block) any) func(*Config) any { return func(c *Config) any { return f(&c.Block) } }
	return group{"Blocks", "The bytes of objects.", []Key{
		{
			Name: "ozone.block.dir", Type: Path, Default: "${ozone.metadata.dirs}/blocks", ShownBy: "app.TestKeyBlockDir",
			Doc:   "The directory of the containers; it may be on another disk than the metadata.",
			field: block(func(b *Block) any { return &b.Dir }),
		}, {
			Name: "ozone.block.reserve", Type: Size, Default: "1GB", Min: "0", Max: "1PB", ShownBy: "app.TestKeyReserve",
			Doc:   "Free space on the disks of data and metadata below which the node refuses writes (read-only) until there is more again.",
			field: block(func(b *Block) any { return &b.Reserve }),
		}, {
			Name: "ozone.block.container.size", Type: Size, Default: "1GB", Min: "1MB", Max: "16GB", ShownBy: "app.TestKeyContainerSize",
			Doc:   "The size at which a container is closed and the next one begun; the block that reaches it is still written whole.",
			field: block(func(b *Block) any { return &b.ContainerSize }),
		}, {
			Name: "ozone.block.scrub.interval", Type: Duration, Default: "7d", Min: "0s", Max: "365d", ShownBy: "app.TestKeyScrub",
			Doc:   "How often every stored byte is read and checked; 0 turns scrubbing off.",
			field: block(func(b *Block) any { return &b.ScrubInterval }),
		}, {
			Name: "ozone.block.scrub.bytes.per.second", Type: Size, Default: "16MB", Min: "64KB", Max: "1TB", ShownBy: "app.TestKeyScrub",
			Doc:   "How fast the scrubber reads.",
			field: block(func(b *Block) any { return &b.ScrubRate }),
		}, {
			Name: "ozone.block.rewrite.interval", Type: Duration, Default: "1m", Min: "10ms", Max: "365d", ShownBy: "app.TestKeyRewrite",
			Doc:   "How often containers are looked through for freed bytes to give back.",
			field: block(func(b *Block) any { return &b.RewriteInterval }),
		}, {
			Name: "ozone.block.rewrite.threshold", Type: Float, Default: "0.5", Min: "0.05", Max: "1", ShownBy: "app.TestKeyRewrite",
			Doc:   "The share of freed bytes at which the rest of a container is rewritten to give the space back; 1 waits until all of it is free.",
			field: block(func(b *Block) any { return &b.RewriteThreshold }),
		}, {
			Name: "ozone.block.rewrite.bytes.per.second", Type: Size, Default: "32MB", Min: "64KB", Max: "1TB", ShownBy: "app.TestKeyRewrite",
			Doc:   "How fast containers are rewritten.",
			field: block(func(b *Block) any { return &b.RewriteRate }),
		}, {
			Name: "ozone.block.sweep.interval", Type: Duration, Default: "1d", Min: "0s", Max: "365d", ShownBy: "app.TestKeySweep",
			Doc:   "How often blocks that no row names (left by a crash between bytes and row) are looked for; 0 turns the sweep off.",
			field: block(func(b *Block) any { return &b.SweepInterval }),
		}, {
			Name: "ozone.block.sweep.grace", Type: Duration, Default: "1d", Min: "1m", Max: "365d", ShownBy: "app.TestKeySweep",
			Doc:   "How old a block must be before the sweep may free it. An object or part whose bytes took longer than half of it to arrive is refused.",
			field: block(func(b *Block) any { return &b.SweepGrace }),
		}, {
			Name: "ozone.block.free.grace", Type: Duration, Default: "10m", Min: "0s", Max: "30d", ShownBy: "app.TestKeyFreeGrace",
			Doc:   "How long the bytes of a deleted object stay on disk, for readers that found it just before.",
			field: block(func(b *Block) any { return &b.FreeGrace }),
		},
	}}
}

func serviceKeys() group {
	service := func(f func(*Service) any) func(*Config) any { return func(c *Config) any { return f(&c.Service) } }
	return group{"Background services", "They run on the leader. Multipart uploads never expire by themselves: a lifecycle rule or the client aborts them.", []Key{
		{
			Name: "ozone.om.open.key.expire.threshold", Type: Duration, Default: "7d", Min: "1s", Max: "365d", ShownBy: "app.TestKeyOpenKeys",
			Doc:   "How old a key that was opened for writing and never committed must be before it is dropped.",
			field: service(func(s *Service) any { return &s.OpenKeyExpire }),
		}, {
			Name: "ozone.om.open.key.cleanup.service.interval", Type: Duration, Default: "1d", Min: "100ms", Max: "30d", ShownBy: "app.TestKeyOpenKeys",
			Doc:   "How often expired open keys are looked for.",
			field: service(func(s *Service) any { return &s.OpenKeyInterval }),
		}, {
			Name: "ozone.om.open.key.cleanup.limit.per.task", Type: Int, Default: "1000", Min: "1", Max: "100000", ShownBy: "app.TestKeyOpenKeys",
			Doc:   "How many expired open keys one command drops.",
			field: service(func(s *Service) any { return &s.OpenKeyBatch }),
		}, {
			Name: "ozone.directory.deleting.service.interval", Type: Duration, Default: "1s", Min: "10ms", Max: "1d", ShownBy: "app.TestKeyDirectoryDeleting",
			Doc:   "How often the contents of deleted directories are purged.",
			field: service(func(s *Service) any { return &s.DirDeleteInterval }),
		}, {
			Name: "ozone.path.deleting.limit.per.task", Type: Int, Default: "10000", Min: "1", Max: "10000", ShownBy: "app.TestKeyDirectoryDeleting",
			Doc:   "How many rows of deleted directories one command purges.",
			field: service(func(s *Service) any { return &s.DirDeleteBatch }),
		}, {
			Name: "ozone.block.deleting.service.interval", Type: Duration, Default: "60s", Min: "10ms", Max: "1d", ShownBy: "app.TestKeyBlockDeleting",
			Doc:   "How often the blocks of deleted keys are freed.",
			field: service(func(s *Service) any { return &s.KeyDeleteInterval }),
		}, {
			Name: "ozone.key.deleting.limit.per.task", Type: Int, Default: "50000", Min: "1", Max: "100000", ShownBy: "app.TestKeyBlockDeleting",
			Doc:   "How many deleted keys' blocks are freed at a time.",
			field: service(func(s *Service) any { return &s.KeyDeleteBatch }),
		},
	}}
}
