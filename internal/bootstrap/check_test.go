package bootstrap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"o3/internal/errs"
	"o3/internal/image"
)

// TestCheck: each prerequisite that does not hold is a row, and nothing is changed.
func TestCheck(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 20)
	s.image()
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dead := s.second()
	dead.die()
	for _, c := range []struct {
		name  string
		edit  func(o *Options)
		row   string
		level Level
		text  string
		kind  errs.Kind
	}{
		{"all is well", func(*Options) {}, "image", OK, "of source om1", errs.OK},
		{"not enabled", func(o *Options) { o.Disabled = true }, "enabled", Fail, EnabledKey, errs.Denied},
		{"a node is there", func(o *Options) { write(filepath.Join(o.DataDir, "node"), "{}") }, "data directory", Fail, "--replace", errs.NotEmpty},
		{"a node makes way", func(o *Options) { o.Replace = true; write(filepath.Join(o.DataDir, "node"), "{}") }, "data directory", OK, "makes way", errs.OK},
		{"begun before", func(o *Options) { write(o.staged(fetchDir, "x"), "") }, "data directory", OK, "goes on", errs.OK},
		{"nobody answers", func(o *Options) { o.Sources = []Source{dead.asSource("om1", "")} }, "source om1", Fail, "unavailable", errs.Unavailable},
		{"one answers", func(o *Options) { o.Sources = append(o.Sources, dead.asSource("om2", "")) }, "source om2", Warn, "unavailable", errs.OK},
		{"no admin", func(o *Options) { o.Sources = []Source{s.denying().asSource("om1", "")} }, "source om1", Fail, "admin", errs.Denied},
		{"no TLS", func(o *Options) { o.Sources[0].URL = "http://192.0.2.1/transfer" }, "sources", Fail, "TLS", errs.Invalid},
		{"clocks differ", func(o *Options) { o.now = func() time.Time { return time.Now().Add(-time.Hour) } }, "clock om1", Warn, "differs", errs.OK},
		{"no space", func(o *Options) { d := &disk{}; d.free.Store(10); o.Disk = d }, "space", Fail, "must stay free", errs.ReadOnly},
		{"no blocks", func(o *Options) { o.BlockDir = filepath.Join(o.DataDir, "elsewhere") }, "block directory", Warn, "--with-blocks", errs.OK},
		{"blocks of another node", func(o *Options) {
			write(filepath.Join(o.blockDir(), "node"), `{"format":1,"id":"x","number":1,"store":"OTHER"}`)
		},
			"block directory", Fail, "another node", errs.PreconditionFailed},
		{"no image with bytes", func(o *Options) { o.WithBlocks = true; o.Replace = true }, "image", OK, "makes one", errs.OK},
		{"bytes elsewhere", func(o *Options) { o.WithBlocks, o.BlockDir = true, "/elsewhere" }, "block directory", Fail, "--block-dir", errs.PreconditionFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t, s.asSource("om1", ""))
			c.edit(&o)
			before := names(t, o.DataDir)
			rows, err := Check(t.Context(), o)
			if errs.KindOf(err) != c.kind {
				t.Errorf("the error is %v, want kind %v", err, c.kind)
			}
			found := false
			for _, r := range rows {
				if r.Name == c.row {
					found = true
					if r.Level != c.level || !strings.Contains(r.Text, c.text) {
						t.Errorf("%+v: want %s with %q", r, c.level, c.text)
					}
				}
				if r.Level == Fail && c.kind == errs.OK {
					t.Errorf("%+v", r)
				}
			}
			if !found {
				t.Errorf("no row %q: %+v", c.row, rows)
			}
			if after := names(t, o.DataDir); after != before {
				t.Errorf("the directory was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

// TestSourceIsNotNeeded: once an image with its bytes is fetched and validated, no
// source need answer; before that one must.
func TestSourceIsNotNeeded(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	dead := s.second()
	dead.die()
	o := options(t, dead.asSource("om1", ""))
	o.WithBlocks, o.Replace = true, true
	o = o.withDefaults(t)
	for _, fetched := range []bool{false, true} {
		c := newInspection(&o)
		c.fetched, c.alone = fetched, fetched
		c.all(t.Context())
		if err := c.verdict(); (err == nil) != fetched {
			t.Errorf("fetched: %v, %v", fetched, err)
		}
	}
}

// TestComesBack: a source that does not answer at first is asked again.
func TestComesBack(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	s.put(0, 5)
	asked := 0
	s.refuse = func() error {
		if asked++; asked <= 2 {
			return errs.New(errs.Unavailable, "node", "it is starting")
		}
		return nil
	}
	o := options(t, s.asSource("om1", ""))
	o.Retries = -1
	fails(t, o, ReasonUnreachable)
	asked, o.Retries = 0, 2
	must(t, o)
}

// TestCheckBesideAServer: a directory that somebody holds is not free.
func TestCheckBesideAServer(t *testing.T) {
	t.Parallel()
	s := startSource(t)
	o := options(t, s.asSource("om1", ""))
	p, err := image.Take(nil, o.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := Check(t.Context(), o); errs.KindOf(err) != errs.Unavailable || ReasonOf(Prerequisites, err) != ReasonTarget {
		t.Errorf("%v", err)
	}
	if _, err := Run(t.Context(), o); errs.KindOf(err) != errs.Unavailable || exists(filepath.Join(o.DataDir, RecordFile)) {
		t.Errorf("%v", err)
	}
}

// denying is the node at an address where nobody is an admin.
func (s *source) denying() *source {
	other := s.second()
	other.refuse = func() error { return errs.New(errs.Denied, "transfer", "user ann: needs the role admin") }
	return other
}

func names(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		out = append(out, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, "\n")
}
