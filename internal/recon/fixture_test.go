package recon_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/durable/fixture"
	"o3/internal/errs"
	"o3/internal/recon"
	"o3/internal/recon/staging"
	"o3/internal/recon/task"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

var updateFixture = flag.String("update-fixture", "", "write Recon's directory as a new fixture, v2 and so on; never one that is there")

const fixturesDir = "testdata/formats"

// TestFixtures: a directory of Recon of every format ever released is opened, with
// what was in it: the generation in force and its tables, the one before, to which
// it can go back, a stage that is kept, and one that has failed. Tables of other
// tasks than today's are built anew, from the replica that is there, and are not
// shown before. The fixtures never change; see docs/formats/README.md.
func TestFixtures(t *testing.T) {
	if *updateFixture != "" {
		writeFixture(t, filepath.Join(fixturesDir, *updateFixture))
	}
	versions, err := os.ReadDir(fixturesDir)
	if err != nil || len(versions) == 0 {
		t.Fatal(versions, err)
	}
	for _, v := range versions {
		t.Run(v.Name(), func(t *testing.T) {
			dir := unpack(t, filepath.Join(fixturesDir, v.Name(), "recon.tar.gz"))
			want, err := os.ReadFile(filepath.Join(fixturesDir, v.Name(), "recon.txt"))
			if err != nil {
				t.Fatal(err)
			}
			o := newOM(t, 1)
			o.set(faults{down: true}) // what is there is all there is
			if v.Name() == "v1" {     // without the tables of LifecycleInsightTask
				o.upgrade(dir, string(want))
				return
			}
			r := o.follow(t, dir, func(opts *recon.Options) { opts.Staging.Retention = 1 << 62 })
			have := map[string]bool{}
			for line := range strings.Lines(r.picture()) {
				have[line] = true
			}
			for line := range strings.Lines(string(want)) { // later versions may know more
				if !have[line] {
					t.Errorf("there is no line %q", line)
				}
			}
			if st := r.Status(); st.Syncs != 0 {
				t.Errorf("it was made anew: %+v", st.LastSync)
			}
			if _, _, err := r.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
			r.picture()
		})
	}
}

