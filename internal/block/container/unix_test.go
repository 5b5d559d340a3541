//go:build unix

package container

import (
	"os"
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
