package transfer

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/zeebo/xxh3"
)

// benchFiles is 256 MiB in files of 8 MiB.
func benchFiles() content {
	r, c := rand.New(rand.NewPCG(1, 1)), content{}
	b := make([]byte, 8<<20)
	for i := range 32 {
		fill(r, b[:1<<10])
		copy(b[1<<10:], b[:len(b)-1<<10])
		c[fmt.Sprintf("store/%06d.sst", i)] = append([]byte(nil), b...)
	}
	return c
}

// BenchmarkFetch is a whole transfer over loopback; BenchmarkCopy is what it is
// compared with: the same bytes over one connection, with a checksum on either
// side, each file synced.
func BenchmarkFetch(b *testing.B) {
	files := benchFiles()
	_, h := serve(b, newCatalog(image("1-1-a", files)), nil)
	b.SetBytes(files.size())
	for b.Loop() {
		o := options(b, h.URL)
		o.Chunk = 1 << 20
		fetchAll(b, o)
		os.RemoveAll(o.Dir)
	}
}

func BenchmarkCopy(b *testing.B) {
	files := benchFiles()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	spec := files.spec("x")
	b.SetBytes(files.size())
	for b.Loop() {
		done := make(chan error, 1)
		go func() { done <- sendAll(l.Addr().String(), spec, files) }()
		c, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		dir := b.TempDir()
		for i := range spec.Files {
			if err := copyOne(c, dir, &spec.Files[i]); err != nil {
				b.Fatal(err)
			}
		}
		c.Close()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		os.RemoveAll(dir)
	}
}

func sendAll(addr string, spec *Spec, files content) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range spec.Files {
		h := xxh3.New()
		for b := files[spec.Files[i].Path]; len(b) > 0; {
			n := min(len(b), 1<<20)
			_, _ = h.Write(b[:n])
			if _, err := c.Write(b[:n]); err != nil {
				return err
			}
			b = b[n:]
		}
		if h.Sum128().Bytes() != spec.Files[i].Sum {
			return fmt.Errorf("checksum of %s", spec.Files[i].Path)
		}
	}
	return nil
}

func copyOne(r io.Reader, dir string, f *File) error {
	out, err := os.Create(filepath.Join(dir, filepath.Base(f.Path)))
	if err != nil {
		return err
	}
	defer out.Close()
	h, buf := xxh3.New(), make([]byte, 1<<20)
	for left := f.Size; left > 0; {
		n, err := io.ReadFull(r, buf[:min(left, int64(len(buf)))])
		if err != nil {
			return err
		}
		_, _ = h.Write(buf[:n])
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	if h.Sum128().Bytes() != f.Sum {
		return fmt.Errorf("checksum of %s", f.Path)
	}
	return out.Sync()
}
