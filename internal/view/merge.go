package view

import (
	"cmp"
	"strings"

	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// merge walks the slots of a bucket as they were at a point in time, in key
// order: those of live rows and those of rows in history. A slot that held
// nothing then is a step too, so that whoever walks can bound the work.
type merge struct {
	live, history kv.Iterator
	at            ns.Op

	key schema.EntryKey // the slot it is at
	err error

	liveKey schema.EntryKey // of the row under live, when liveOK
	liveOK  bool
	past    schema.HistoryKey // of the row under history, when pastOK
	pastOK  bool
}

// nearby is how many rows are stepped over before a seek is tried.
const nearby = 4

// seek moves to the first slot at or after k.
func (m *merge) seek(k schema.EntryKey) bool {
	m.setLive(m.live.SeekGE(schema.Entries.Key(k)))
	m.setPast(m.history.SeekGE(schema.History.Key(schema.HistoryKey{EntryKey: k})))
	return m.settle()
}

// next moves to the slot after the one it is at.
func (m *merge) next() bool {
	if m.liveOK && m.liveKey == m.key {
		m.setLive(m.live.Next())
	}
	for n := 0; m.pastOK && m.past.EntryKey == m.key; n++ {
		if n == nearby {
			m.setPast(m.history.SeekGE(schema.History.Key(schema.HistoryKey{EntryKey: m.key, Until: schema.Live})))
			continue
		}
		m.setPast(m.history.Next())
	}
	return m.settle()
}

// settle picks the smaller of the two slots.
func (m *merge) settle() bool {
	switch {
	case m.err != nil || !m.liveOK && !m.pastOK:
		return false
	case !m.pastOK, m.liveOK && before(m.liveKey, m.past.EntryKey):
		m.key = m.liveKey
	default:
		m.key = m.past.EntryKey
	}
	return true
}

// before orders slots of one bucket as the store does.
func before(a, b schema.EntryKey) bool {
	return cmp.Or(cmp.Compare(a.Parent, b.Parent), strings.Compare(a.Name, b.Name)) < 0
}

// row returns the row that was in the slot, nil for none.
func (m *merge) row(decode func(key, value []byte) (*schemapb.Entry, error)) (*schemapb.Entry, error) {
	if m.liveOK && m.liveKey == m.key {
		if row, err := visible(m.live, m.at, decode); row != nil || err != nil {
			return row, err
		}
	}
	if !m.pastOK || m.past.EntryKey != m.key {
		return nil, nil
	}
	for n := 0; m.pastOK && m.past.EntryKey == m.key && m.past.Until <= m.at; n++ {
		if n == nearby {
			m.setPast(m.history.SeekGE(schema.History.Key(schema.HistoryKey{EntryKey: m.key, Until: m.at + 1})))
			continue
		}
		m.setPast(m.history.Next())
	}
	if m.err != nil || !m.pastOK || m.past.EntryKey != m.key {
		return nil, m.err
	}
	return visible(m.history, m.at, decode)
}

// visible returns the row under it if it was there at the point in time.
func visible(it kv.Iterator, at ns.Op, decode func(key, value []byte) (*schemapb.Entry, error)) (*schemapb.Entry, error) {
	value, err := it.Value()
	if err != nil {
		return nil, err
	}
	row, err := decode(it.Key(), value)
	if err != nil || ns.Op(row.Since) > at {
		return nil, err
	}
	return row, nil
}

func (m *merge) setLive(ok bool) {
	if m.liveOK = ok; !ok {
		m.fail(m.live.Err())
		return
	}
	k, err := schema.Entries.ParseKey(m.live.Key())
	m.liveKey = k
	m.fail(err)
}

func (m *merge) setPast(ok bool) {
	if m.pastOK = ok; !ok {
		m.fail(m.history.Err())
		return
	}
	k, err := schema.History.ParseKey(m.history.Key())
	m.past = k
	m.fail(err)
}

func (m *merge) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}
