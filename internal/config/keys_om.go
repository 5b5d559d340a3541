package config

import (
	"errors"
	"regexp"
	"strings"
)

func omKeys() group {
	om := func(f func(*OM) any) func(*Config) any { return func(c *Config) any { return f(&c.OM) } }
	keys := []Key{
		{
			Name: "ozone.om.address", Type: Address, Default: ":9874", ShownBy: "app.TestKeyAddresses",
			Doc:   "Where the namespace manager listens: RPC and JSON API, metrics, health, profiler.",
			field: om(func(o *OM) any { return &o.Address }),
		}, {
			Name: "ozone.om.node.id", Type: String, Default: "om1", ShownBy: "app.TestKeyNodeID", check: checkNodeID,
			Doc:   "The name of this node among the OMs; it never changes once the node has data.",
			field: om(func(o *OM) any { return &o.NodeID }),
		}, {
			Name: "ozone.default.bucket.layout", Type: Enum, Values: layouts, Default: "FILE_SYSTEM_OPTIMIZED", ShownBy: "app.TestKeyDefaultLayout",
			Doc:   "The layout of buckets created through the OM API or the CLI when none is asked for.",
			field: om(func(o *OM) any { return &o.DefaultLayout }),
		}, {
			Name: "ozone.om.key.inline.max.size", Type: Size, Default: "1KB", Min: "0", Max: "64KB", ShownBy: "app.TestKeyInlineSize",
			Doc:   "Objects of at most this size are kept inside their row instead of in a block; 0 keeps none there.",
			field: om(func(o *OM) any { return &o.InlineMaxSize }),
		}, {
			Name: "ozone.om.list.scan.limit", Type: Int, Default: "10000", Min: "100", Max: "10000000", ShownBy: "app.TestKeyListScanLimit",
			Doc:   "How many rows one page of a listing may examine; a page that reaches it ends early and says where to continue.",
			field: om(func(o *OM) any { return &o.ListScanLimit }),
		},
	}
	keys = append(keys, tlsKeys("ozone.om.tls", "the OM", func(c *Config) *TLS { return &c.OM.TLS })...)
	return group{"Namespace manager", "", keys}
}

func raftKeys() group {
	raft := func(f func(*Raft) any) func(*Config) any { return func(c *Config) any { return f(&c.Raft) } }
	keys := []Key{
		{
			Name: "ozone.om.nodes", Type: List, ShownBy: "app.TestKeyNodes", check: checkNode,
			Doc:   "All OMs of the group, as `id=host:port`; unset, this node is alone. This version refuses a list of several.",
			field: raft(func(r *Raft) any { return &r.Nodes }),
		}, {
			Name: "ozone.om.ratis.entry.max.size", Type: Size, Default: "4MB", Min: "2MB", Max: "32MB", ShownBy: "app.TestKeyEntryMaxSize",
			Doc:   "How many bytes of waiting requests are put into one log entry; a larger request is refused.",
			field: raft(func(r *Raft) any { return &r.EntryMaxSize }),
		}, {
			Name: "ozone.om.ratis.server.pending.write.element-limit", Type: Int, Default: "4096", Min: "1", Max: "1000000", ShownBy: "app.TestKeyPendingWrites",
			Doc:   "How many requests may wait for the log; one more is answered SlowDown.",
			field: raft(func(r *Raft) any { return &r.PendingLimit }),
		}, {
			Name: "ozone.om.ratis.log.purge.preservation.log.num", Type: Int, Default: "10000", Min: "1", Max: "1000000000", ShownBy: "app.TestKeyLogKeep",
			Doc:   "How many of the newest log entries are kept although the store has them on disk, so that a node that was away can catch up from the log.",
			field: raft(func(r *Raft) any { return &r.LogKeep }),
		}, {
			Name: "ozone.om.ratis.server.retry.cache.timeout", Type: Duration, Default: "10m", Min: "10s", Max: "1d", ShownBy: "app.TestKeyRetryCache",
			Doc:   "How long the answer to a change is remembered, so that a client that retries gets it instead of a second change.",
			field: raft(func(r *Raft) any { return &r.RetryCacheTTL }),
		},
	}
	return group{"Replication", "This version runs a group of one OM: every change still goes through its Raft log.", keys}
}

var nodeIDForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

func checkNodeID(s string) error {
	if !nodeIDForm.MatchString(s) {
		return errors.New("a node id has 1 to 63 of A-Z a-z 0-9 _ - and starts with a letter or digit")
	}
	return nil
}

func checkNode(s string) error {
	id, address, ok := strings.Cut(s, "=")
	if !ok {
		return errors.New("not id=host:port")
	}
	if err := checkNodeID(id); err != nil {
		return err
	}
	if strings.HasPrefix(address, ":") || strings.HasSuffix(address, ":0") {
		return errors.New("other nodes need a host and a port to reach it")
	}
	return checkAddress(address)
}
