package app

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"o3/internal/config"
	"o3/internal/recon"
	"o3/internal/recon/web"
	"o3/internal/tlsconf"
)

func TestKeyServerRoles(t *testing.T) {
	t.Parallel()
	const key = "ozone.server.roles"
	for roles, want := range map[string][3]bool{
		"s3,om,recon": {true, true, true}, "om,s3": {true, true, false}, "om": {false, true, false}, "om,recon": {false, true, true},
	} {
		s := start(t, settings{set: []string{key + "=" + roles}})
		if got := [3]bool{s.S3 != "", s.OM != "", s.Recon != ""}; got != want {
			t.Errorf("%s: %+v", roles, s.Endpoints)
		}
		if s.OM != "" {
			s.bucket("photos", "") // it works
			if at := s.status().Endpoints; !slices.Equal(at, slices.DeleteFunc([]string{s.S3, s.OM, s.Recon}, func(url string) bool { return url == "" })) {
				t.Errorf("%s: %v", roles, at)
			}
			if a := s.page("/readyz"); a.status != 200 {
				t.Errorf("%s: %v", roles, a)
			}
		}
	}
	for roles, want := range map[string]string{
		"s3": "without om there is nothing to serve", "s3,recon": "without om there is nothing to serve", "om,om": "twice", "om,scm": "the roles are s3, om and recon",
		"recon": "ozone.recon.om.address is not set",
	} {
		_, err := config.Load(config.Sources{Data: t.TempDir(), Set: []string{key + "=" + roles}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), roles) {
			t.Errorf("%s: %v", roles, err)
		}
	}
	if s := strings.Join(config.Default().Node.Roles, ","); s != "s3,om,recon" {
		t.Errorf("by default %s", s)
	}
}

func TestKeyReconAddress(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = try(t, settings{set: []string{withRecon, "ozone.recon.http-address=" + address}})
	if err == nil || !strings.Contains(err.Error(), "ozone.recon.http-address = "+address) {
		t.Errorf("a port in use: %v", err)
	}
	l.Close()
	s := start(t, settings{set: []string{withRecon, "ozone.recon.http-address=" + address}})
	if s.Recon != "http://"+address {
		t.Errorf("%+v", s.Endpoints)
	}
	s.follows(s)
}

func TestKeyReconDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "elsewhere")
	for set, want := range map[string]string{"": "", "ozone.recon.db.dir=" + dir: dir} {
		o := settings{set: []string{withRecon}}
		if set != "" {
			o.set = append(o.set, set)
		}
		s := start(t, o)
		s.follows(s)
		if want == "" {
			want = filepath.Join(s.Data, "recon")
		}
		if _, err := os.Stat(filepath.Join(want, "current")); err != nil {
			t.Errorf("%s: %v", set, err)
		}
	}
}

func TestKeyReconReaders(t *testing.T) {
	t.Parallel()
	for allowed, status := range map[string]int{"false": 403, "true": 200} {
		s := start(t, settings{set: []string{withRecon, "ozone.recon.readers.allowed=" + allowed}})
		ann := s.user("ann", "user")
		s.follows(s)
		for path, want := range map[string]int{"/clusterState": status, "/triggerdbsync/om": 403} {
			if a, err := s.ask(ann, "o3", "GET", s.Recon+web.Prefix+path, nil); err != nil || a.status != want {
				t.Errorf("%s, %s: %v %v", allowed, path, a, err)
			}
		}
	}
}

