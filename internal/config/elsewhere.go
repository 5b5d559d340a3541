package config

import "strings"

// alone is said of keys about other OMs.
const alone = "this version runs a group of one OM, which talks to no other"

// moved are keys of Ozone that people bring along: what O3 has instead.
func moved() []struct{ name, say string } {
	return []struct{ name, say string }{
		{"ozone.om.http-address", "the OM has one listener, ozone.om.address"},
		{"ozone.om.https-address", "set ozone.om.tls.cert and ozone.om.tls.key; ozone.om.address stays"},
		{"ozone.om.ratis.address", alone},
		{"ozone.om.ratis.port", alone},
		{"ozone.om.ratis.minimum.timeout", alone},
		{"ozone.om.ratis.tls.", alone},
		{"ozone.om.db.dirs", "the store lies in ozone.metadata.dirs"},
		{"ozone.om.ratis.storage.dir", "the log lies in ozone.metadata.dirs"},
		{"ozone.om.service.ids", "there is one group of OMs: ozone.om.nodes"},
		{"ozone.s3g.https-address", "set ozone.s3g.tls.cert and ozone.s3g.tls.key; ozone.s3g.http-address stays"},
		{"ozone.om.open.mpu.expire.threshold", "multipart uploads never expire by themselves; use a lifecycle rule"},
		{"ozone.scm.container.size", "set ozone.block.container.size"},
		{"ozone.tracing.enabled", "tracing is on when ozone.tracing.endpoint is set"},
		{"ozone.tracing.sampler", "set ozone.tracing.sample.ratio"},
		{"hdds.datanode.dir", "set ozone.block.dir"},
		{"hdds.datanode.dir.du.reserved", "set ozone.block.reserve"},
		{"hdds.container.scrub.data.scan.interval", "set ozone.block.scrub.interval"},
		{"hdds.container.scrub.volume.bytes.per.second", "set ozone.block.scrub.bytes.per.second"},
		{"hdds.prometheus.endpoint.enabled", "set ozone.metrics.enabled"},
		{"hdds.profiler.endpoint.enabled", "set ozone.profiler.enabled"},
		{"ozone.scm.", "O3 has no SCM"},
		{"hdds.scm.", "O3 has no SCM"},
		{"hdds.datanode.", "O3 has no datanodes"},
	}
}

// elsewhere says what to do instead of setting a key of Ozone, in its dotted
// or in its environment form.
func elsewhere(name string) (string, bool) {
	for _, m := range moved() {
		if name == m.name || name == (Key{Name: m.name}).Env() || strings.HasSuffix(m.name, ".") && strings.HasPrefix(name, m.name) {
			return m.say, true
		}
	}
	return "", false
}
