package freon

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"o3/internal/cli"
)

// Sizes is a range of sizes in bytes, both ends included: 4KB or 1KB-1MB.
type Sizes struct{ Min, Max int64 }

// maxSize is the largest object S3 takes in one piece.
const maxSize = 5 << 30

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sizes) UnmarshalText(text []byte) error {
	low, high, ranged := strings.Cut(string(text), "-")
	var a, b cli.Bytes
	if err := a.UnmarshalText([]byte(low)); err != nil {
		return err
	}
	if b = a; ranged {
		if err := b.UnmarshalText([]byte(high)); err != nil {
			return err
		}
	}
	if a > b || b > maxSize {
		return fmt.Errorf("%q is not a size or a range of sizes: write 4KB or 1KB-1MB, at most 5GB", text)
	}
	s.Min, s.Max = int64(a), int64(b)
	return nil
}

// String writes s as it is read.
func (s Sizes) String() string {
	if s.Min == s.Max {
		return sizeText(s.Min)
	}
	return sizeText(s.Min) + "-" + sizeText(s.Max)
}

func sizeText(n int64) string {
	for i, unit := range []string{"GB", "MB", "KB"} {
		if shift := 30 - 10*i; n != 0 && n%(1<<shift) == 0 {
			return fmt.Sprintf("%d%s", n>>shift, unit)
		}
	}
	return fmt.Sprintf("%dB", n)
}

// content makes the bytes of keys: key n of a seed has one size and one of
// variants bodies for ever. A body is the pool, read in a circle from the start
// of its variant, so nothing is generated or copied while load runs. It is safe
// for concurrent use.
type content struct {
	seed  uint64
	sizes Sizes
	pool  []byte
	sums  [variants]atomic.Pointer[string] // see sum
}

const (
	poolSize = 1 << 20
	variants = 256
)

func newContent(seed uint64, sizes Sizes, zero bool) *content {
	c := &content{seed: seed, sizes: sizes, pool: make([]byte, poolSize)}
	if !zero {
		var key [32]byte
		for i := range 8 {
			key[i] = byte(seed >> (8 * i))
		}
		_, _ = rand.NewChaCha8(key).Read(c.pool) // never fails
	}
	return c
}

// body is the bytes of one key.
type body struct {
	pool []byte
	from int // where in the pool it begins
	size int64
}

// of returns the body of key n.
func (c *content) of(n uint64) body {
	h := scramble(n ^ scramble(c.seed))
	size := c.sizes.Min
	if span := uint64(c.sizes.Max-c.sizes.Min) + 1; span > 1 {
		size += int64(scramble(h) % span)
	}
	return body{c.pool, int(h%variants) * (len(c.pool) / variants), size}
}

// scramble is a permutation of the 64-bit numbers (the finaliser of splitmix64).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// at returns the bytes from offset up to the end of the pool or of the body;
// none at the end of the body.
func (b body) at(offset int64) []byte {
	start := int((int64(b.from) + offset) % int64(len(b.pool)))
	piece := b.pool[start:]
	return piece[:min(int64(len(piece)), b.size-offset)]
}

// differs returns where in the body p, which is to be what it holds at offset,
// first is not; -1 when it is all.
func (b body) differs(offset int64, p []byte) int64 {
	for len(p) > 0 {
		if offset >= b.size {
			return b.size
		}
		piece := b.at(offset)
		piece = piece[:min(len(piece), len(p))]
		if !bytes.Equal(piece, p[:len(piece)]) {
			for i := range piece {
				if piece[i] != p[i] {
					return offset + int64(i)
				}
			}
		}
		p, offset = p[len(piece):], offset+int64(len(piece))
	}
	return -1
}

// bytes returns a copy of the body.
func (b body) bytes() []byte {
	out := make([]byte, 0, b.size)
	for int64(len(out)) < b.size {
		out = append(out, b.at(int64(len(out)))...)
	}
	return out
}

// sum returns the SHA-256 of b in hex. Where all bodies have one size it is
// computed once for each variant.
func (c *content) sum(b body) string {
	known := &c.sums[b.from/(len(c.pool)/variants)]
	fixed := c.sizes.Min == c.sizes.Max
	if sum := known.Load(); fixed && sum != nil {
		return *sum
	}
	h := sha256.New()
	for at := int64(0); at < b.size; {
		piece := b.at(at)
		h.Write(piece)
		at += int64(len(piece))
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if fixed {
		known.Store(&sum)
	}
	return sum
}
