// Package block is the seam to the store of bytes: blocks are immutable once
// written, named by an ID the store gives, and freed by Delete. Package
// blocktest holds the contract every engine passes. A Store is safe for
// concurrent use.
package block

import (
	"context"
	"fmt"
	"io"
	"time"
)

// MaxSize is the largest block, in bytes (256 MiB); a longer object is several blocks.
const MaxSize = 256 << 20

// ID names a block: the container that holds it and its number there.
// Container 0 is no container: such a block's bytes are a row of the store.
type ID struct {
	Container uint64
	Local     uint64
}

// String returns "container/local".
func (id ID) String() string { return fmt.Sprintf("%d/%d", id.Container, id.Local) }

// Ref is a range of a block: what a part of an object is made of.
type Ref struct {
	ID     ID
	Offset int64 // where in the block it starts
	Length int64 // bytes
}

// Info describes a stored block.
type Info struct {
	ID      ID
	Length  int64
	Created time.Time // when it became durable, by the writing node's clock
}

// Store keeps blocks.
type Store interface {
	// Put stores the bytes of r up to its end (at most MaxSize, else kind
	// TooLarge) as one block and returns when they are durable. If r fails,
	// Put returns its error and nothing is stored. size is a hint, -1 when
	// unknown. Kind ReadOnly: the disk reserve is reached.
	Put(ctx context.Context, r io.Reader, size int64) (Info, error)

	// Get returns the range of the block. Every byte read has been verified
	// against its checksum; a mismatch is an error of kind Corrupt naming the
	// block. Kind NoSuchKey: there is no such block; InvalidRange: the range
	// leaves the block. A reader that was opened before a Delete stays good.
	Get(ctx context.Context, ref Ref) (io.ReadCloser, error)

	// Delete frees blocks. Deleting an absent block is not an error.
	// It is durable when it returns.
	Delete(ctx context.Context, ids []ID) error

	// List calls f with every block, container by container; it stops at f's
	// first error and returns it. Blocks written meanwhile may be missed.
	List(ctx context.Context, f func(Info) error) error

	io.Closer
}
