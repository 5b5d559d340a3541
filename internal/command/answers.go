package command

import (
	"cmp"
	"fmt"
	"slices"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// maxAnswers bounds what one client session can make the store remember, if it
// never acknowledges: the oldest answers go first.
const maxAnswers = 1024

// clientState is a client session's row, kept decoded for the length of a batch.
type clientState struct {
	row   *schemapb.Client
	dirty bool
}

// Answered returns the answer that the stamped request got before, nil if it
// got none. A late copy of a request whose answer the client has acknowledged
// is refused: it must not be repeated, and nobody waits for it.
func (t *Tx) Answered(stamp *o3v1.Stamp) ([]byte, error) {
	if stamp.GetClientId() == 0 {
		return nil, nil
	}
	c, err := t.client(stamp.ClientId)
	if err != nil {
		return nil, err
	}
	for _, a := range c.row.Answers {
		if a.Sequence == stamp.Sequence {
			return a.Reply, nil
		}
	}
	if stamp.Sequence < c.row.Acked {
		return nil, errs.New(errs.Conflict, fmt.Sprintf("request %d of client %x", stamp.Sequence, stamp.ClientId),
			"the client has acknowledged its answer already")
	}
	return nil, nil
}

// Remember keeps the answer of a stamped request, given at time now, and
// forgets those that the client says it has.
func (t *Tx) Remember(stamp *o3v1.Stamp, now int64, reply []byte) error {
	if stamp.GetClientId() == 0 {
		return nil
	}
	c, err := t.client(stamp.ClientId) // again: the command may have expired it
	if err != nil {
		return err
	}
	row := c.row
	row.TimeMs, row.Acked = now, max(row.Acked, stamp.Acked)
	kept := row.Answers[:0]
	for _, a := range row.Answers {
		if a.Sequence >= row.Acked {
			kept = append(kept, a)
		}
	}
	row.Answers = append(kept, &schemapb.Answer{Sequence: stamp.Sequence, Reply: reply})
	for len(row.Answers) > maxAnswers { // the oldest: a late copy of it is refused from now on
		oldest := slices.MinFunc(row.Answers, func(a, b *schemapb.Answer) int { return cmp.Compare(a.Sequence, b.Sequence) })
		row.Acked = oldest.Sequence + 1
		row.Answers = slices.DeleteFunc(row.Answers, func(a *schemapb.Answer) bool { return a == oldest })
	}
	c.dirty = true
	return nil
}

// client returns a client session, a new one if there is none of that id.
func (t *Tx) client(id uint64) (*clientState, error) {
	if c, ok := t.clients[id]; ok {
		return c, nil
	}
	row, found, err := schema.Clients.Get(t.w, id)
	if err != nil {
		return nil, err
	}
	if !found {
		row = &schemapb.Client{}
	}
	c := &clientState{row: row}
	t.clients[id] = c
	return c, nil
}

// flushClients writes the sessions that changed and forgets them all.
func (t *Tx) flushClients() error {
	for id, c := range t.clients {
		if !c.dirty {
			continue
		}
		if err := schema.Clients.Put(t.w, id, c.row); err != nil {
			return err
		}
	}
	clear(t.clients)
	return nil
}
