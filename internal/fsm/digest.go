package fsm

import (
	"fmt"
	"math/bits"

	"github.com/zeebo/xxh3"

	"o3/internal/kv"
	"o3/internal/schema"
)

// Digest is the sum, modulo 2^128, of a hash of every replicated row: equal
// states have equal digests, in whatever order they came to be.
type Digest struct{ Hi, Lo uint64 }

// Add counts a row in.
func (d *Digest) Add(key, value []byte) {
	h := hashRow(key, value)
	var carry uint64
	d.Lo, carry = bits.Add64(d.Lo, h.Lo, 0)
	d.Hi, _ = bits.Add64(d.Hi, h.Hi, carry)
}

// Remove counts a row out.
func (d *Digest) Remove(key, value []byte) {
	h := hashRow(key, value)
	var borrow uint64
	d.Lo, borrow = bits.Sub64(d.Lo, h.Lo, 0)
	d.Hi, _ = bits.Sub64(d.Hi, h.Hi, borrow)
}

// hashRow hashes a row without copying it: the value, seeded with half of the
// key's hash, with the other half added.
func hashRow(key, value []byte) Digest {
	k := xxh3.Hash128(key)
	v := xxh3.Hash128Seed(value, k.Lo)
	return Digest{Hi: v.Hi + k.Hi, Lo: v.Lo}
}

// String returns the digest as 32 hexadecimal digits.
func (d Digest) String() string { return fmt.Sprintf("%016x%016x", d.Hi, d.Lo) }

// Scan computes the digest of what r holds.
func Scan(r kv.Reader) (Digest, error) {
	var d Digest
	it, err := r.Iter(schema.FirstReplicated(), []byte{schema.NodeLocal})
	if err != nil {
		return d, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.Value()
		if err != nil {
			return d, err
		}
		d.Add(it.Key(), value)
	}
	return d, it.Err()
}
