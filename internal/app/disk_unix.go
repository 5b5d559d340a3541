//go:build unix

package app

import (
	"time"

	"golang.org/x/sys/unix"
)

// diskSpace returns the free and total bytes of the disk that holds dir.
func diskSpace(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}

func nowMs() int64 { return time.Now().UnixMilli() }
