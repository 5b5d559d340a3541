package main

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"o3/internal/app"
	"o3/internal/cli"
)

var update = flag.Bool("update", false, "write docs/cli.md")

// TestReference: docs/cli.md is what the program has.
func TestReference(t *testing.T) {
	var got bytes.Buffer
	if err := cli.Reference(&got, app.Deps()); err != nil {
		t.Fatal(err)
	}
	const file = "../../docs/cli.md"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("docs/cli.md is out of date: go test ./cmd/o3 -run TestReference -update")
	}
}
