package rule

import (
	"math"
	"strings"

	o3v1 "o3/api/o3/v1"
)

// Object is what a rule may ask of a key or a directory.
type Object struct {
	Path       string // relative to the bucket; a directory's ends in a slash
	Size       uint64 // bytes
	ModifiedMs int64  // Unix milliseconds
	Directory  bool   // of a file-system bucket
	Tags       Tagged // nil: it has none
}

// Tagged gives the tags of an object. It is asked at most once for each object,
// and only when a rule with tags matches in every other respect.
type Tagged interface{ Tags() ([]*o3v1.Pair, error) }

// Pairs are tags that are there already.
type Pairs []*o3v1.Pair

// Tags implements Tagged.
func (p Pairs) Tags() ([]*o3v1.Pair, error) { return p, nil }

// Never is a cutoff that lies after every expiry.
const Never int64 = math.MaxInt64

// Expiry is when something expires, in Unix milliseconds, and the number of the
// rule that makes it, from 0.
type Expiry struct {
	Rule int
	AtMs int64
}

// Expiry returns the earliest expiry of an object that is not after the cutoff;
// ok is false when there is none. With Never it is what will happen to the
// object if nothing else does. The only error is that of Object.Tags; then
// nothing is known. It does not allocate.
func (s *Set) Expiry(o *Object, cutoffMs int64) (best Expiry, ok bool, err error) {
	at := s.expire.find(o.Path)
	if at < 0 {
		return best, false, nil
	}
	n := &s.expire.nodes[at]
	if s.before(cutoffMs, o.ModifiedMs, n.days, n.date) || strings.HasPrefix(o.Path, Trash) {
		return best, false, nil
	}
	var tags []*o3v1.Pair
	asked := false
	for ; at >= 0; at = s.expire.nodes[at].up {
		for _, i := range s.expire.nodes[at].rules {
			r := &s.rules[i]
			due := r.date
			if r.days > 0 {
				due = s.after(o.ModifiedMs, r.days)
			}
			if due > cutoffMs || ok && (due > best.AtMs || due == best.AtMs && r.number > best.Rule) {
				continue
			}
			if o.Directory && (r.sized || len(r.tags) > 0 || o.Path == r.prefix) || o.Size < r.from || o.Size > r.to {
				continue
			}
			if len(r.tags) > 0 {
				if !asked && o.Tags != nil {
					if tags, err = o.Tags.Tags(); err != nil {
						return Expiry{}, false, err
					}
				}
				asked = true
				if !hasAll(tags, r.tags) {
					continue
				}
			}
			best, ok = Expiry{r.number, due}, true
		}
	}
	return best, ok, nil
}

// Young reports that what was modified at a time has not expired by the cutoff,
// whatever its path, so that Expiry need not be asked.
func (s *Set) Young(modifiedMs, cutoffMs int64) bool {
	return s.before(cutoffMs, modifiedMs, s.expire.days, s.expire.date)
}

// before reports whether the cutoff is before the date and before the end of an
// age in days, where there is one.
func (s *Set) before(cutoffMs, modifiedMs, days, date int64) bool {
	return cutoffMs < date && (days == math.MaxInt64 || cutoffMs < s.add(modifiedMs, days))
}

// Abort returns the earliest time, not after the cutoff, at which a multipart
// upload of the key at path that began at begunMs is to be aborted.
func (s *Set) Abort(path string, begunMs, cutoffMs int64) (best Expiry, ok bool) {
	at := s.abort.find(path)
	if at < 0 || strings.HasPrefix(path, Trash) {
		return best, false
	}
	for ; at >= 0; at = s.abort.nodes[at].up {
		for _, i := range s.abort.nodes[at].rules {
			r := &s.rules[i]
			due := s.after(begunMs, r.abort)
			if due > cutoffMs || ok && (due > best.AtMs || due == best.AtMs && r.number > best.Rule) {
				continue
			}
			best, ok = Expiry{r.number, due}, true
		}
	}
	return best, ok
}

// add returns the time days after t; Never where no number could hold it.
func (s *Set) add(t, days int64) int64 {
	if span := days * s.day; t <= Never-span {
		return t + span
	}
	return Never
}

// after returns the time days after t, rounded up to a whole day.
func (s *Set) after(t, days int64) int64 {
	t = s.add(t, days)
	past := t % s.day
	if past < 0 { // before 1970
		past += s.day
	}
	if past == 0 || t > Never-s.day {
		return t
	}
	return t + s.day - past
}

// hasAll reports whether an object's tags include those of a rule.
func hasAll(have, want []*o3v1.Pair) bool {
next:
	for _, w := range want {
		for _, h := range have {
			if h.Name == w.Name {
				if h.Value == w.Value {
					continue next
				}
				break
			}
		}
		return false
	}
	return true
}
