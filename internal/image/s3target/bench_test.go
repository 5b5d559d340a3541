package s3target

import (
	"bytes"
	"io"
	"testing"

	"o3/internal/image/imagetest"
)

// BenchmarkTarget stores and reads an object of 64 MiB in parts, without a disk.
func BenchmarkTarget(b *testing.B) {
	s := newStore(b)
	at := s.open("x", func(o *Options) { o.PartSize = 0 })
	data := imagetest.Content(1, 64<<20)
	b.Run("put", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if err := at.Put(b.Context(), "files/x", int64(len(data)), bytes.NewReader(data)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			from, err := at.Open(b.Context(), "files/x")
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, from); err != nil || n != int64(len(data)) {
				b.Fatal(n, err)
			}
			if err := from.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
