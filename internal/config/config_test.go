package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"o3/internal/errs"
	"o3/internal/tlsconf"
)

// TestScripts reads testdata/*.txt. A "load" has lines "-D key=value", "env
// NAME=value", "--data DIR", "disk SIZE"; what is left is the configuration
// file. It prints what is wrong, or else the keys that are not at their default.
func TestScripts(t *testing.T) {
	dir := certificates(t)
	t.Chdir(dir)
	datadriven.Walk(t, filepath.Join(sourceDir, "testdata"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "load" {
				t.Fatalf("unknown command %s", d.Cmd)
			}
			src := Sources{DiskSize: func(string) (int64, error) { return 100 << 30, nil }}
			var file []string
			for line := range strings.SplitSeq(d.Input, "\n") {
				switch word, rest, _ := strings.Cut(line, " "); word {
				case "-D":
					src.Set = append(src.Set, rest)
				case "env":
					src.Env = append(src.Env, rest)
				case "--data":
					src.Data = rest
				case "disk":
					size, err := ParseSize(rest)
					src.DiskSize = func(string) (int64, error) { return size, err }
				default:
					file = append(file, line)
				}
			}
			if len(file) > 0 && strings.Join(file, "") != "" {
				src.File = "o3.yaml"
				if err := os.WriteFile(src.File, []byte(strings.Join(file, "\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d.HasArg("file") {
				d.ScanArgs(t, "file", &src.File)
			}
			c, err := Load(src)
			if err != nil {
				if errs.KindOf(err) != errs.Invalid {
					t.Errorf("kind %v", errs.KindOf(err))
				}
				return err.Error() + "\n"
			}
			var b strings.Builder
			for _, k := range Keys() {
				if from := c.Source(k.Name); from.Origin != FromDefault {
					fmt.Fprintf(&b, "%s = %s (%s)\n", k.Name, k.format(c), from)
				}
			}
			return b.String()
		})
	})
}

var sourceDir, _ = os.Getwd()

// certificates makes a directory with good and bad PEM files.
func certificates(t *testing.T) string {
	dir := t.TempDir()
	ca, err := tlsconf.NewCA("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		p, err := ca.Issue(tlsconf.Request{Name: name, Hosts: []string{"localhost"}, Valid: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Write(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"ca.crt": string(ca.Pair().Cert), "text.pem": "hello\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "o3.yaml")
	if err := os.WriteFile(file, []byte("ozone.s3g.region: from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const key = "ozone.s3g.region"
	src := Sources{}
	for i, step := range []struct {
		add    func()
		region string
		origin Origin
		where  string
	}{
		{func() {}, "us-east-1", FromDefault, "default"},
		{func() { src.File = file }, "from-file", FromFile, file + ":1"},
		{func() { src.Env = []string{"OZONE_S3G_REGION=from-env", "PATH=/bin", "O3_NIGHTLY=1"} }, "from-env", FromEnv, "environment OZONE_S3G_REGION"},
		{func() { src.Set = []string{key + "=from-option"} }, "from-option", FromOption, "-D"},
		{func() { src.Set = append(src.Set, key+"=last-option") }, "last-option", FromOption, "-D"},
	} {
		step.add()
		c, err := Load(src)
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if from := c.Source(key); c.S3.Region != step.region || from.Origin != step.origin || from.String() != step.where {
			t.Errorf("step %d: %s from %s", i, c.S3.Region, from)
		}
	}
}

func TestDataOption(t *testing.T) {
	c, err := Load(Sources{Data: "elsewhere", Set: []string{"ozone.metadata.dirs=here"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range [][2]string{
		{c.Node.DataDir, "elsewhere"}, {c.Block.Dir, "elsewhere/blocks"}, {c.Audit.Path, "elsewhere/audit/audit.log"},
		{c.Source("ozone.metadata.dirs").String(), "--data"}, {c.Source("ozone.block.dir").String(), "default"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s, want %s", got[0], got[1])
		}
	}
}

func TestDumpReadsBack(t *testing.T) {
	t.Chdir(certificates(t))
	first, err := Load(Sources{
		Env: []string{"O3_ROOT_ACCESS_KEY=root", "O3_ROOT_SECRET_KEY=very-hidden"},
		Set: []string{"ozone.s3g.domain.name=s3.example.com, b.example", "ozone.block.reserve=0", "ozone.log.slow.request=1h30m",
			`ozone.block.dir=a "b" : # é`, "ozone.s3g.tls.cert=a.crt", "ozone.s3g.tls.key=a.key", "ozone.block.rewrite.threshold=0.25"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var dump strings.Builder
	if err := first.Dump(&dump); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(dump.String(), "hidden") {
		t.Error("the dump shows a secret")
	}
	for _, line := range []string{"ozone.block.reserve: 0 # -D\n", "ozone.om.address: \":9874\" # default\n", "# o3.root.secret.key: *** # environment O3_ROOT_SECRET_KEY\n"} {
		if !strings.Contains(dump.String(), line) {
			t.Errorf("the dump lacks %q", line)
		}
	}
	if err := os.WriteFile("dump.yaml", []byte(dump.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := Load(Sources{File: "dump.yaml", Env: []string{"O3_ROOT_SECRET_KEY=very-hidden"}})
	if err != nil {
		t.Fatalf("%v\n%s", err, dump.String())
	}
	for _, k := range Keys() {
		if a, b := k.format(first), k.format(second); a != b {
			t.Errorf("%s: %q became %q", k.Name, a, b)
		}
	}
}

// TestSecretStaysHidden prints a Config every way a careless line might.
func TestSecretStaysHidden(t *testing.T) {
	c, err := Load(Sources{Env: []string{"O3_ROOT_ACCESS_KEY=root", "O3_ROOT_SECRET_KEY=very-hidden"}})
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Node.RootSecretKey) != "very-hidden" {
		t.Fatal("the secret did not arrive")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if s := fmt.Sprintf(verb, *c); strings.Contains(s, "hidden") || strings.Contains(s, "68696464656e") {
			t.Errorf("%s shows it", verb)
		}
	}
	_, err = Load(Sources{Env: []string{"O3_ROOT_ACCESS_KEY=root", "O3_ROOT_SECRET_KEY=very-hidden ", "OZONE_SECRET=very-hidden"},
		Set: []string{"o3.root.secret.key=very-hidden", "ozone.password=very-hidden"}})
	if err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("the report shows it: %v", err)
	}
}

func TestRealDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet", "there")
	n, err := diskSize(dir)
	if err != nil || n < 1<<20 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if _, err := Load(Sources{Data: dir, Set: []string{"ozone.block.reserve=1PB"}}); err == nil {
		t.Error("a reserve of a petabyte was taken")
	}
}

// FuzzFile: any file is read or refused with a report, in bounded time.
func FuzzFile(f *testing.F) {
	for _, s := range []string{"", "a: b", "ozone:\n  om:\n    address: x\n", "- a", "a: &x [1]\nb: *x\n", "? a\n: b\n", "<<: *a", "a: |\n  b\n", "!!str a: b", "{a: {b: [c]}}", "a: b: c", "\t", "---\n...\n---\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Sources{File: path, DiskSize: func(string) (int64, error) { return 1 << 50, nil }})
		if (c == nil) == (err == nil) {
			t.Errorf("%v and %v", c, err)
		}
	})
}