// upgrade opens a directory whose tables are of other tasks, and waits until they
// were built anew: then they must be those of a picture, which has all their rows,
// and were not shown before.
func (o *om) upgrade(dir, picture string) {
	looked := make(chan struct{})
	r := o.follow(o.t, dir, func(opts *recon.Options) {
		opts.Staging.Retention = 1 << 62
		opts.Staging.Hooks.OnStagingStart = func(string, string) error { <-looked; return nil }
	})
	r.until("a generation", func(st recon.Status) bool { return st.Generation != "" })
	v, err := r.View(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = v.SQL.Stats()
	if _, err2 := task.LifecycleOf(v.Derived, schema.EveryBucket); errs.KindOf(err) != errs.Unavailable || errs.KindOf(err2) != errs.Unavailable {
		r.t.Errorf("tables without some are shown: %v, %v", err, err2)
	}
	if err := v.Close(); err != nil {
		r.t.Error(err)
	}
	close(looked)
	st := r.until("tables that were built anew", func(st recon.Status) bool { return st.Syncs == 1 })
	if st.LastSync.Reason != recon.ReasonVersion || st.Failed != 0 {
		r.t.Errorf("%d failures, %+v", st.Failed, st.LastSync)
	}
	_, want, _ := strings.Cut(picture, "the numbers are wrong\n")
	want, _, _ = strings.Cut(want, "from ")
	_, got := r.tables()
	named, got, _ := strings.Cut(got, "\n")
	if !strings.HasPrefix(named, "02 = 01") || got != want {
		r.t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// picture is what a directory has, once its tables are shown.
func (r *rig) picture() string {
	r.t.Helper()
	var text string
	r.until("tables", func(recon.Status) bool {
		v, err := r.View(r.t.Context())
		if err != nil {
			return false
		}
		defer v.Close()
		stats, err := v.SQL.Stats()
		if err != nil || !r.quiet() {
			return false
		}
		if err := truth(v); err != nil {
			r.t.Error(err)
		}
		text = fmt.Sprintf("index %d, digest %s\n", v.At.Index, v.At.Digest)
		for _, name := range slices.Sorted(maps.Keys(stats)) {
			text += fmt.Sprintf("%s = %d\n", name, stats[name])
		}
		for _, first := range []byte{0x50, 0x51} { // of lifecycle
			err := task.Each(v.Derived, first, func(k []byte, c task.Counts) error {
				text += fmt.Sprintf("%x = %d\n", k, c)
				return nil
			})
			if err != nil {
				r.t.Error(err)
			}
		}
		return true
	})
	for _, k := range r.Staging().Kept {
		text += fmt.Sprintf("kept %s: %s: %s\n", k.StagingID, k.Reason, k.Detail)
	}
	return text
}

// TestNewerFormats: what a later version wrote is refused by name, and stays.
func TestNewerFormats(t *testing.T) {
	for name, c := range map[string]struct {
		path, old, new string
	}{
		"marker":          {"current", `"format":1`, `"format":2`},
		"record":          {"staging", `"format":1`, `"format":2`},
		"derived store":   {"generation-0000000003/derived/FORMAT", "\nversion 2\n", "\nversion 3\n"},
		"SQLite file":     {"generation-0000000003/recon.sqlite", "", ""},
		"place of a part": {"generation-0000000003", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, filepath.Join(fixturesDir, "v2", "recon.tar.gz"))
			path := filepath.Join(dir, c.path)
			switch name {
			case "SQLite file":
				edit(t, path, func(b []byte) []byte { b[63] = 99; return b }) // user_version, the last of its bytes
			case "place of a part":
				if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte(`{"format":2}`), 0o600)); err != nil {
					t.Fatal(err)
				}
			default:
				edit(t, path, func(b []byte) []byte {
					if !bytes.Contains(b, []byte(c.old)) {
						t.Fatalf("%s is %q", c.path, b)
					}
					b = bytes.Replace(b, []byte(c.old), []byte(c.new), 1)
					if at := bytes.Index(b, []byte("crc32c ")); at > 0 {
						b = fmt.Appendf(b[:at:at], "crc32c %08x\n", crc32.Checksum(b[:at], crc32.MakeTable(crc32.Castagnoli)))
					}
					return b
				})
			}
			o := newOM(t, 1)
			o.set(faults{down: true})
			var told []error
			s := recon.New(recon.Options{Dir: dir, Sources: []recon.Source{o}, Listener: recon.Listener{Failed: func(_ string, err error) { told = append(told, err) }}})
			if c.path == "current" || c.path == "staging" {
				if err := s.Run(t.Context()); errs.KindOf(err) != errs.FormatTooNew || !strings.Contains(err.Error(), path) {
					t.Error(err)
				}
				return
			}
			// The generation is as good as none: the one before serves, and says why.
			r := o.follow(t, dir, func(opts *recon.Options) {
				opts.Listener.Failed = func(_ string, err error) {
					if errs.KindOf(err) == errs.FormatTooNew {
						told = append(told, err)
					}
				}
			})
			st := r.until("the one before", func(st recon.Status) bool { return st.Generation != "" })
			if st.Generation == "generation-0000000003" || len(told) == 0 || !strings.Contains(told[0].Error(), dir) {
				t.Errorf("%s serves; told %v", st.Generation, told)
			}
		})
	}
}

