package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// The roles of a server.
const (
	RoleS3    = "s3"
	RoleOM    = "om"
	RoleRecon = "recon"
)

func reconKeys() group {
	recon := func(f func(*Recon) any) func(*Config) any { return func(c *Config) any { return f(&c.Recon) } }
	keys := []Key{
		{
			Name: "ozone.server.roles", Type: List, Default: "s3,om,recon", ShownBy: "app.TestKeyServerRoles", check: checkRole,
			Doc:   "What the server does: `om` with or without `s3` and `recon`, or `recon` alone, which then follows an OM elsewhere.",
			field: func(c *Config) any { return &c.Node.Roles },
		}, {
			Name: "ozone.recon.http-address", Type: Address, Default: ":9888", ShownBy: "app.TestKeyReconAddress",
			Doc:   "Where Recon listens: its API, metrics, health.",
			field: recon(func(r *Recon) any { return &r.Address }),
		}, {
			Name: "ozone.recon.db.dir", Type: Path, Default: "${ozone.metadata.dirs}/recon", ShownBy: "app.TestKeyReconDir",
			Doc:   "The directory of Recon's replica and tables; on the file system of `ozone.metadata.dirs`, an image of an OM in the same process copies no bytes.",
			field: recon(func(r *Recon) any { return &r.Dir }),
		}, {
			Name: "ozone.recon.readers.allowed", Type: Bool, Default: "false", ShownBy: "app.TestKeyReconReaders",
			Doc:   "Whether users who are no admins may look at what Recon shows, which is names and sizes of everything; triggers are for admins always.",
			field: recon(func(r *Recon) any { return &r.Readers }),
		}, {
			Name: "ozone.recon.task.thread.count", Type: Int, Default: "2", Min: "1", Max: "256", ShownBy: "app.TestKeyReconRebuild",
			Doc:   "How many threads read the namespace when the tables are built anew in place (`ozone.recon.staging.enabled` is false).",
			field: recon(func(r *Recon) any { return &r.Threads }),
		}, {
			Name: "ozone.recon.rebuild.memory", Type: Size, Default: "64MB", Min: "64KB", Max: "64GB", ShownBy: "app.TestKeyReconRebuild",
			Doc:   "How much memory building tables anew takes at most for counters and for sorting; what it does not hold goes to the disk for a while.",
			field: recon(func(r *Recon) any { return &r.Memory }),
		}, {
			Name: "ozone.recon.db.flush.interval", Type: Duration, Default: "10s", Min: "100ms", Max: "1h", ShownBy: "app.TestKeyReconFlush",
			Doc:   "How long what was applied may stay in memory only; a restart after a crash reads that much of the log again.",
			field: recon(func(r *Recon) any { return &r.FlushInterval }),
		}, {
			Name: "ozone.recon.om.address", Type: List, ShownBy: "app.TestKeyReconOM", check: checkOMAddress,
			Doc:   "For the role `recon` alone: the OM API that is followed, as a URL; of several, the next one is asked when one does not answer.",
			field: recon(func(r *Recon) any { return &r.OM }),
		}, {
			Name: "ozone.recon.om.access.key", Type: String, ShownBy: "app.TestKeyReconOM", check: checkAccessKey,
			Doc:   "The access key with which it signs, of a user with the role admin; without it, `ozone.recon.om.tls.cert` says who asks.",
			field: recon(func(r *Recon) any { return &r.AccessKey }),
		}, {
			Name: "ozone.recon.om.secret.key", Type: Text, ShownBy: "app.TestKeyReconOM", check: checkSecretKey,
			Doc:   "Its secret; not accepted by `-D`, where everybody on the machine could read it.",
			field: recon(func(r *Recon) any { return &r.SecretKey }),
		}, {
			Name: "ozone.recon.om.tls.ca", Type: Path, ShownBy: "app.TestKeyReconOMTLS",
			Doc:   "Authorities (PEM) that the certificate of the OM must come from; unset, those of the system.",
			field: recon(func(r *Recon) any { return &r.OMTLS.ClientCA }),
		}, {
			Name: "ozone.recon.om.tls.cert", Type: Path, ShownBy: "app.TestKeyReconOMTLS",
			Doc:   "The client certificate (PEM) that is presented to the OM; its common name is a user with the role admin.",
			field: recon(func(r *Recon) any { return &r.OMTLS.Cert }),
		}, {
			Name: "ozone.recon.om.tls.key", Type: Path, ShownBy: "app.TestKeyReconOMTLS",
			Doc:   "Its private key (PEM).",
			field: recon(func(r *Recon) any { return &r.OMTLS.Key }),
		}, {
			Name: "ozone.recon.om.retry.max.interval", Type: Duration, Default: "30s", Min: "100ms", Max: "1h", ShownBy: "app.TestKeyReconRetry",
			Doc:   "The longest wait before an OM that does not answer is asked again; the first is half a second, and each is twice the one before.",
			field: recon(func(r *Recon) any { return &r.MaxRetry }),
		},
	}
	keys = append(keys, stagingKeys()...)
	keys = append(keys, tlsKeys("ozone.recon.tls", "Recon", func(c *Config) *TLS { return &c.Recon.TLS })...)
	return group{"Roles and Recon", "[Recon](recon.md) follows an OM and keeps tables of what its namespace holds.", keys}
}

func checkRole(s string) error {
	if !slices.Contains([]string{RoleS3, RoleOM, RoleRecon}, s) {
		return errors.New("the roles are s3, om and recon")
	}
	return nil
}

func checkOMAddress(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return errors.New("must be the address of an OM API: http://host:port or https://host:port")
	}
	return nil
}

// Has reports whether the server has a role.
func (n Node) Has(role string) bool { return slices.Contains(n.Roles, role) }

// rolesFit refuses what no server can be, and keys that its roles do not have.
func rolesFit(l *loader) {
	const key, om = "ozone.server.roles", "ozone.recon.om.address"
	n, r := l.config.Node, l.config.Recon
	for i, role := range n.Roles {
		if slices.Contains(n.Roles[:i], role) {
			l.conflict(key, "the role "+role+" stands in it twice", "each role once")
		}
	}
	if l.wrong[key] {
		return
	}
	if !n.Has(RoleOM) && (n.Has(RoleS3) || !n.Has(RoleRecon)) {
		l.conflict(key, "without om there is nothing to serve", "om with or without s3 and recon, or recon alone")
		return
	}
	alone := !n.Has(RoleOM)
	switch {
	case alone && len(r.OM) == 0:
		l.conflict(key, om+" is not set: recon alone follows an OM elsewhere", "the address of an OM API beside it", om)
	case !alone && len(r.OM) > 0:
		l.conflict(om, fmt.Sprintf("%s = %q: a server with the role om follows itself", key, strings.Join(n.Roles, ",")), "unset, or the role recon alone", key)
	}
	access, secret := "ozone.recon.om.access.key", "ozone.recon.om.secret.key"
	switch {
	case r.AccessKey != "" && r.SecretKey == "":
		l.conflict(access, secret+" is not set", "both or neither", secret)
	case r.SecretKey != "" && r.AccessKey == "":
		l.conflict(secret, access+" is not set", "both or neither", access)
	case alone && len(r.OM) > 0 && r.AccessKey == "" && r.OMTLS.Cert == "":
		l.conflict(om, "neither "+access+" nor ozone.recon.om.tls.cert is set", "an access key, or a client certificate, of an admin", access, secret, "ozone.recon.om.tls.cert")
	}
}
