//go:build unix

package container

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// cut frees the bytes of f from size on, and what was allocated ahead, where
// the file system can. They mean nothing, so nothing depends on its success.
func cut(f vfs.File, size int64) {
	if fd := f.Fd(); fd != vfs.InvalidFd {
		_ = unix.Ftruncate(int(fd), size)
	}
}
