package gen

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGenerated compiles every .proto file again and compares the Go code in
// the tree: neither may be changed alone.
func TestGenerated(t *testing.T) {
	const root = "../.."
	files, err := Files(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 4 {
		t.Fatalf("only %d files were generated", len(files))
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what its .proto file says (%v): run go generate ./internal/gen", name, err)
		}
	}
	for _, top := range []string{"api", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(p string, _ os.DirEntry, err error) error {
			rel, _ := filepath.Rel(root, p)
			if _, ok := files[filepath.ToSlash(rel)]; !ok && strings.HasSuffix(p, ".pb.go") {
				t.Errorf("%s is generated from nothing", rel)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