// TestKeyReconRebuild: with little memory a rebuild uses the disk; how many
// threads it has is what the key says.
func TestKeyReconRebuild(t *testing.T) {
	t.Parallel()
	spilled := map[string]float64{}
	for _, set := range [][]string{
		{"ozone.recon.rebuild.memory=64MB", "ozone.recon.task.thread.count=2"}, {"ozone.recon.rebuild.memory=64KB", "ozone.recon.task.thread.count=7"},
	} {
		threads := 0
		s := start(t, settings{set: append(set, withRecon), hooks: hooks{recon: func(o *recon.Options) { threads = o.Rebuild.Workers }}})
		s.bucket("photos", "FILE_SYSTEM_OPTIMIZED")
		var writers sync.WaitGroup
		for w := range 16 {
			writers.Go(func() {
				for i := range 60 {
					if err := s.commit("photos", fmt.Sprintf("a/%d/%d/%060d", w, i, i), []byte("1")); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writers.Wait()
		s.follows(s)
		before := s.sync().Syncs
		if !s.node.recon.service.Reinit() {
			t.Fatal(s.sync())
		}
		wait(t, "the tables are built anew", func() bool { return s.sync().Syncs > before })
		spilled[set[0]] = s.metric("o3_recon_rebuild_spilled_bytes_total")
		if want := strings.HasSuffix(set[1], "7"); (threads == 7) != want {
			t.Errorf("%v: %d threads", set, threads)
		}
		if s.metric("o3_recon_rebuild_rows_total") < 900 || s.metric("o3_recon_derived_rows_total") < 900 {
			t.Error("the rows of a rebuild are not counted")
		}
		s.agrees(s, "photos")
	}
	if spilled["ozone.recon.rebuild.memory=64MB"] != 0 || spilled["ozone.recon.rebuild.memory=64KB"] == 0 {
		t.Errorf("%v", spilled)
	}
}

func TestKeyReconFlush(t *testing.T) {
	t.Parallel()
	newest := func(s *server) string { // of the files that flushes make
		all, err := filepath.Glob(filepath.Join(s.Data, "recon", s.sync().Generation, "replica", "*.sst"))
		if err != nil {
			t.Fatal(err)
		}
		return slices.Max(append(all, ""))
	}
	often, seldom := start(t, settings{set: []string{withRecon, "ozone.recon.db.flush.interval=100ms"}}), start(t, settings{set: []string{withRecon, "ozone.recon.db.flush.interval=1h"}})
	before := map[*server]string{}
	for _, s := range []*server{often, seldom} {
		s.follows(s)
		before[s] = newest(s)
		s.bucket("photos", "")
		if err := s.commit("photos", "a", []byte("1")); err != nil {
			t.Fatal(err)
		}
		s.follows(s)
	}
	wait(t, "what was applied is on disk", func() bool { return newest(often) > before[often] })
	if n := newest(seldom); n != before[seldom] {
		t.Errorf("%s is newer than %s", n, before[seldom])
	}
}

func TestKeyReconOM(t *testing.T) {
	t.Parallel()
	om := start(t, settings{})
	ann := om.user("ann", "user")
	s := startConsole(t, om, settings{}, om.OM)
	s.follows(om)
	for what, o := range map[string]settings{
		"ann: needs the role admin": {set: []string{"ozone.recon.om.access.key=" + ann.AccessKey}, env: []string{"OZONE_RECON_OM_SECRET_KEY=" + ann.SecretKey}},
		"does not match":            {env: []string{"OZONE_RECON_OM_SECRET_KEY=another-secret"}},
	} {
		s := startConsole(t, om, o, om.OM)
		wait(t, "it says "+what, func() bool {
			st := s.sync()
			return st.LastSync != nil && strings.Contains(st.LastSync.Error, what)
		})
	}
	for set, want := range map[string]string{
		"ozone.recon.om.address=om:9874":            "must be the address of an OM API",
		"ozone.recon.om.access.key=":                "ozone.recon.om.tls.cert",
		"ozone.recon.om.secret.key=abcdefgh12":      "can be read by everybody",
		"ozone.server.roles=om,recon":               "a server with the role om follows itself",
		"ozone.recon.om.address=http://a@h:1":       "must be the address of an OM API",
		"ozone.recon.om.tls.cert=/nonexistent/cert": "ozone.recon.om.tls.key is not set",
	} {
		_, err := config.Load(config.Sources{Data: t.TempDir(), Set: []string{"ozone.server.roles=recon", "ozone.recon.om.address=" + om.OM, set}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", set, err)
		}
	}
}

func TestKeyReconOMTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, err := tlsconf.NewCA("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []tlsconf.Request{{Name: "server", Hosts: []string{"127.0.0.1"}, Valid: time.Hour}, {Name: "root", Client: true, Valid: time.Hour}} {
		p, err := ca.Issue(r)
		if err == nil {
			err = p.Write(filepath.Join(dir, r.Name+".crt"), filepath.Join(dir, r.Name+".pem"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(file("ca.crt"), ca.Pair().Cert, 0o600); err != nil {
		t.Fatal(err)
	}
	om := start(t, settings{set: []string{"ozone.om.tls.cert=" + file("server.crt"), "ozone.om.tls.key=" + file("server.pem"), "ozone.om.tls.client.ca=" + file("ca.crt")}})
	at := om.node.replica.Position().Index
	for _, c := range []struct {
		follows bool
		set     []string
	}{
		{true, []string{"ozone.recon.om.tls.ca=" + file("ca.crt"), "ozone.recon.om.tls.cert=" + file("root.crt"), "ozone.recon.om.tls.key=" + file("root.pem")}},
		{false, []string{"ozone.recon.om.tls.cert=" + file("root.crt"), "ozone.recon.om.tls.key=" + file("root.pem")}}, // an authority that the system does not know
	} {
		set := append([]string{"ozone.server.roles=recon", "ozone.recon.om.address=" + om.OM}, c.set...)
		s := start(t, settings{set: set})
		wait(t, fmt.Sprint(c, " ends"), func() bool { st := s.sync(); return st.LastSync != nil })
		if st := s.sync(); (st.Index >= at) != c.follows || !c.follows && !strings.Contains(st.LastSync.Error, "certificate") {
			t.Errorf("%v: %+v %+v", c, st, st.LastSync)
		}
	}
}

func TestKeyReconRetry(t *testing.T) {
	t.Parallel()
	om := start(t, settings{})
	const dead = "http://127.0.0.1:1"
	often, seldom := startConsole(t, om, settings{set: []string{"ozone.recon.om.retry.max.interval=100ms"}}, dead), startConsole(t, om, settings{}, dead)
	wait(t, "the dead OM is asked often", func() bool { return often.sync().Failed >= 20 })
	if n := seldom.sync().Failed; n > 10 { // each time it is given twice as long: that many take minutes
		t.Errorf("it was asked %d times", n)
	}
}
