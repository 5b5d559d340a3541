package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestApply: an edit that does not fit is refused by its text.
func TestApply(t *testing.T) {
	f := file{edits: []edit{wrapped("func f()", "func g()", "g()"), {"x", "y"}}, tail: "\n// end"}
	got, err := f.apply("func f() {\n\tx\n}")
	if want := "func f() {\n\tg()\n}\n\nfunc g() {\n\ty\n}\n// end"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, text := range []string{"func f() {\n}", "func f() {\n\tx, x\n}", "x"} {
		if _, err := f.apply(text); err == nil || !strings.Contains(err.Error(), "another version of Go") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestDisturb builds a program that prints "wrong" when a goroutine which has
// unlocked and is to tell of it first is overtaken by one that saw the change. As
// it is, that takes luck; disturbed it happens within a thousand times.
func TestDisturb(t *testing.T) {
	if os.Getenv("O3_NIGHTLY") == "" {
		t.Skip("it compiles Go's runtime; O3_NIGHTLY=1 does")
	}
	dir := t.TempDir()
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, "testdata/overtaken.go")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(program).CombinedOutput(); err != nil || string(out) != "wrong\n" {
		t.Errorf("%s, %v", out, err)
	}
}
