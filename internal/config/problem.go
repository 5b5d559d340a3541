package config

import (
	"fmt"
	"strings"

	"o3/internal/errs"
)

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	Key     string // or what stands in its place; may be empty
	Value   string // as given; secrets are masked
	Source  Source // where it came from
	Wrong   string // what is wrong
	Allowed string // what would be right; may be empty
	Near    string // the known key that was probably meant; may be empty
}

// String returns the problem on one line.
func (p Problem) String() string {
	var b strings.Builder
	if p.Key != "" {
		fmt.Fprintf(&b, "%s = %q ", p.Key, p.Value)
	}
	fmt.Fprintf(&b, "(%s): %s", p.Source, p.Wrong)
	if p.Allowed != "" {
		fmt.Fprintf(&b, "; allowed: %s", p.Allowed)
	}
	if p.Near != "" {
		fmt.Fprintf(&b, "; did you mean %s?", p.Near)
	}
	return b.String()
}

// Problems is everything that is wrong, in the order of the sources. As an
// error it is of kind Invalid.
type Problems []Problem

// Error returns a heading and one line for each problem.
func (p Problems) Error() string { return "configuration: " + p.detail() }

func (p Problems) detail() string {
	var b strings.Builder
	if len(p) == 1 {
		b.WriteString("1 problem")
	} else {
		fmt.Fprintf(&b, "%d problems", len(p))
	}
	for _, one := range p {
		b.WriteString("\n  ")
		b.WriteString(one.String())
	}
	return b.String()
}

// Unwrap gives the error its kind, and users every line.
func (p Problems) Unwrap() error { return errs.New(errs.Invalid, "configuration", p.detail()) }

// Origin says which kind of source a value came from. Later ones win.
type Origin uint8

// The origins.
const (
	FromDefault Origin = iota
	FromFile
	FromEnv
	FromOption // -D, --data
)

// Source is where a value came from.
type Source struct {
	Origin Origin
	Where  string // file and line, variable, option
}

// String names the source as messages do.
func (s Source) String() string {
	switch s.Origin {
	case FromDefault:
		return "default"
	case FromEnv:
		return "environment " + s.Where
	}
	return s.Where
}

// nearest returns the candidate that a typo of name most probably meant, or "".
func nearest(name string, candidates []string) string {
	best, least := "", max(2, len(name)/6)+1
	for _, c := range candidates {
		if d := distance(name, c, least); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance counts the edits (insert, delete, replace, swap of neighbours)
// between a and b, or returns limit when there are at least that many.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var before, last, row []int
	last = make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row = make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return min(last[len(b)], limit)
}
