//go:build unix

package image

import (
	"os"
	"syscall"
)

// sameFile reports whether two names are links to one file. Where that is not
// known it is false.
func sameFile(a, b os.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, ok2 := b.Sys().(*syscall.Stat_t)
	return ok && ok2 && x.Ino == y.Ino && x.Dev == y.Dev
}