func edit(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, f(raw), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// writeFixture makes Recon's directory: a generation in force, one before, a stage
// that failed its validation and is kept, and a stage that failed for good.
func writeFixture(t *testing.T, to string) {
	t.Helper()
	if err := os.Mkdir(to, 0o755); err != nil { // fails when it is there
		t.Fatal(err)
	}
	o, dir := newOM(t, 1), filepath.Join(t.TempDir(), "recon")
	o.work(60)
	o.expire()
	fails := 0
	r := o.follow(t, dir, func(opts *recon.Options) {
		opts.Staging.Retention, opts.Staging.NoAutoRetry = 0, true
		opts.Staging.Hooks.ValidateStagingData = wrong(&fails)
	})
	r.settled()
	fails = 1
	if _, err := r.Trigger(recon.Trigger{Kind: staging.Local}); err != nil {
		t.Fatal(err)
	}
	r.until("the failure", func(recon.Status) bool { return r.StagingState() == staging.Failed })
	o.work(30)
	if _, err := r.Trigger(recon.Trigger{Kind: staging.Full}); err != nil {
		t.Fatal(err)
	}
	r.settled()
	o.set(faults{image: errs.New(errs.Corrupt, "image", "a file has another checksum")})
	if _, err := r.Trigger(recon.Trigger{Kind: staging.Full}); err != nil {
		t.Fatal(err)
	}
	r.until("the failure", func(recon.Status) bool { return r.StagingState() == staging.Failed })
	o.set(faults{down: true})
	text := r.picture()
	if err := errors.Join(r.stop(), os.WriteFile(filepath.Join(to, "recon.txt"), []byte(text), 0o644), fixture.Pack(dir, filepath.Join(to, "recon.tar.gz"))); err != nil {
		t.Fatal(err)
	}
}

// expire gives a bucket two rules and has a scan begin, which deletes a key and meets
// an error, and another bucket a rule and a suspension.
func (o *om) expire() {
	o.mu.Lock()
	defer o.mu.Unlock()
	days := int32(3)
	o.d.Must(o.t, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: "a", Size: 4, Etag: "e", Data: []byte("data"), DeadlineMs: o.d.Now + 60_000})
	for _, x := range []struct {
		bucket string
		rules  []*o3v1.LifecycleRule
	}{
		{"flat", []*o3v1.LifecycleRule{{Id: "all", Enabled: true, Filter: &o3v1.LifecycleFilter{}, ExpireDays: &days}, {Id: "off", Filter: &o3v1.LifecycleFilter{}, AbortDays: &days}}},
		{"tree", []*o3v1.LifecycleRule{{Id: "trees", Enabled: true, Filter: &o3v1.LifecycleFilter{}, ExpireDays: &days}}},
	} {
		o.d.Must(o.t, &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: x.bucket, Configuration: &o3v1.LifecycleConfiguration{Rules: x.rules}})
	}
	b, err := view.New(o.d.Store).Bucket("s3v", "flat")
	if err != nil {
		o.t.Fatal(err)
	}
	key, _, err := schema.Entries.Get(o.d.Store, schema.EntryKey{Bucket: b.ID(), Parent: b.ID(), Name: "a"})
	if err != nil {
		o.t.Fatal(err)
	}
	scan := &commandpb.LifecycleScan{Volume: "s3v", Bucket: "flat", BucketId: uint64(b.ID()), ConfigurationId: b.Row.LifecycleUpdateId}
	a := o.d.Must(o.t, &commandpb.StartLifecycleScan{Scan: scan, EstimatedRows: 30})
	scan.ScanId = a.Body.(*commandpb.StartLifecycleScanReply).State.ScanID
	o.d.Must(o.t, &commandpb.LifecycleStep{Scan: scan, Phase: schemapb.LifecyclePhase_LIFECYCLE_PHASE_KEYS, LastScannedKey: "z", ScannedRows: 25, Error: "slow",
		Victims: []*commandpb.LifecycleVictim{{Action: commandpb.LifecycleAction_LIFECYCLE_ACTION_DELETE, Path: "a", ParentId: uint64(b.ID()), Since: key.Since}}})
	o.d.Must(o.t, &commandpb.SuspendLifecycle{Volume: "s3v", Bucket: "tree", Suspended: true, Reason: "why"})
}

// unpack returns the directory that an archive holds.
func unpack(t *testing.T, from string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "recon")
	if err := fixture.Unpack(from, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}
