package container

import (
	"fmt"
	"strings"
)

// The directory of a Store:
//
//	c-<container>.<gen>      a container: the id in 16 hex digits, the generation in decimal
//	c-<container>.<gen>.tmp  a rewriting that was not finished: removed at Open
//	deletes-<n>[.tmp]        the log of deletes, the highest n counts
//	ids-<seq>                sequence numbers below this (12 hex digits) may have been given
//	scrub[.tmp]              position and report of the scrub
//	LOCK                     held by the process that has the Store open
const (
	lockName  = "LOCK"
	scrubName = "scrub"
	tmpSuffix = ".tmp"
)

func containerName(id uint64, gen uint32) string { return fmt.Sprintf("c-%016x.%d", id, gen) }
func deletesName(n uint64) string                { return fmt.Sprintf("deletes-%d", n) }
func idsName(seq uint64) string                  { return fmt.Sprintf("ids-%012x", seq) }

// listing is what the names in a directory say.
type listing struct {
	gens    map[uint64][]uint32 // container → generations present
	deletes []uint64
	ids     []uint64
	tmp     []string
	unknown []string
}

func parseListing(names []string) listing {
	l := listing{gens: map[uint64][]uint32{}}
	for _, name := range names {
		var id, n uint64
		var gen uint32
		switch {
		case name == lockName || name == scrubName:
		case strings.HasSuffix(name, tmpSuffix):
			l.tmp = append(l.tmp, name)
		case scanName(name, "c-%016x.%d", &id, &gen) && name == containerName(id, gen):
			l.gens[id] = append(l.gens[id], gen)
		case scanName(name, "deletes-%d", &n) && name == deletesName(n):
			l.deletes = append(l.deletes, n)
		case scanName(name, "ids-%012x", &n) && name == idsName(n):
			l.ids = append(l.ids, n)
		default:
			l.unknown = append(l.unknown, name)
		}
	}
	return l
}

func scanName(name, format string, to ...any) bool {
	n, err := fmt.Sscanf(name, format, to...)
	return err == nil && n == len(to)
}
