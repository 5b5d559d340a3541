package app

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/access"
	"o3/internal/consensus"
	"o3/internal/errs"
)

func TestKeyDataDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not", "yet", "there")
	// try sets it with --data, which is the other way to say ozone.metadata.dirs=.
	s := start(t, settings{dir: dir})
	if s.Data != dir {
		t.Errorf("data is in %s", s.Data)
	}
	for _, name := range []string{"node", client.CredentialsFile, "om/store", "om/raft", "blocks", "audit"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestKeyShutdownTimeout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		timeout string
		status  int
	}{{"0s", 0}, {"1m", 200}} {
		s := start(t, settings{set: []string{"ozone.service.shutdown.timeout=" + c.timeout}})
		s.must("PUT", "/photos", nil)
		p := s.slowPut("/photos/a", 2)
		s.inside(1)
		s.stop()
		if c.status == 0 {
			select {
			case <-s.done: // although the body never ends
			case <-time.After(patience / 2):
				t.Error("it waits for a request in flight")
			}
		}
		if a := p.finish(); a.status != c.status {
			t.Errorf("timeout %s: %v", c.timeout, a)
		}
	}
}

func TestKeyRootCredentials(t *testing.T) {
	t.Parallel()
	given := client.Credentials{AccessKey: "myroot", SecretKey: "my-secret-0123"}
	plain := start(t, settings{})
	// "o3.root.access.key" and "o3.root.secret.key", the latter not by -D.
	changed := start(t, settings{env: []string{"O3_ROOT_ACCESS_KEY=" + given.AccessKey, "O3_ROOT_SECRET_KEY=" + given.SecretKey}})
	for status, s := range map[int]*server{403: plain, 200: changed} {
		if a, err := s.ask(given, "", "GET", "/", nil); err != nil || a.status != status {
			t.Errorf("%v %v, want %d", a, err, status)
		}
	}
	if strings.Contains(changed.out.String()+changed.log.String(), given.SecretKey) {
		t.Error("the secret is printed")
	}
}

func TestKeyNodeID(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{"ozone.om.node.id=om7"}})
	if got := s.status().NodeId; got != "om7" {
		t.Errorf("node id %s", got)
	}
	if !strings.Contains(s.log.String(), "node=om7") {
		t.Errorf("the log does not say who: %s", s.log)
	}
}

func TestKeyNodes(t *testing.T) {
	t.Parallel()
	start(t, settings{set: []string{"ozone.om.nodes=om1=127.0.0.1:9872"}})
	_, err := try(t, settings{set: []string{"ozone.om.nodes=om1=127.0.0.1:9872,om2=127.0.0.1:9873"}})
	kind(t, err, errs.NotImplemented, "ozone.om.nodes with 2 nodes", "a group of one")
}

func TestKeyDefaultLayout(t *testing.T) {
	plain, changed := pair(t, "ozone.default.bucket.layout=OBJECT_STORE")
	for want, s := range map[string]*server{"FILE_SYSTEM_OPTIMIZED": plain, "OBJECT_STORE": changed} {
		s.bucket("photos", "")
		got, err := s.om.GetBucket(t.Context(), &o3v1.GetBucketRequest{Volume: "s3v", Bucket: "photos"})
		if err != nil || got.Bucket.Layout != want {
			t.Errorf("%v, %v; want %s", got, err, want)
		}
	}
}

func TestKeyInlineSize(t *testing.T) {
	plain, changed := pair(t, "ozone.om.key.inline.max.size=16KB")
	for want, s := range map[float64]*server{1: plain, 0: changed} {
		s.must("PUT", "/photos", nil)
		data := bytes.Repeat([]byte("0123456789abcdef"), 512)
		s.must("PUT", "/photos/a", data)
		if n := s.metric("o3_block_live_blocks"); n != want {
			t.Errorf("%v blocks, want %v", n, want)
		}
		if a := s.must("GET", "/photos/a", nil); !bytes.Equal(a.body, data) {
			t.Errorf("%d bytes came back", len(a.body))
		}
	}
}

func TestKeyListScanLimit(t *testing.T) {
	plain, changed := pair(t, "ozone.om.list.scan.limit=100")
	for want, s := range map[int]*server{130: plain, 100: changed} {
		s.bucket("photos", "OBJECT_STORE")
		for i := range 130 {
			if err := s.commit("photos", fmt.Sprintf("%03d", i), nil); err != nil {
				t.Fatal(err)
			}
		}
		page, err := s.om.ListKeys(t.Context(), &o3v1.ListKeysRequest{Volume: "s3v", Bucket: "photos", Limit: 1000})
		if err != nil || len(page.Keys) != want || page.Truncated != (want < 130) {
			t.Errorf("%d keys, truncated %v, %v; want %d", len(page.Keys), page.Truncated, err, want)
		}
	}
}

