package command

import (
	"github.com/zeebo/xxh3"
	"google.golang.org/protobuf/proto"

	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// newestBefore returns the newest live snapshot of b that was made before op, 0
// for none.
func (t *Tx) newestBefore(b *bucketState, op ns.Op) (ns.Op, error) {
	if newest := ns.Op(b.row.NewestSnapshot); newest < op {
		return newest, nil
	}
	return schema.SnapshotBefore(t.w, b.id(), op)
}

// oldestFrom returns the oldest live snapshot of b that was made at or after
// op, 0 for none.
func (t *Tx) oldestFrom(b *bucketState, op ns.Op) (ns.Op, error) {
	if ns.Op(b.row.NewestSnapshot) < op {
		return 0, nil
	}
	if b.gap.after < op && op <= b.gap.oldest {
		return b.gap.oldest, nil
	}
	oldest, err := schema.SnapshotFrom(t.w, b.id(), op)
	if err != nil {
		return 0, err
	}
	after, err := schema.SnapshotBefore(t.w, b.id(), op)
	b.gap = gap{after: after, oldest: oldest}
	return oldest, err
}

// gap is a stretch of ops without a live snapshot before the last: for every op
// in (after, oldest], oldest is the first snapshot from there on.
type gap struct{ after, oldest ns.Op }

// put puts entry (nil: nothing) in the place of old, the row under key (nil:
// nothing), and keeps what snapshots see of old.
func (t *Tx) put(b *bucketState, key schema.EntryKey, old, entry *schemapb.Entry) error {
	if old != nil {
		if _, err := t.retire(b, key, old, t.op); err != nil {
			return err
		}
	}
	t.charge(b, minus(sizeOf(entry), sizeOf(old)))
	if entry != nil {
		entry.Since = uint64(t.op)
	}
	if err := t.touch(b, key, old, entry); err != nil {
		return err
	}
	if entry == nil {
		return schema.Entries.Delete(t.w, key)
	}
	return schema.Entries.Put(t.w, key, entry)
}

// retire takes a row out of the live view as of op until: into history while a
// snapshot sees it, which moved tells; else its blocks lose a name.
func (t *Tx) retire(b *bucketState, key schema.EntryKey, old *schemapb.Entry, until ns.Op) (moved bool, err error) {
	newest, err := t.newestBefore(b, until)
	if err != nil {
		return false, err
	}
	if newest == 0 || ns.Op(old.Since) > newest {
		return false, t.drop(key.Bucket, old.Extents)
	}
	return true, putPast(t, b, schema.History, schema.HistoryKey{EntryKey: key, Until: until}, old)
}

// unhang takes a directory's row of dirs out of the live view as of op until.
func (t *Tx) unhang(b *bucketState, dir ns.ObjectID, until ns.Op) (moved bool, err error) {
	key := schema.DirKey{Bucket: b.id(), Dir: dir}
	old, ok, err := schema.Dirs.Get(t.w, key)
	if err != nil || !ok {
		return false, err
	}
	newest, err := t.newestBefore(b, until)
	if err != nil {
		return false, err
	}
	if moved = newest > 0 && ns.Op(old.Since) <= newest; moved {
		if err := putPast(t, b, schema.DirHistory, schema.DirHistoryKey{DirKey: key, Until: until}, old); err != nil {
			return false, err
		}
	}
	return moved, schema.Dirs.Delete(t.w, key)
}

// putPast adds a row to one of the two tables of history, and counts it.
func putPast[K, R any, P schema.Message[R]](t *Tx, b *bucketState, table *schema.Table[K, R, P], key K, row P) error {
	raw, value, err := encode(table, key, row)
	if err != nil {
		return err
	}
	t.countHistory(b, 1, len(raw)+len(value))
	return t.w.Set(raw, value)
}

// dropPast drops a row of one of the two tables of history, and counts it.
func dropPast[K, R any, P schema.Message[R]](t *Tx, b *bucketState, table *schema.Table[K, R, P], key K, row P) error {
	raw, value, err := encode(table, key, row)
	if err != nil {
		return err
	}
	t.countHistory(b, -1, -len(raw)-len(value))
	return t.w.Delete(raw)
}

func encode[K, R any, P schema.Message[R]](table *schema.Table[K, R, P], key K, row P) (raw, value []byte, err error) {
	value, err = table.Encode(row)
	return table.Key(key), value, err
}

func (t *Tx) countHistory(b *bucketState, rows, bytes int) {
	add(&b.row.HistoryRows, int64(rows))
	add(&t.total().HistoryRows, int64(rows))
	add(&t.total().HistoryBytes, int64(bytes))
	b.dirty = true
	t.wrote()
}

// touch notes in the journal that the row under key changed from old to entry,
// while the bucket has a live snapshot. A slot that one op changes twice has one
// touch: from the first row to the last.
func (t *Tx) touch(b *bucketState, key schema.EntryKey, old, entry *schemapb.Entry) error {
	if b.row.LiveSnapshots == 0 {
		return nil
	}
	row := &schemapb.Touch{}
	if before := t.touched[key]; before != nil {
		row.OldId, row.OldSince, row.OldTag = before.OldId, before.OldSince, before.OldTag
	} else if old != nil {
		row.OldId, row.OldSince, row.OldTag = old.ObjectId, old.Since, ContentTag(old)
	}
	if entry != nil {
		row.NewId, row.NewTag, row.ModifiedMs = entry.ObjectId, ContentTag(entry), entry.ModifiedMs
	}
	at := schema.JournalKey{Bucket: key.Bucket, Op: t.op, Parent: key.Parent, Name: key.Name}
	if before := t.touched[key]; before != nil {
		if err := t.dropTouch(b, at, before); err != nil {
			return err
		}
	}
	if t.touched == nil {
		t.touched = map[schema.EntryKey]*schemapb.Touch{}
	}
	t.touched[key] = row
	return t.putTouch(b, at, row)
}

func (t *Tx) putTouch(b *bucketState, key schema.JournalKey, row *schemapb.Touch) error {
	raw, value, err := encode(schema.Journal, key, row)
	if err != nil {
		return err
	}
	t.countJournal(b, 1, len(raw)+len(value))
	return t.w.Set(raw, value)
}

func (t *Tx) dropTouch(b *bucketState, key schema.JournalKey, row *schemapb.Touch) error {
	raw, value, err := encode(schema.Journal, key, row)
	if err != nil {
		return err
	}
	t.countJournal(b, -1, -len(raw)-len(value))
	return t.w.Delete(raw)
}

func (t *Tx) countJournal(b *bucketState, rows, bytes int) {
	add(&b.row.JournalRows, int64(rows))
	add(&t.total().JournalRows, int64(rows))
	add(&t.total().JournalBytes, int64(bytes))
	b.dirty = true
	t.wrote()
}

// ContentTag returns a hash of what makes a key or directory a modified one in
// a diff: everything about it but its id, its place and its times.
func ContentTag(e *schemapb.Entry) uint64 {
	content := schemapb.Entry{
		Kind: e.Kind, Size: e.Size, Etag: e.Etag, Owner: e.Owner, Extents: e.Extents, Headers: e.Headers, Tags: e.Tags,
		Grants: e.Grants, Checksum: e.Checksum, PartSizes: e.PartSizes, Implicit: e.Implicit,
	}
	// An entry that was decoded or is about to be stored can be encoded.
	raw, _ := proto.MarshalOptions{Deterministic: true}.MarshalAppend(make([]byte, 0, 256), &content)
	return xxh3.Hash(raw)
}

// snapshotNamed returns a live snapshot's op and row by its name.
func (t *Tx) snapshotNamed(b *bucketState, name string) (ns.Op, *schemapb.Snapshot, error) {
	at, ok, err := schema.SnapshotNames.Get(t.w, schema.SnapshotNameKey{Bucket: b.id(), Name: name})
	if err != nil {
		return 0, nil, err
	}
	if !ok {
		return 0, nil, errs.New(errs.NoSuchSnapshot, b.path()+"/"+ns.SnapshotPrefix+"/"+name, "")
	}
	row, ok, err := schema.Snapshots.Get(t.w, schema.SnapshotKey{Bucket: b.id(), Op: ns.Op(at.Op)})
	if err == nil && !ok {
		err = errs.New(errs.Corrupt, "snapshot "+name, "its name is there but its row is not")
	}
	return ns.Op(at.Op), row, err
}

// total returns the store-wide counters, for a change; Flush writes them.
func (t *Tx) total() *schemapb.Counters {
	t.counted = true
	return t.counters
}

// loadTotal reads the store-wide counters, once a batch.
func (t *Tx) loadTotal() error {
	if t.counters != nil {
		return nil
	}
	row, ok, err := schema.Counters.Get(t.w, schema.CountersKey)
	if err != nil {
		return err
	}
	if !ok {
		row = &schemapb.Counters{}
	}
	t.counters, t.counted = row, false
	return nil
}

// flushTotal writes the store-wide counters if they may have changed, and
// forgets them. All zero they have no row, whether or not they were more
// meanwhile: so what is stored does not depend on how requests are cut into
// batches.
func (t *Tx) flushTotal() error {
	row, changed := t.counters, t.counted
	t.counters, t.counted = nil, false
	switch {
	case !changed:
		return nil
	case proto.Equal(row, &schemapb.Counters{}):
		return schema.Counters.Delete(t.w, schema.CountersKey)
	}
	return schema.Counters.Put(t.w, schema.CountersKey, row)
}
