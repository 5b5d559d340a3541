package transfer

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// Disk is the disk of the target, as far as it can fill up.
type Disk interface {
	// Free returns how many bytes may still be written to the disk of dir.
	Free(dir string) (int64, error)

	// OpenFile opens a file to write, as os.OpenFile.
	OpenFile(name string, flag int, perm os.FileMode) (DiskFile, error)
}

// DiskFile is a file that is written: *os.File is one.
type DiskFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
}

// OSDisk is the Disk of the operating system.
type OSDisk struct{}

// Free implements Disk.
func (OSDisk) Free(dir string) (int64, error) { return freeSpace(dir) }

// OpenFile implements Disk.
func (OSDisk) OpenFile(name string, flag int, perm os.FileMode) (DiskFile, error) {
	return os.OpenFile(name, flag, perm)
}

// full reports whether err says that there is no space left: on the disk, or of
// a quota.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
