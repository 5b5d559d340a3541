package container

import (
	"bytes"
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/block"
	"o3/internal/errs"
)

// FuzzOpen puts anything behind the header of a container and of a delete log:
// the store opens, and whatever it lists reads well or is Corrupt.
func FuzzOpen(f *testing.F) {
	fs := vfs.NewCrashableMem()
	s := open(f, tiny(fs))
	fill(f, s, 3)
	name, logName := containerName(3<<48|1, 1), deletesName(1)
	read := func(fs vfs.FS, name string) []byte {
		b := make([]byte, fileSize(f, fs, name))
		file, err := fs.Open("/d/blocks/" + name)
		if err != nil {
			f.Fatal(err)
		}
		defer file.Close()
		if err := readFull(file, b, 0); err != nil {
			f.Fatal(err)
		}
		return b
	}
	dead := killed(fs)
	f.Add(read(dead, name), read(dead, logName))
	s.Close()
	f.Add(read(fs, name), read(fs, logName))
	head := read(dead, name)[:markAt]
	logHeader := read(dead, logName)[:logHead]
	f.Fuzz(func(t *testing.T, data, log []byte) {
		fs := vfs.NewCrashableMem()
		write := func(name string, head, b []byte) {
			file, err := fs.Create("/d/blocks/"+name, vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			b = bytes.Clone(b)
			copy(b, head)
			if _, err := file.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		if err := fs.MkdirAll("/d/blocks", 0o755); err != nil {
			t.Fatal(err)
		}
		write(name, head, data)
		write(logName, logHeader, log)
		s, err := Open(tiny(fs))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		err = s.List(context.Background(), func(i block.Info) error {
			_, err := readAll(s, block.Ref{ID: i.ID, Length: i.Length})
			if errs.KindOf(err) == errs.Corrupt {
				return nil
			}
			return err
		})
		if err != nil && errs.KindOf(err) != errs.Corrupt {
			t.Fatal(err)
		}
	})
}
