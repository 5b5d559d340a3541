// Package command holds the changes that can be made to the namespace, one a
// file: each reads, decides and only then writes, so a refused command has
// changed nothing. It is pure and deterministic: time, principal and ids come
// with the request, so every replica makes the same change.
//
// An error of kind Internal, Corrupt, FormatTooNew or FormatUnknown is a fault
// of this replica, which must stop; any other is a refusal, an answer.
package command

import (
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// idBits is how many ids one op can make: ids are op<<idBits + n.
const idBits = 10

// Tx is what a command sees: the rows, and the facts of its op. One Tx serves
// the requests of a batch one after another: Begin starts one, End finishes
// it, Flush writes the rows that it keeps decoded. It belongs to one goroutine.
type Tx struct {
	w       schema.Writer
	volumes map[string]*volumeState
	buckets map[schema.BucketKey]*bucketState
	clients map[uint64]*clientState

	op        ns.Op
	now       int64
	principal string
	bucketID  uint64 // of Request, 0 when not checked
	ids       uint64
	writes    int
	freed     []freedBlock
	queued    uint32 // rows this op put into deletedDirs
	touched   map[schema.EntryKey]*schemapb.Touch

	counters *schemapb.Counters // of the store
	counted  bool               // they may differ from what is stored
}

// NewTx returns a Tx over w.
func NewTx(w schema.Writer) *Tx {
	return &Tx{
		w: w, volumes: map[string]*volumeState{}, buckets: map[schema.BucketKey]*bucketState{},
		clients: map[uint64]*clientState{},
	}
}

// Begin starts op, asked for by principal at time now (milliseconds).
func (t *Tx) Begin(op ns.Op, now int64, principal string, bucketID uint64) error {
	t.op, t.now, t.principal, t.bucketID = op, now, principal, bucketID
	t.ids, t.writes, t.queued = 0, 0, 0
	t.freed = t.freed[:0]
	clear(t.touched)
	return t.loadTotal()
}

// Writes returns how many rows the op has written so far.
func (t *Tx) Writes() int { return t.writes }

// freedBlock is a block that no row names any more, and the bucket whose row
// named it last.
type freedBlock struct {
	bucket ns.ObjectID
	extent *o3v1.Extent
}

// End notes the blocks that the op left without a name.
func (t *Tx) End() error {
	const perRow = 1000
	freed := t.freed
	for n := uint32(0); len(freed) > 0; n++ {
		bucket := freed[0].bucket
		row := &schemapb.DeletedBlocks{DeletedMs: t.now, BucketId: uint64(bucket)}
		for len(freed) > 0 && freed[0].bucket == bucket && len(row.Extents) < perRow {
			row.Extents = append(row.Extents, freed[0].extent)
			row.Bytes += uint64(freed[0].extent.Length)
			freed = freed[1:]
		}
		if err := schema.Deleted.Put(t.w, schema.OpKey{Op: t.op, N: n}, row); err != nil {
			return err
		}
	}
	return nil
}

// Flush writes the volumes, buckets and clients that changed since the last Flush, and
// forgets them all.
func (t *Tx) Flush() error {
	for name, v := range t.volumes {
		if v.dirty {
			if err := schema.Volumes.Put(t.w, name, v.row); err != nil {
				return err
			}
		}
	}
	for key, b := range t.buckets {
		if b.dirty {
			if err := schema.Buckets.Put(t.w, key, b.row); err != nil {
				return err
			}
		}
	}
	clear(t.volumes)
	clear(t.buckets)
	if err := t.flushTotal(); err != nil {
		return err
	}
	return t.flushClients()
}

// newID returns an id that no object ever had.
func (t *Tx) newID() (ns.ObjectID, error) {
	if t.ids >= 1<<idBits {
		return 0, errs.New(errs.Internal, fmt.Sprintf("op %d", t.op), "ran out of ids")
	}
	id := uint64(t.op)<<idBits | t.ids
	t.ids++
	return ns.ObjectID(id), nil
}

// wrote counts a write, for the rule that a refusal writes nothing.
func (t *Tx) wrote() { t.writes++ }
