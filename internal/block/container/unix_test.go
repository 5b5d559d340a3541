//go:build unix

package container

import (
	"bytes"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

// allocated is how many bytes of the disk a file takes.
func allocated(t *testing.T, name string) int64 {
	st, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Blocks * 512
}

// TestAbortedSpace: on a disk, what an aborted block took is free at once, and
// a closed container has no bytes allocated ahead.
func TestAbortedSpace(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, Reserve: -1})
	r := io.MultiReader(bytes.NewReader(make([]byte, 5<<20)), strings.NewReader(""), &failingReader{})
	if _, err := s.Put(t.Context(), r, -1); err == nil {
		t.Fatal("stored")
	}
	used := func() (n int64) {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			st, err := f.Info()
			if err != nil {
				t.Fatal(err)
			}
			n += st.Size()
		}
		return n
	}
	if n := used(); n > 64<<10 {
		t.Fatalf("%d bytes after an aborted block", n)
	}
	info, err := s.Put(t.Context(), strings.NewReader("x"), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := allocated(t, dir+"/"+containerName(info.ID.Container, 1)); n > 1<<20 {
		t.Fatalf("%d bytes allocated for one small block", n)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }
