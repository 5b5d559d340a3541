package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const coverageDoc = "../../docs/coverage.md"

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	goTest   = regexp.MustCompile(`^(?:[A-Z0-9_]+=\S+ )?go test (?:-tags e2e )?\./(\S+) -run '?(Test|Benchmark|Fuzz)(\w+)(?:/([\w-]+))?\$?'?$`)
	goBench  = regexp.MustCompile(`^go test \./(\S+) -run '\^\$' -bench (Benchmark)(\w+)$`)
	benchRun = regexp.MustCompile(`^bench/run\.sh (\w+)`)
	o3       = regexp.MustCompile(`^o3 ([a-z -]+[a-z])`)
)

// TestCoverageDocument: every row of docs/coverage.md names a command that
// exists: a test, a benchmark, or a command of o3.
func TestCoverageDocument(t *testing.T) {
	raw, err := os.ReadFile(coverageDoc)
	if err != nil {
		t.Fatal(err)
	}
	cli, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for n, line := range strings.Split(string(raw), "\n") {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|--") || strings.HasPrefix(line, "| Promise") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		commands := quoted.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(cells) < 2 || len(commands) == 0 {
			t.Errorf("line %d: no command shows %q", n+1, line)
		}
		for _, c := range commands {
			if err := exists(c[1], string(cli)); err != nil {
				t.Errorf("line %d: `%s`: %v", n+1, c[1], err)
			}
		}
	}
	if rows < 30 {
		t.Errorf("%d rows", rows)
	}
}

// exists tells what is wrong with a command of the document.
func exists(command, cli string) error {
	if m := goTest.FindStringSubmatch(command); m != nil {
		dir := filepath.Join("../..", m[1])
		if m[4] != "" {
			if files, err := filepath.Glob(filepath.Join(dir, "testdata", m[4]+".txt")); err != nil || len(files) != 1 {
				return fmt.Errorf("%s has no case %s", dir, m[4])
			}
		}
		return hasFunc(dir, m[2]+m[3])
	}
	if m := goBench.FindStringSubmatch(command); m != nil {
		return hasFunc(filepath.Join("../..", m[1]), m[2]+m[3])
	}
	if m := benchRun.FindStringSubmatch(command); m != nil {
		main, err := os.ReadFile("../../bench/cmd/bench/main.go")
		if err == nil && !strings.Contains(string(main), fmt.Sprintf("%q: s.", m[1])) {
			err = fmt.Errorf("the bench has no %q", m[1])
		}
		return err
	}
	if m := o3.FindStringSubmatch(command); m != nil {
		if !strings.Contains(cli, "`o3 "+m[1]) && !strings.Contains(cli, "# o3 "+m[1]) {
			return fmt.Errorf("docs/cli.md has no such command")
		}
		return nil
	}
	return fmt.Errorf("not a command of a form that this test knows")
}

// hasFunc tells whether the test files of dir declare a function.
func hasFunc(dir, name string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return err
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if strings.Contains(string(raw), "\nfunc "+name+"(") {
			return nil
		}
	}
	return fmt.Errorf("%s declares no %s", dir, name)
}
