package delta

import (
	"bytes"
	"cmp"
	"strings"

	"o3/internal/command"
	"o3/internal/keys"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// scanJournal adds the events of each touch between the two points. Touches by
// the purge of a deleted directory are passed over: their rows were out of
// reach already, as of the op that deleted it.
func (c *computation) scanJournal() error {
	lower, upper := schema.JournalBetween(c.o.Bucket, c.lo, c.hi)
	if live(c.hi) {
		_, upper = schema.Journal.InBucket(c.o.Bucket)
	}
	it, err := c.o.Reader.Iter(lower, upper)
	if err != nil {
		return err
	}
	defer it.Close()
	last := c.lo
	if it.Last() {
		k, err := schema.Journal.ParseKey(it.Key())
		if err != nil {
			return err
		}
		last = k.Op
	}
	touch := new(schemapb.Touch)
	for ok := it.First(); ok; ok = it.Next() {
		c.result.RowsRead++
		k, err := schema.Journal.ParseKey(it.Key())
		if err != nil {
			return err
		}
		value, err := it.Value()
		if err != nil {
			return err
		}
		touch.Reset()
		if err := schema.Journal.DecodeInto(it.Key(), value, touch); err != nil {
			return err
		}
		if err := c.addTouch(k, touch); err != nil {
			return err
		}
		if err := c.tick(int64(k.Op-c.lo), int64(last-c.lo)); err != nil {
			return err
		}
	}
	return it.Err()
}

func (c *computation) addTouch(k schema.JournalKey, t *schemapb.Touch) error {
	if t.Purge {
		return nil
	}
	at := place{k.Parent, k.Name}
	if t.OldId != 0 {
		e := event{id: ns.ObjectID(t.OldId), since: ns.Op(t.OldSince), gone: true, place: at, tag: t.OldTag}
		if err := c.add(e); err != nil {
			return err
		}
	}
	if t.NewId == 0 {
		return nil
	}
	return c.add(event{id: ns.ObjectID(t.NewId), since: k.Op, place: at, tag: t.NewTag})
}

// add adds an event: sorted by object, then by the row's beginning, its coming
// before its going.
func (c *computation) add(e event) error {
	var kb [17]byte
	key := keys.Uint64(keys.Uint64(kb[:0], uint64(e.id)), uint64(e.since))
	if e.gone {
		key = append(key, 1)
	} else {
		key = append(key, 0)
	}
	var vb [128]byte
	value := keys.Uint64(keys.Uint64(vb[:0], e.tag), uint64(e.place.parent))
	return c.events.Add(key, append(value, e.place.name...))
}

// scanRows compares the rows of every slot at the two points, live rows and
// history side by side.
func (c *computation) scanRows() error {
	lower, upper := schema.EntriesOf(c.o.Bucket)
	now, err := newRows(c, lower, upper, false)
	if err != nil {
		return err
	}
	defer now.it.Close()
	lower, upper = schema.History.InBucket(c.o.Bucket)
	past, err := newRows(c, lower, upper, true)
	if err != nil {
		return err
	}
	defer past.it.Close()
	for now.ok || past.ok {
		slot := now.place
		if !now.ok || past.ok && past.place.compare(now.place) < 0 {
			slot = past.place
		}
		var old, young *seen // at lo and hi
		for _, rows := range []*rows{past, now} {
			for rows.ok && rows.place == slot {
				if rows.row.since <= c.lo && c.lo < rows.until {
					old = rows.row
				}
				if rows.row.since <= c.hi && (c.hi < rows.until || !rows.history) {
					young = rows.row
				}
				if err := rows.next(); err != nil {
					return err
				}
			}
		}
		if err := c.compare(slot, old, young); err != nil {
			return err
		}
	}
	return nil
}

// compare adds the events between a slot's rows at the two points, nil for
// none.
func (c *computation) compare(slot place, old, young *seen) error {
	if old != nil && young != nil && old.since == young.since {
		if c.o.From < c.o.To {
			return nil
		}
		// Backwards, what is below a deleted directory comes back row by row, and
		// is not purged yet perhaps.
		if _, ok, err := c.from.path(slot.parent); ok || err != nil {
			return err
		}
		young = nil
	}
	for _, row := range []*seen{old, young} {
		if row == nil {
			continue
		}
		tag, err := row.tag()
		if err != nil {
			return err
		}
		if err := c.add(event{id: row.id, since: row.since, gone: row == old, place: slot, tag: tag}); err != nil {
			return err
		}
	}
	return nil
}

// seen is what a full scan keeps of a row. value is there where the row is not
// the same at both points for certain; most rows of most buckets are.
type seen struct {
	id    ns.ObjectID
	since ns.Op
	key   []byte
	value []byte
}

// tag returns the tag of the row's content; 0 where nothing is to be compared
// with it.
func (s *seen) tag() (uint64, error) {
	if s.value == nil {
		return 0, nil
	}
	row, err := schema.Entries.Decode(s.key, s.value)
	if err != nil {
		return 0, err
	}
	return command.ContentTag(row), nil
}

func (p place) compare(o place) int {
	if d := cmp.Compare(p.parent, o.parent); d != 0 {
		return d
	}
	return strings.Compare(p.name, o.name)
}

// rows walks the entries of a bucket, or their history.
type rows struct {
	c       *computation
	it      kv.Iterator
	history bool
	ok      bool
	place   place
	until   ns.Op // Live for a live row
	row     *seen
	owner   string // of the row before
}

func newRows(c *computation, lower, upper []byte, history bool) (*rows, error) {
	it, err := c.o.Reader.Iter(lower, upper)
	if err != nil {
		return nil, err
	}
	r := &rows{c: c, it: it, history: history, until: schema.Live}
	if it.First() {
		err = r.load()
	} else {
		err = it.Err()
	}
	if err != nil {
		it.Close()
		return nil, err
	}
	return r, nil
}

func (r *rows) next() error {
	r.c.result.RowsRead++
	if err := r.c.tick(r.c.result.RowsRead, r.c.o.Rows); err != nil {
		return err
	}
	if !r.it.Next() {
		r.ok = false
		return r.it.Err()
	}
	return r.load()
}

// load decodes the row that the iterator is at.
func (r *rows) load() error {
	value, err := r.it.Value()
	if err != nil {
		return err
	}
	if r.history {
		k, err := schema.History.ParseKey(r.it.Key())
		if err != nil {
			return err
		}
		r.place, r.until = place{k.Parent, k.Name}, k.Until
	} else {
		k, err := schema.Entries.ParseKey(r.it.Key())
		if err != nil {
			return err
		}
		r.place = place{k.Parent, k.Name}
	}
	var e schemapb.Entry
	if err := schema.DecodeListed(r.it.Key(), value, &e, r.owner, nil); err != nil {
		return err
	}
	r.ok, r.owner = true, e.Owner
	r.row = &seen{id: ns.ObjectID(e.ObjectId), since: ns.Op(e.Since)}
	if r.history || r.row.since > r.c.lo {
		r.row.key, r.row.value = bytes.Clone(r.it.Key()), bytes.Clone(value)
	}
	return nil
}
