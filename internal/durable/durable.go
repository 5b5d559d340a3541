// Package durable changes files of the operating system so that a power cut leaves
// the old or the new: what is synced is also reachable by its name. It holds
// nothing and starts no goroutines. Errors name the path; an absent one matches
// fs.ErrNotExist.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// SyncDir makes the names in a directory durable.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// MakeDir makes a directory, for its owner only, and those above it.
func MakeDir(path string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := MakeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

// NewSuffix is what the name of a file ends in while WriteFile writes it.
const NewSuffix = ".new"

// WriteFile puts a file, for its owner only, in the place of the one at path, if
// there is one. One caller writes a path at a time; what a crash left is
// overwritten.
func WriteFile(path string, content []byte) error {
	part := path + NewSuffix
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return SyncDir(filepath.Dir(path))
}
