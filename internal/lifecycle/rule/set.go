package rule

import (
	"math"
	"slices"
	"strings"
	"time"

	o3v1 "o3/api/o3/v1"
)

const dayMs = 24 * 60 * 60 * 1000

// Options says how a configuration is read.
type Options struct {
	Day time.Duration // length of a day of an age, 1 ms to 24 h; 0: 24 h
}

// Set is a configuration that is ready to be asked: its enabled rules, found by
// prefix. It is immutable.
type Set struct {
	day    int64 // milliseconds
	rules  []compiled
	ids    []string // of all rules of the configuration
	expire tree
	abort  tree
}

// compiled is an enabled rule.
type compiled struct {
	number   int // in the configuration, from 0
	prefix   string
	days     int64 // of age; 0: by date
	date     int64
	abort    int64 // days
	sized    bool
	from, to uint64 // sizes, inclusive
	tags     []*o3v1.Pair
}

// Compile returns the set of a configuration that Validate has accepted. A rule
// that it would refuse matches nothing.
func Compile(rules []*o3v1.LifecycleRule, o Options) *Set {
	s := &Set{day: o.Day.Milliseconds(), ids: make([]string, len(rules))}
	if s.day <= 0 || s.day > dayMs {
		s.day = dayMs
	}
	var expire, abort []int
	for i, r := range rules {
		s.ids[i] = r.GetId()
		if p, _ := checkRule(r); p != 0 || !r.Enabled {
			continue
		}
		c := compiled{number: i, prefix: prefixOf(r), days: int64(r.GetExpireDays()), date: r.GetExpireDateMs(), abort: int64(r.GetAbortDays())}
		c.tags = r.Filter.GetTags()
		c.from, c.to = 0, math.MaxUint64
		if f := r.Filter; f != nil && f.SizeGreaterThan != nil {
			c.sized, c.from = true, *f.SizeGreaterThan
			if c.from++; c.from == 0 {
				continue // nothing is larger than the largest size
			}
		}
		if f := r.Filter; f != nil && f.SizeLessThan != nil {
			c.sized, c.to = true, *f.SizeLessThan-1
		}
		if r.ExpireDays != nil || r.ExpireDateMs != nil {
			expire = append(expire, len(s.rules))
		}
		if r.AbortDays != nil {
			abort = append(abort, len(s.rules))
		}
		s.rules = append(s.rules, c)
	}
	s.expire = newTree(s.rules, expire, func(c *compiled) (int64, int64) {
		if c.days > 0 {
			return c.days, math.MaxInt64
		}
		return math.MaxInt64, c.date
	})
	s.abort = newTree(s.rules, abort, func(c *compiled) (int64, int64) { return c.abort, math.MaxInt64 })
	return s
}

// ID returns the id of the rule with a number.
func (s *Set) ID(number int) string { return s.ids[number] }

// tree holds the prefixes of rules in byte order, each with the longest other
// one that it begins with, so that all prefixes of a path are one search and a
// walk.
type tree struct {
	nodes []node
	tops  []string // prefixes that no other one covers

	// The soonest of all rules, as in node.
	days, date int64
}

type node struct {
	prefix string
	up     int   // the longest proper prefix of this prefix; -1: none
	rules  []int // positions in Set.rules, ascending
	// The soonest of the rules here and above: fewest days, earliest date.
	days, date int64
}

func newTree(rules []compiled, which []int, when func(*compiled) (days, date int64)) tree {
	order := slices.Clone(which)
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(rules[a].prefix, rules[b].prefix) })
	t := tree{days: math.MaxInt64, date: math.MaxInt64}
	var open []int // nodes whose prefixes begin the next one, shortest first
	for _, i := range order {
		r := &rules[i]
		days, date := when(r)
		last := len(t.nodes) - 1
		if last < 0 || t.nodes[last].prefix != r.prefix {
			for len(open) > 0 && !strings.HasPrefix(r.prefix, t.nodes[open[len(open)-1]].prefix) {
				open = open[:len(open)-1]
			}
			n := node{prefix: r.prefix, up: -1, days: math.MaxInt64, date: math.MaxInt64}
			if len(open) > 0 {
				n.up = open[len(open)-1]
				n.days, n.date = t.nodes[n.up].days, t.nodes[n.up].date
			} else {
				t.tops = append(t.tops, r.prefix)
			}
			t.nodes = append(t.nodes, n)
			last++
			open = append(open, last)
		}
		n := &t.nodes[last]
		n.rules = append(n.rules, i)
		n.days, n.date = min(n.days, days), min(n.date, date)
		t.days, t.date = min(t.days, days), min(t.date, date)
	}
	return t
}

// find returns the node of the longest prefix of path, -1 if there is none. The
// node of the greatest prefix that is not after path has it above it or is it.
func (t *tree) find(path string) int {
	lo, hi := 0, len(t.nodes)
	for lo < hi {
		if mid := (lo + hi) / 2; t.nodes[mid].prefix <= path {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	n := lo - 1
	for n >= 0 && !strings.HasPrefix(path, t.nodes[n].prefix) {
		n = t.nodes[n].up
	}
	return n
}
