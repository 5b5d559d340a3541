package cli

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/leaktest"
	"o3/internal/rpc"
	"o3/internal/rpc/rpctest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestExitCodesAreTotal(t *testing.T) {
	known := map[int]bool{}
	for _, m := range exitMeanings() {
		known[m.Code] = true
	}
	for _, k := range errs.Kinds() {
		code, ok := exitCode(k)
		if !ok || !known[code] || code == ExitOK {
			t.Errorf("kind %v has exit code %d, in the table %v", k, code, ok)
		}
	}
}

// TestAbsentCommands: what deps cannot serve is not there, nor a group that
// is empty then.
func TestAbsentCommands(t *testing.T) {
	for _, c := range []struct {
		deps    Deps
		line    string
		present bool
	}{
		{DepsForTest(), "debug db verify", true},
		{Deps{}, "debug db verify", false},
		{Deps{}, "server", false},
		{Deps{}, "freon", false},
		{Deps{}, "sh volume list", true},
		{Deps{}, "sh snapshot list", true},
		{Deps{}, "sh snapshot schedule", false},
	} {
		var stderr bytes.Buffer
		args := append(strings.Fields(c.line), "--help")
		code := Run(t.Context(), args, IO{Stdout: io.Discard, Stderr: &stderr}, c.deps)
		if (code == 0) != c.present || (!c.present && code != ExitUsage) {
			t.Errorf("%s: exit code %d: %s", c.line, code, &stderr)
		}
	}
	var help bytes.Buffer
	Run(t.Context(), []string{"--help"}, IO{Stdout: &help, Stderr: io.Discard}, Deps{})
	if strings.Contains(help.String(), "debug") || !strings.Contains(help.String(), "admin") {
		t.Errorf("%s", &help)
	}
}

func TestJudge(t *testing.T) {
	good := func() *o3v1.StatusResponse {
		return &o3v1.StatusResponse{Leader: 1, DiskFreeBytes: 50, DiskTotalBytes: 100, Blocks: &o3v1.BlockStatusResponse{}}
	}
	for _, c := range []struct {
		name   string
		change func(*o3v1.StatusResponse)
		want   int
	}{
		{"good", func(*o3v1.StatusResponse) {}, statusGood},
		{"no leader", func(r *o3v1.StatusResponse) { r.Leader = 0 }, statusCritical},
		{"read-only", func(r *o3v1.StatusResponse) { r.ReadOnly = true }, statusCritical},
		{"failed blocks", func(r *o3v1.StatusResponse) { r.Blocks.Failed = true }, statusCritical},
		{"damage", func(r *o3v1.StatusResponse) { r.Blocks.Damaged = 1 }, statusCritical},
		{"little disk", func(r *o3v1.StatusResponse) { r.DiskTotalBytes = 1000 }, statusWarning},
		{"a problem", func(r *o3v1.StatusResponse) { r.Problems = []*o3v1.Pair{{Name: "clock", Value: "off"}} }, statusWarning},
		{"both", func(r *o3v1.StatusResponse) { r.ReadOnly, r.DiskTotalBytes = true, 1000 }, statusCritical},
		{"no blocks known", func(r *o3v1.StatusResponse) { r.Blocks = nil }, statusGood},
	} {
		r := good()
		c.change(r)
		if level, reasons := judge(r); level != c.want || (len(reasons) == 0) != (level == 0) {
			t.Errorf("%s: %d %v", c.name, level, reasons)
		}
		m := rpctest.NewMemory()
		m.SetStatus(func(to *o3v1.StatusResponse) {
			to.Leader, to.ReadOnly, to.Problems, to.Blocks = r.Leader, r.ReadOnly, r.Problems, r.Blocks
			to.DiskFreeBytes, to.DiskTotalBytes = r.DiskFreeBytes, r.DiskTotalBytes
		})
		s := rpctest.Start(t, m, rpc.Options{})
		code := Run(t.Context(), []string{"admin", "status", "--endpoint", s.URL, "--access-key", rpctest.RootKey, "--secret-key", rpctest.RootSecret},
			IO{Stdout: io.Discard, Stderr: io.Discard}, DepsForTest())
		if code != c.want {
			t.Errorf("%s: exit code %d, want %d", c.name, code, c.want)
		}
	}
}

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		text  string
		depth int
		want  path
		bad   string
	}{
		{"/v", 1, path{"v", "", ""}, ""},
		{"v/", 1, path{"v", "", ""}, ""},
		{"/v/b", 2, path{"v", "b", ""}, ""},
		{"/v/b/", 2, path{"v", "b", ""}, ""},
		{"/v/b/k", 3, path{"v", "b", "k"}, ""},
		{"v/b/d/e/", 3, path{"v", "b", "d/e/"}, ""},
		{"/v/b//x", 3, path{"v", "b", "/x"}, ""},
		{"", 1, path{}, "no volume"},
		{"/v", 2, path{}, "no bucket"},
		{"//b/k", 3, path{}, "no volume"},
		{"/v/b", 3, path{}, "no key"},
		{"/v/b/", 3, path{}, "no key"},
		{"/v/b", 1, path{}, "more than a volume"},
		{"/v/b/k", 2, path{}, "more than a bucket"},
	} {
		got, err := parsePath(c.text, c.depth)
		switch {
		case c.bad == "" && (err != nil || got != c.want):
			t.Errorf("%q at %d: %+v %v", c.text, c.depth, got, err)
		case c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)):
			t.Errorf("%q at %d: %+v %v, want %q", c.text, c.depth, got, err, c.bad)
		}
	}
}