func TestKeyEntryMaxSize(t *testing.T) {
	plain, changed := pair(t, "ozone.om.ratis.entry.max.size=2MB")
	for want, s := range map[errs.Kind]*server{errs.OK: plain, errs.TooLarge: changed} {
		s.bucket("photos", "")
		var grants []*o3v1.Grant
		for i := range 80_000 {
			grants = append(grants, &o3v1.Grant{Grantee: fmt.Sprintf("somebody-with-a-long-name-%06d", i), Permissions: []o3v1.Permission{1}})
		}
		_, err := s.om.UpdateBucket(t.Context(), &o3v1.UpdateBucketRequest{Volume: "s3v", Bucket: "photos", SetGrants: true, Grants: grants})
		if got := errs.KindOf(err); got != want {
			t.Errorf("a request of 3 MB: %v, want %v", err, want)
		}
	}
}

func TestKeyPendingWrites(t *testing.T) {
	t.Parallel()
	const limit = 2
	for _, c := range []struct {
		set  []string
		want int // requests refused, of limit+1 that wait at once
	}{{nil, 0}, {[]string{fmt.Sprintf("ozone.om.ratis.server.pending.write.element-limit=%d", limit)}, 1}} {
		d := newDisk()
		s := start(t, settings{set: c.set, hooks: hooks{log: func(o *consensus.Options) { o.FS = d }}})
		waiting, release := d.hold()
		t.Cleanup(release)
		done := make(chan error, limit+2)
		write := func() {
			go func() {
				_, err := s.node.om.CreateVolume(access.NewContext(t.Context(), access.System), &o3v1.CreateVolumeRequest{Volume: "vol"})
				done <- err
			}()
		}
		write()
		<-waiting // the first is on its way to the disk
		for range limit + 1 {
			write()
		}
		refused := 0
		for range c.want {
			if err := <-done; errs.KindOf(err) == errs.SlowDown {
				refused++
			}
		}
		if c.want == 0 {
			wait(t, "all others wait", func() bool { return s.node.log.Status().QueuedRequests == limit+1 })
		}
		release()
		for range limit + 2 - c.want {
			if err := <-done; errs.KindOf(err) == errs.SlowDown {
				refused++
			}
		}
		if refused != c.want {
			t.Errorf("%v: %d refused, want %d", c.set, refused, c.want)
		}
	}
}

func TestKeyLogKeep(t *testing.T) {
	t.Parallel()
	step := func(o *consensus.Options) { o.TruncateStep, o.TickInterval = 1, 10e6 }
	flush := []string{"ozone.om.db.flush.interval=100ms"}
	plain := start(t, settings{set: flush, hooks: hooks{log: step}})
	changed := start(t, settings{set: append(flush, "ozone.om.ratis.log.purge.preservation.log.num=5"), hooks: hooks{log: step}})
	for _, s := range []*server{plain, changed} {
		s.bucket("photos", "")
		for i := range 20 {
			if err := s.commit("photos", fmt.Sprint(i), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	var last uint64
	wait(t, "the log is cut", func() bool {
		st := changed.node.log.Status()
		last = st.Last
		return st.First == last-4
	})
	wait(t, "all is durable", func() bool { st := plain.node.log.Status(); return st.Durable == st.Last })
	if st := plain.node.log.Status(); st.First != 2 {
		t.Errorf("by default the log begins at %d", st.First)
	}
}

func TestKeyRetryCache(t *testing.T) {
	t.Parallel()
	set := []string{"ozone.om.open.key.cleanup.service.interval=100ms"}
	plain, changed := start(t, settings{set: set}), start(t, settings{set: append(set, "ozone.om.ratis.server.retry.cache.timeout=10s")})
	create := func(s *server) error {
		_, err := s.node.om.CreateVolume(access.NewContext(t.Context(), access.System), &o3v1.CreateVolumeRequest{
			Volume: "vol", Stamp: &o3v1.Stamp{ClientId: 77, Sequence: 1, Acked: 1},
		})
		return err
	}
	for _, s := range []*server{plain, changed} {
		for range 2 { // the second is answered, not done
			if err := create(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	wait(t, "the client is forgotten", func() bool { return changed.metric("o3_reclaim_expired_clients_total") == 1 })
	kind(t, create(changed), errs.VolumeExists)
	if err := create(plain); err != nil {
		t.Errorf("by default: %v", err)
	}
}
