package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"o3/internal/durable"
)

// TestFiles: files are replaced whole, whatever a crash left beside them; what
// cannot be written leaves what was there.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "file")
	if err := durable.WriteFile(path, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for range 2 {
		if err := durable.MakeDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path+durable.NewSuffix, []byte("longer, from a crash"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", ""} {
		if err := durable.WriteFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := os.Mkdir(path+durable.NewSuffix, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("two")); err == nil {
		t.Error("written over a directory")
	}
	if got, err := os.ReadFile(path); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	if err := durable.MakeDir(filepath.Join(path, "below")); err == nil {
		t.Error("a directory below a file")
	}
}
