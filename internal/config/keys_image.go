package config

func imageKeys() group {
	image := func(f func(*Image) any) func(*Config) any { return func(c *Config) any { return f(&c.Image) } }
	return group{"Images of the node", "An image is the namespace of one moment, made for backups; the keys have Ozone's word for it, and nothing to do with snapshots of buckets.", []Key{
		{
			Name: "ozone.om.snapshot.retention.count", Type: Int, Default: "3", Min: "1", Max: "1000", ShownBy: "app.TestKeyImageRetention",
			Doc:   "How many images a node keeps; when a new one is made, the oldest beyond that goes, unless it is being read.",
			field: image(func(i *Image) any { return &i.Retain }),
		}, {
			Name: "ozone.om.snapshot.interval", Type: Duration, Default: "0s", Min: "0s", Max: "3650d", ShownBy: "app.TestKeyImageInterval",
			Doc:   "How often a node makes an image by itself; 0 is never.",
			field: image(func(i *Image) any { return &i.Interval }),
		}, {
			Name: "ozone.om.snapshot.checksum.bytes.per.second", Type: Size, Default: "64MB", Min: "0", Max: "1PB", ShownBy: "app.TestKeyImageRate",
			Doc:   "How fast the files of a new image are read for their checksums; 0 is without bound. Those it shares with an earlier image are not read.",
			field: image(func(i *Image) any { return &i.Rate }),
		},
	}}
}
