package config

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
)

// conflicts are the checks that look at more than one key, or at the machine.
func conflicts() []func(*loader) {
	return []func(*loader){rolesFit, stagingFits, portsDiffer, nodeIsListed, rootIsWhole, exportKeysAreWhole, reserveFits, tlsFilesWork, transfersWork, fileCanHoldSecrets}
}

// portsDiffer refuses two listeners on one address.
func portsDiffer(l *loader) {
	var names []string
	for _, at := range []struct{ role, name string }{{RoleS3, "ozone.s3g.http-address"}, {RoleOM, "ozone.om.address"}, {RoleRecon, "ozone.recon.http-address"}} {
		if l.config.Node.Has(at.role) {
			names = append(names, at.name)
		}
	}
	for i, b := range names {
		for _, a := range names[:i] {
			va, from := l.value(a)
			vb, _ := l.value(b)
			if sameListener(va, vb) {
				l.conflict(b, fmt.Sprintf("the same address as %s = %q (%s)", a, va, from), "a port of its own", a)
				break
			}
		}
	}
}

func sameListener(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	hostA, hostB = bindHost(hostA), bindHost(hostB)
	return hostA == "" || hostB == "" || hostA == hostB
}

// bindHost returns "" for hosts that mean every address of the machine.
func bindHost(host string) string {
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return ""
	}
	if strings.EqualFold(host, "localhost") {
		return "127.0.0.1"
	}
	return strings.ToLower(host)
}

// nodeIsListed wants this node among the OMs, and each of them once.
func nodeIsListed(l *loader) {
	if len(l.config.Raft.Nodes) == 0 {
		return
	}
	var ids, addresses []string
	for _, n := range l.config.Raft.Nodes {
		id, address, _ := strings.Cut(n, "=")
		if slices.Contains(ids, id) {
			l.conflict("ozone.om.nodes", "the node "+id+" stands in it twice", "each id once")
		}
		if slices.Contains(addresses, address) {
			l.conflict("ozone.om.nodes", "the address "+address+" stands in it twice", "each address once")
		}
		ids, addresses = append(ids, id), append(addresses, address)
	}
	if me, from := l.value("ozone.om.node.id"); !slices.Contains(ids, me) {
		l.conflict("ozone.om.nodes", fmt.Sprintf("this node, ozone.om.node.id = %q (%s), is not among them", me, from), "a list that holds this node", "ozone.om.node.id")
	}
}

func rootIsWhole(l *loader) {
	access, secret := l.config.Node.RootAccessKey != "", l.config.Node.RootSecretKey != ""
	if access && !secret {
		l.conflict("o3.root.access.key", "o3.root.secret.key is not set", "both or neither", "o3.root.secret.key")
	}
	if secret && !access {
		l.conflict("o3.root.secret.key", "o3.root.access.key is not set", "both or neither", "o3.root.access.key")
	}
}

// reserveFits wants a reserve smaller than the disk.
func reserveFits(l *loader) {
	if l.wrong["ozone.block.dir"] {
		return
	}
	dir, reserve := l.config.Block.Dir, l.config.Block.Reserve
	size, err := l.diskSize(dir)
	if err != nil {
		l.conflict("ozone.block.dir", "cannot learn the size of its disk: "+err.Error(), "")
		return
	}
	if reserve >= size {
		l.conflict("ozone.block.reserve",
			fmt.Sprintf("not less than the disk of %s, which has %.1f GB", dir, float64(size)/(1<<30)), "less than the disk", "ozone.metadata.dirs")
	}
}

// tlsFilesWork loads every certificate, so that a wrong one is told here with
// everything else and not later.
func tlsFilesWork(l *loader) {
	for _, t := range []struct {
		prefix string
		tls    TLS
	}{{"ozone.s3g.tls", l.config.S3.TLS}, {"ozone.om.tls", l.config.OM.TLS}, {"ozone.recon.tls", l.config.Recon.TLS}, {"ozone.recon.om.tls", l.config.Recon.OMTLS}} {
		cert, key, ca := t.prefix+".cert", t.prefix+".key", t.prefix+".client.ca"
		client := t.prefix == "ozone.recon.om.tls"
		if client {
			ca = t.prefix + ".ca"
		}
		switch {
		case t.tls.Cert == "" && t.tls.Key != "":
			l.conflict(key, cert+" is not set", "both or neither", cert)
		case t.tls.Cert != "" && t.tls.Key == "":
			l.conflict(cert, key+" is not set", "both or neither", key)
		case t.tls.Cert == "" && t.tls.ClientCA != "" && !client:
			l.conflict(ca, cert+" is not set", "a certificate and key beside it", cert, key)
		case t.tls.Cert != "" || t.tls.ClientCA != "":
			for file, err := range t.tls.Files().Check() {
				name := map[string]string{t.tls.Cert: cert, t.tls.Key: key, t.tls.ClientCA: ca}[file]
				l.conflict(name, err.Error(), "", cert, key, ca)
			}
		}
	}
}

// fileCanHoldSecrets refuses a secret in a file that others may read.
func fileCanHoldSecrets(l *loader) {
	for _, k := range l.keys {
		from := l.config.sources[k.Name]
		if !k.Secret() || from.Origin != FromFile {
			continue
		}
		path := from.Where[:strings.LastIndexByte(from.Where, ':')]
		if st, err := os.Stat(path); err == nil && st.Mode().Perm()&0o077 != 0 {
			l.conflict(k.Name, fmt.Sprintf("the file that holds this secret has mode %04o", st.Mode().Perm()), "mode 0600, or the variable "+k.Env())
		}
	}
}