func TestValues(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "17": 17, "4K": 4096, "10MB": 10 << 20, "1GiB": 1 << 30, "2 TB": 2 << 40} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || uint64(b) != want {
			t.Errorf("%s: %d %v", text, b, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5G", "4X", "99999999999999999999", "99999999PB"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%s was taken as %d", text, b)
		}
	}
	for text, want := range map[string]string{
		"ann:READ": "ann:READ", "ann:read,list": "ann:READ,LIST", "*:READ,bob:ALL": "*:READ,bob:ALL", "": "",
	} {
		var g Grants
		if err := g.UnmarshalText([]byte(text)); err != nil || showGrants(g.list) != want || !g.set {
			t.Errorf("%s: %s %v", text, showGrants(g.list), err)
		}
	}
	for _, text := range []string{"ann", "READ", ":READ", "ann:", "ann:FLY", "ann:READ,FLY", "ann:UNSPECIFIED"} {
		var g Grants
		if err := g.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%s was taken as %s", text, showGrants(g.list))
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"bucket", "key", "volume"}
	for word, want := range map[string]string{"buckt": "bucket", "vol": "volume", "keys": "key", "snapshot": "", "kye": "key"} {
		if got := nearest(word, names); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

// TestTableOfMany: rows beyond a batch are printed, in order, once.
func TestTableOfMany(t *testing.T) {
	var out bytes.Buffer
	s := &Session{IO: IO{Stdout: &out}}
	tab := s.table("NAME")
	for i := range 2*tableBatch + 1 {
		if err := tab.row(nil, i); err != nil {
			t.Fatal(err)
		}
	}
	if err := tab.end(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(out.String())
	if len(lines) != 2*tableBatch+2 || lines[0] != "NAME" || lines[len(lines)-1] != strconv.Itoa(2*tableBatch) || slices.Contains(lines[1:], "NAME") {
		t.Errorf("%d lines", len(lines))
	}
}

// TestBrokenOutput: output that cannot be written fails the command.
func TestBrokenOutput(t *testing.T) {
	s := rpctest.Start(t, rpctest.NewMemory(), rpc.Options{})
	for _, line := range []string{"sh volume list", "sh volume list --json", "sh volume info /s3v", "version"} {
		args := append(strings.Fields(line), "--endpoint", s.URL, "--access-key", rpctest.RootKey, "--secret-key", rpctest.RootSecret)
		if code := Run(t.Context(), args, IO{Stdout: full{}, Stderr: io.Discard}, DepsForTest()); code != ExitFailure {
			t.Errorf("%s: exit code %d", line, code)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }
