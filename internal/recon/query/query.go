// Package query answers what users ask of Recon, from one look at a generation,
// with the names that Ozone's Recon gives the answers' fields (docs/recon-api.md).
//
// Totals come from the derived tables, never from a walk. Work is bounded for
// each call: a page has at most MaxLimit rows, and at most MaxRows rows are looked
// at for it; a page that ends early says where the next one begins. Sums over all
// buckets read one row for each, and are refused beyond MaxBuckets. Functions are
// as safe for concurrent use as the look they are given, which must stay open;
// they hold nothing. Errors are of package errs: Invalid for what the caller
// asked, TooMany beyond a bound.
package query

import (
	"fmt"
	"time"

	"o3/internal/errs"
	"o3/internal/ns"
)

// The bounds of a call.
const (
	DefaultLimit = 1000    // rows of a page
	MaxLimit     = 10_000  // likewise
	MaxRows      = 100_000 // rows looked at for a page
	MaxBuckets   = 200_000 // buckets summed up
	MaxCount     = 1_000_000
)

// Page says which part of a list is asked for.
type Page struct {
	Limit int    // rows; 0: DefaultLimit; -1: MaxLimit, as is more
	After string // what the page before ended with; "": from the start
	Rows  int    // looked at before the page ends early; 0: MaxRows
}

func (p Page) limit() int {
	switch {
	case p.Limit == 0:
		return DefaultLimit
	case p.Limit < 0 || p.Limit > MaxLimit:
		return MaxLimit
	}
	return p.Limit
}

func (p Page) rows() int {
	if p.Rows <= 0 {
		return MaxRows
	}
	return p.Rows
}

// Fresh says of what an answer is true. Answers that are not in Ozone have it as
// fields, all others in headers.
type Fresh struct {
	Index uint64 `json:"index" doc:"the OM's log entry that the answer reflects"`
	AgeMs int64  `json:"ageMs" doc:"how old the answer may be, in milliseconds"`
}

// SetFresh sets both.
func (f *Fresh) SetFresh(index uint64, age time.Duration) {
	f.Index, f.AgeMs = index, age.Milliseconds()
}

// Status is how Ozone's Recon says whether a path could be answered for.
type Status string

// The statuses.
const (
	StatusOK            Status = "OK"
	StatusNotFound      Status = "PATH_NOT_FOUND"
	StatusNotApplicable Status = "TYPE_NOT_APPLICABLE"
)

// Replication is what Ozone tells of how a key's bytes are kept. O3 names each
// block once; that there are more copies of it is the block store's affair.
type Replication struct {
	ReplicationType   string `json:"replicationType"`
	ReplicationFactor string `json:"replicationFactor"`
	RequiredNodes     int    `json:"requiredNodes"`
}

// ReplicationType is that of every key.
const ReplicationType = "STAND_ALONE"

func once() Replication { return Replication{ReplicationType, "ONE", 1} }

// rowKey is a row's key as answers show it and cursors carry it: ids, then a
// name, which may have anything in it.
func rowKey(name string, ids ...uint64) string {
	s := ""
	for _, id := range ids {
		s += fmt.Sprintf("/%d", id)
	}
	return s + "/" + name
}

func badCursor(param, value, form string) error {
	return errs.New(errs.Invalid, fmt.Sprintf("%s %q", param, value), "it is not one that a page ended with, which have the form "+form)
}

// parseRowKey reads what rowKey made with n ids.
func parseRowKey(s string, n int) (ids []uint64, name string, ok bool) {
	for range n {
		id, rest, good := takeNumber(s)
		if !good {
			return nil, "", false
		}
		ids, s = append(ids, id), rest
	}
	if s == "" || s[0] != '/' {
		return nil, "", false
	}
	return ids, s[1:], true
}

// takeNumber takes "/<decimal number>" off s.
func takeNumber(s string) (n uint64, rest string, ok bool) {
	if len(s) < 2 || s[0] != '/' || len(s) > 2 && s[1] == '0' && s[2] != '/' {
		return 0, "", false
	}
	i := 1
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		d := uint64(s[i] - '0')
		if n > (1<<64-1-d)/10 {
			return 0, "", false
		}
		n = n*10 + d
	}
	return n, s[i:], i > 1
}

// id shows an object's id: as text, since 64 bits are more than a number of
// JavaScript has.
func id(x ns.ObjectID) string { return fmt.Sprint(uint64(x)) }
