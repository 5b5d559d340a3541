package config

import (
	"fmt"

	"o3/internal/transfer"
)

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

func transferKeys() group {
	transfer := func(f func(*Transfer) any) func(*Config) any { return func(c *Config) any { return f(&c.Transfer) } }
	return group{"Transfer of images", "How a new node is made of a running one: the source serves images and its log to admins, below `/transfer/` of the OM listener.", []Key{
		{
			Name: "ozone.om.bootstrap.enabled", Type: Bool, Default: "true", ShownBy: "app.TestKeyBootstrapEnabled",
			Doc:   "Whether a new node may be made of this one, and this one of another: when false, images and the log are not served, nor fetched.",
			field: transfer(func(t *Transfer) any { return &t.Enabled }),
		}, {
			Name: "ozone.om.bootstrap.log.hold.limit", Type: Size, Default: "10GB", Min: "1MB", Max: "1PB", ShownBy: "app.TestKeyLogHoldLimit",
			Doc:   "How much of the Raft log is kept for a receiver of an image; beyond it the log goes, and the receiver needs a newer image.",
			field: transfer(func(t *Transfer) any { return &t.HoldLimit }),
		}, {
			Name: "ozone.om.snapshot.transfer.chunk.size", Type: Size, Default: "1MB", Min: "4KB", Max: "8MB", ShownBy: "app.TestKeyTransferChunk",
			Doc:   "The most bytes with a checksum of their own when an image travels; the smaller of what source and target say counts.",
			field: transfer(func(t *Transfer) any { return &t.Chunk }),
		}, {
			Name: "ozone.om.snapshot.transfer.parallelism", Type: Int, Default: "8", Min: "1", Max: "256", ShownBy: "app.TestKeyTransferParallelism",
			Doc:   "How many streams of files a source sends at once, to all targets together; further requests wait. A target asks for no more than half of its own value.",
			field: transfer(func(t *Transfer) any { return &t.Streams }),
		}, {
			Name: "ozone.om.snapshot.transfer.bandwidth", Type: Size, Default: "0", Min: "0", Max: "1PB", ShownBy: "app.TestKeyTransferBandwidth",
			Doc:   "Bytes per second that a source sends to all targets together, and the most that a target takes; 0 is without bound.",
			field: transfer(func(t *Transfer) any { return &t.Rate }),
		}, {
			Name: "ozone.om.snapshot.transfer.insecure", Type: Bool, Default: "false", ShownBy: "app.TestKeyTransferInsecure",
			Doc:   "Whether images and the log also travel to other machines without TLS; they hold the secrets of all access keys.",
			field: transfer(func(t *Transfer) any { return &t.Insecure }),
		}, {
			Name: "ozone.om.snapshot.compression.enabled", Type: Bool, Default: "true", ShownBy: "app.TestKeyTransferCompression",
			Doc:   "Whether a source compresses what it sends, for targets that ask for it.",
			field: transfer(func(t *Transfer) any { return &t.Compress }),
		}, {
			Name: "ozone.om.snapshot.compression", Type: String, Default: "none", ShownBy: "app.TestKeyTransferCompression",
			Doc:   "The compression that a target asks for: none, s2 or zstd, the last two also with a level, as in zstd:3.",
			check: compression, field: transfer(func(t *Transfer) any { return &t.Compression }),
		},
	}}
}

func compression(s string) error {
	_, err := transfer.ParseCompression(s)
	return err
}

// transfersWork refuses what would cut every transfer, or cannot be meant.
func transfersWork(l *loader) {
	t := l.config.Transfer
	const patience = 30 // seconds; a receiver gives up after a minute without a byte
	wrong := l.wrong["ozone.om.snapshot.transfer.bandwidth"] || l.wrong["ozone.om.snapshot.transfer.chunk.size"] || l.wrong["ozone.om.snapshot.transfer.parallelism"]
	if t.Rate > 0 && !wrong && t.Chunk*int64(t.Streams) > patience*t.Rate {
		l.conflict("ozone.om.snapshot.transfer.bandwidth",
			fmt.Sprintf("%d streams with chunks of %d bytes would wait longer than %d s for each", t.Streams, t.Chunk, patience),
			"more bandwidth, smaller chunks or fewer streams", "ozone.om.snapshot.transfer.chunk.size", "ozone.om.snapshot.transfer.parallelism")
	}
	if !t.Compress && t.Compression != "none" && !l.wrong["ozone.om.snapshot.compression"] {
		l.conflict("ozone.om.snapshot.compression", "asks for what ozone.om.snapshot.compression.enabled = false rules out",
			"none, or compression enabled", "ozone.om.snapshot.compression.enabled")
	}
}
