package delta

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/snapdiff/report"
)

// change is an object whose row at one point is not its row at the other.
type change struct {
	id       ns.ObjectID
	old, new *side // at From and To; nil: no row
}

// side is an object's row at a point in time.
type side struct {
	place place
	tag   uint64
	path  string // once resolved; a directory's has a slash at the end
}

// classify goes through the events, object by object, and adds the lines of
// the report.
func (c *computation) classify() error {
	total := c.events.Len()
	var was, is *event // of the present object: its row at lo, and the latest that came
	var id ns.ObjectID
	for c.events.Next() {
		e, err := parseEvent(c.events.Key(), c.events.Value())
		if err != nil {
			return err
		}
		if e.id != id {
			if err := c.object(id, was, is); err != nil {
				return err
			}
			id, was, is = e.id, nil, nil
		}
		switch {
		case !e.gone:
			is = &e
		case e.since <= c.lo && was != nil:
			return errs.New(errs.Corrupt, "snapshot diff", fmt.Sprintf("object %d had two rows at op %d", id, c.lo))
		case e.since <= c.lo:
			was = &e
		case is != nil && is.since == e.since:
			is = nil
		}
		if err := c.tick(c.done, total); err != nil {
			return err
		}
	}
	if err := c.events.Err(); err != nil {
		return err
	}
	return c.object(id, was, is)
}

func parseEvent(key, value []byte) (event, error) {
	if len(key) != 17 || len(value) < 16 {
		return event{}, errs.New(errs.Corrupt, "snapshot diff", "a sorted record is malformed")
	}
	return event{
		id: ns.ObjectID(binary.BigEndian.Uint64(key)), since: ns.Op(binary.BigEndian.Uint64(key[8:])), gone: key[16] == 1,
		tag:   binary.BigEndian.Uint64(value),
		place: place{ns.ObjectID(binary.BigEndian.Uint64(value[8:])), string(value[16:])},
	}, nil
}

// object takes an object's rows at lo and hi, nil for none.
func (c *computation) object(id ns.ObjectID, lo, hi *event) error {
	if lo == nil && hi == nil {
		return nil
	}
	ch := change{id: id}
	ch.old, ch.new = sideOf(lo), sideOf(hi)
	if c.o.From > c.o.To {
		ch.old, ch.new = ch.new, ch.old
	}
	var err error
	if ch.old, err = c.resolve(c.from, ch.old); err != nil {
		return err
	}
	if ch.new, err = c.resolve(c.to, ch.new); err != nil {
		return err
	}
	kinds, err := c.kinds(ch)
	if err != nil || len(kinds) == 0 {
		return err
	}
	if c.result.Keys++; c.o.MaxKeys > 0 && c.result.Keys > c.o.MaxKeys {
		return errs.New(errs.TooMany, "snapshot diff",
			fmt.Sprintf("more than %d keys changed; %s is %d", c.o.MaxKeys, MaxKeysKey, c.o.MaxKeys))
	}
	for _, kind := range kinds {
		if !c.wanted(kind, ch) {
			continue
		}
		if err := c.line(kind, ch); err != nil {
			return err
		}
	}
	return nil
}

func sideOf(e *event) *side {
	if e == nil {
		return nil
	}
	return &side{place: e.place, tag: e.tag}
}

// resolve sets the path of s; it returns nil where s was out of reach.
func (c *computation) resolve(p *places, s *side) (*side, error) {
	if s == nil {
		return nil, nil
	}
	above, ok, err := p.path(s.place.parent)
	if err != nil || !ok {
		return nil, err
	}
	s.path = above + s.place.name
	return s, nil
}

// kinds returns what happened to an object. What went with a deleted directory
// above it is not told.
func (c *computation) kinds(ch change) ([]string, error) {
	switch {
	case ch.old == nil && ch.new == nil:
		return nil, nil
	case ch.old == nil:
		return []string{report.Create}, nil
	case ch.new == nil:
		_, ok, err := c.to.path(ch.old.place.parent)
		if err != nil || !ok {
			return nil, err
		}
		return []string{report.Delete}, nil
	}
	var kinds []string
	if ch.old.place != ch.new.place {
		kinds = append(kinds, report.Rename)
	}
	if ch.old.tag != ch.new.tag {
		kinds = append(kinds, report.Modify)
	}
	return kinds, nil
}

// wanted applies the filters of the options. Of a directory above the prefix it
// matters that it came, went or moved, since everything below did so with it.
func (c *computation) wanted(kind string, ch change) bool {
	if len(c.o.Types) > 0 && !slices.Contains(c.o.Types, kind) {
		return false
	}
	for _, s := range []*side{ch.old, ch.new} {
		if s == nil {
			continue
		}
		if strings.HasPrefix(s.path, c.o.Prefix) {
			return true
		}
		if kind != report.Modify && c.isDir(s) && strings.HasPrefix(c.o.Prefix, s.path) {
			return true
		}
	}
	return false
}

func (c *computation) isDir(s *side) bool {
	return c.o.Layout == ns.FileSystem && strings.HasSuffix(s.place.name, "/")
}
