//go:build linux || darwin || freebsd

package config

import (
	"errors"
	"io/fs"
	"math"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// diskSize returns the size of the file system that holds path or, until it
// exists, its nearest parent that does.
func diskSize(path string) (int64, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return 0, err
	}
	for {
		var st unix.Statfs_t
		err := unix.Statfs(path, &st)
		if err == nil {
			if uint64(st.Blocks) > math.MaxInt64/uint64(st.Bsize) {
				return math.MaxInt64, nil
			}
			return int64(uint64(st.Blocks) * uint64(st.Bsize)), nil
		}
		if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
			path = parent
			continue
		}
		return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
}
