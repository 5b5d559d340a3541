package lint

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestShape(t *testing.T) {
	r, err := ReadRules("layers.txt")
	if err != nil {
		t.Fatal(err)
	}
	pkgs, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 20 {
		t.Fatalf("only %d packages found", len(pkgs))
	}
	for _, problem := range r.Check(pkgs) {
		t.Error(problem)
	}
}

// TestFinds shows that each rule finds what it is for: a small tree breaks one
// rule a file.
func TestFinds(t *testing.T) {
	root := t.TempDir()
	for name, source := range map[string]string{
		"go.mod":                    "module o3\n",
		"internal/ns/ns.go":         "// Package ns is fine.\npackage ns\n\nimport \"time\"\n\nvar limit = time.Second\n\nfunc f() { limit := 1; limit = 2; _ = limit }\n",
		"internal/ns/ns_test.go":    "package ns\n\nimport _ \"o3/cmd/o3\"\n",
		"internal/keys/a.go":        "// Package keys is fine.\npackage keys\n\nimport _ \"o3/internal/fsm\"\n",
		"internal/fsm/a.go":         "// Package fsm is not pure.\npackage fsm\n\nimport (\n\t_ \"os\"\n\t\"time\"\n)\n\nvar at = time.Now()\n\nfunc f() { go f() }\n",
		"internal/fsm/fsmtest/a.go": "// Package fsmtest may import anything.\npackage fsmtest\n\nimport _ \"o3/internal/app\"\n",
		"internal/view/a.go":        "// Package view is one comment.\npackage view\n",
		"internal/view/b.go":        "// Package view is another.\npackage view\n\nimport _ \"o3/internal/fsm/fsmtest\"\n",
		"internal/access/a.go":      "package access\n",
		"internal/command/a.go":     "// Commands are not described.\npackage command\n",
		"internal/app/a.go":         "// Package app has state.\npackage app\n\nvar count int\n\nvar table = map[string]int{}\n",
		"internal/app/b.go":         "package app\n\nfunc f() {\n\tcount++\n\ttable[\"a\"] = 1\n}\n\nfunc init() {}\n",
		"internal/other/a.go":       "// Package other is in no layer.\npackage other\n",
		"cmd/o3/main.go":            "// Main is not named.\npackage main\n\nfunc main() {" + strings.Repeat("\n", 81) + "}\n",
		"cmd/o3/long_test.go":       "package main\n" + strings.Repeat("\n", 800),
		"cmd/o3/long.pb.go":         "package main\n\nfunc init() {}\n" + strings.Repeat("\n", 800),
		"cmd/o3/testdata/bad.go":    "not Go\n",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := ReadRules("layers.txt")
	if err != nil {
		t.Fatal(err)
	}
	pkgs, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	got := r.Check(pkgs)
	want := []string{
		"cmd/o3/long_test.go:800: the file has 801 lines, at most 800 are allowed",
		"cmd/o3/main.go:1: the comment of a command begins with \"Command\"",
		"cmd/o3/main.go:4: function main has 82 lines, at most 80 are allowed",
		"internal/access/a.go:1: package internal/access has 0 package comments, want one",
		"internal/app/b.go:4: count is a variable of the package and changes: put it into a value that its user makes",
		"internal/app/b.go:5: table is a variable of the package and changes: put it into a value that its user makes",
		"internal/app/b.go:8: init runs unseen: do it where it is needed",
		"internal/command/a.go:1: the package comment does not begin with \"Package command\"",
		"internal/fsm/a.go:11: pure package starts a goroutine",
		"internal/fsm/a.go:5: pure package imports os: no files, no environment",
		"internal/fsm/a.go:9: pure package uses time.Now: no clock: the time comes with the command",
		"internal/keys/a.go:4: layer 1 imports internal/fsm of layer 2",
		"internal/other/a.go:1: package internal/other is in no layer of layers.txt",
		"internal/view/a.go:1: package internal/view has 2 package comments, want one",
		"internal/view/b.go:4: internal/fsm/fsmtest is for tests only",
	}
	slices.Sort(got)
	for _, p := range got {
		if !slices.Contains(want, p) && !strings.Contains(p, "layer 2 imports internal/fsm/fsmtest") {
			t.Errorf("unexpected: %s", p)
		}
	}
	for _, p := range want {
		if !slices.Contains(got, p) {
			t.Errorf("not found: %s", p)
		}
	}
}
