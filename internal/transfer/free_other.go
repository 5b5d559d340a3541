//go:build !unix

package transfer

import (
	"math"
	"os"
)

// freeSpace does not know: a write that fails is what tells.
func freeSpace(string) (int64, error) { return math.MaxInt64, nil }

// lockDir opens the lock file; without locks of the system, the caller sees to it
// that only one transfer runs in a directory.
func lockDir(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
}
