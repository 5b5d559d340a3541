package fsm

import (
	"errors"
	"fmt"

	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Position says where a machine stands.
type Position struct {
	Index, Term uint64
	Conf        []byte
	Op          ns.Op
	TimeMs      int64
	Digest      Digest
}

// Position returns where m stands.
func (m *Machine) Position() Position {
	return Position{
		Index: m.pos.Index, Term: m.pos.Term, Conf: m.pos.Conf,
		Op: ns.Op(m.pos.Op), TimeMs: m.pos.TimeMs, Digest: m.digest,
	}
}

func (m *Machine) set(p Position) {
	m.pos = schemapb.Position{Index: p.Index, Term: p.Term, Conf: p.Conf, Op: uint64(p.Op), TimeMs: p.TimeMs}
	m.digest = p.Digest
}

// ReadPosition reads the position that is in r; ok is false for an empty
// store. A store of a newer format is refused by name.
func ReadPosition(r kv.Reader) (p Position, ok bool, err error) {
	format, ok, err := schema.Meta.Get(r, schema.FormatKey)
	if err != nil {
		return p, false, err
	}
	if ok && format.Index > schema.Format {
		return p, false, errs.New(errs.FormatTooNew, "store",
			fmt.Sprintf("it has format %d, this program knows formats up to %d", format.Index, schema.Format))
	}
	row, ok, err := schema.Meta.Get(r, schema.PositionKey)
	if err != nil || !ok {
		return p, false, err
	}
	return Position{
		Index: row.Index, Term: row.Term, Conf: row.Conf, Op: ns.Op(row.Op), TimeMs: row.TimeMs,
		Digest: Digest{Hi: row.DigestHi, Lo: row.DigestLo},
	}, true, nil
}

// raise makes a store of an older format one of the newest. No other row has to
// change for formats 2 and 3, and the row of the format is outside the digest: replicas
// are raised each by itself, whenever its program is replaced.
func (m *Machine) raise() error {
	format, ok, err := schema.Meta.Get(m.store, schema.FormatKey)
	if err != nil {
		return err
	}
	if !ok {
		return errs.New(errs.Corrupt, "store", "it has a position but no format")
	}
	if format.Index == schema.Format {
		return nil
	}
	b := m.store.NewBatch()
	defer b.Close()
	if err := saveFormat(b); err != nil {
		return err
	}
	return b.Commit(false)
}

func saveFormat(b kv.Batch) error {
	format, err := schema.Meta.Encode(&schemapb.Position{Index: schema.Format})
	if err != nil {
		return err
	}
	return b.Set(schema.Meta.Key(schema.FormatKey), format)
}

// refuse makes reply the refusal err.
func refuse(reply *commandpb.Reply, err error) {
	reply.Kind = uint32(errs.KindOf(err))
	if e, ok := errors.AsType[*errs.Error](err); ok {
		reply.Subject, reply.Detail = e.Subject, e.Detail
	}
}
