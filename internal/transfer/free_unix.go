//go:build unix

package transfer

import (
	"math"
	"os"

	"golang.org/x/sys/unix"

	"o3/internal/errs"
)

// freeSpace returns the bytes that an ordinary user may write to dir's disk.
func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	if uint64(st.Bavail) > math.MaxInt64/uint64(st.Bsize) {
		return math.MaxInt64, nil
	}
	return int64(uint64(st.Bavail) * uint64(st.Bsize)), nil
}

// lockDir takes the lock that keeps two transfers out of one directory. It ends
// with the process, or when the file is closed.
func lockDir(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, errs.New(errs.Conflict, name, "another transfer into this directory runs")
	}
	return f, nil
}
