package rule

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

// Problem is what is wrong with a configuration. An edge has a word of its own
// for each.
type Problem uint8

// The problems.
const (
	NoRules        Problem = iota + 1
	TooManyRules           // more than MaxRules
	TooLong                // more than MaxBytes
	LongID                 // more than MaxID
	NoID                   // only of a configuration that should have them
	SameID                 // as a rule before
	NoTarget               // neither a prefix nor a filter
	TwoTargets             // a prefix and a filter
	ManyConditions         // of a filter without And
	FewConditions          // of an And
	LongPrefix             // more than MaxPrefix
	TrashPrefix            // below Trash
	BadTag                 // its name or value is too long or empty
	SameTag                // its name stands twice
	TooManyTags            // more than MaxTags
	NoSizes                // no size is between the two
	NoAction               // neither expiry nor abort
	DaysAndDate            // of one expiry
	BadDays                // not positive
	BadAbortDays           // not positive
	BadDate                // not a midnight UTC
	AbortWithTags          //
	AbortWithSizes         //
	numProblems
)

// The dates that ISO 8601 can write in four digits of the year.
const (
	minDate = -62167219200000 // 0000-01-01
	maxDate = 253402214400000 // 9999-12-31
)

// Problems returns all problems there are, for tables that must be total.
func Problems() []Problem {
	out := make([]Problem, 0, numProblems)
	for p := NoRules; p < numProblems; p++ {
		out = append(out, p)
	}
	return out
}

// Error refuses a configuration. It is an errs.Error of kind Invalid to those
// who ask for no more.
type Error struct {
	Problem Problem
	Rule    string // its id, or its number where it has none; "" when the whole is meant
	Detail  string // for users
}

// Error implements error.
func (e *Error) Error() string { return e.Unwrap().Error() }

// Unwrap returns the error as others see it.
func (e *Error) Unwrap() error {
	subject := "lifecycle configuration"
	if e.Rule != "" {
		subject = "lifecycle rule " + e.Rule
	}
	return errs.New(errs.Invalid, subject, e.Detail)
}

// Validate returns an *Error for the first thing that is wrong with rules. Rules
// may lack an id, which is for the edge that takes them to give; see Complete.
func Validate(rules []*o3v1.LifecycleRule) error {
	if err := check(rules, false); err != nil {
		return err
	}
	return nil
}

// Complete is Validate of a configuration that is to be stored: each rule must
// have an id.
func Complete(rules []*o3v1.LifecycleRule) error {
	if err := check(rules, true); err != nil {
		return err
	}
	return nil
}

func check(rules []*o3v1.LifecycleRule, complete bool) *Error {
	switch {
	case len(rules) == 0:
		return &Error{Problem: NoRules, Detail: "it has no rules"}
	case len(rules) > MaxRules:
		return &Error{Problem: TooManyRules, Detail: fmt.Sprintf("it has %d rules, at most %d are allowed", len(rules), MaxRules)}
	}
	size := 0
	seen := make(map[string]bool, len(rules))
	for i, r := range rules {
		name := r.GetId()
		if name == "" || len(name) > MaxID {
			name = fmt.Sprintf("number %d", i+1)
		}
		fail := func(p Problem, detail string) *Error { return &Error{p, name, detail} }
		switch id := r.GetId(); {
		case len(id) > MaxID:
			return fail(LongID, fmt.Sprintf("its id is longer than %d bytes", MaxID))
		case id == "" && complete:
			return fail(NoID, "it has no id")
		case id != "" && seen[id]:
			return fail(SameID, "another rule has the same id")
		default:
			seen[id] = true
		}
		if p, detail := checkRule(r); p != 0 {
			return fail(p, detail)
		}
		size += proto.Size(r)
	}
	if size > MaxBytes {
		return &Error{Problem: TooLong, Detail: fmt.Sprintf("it takes %d bytes, at most %d are allowed", size, MaxBytes)}
	}
	return nil
}

// checkRule returns what is wrong with a rule, its id apart; 0: nothing.
func checkRule(r *o3v1.LifecycleRule) (Problem, string) {
	if p, detail := checkTarget(r); p != 0 {
		return p, detail
	}
	return checkActions(r)
}

func checkTarget(r *o3v1.LifecycleRule) (Problem, string) {
	f := r.GetFilter()
	switch {
	case r == nil || r.Prefix == nil && f == nil:
		return NoTarget, "it has neither a prefix nor a filter"
	case r.Prefix != nil && f != nil:
		return TwoTargets, "it has a prefix beside its filter; a prefix goes into the filter"
	}
	conditions := len(f.GetTags())
	for _, given := range [...]bool{f != nil && f.Prefix != nil, f != nil && f.SizeGreaterThan != nil, f != nil && f.SizeLessThan != nil} {
		if given {
			conditions++
		}
	}
	switch {
	case f != nil && !f.And && conditions > 1:
		return ManyConditions, "its filter has several conditions that And does not join"
	case f != nil && f.And && conditions < 2:
		return FewConditions, "And joins two conditions or more"
	}
	prefix := prefixOf(r)
	switch {
	case len(prefix) > MaxPrefix:
		return LongPrefix, fmt.Sprintf("its prefix has %d bytes, at most %d are allowed", len(prefix), MaxPrefix)
	case strings.HasPrefix(prefix, Trash):
		return TrashPrefix, "no rule applies to " + Trash
	}
	if f != nil && f.SizeLessThan != nil && (*f.SizeLessThan == 0 || f.SizeGreaterThan != nil && *f.SizeLessThan <= *f.SizeGreaterThan) {
		return NoSizes, fmt.Sprintf("ObjectSizeLessThan, %d, must be greater than ObjectSizeGreaterThan, %d, and than 0", *f.SizeLessThan, f.GetSizeGreaterThan())
	}
	return checkTags(f.GetTags())
}

func checkTags(tags []*o3v1.Pair) (Problem, string) {
	if len(tags) > MaxTags {
		return TooManyTags, fmt.Sprintf("it has %d tags, at most %d are allowed", len(tags), MaxTags)
	}
	for i, t := range tags {
		n := utf8.RuneCountInString(t.GetName())
		if n == 0 || n > MaxTagName || utf8.RuneCountInString(t.GetValue()) > MaxTagValue {
			return BadTag, fmt.Sprintf("the name of tag %d has %d characters, its value %d; 1 to %d and at most %d are allowed", i+1, n, utf8.RuneCountInString(t.GetValue()), MaxTagName, MaxTagValue)
		}
		for _, before := range tags[:i] {
			if before.GetName() == t.Name {
				return SameTag, "the tag " + t.Name + " stands twice"
			}
		}
	}
	return 0, ""
}

func checkActions(r *o3v1.LifecycleRule) (Problem, string) {
	f := r.Filter
	switch {
	case r.ExpireDays == nil && r.ExpireDateMs == nil && r.AbortDays == nil:
		return NoAction, "it does nothing: it needs an expiration or an abort of incomplete uploads"
	case r.ExpireDays != nil && r.ExpireDateMs != nil:
		return DaysAndDate, "its expiration has days and a date"
	case r.ExpireDays != nil && *r.ExpireDays <= 0:
		return BadDays, fmt.Sprintf("the days of its expiration must be positive, not %d", *r.ExpireDays)
	case r.ExpireDateMs != nil && (*r.ExpireDateMs%dayMs != 0 || *r.ExpireDateMs < minDate || *r.ExpireDateMs > maxDate):
		return BadDate, fmt.Sprintf("the date of its expiration must be at midnight UTC, of the years 0 to 9999, not %s", time.UnixMilli(*r.ExpireDateMs).UTC().Format(time.RFC3339))
	case r.AbortDays == nil:
		return 0, ""
	case *r.AbortDays <= 0:
		return BadAbortDays, fmt.Sprintf("the days after which it aborts uploads must be positive, not %d", *r.AbortDays)
	case len(f.GetTags()) > 0:
		return AbortWithTags, "an upload has no tags to go by; split the rule"
	case f != nil && (f.SizeGreaterThan != nil || f.SizeLessThan != nil):
		return AbortWithSizes, "an upload has no size to go by; split the rule"
	}
	return 0, ""
}

// prefixOf returns the prefix of a rule, in whichever shape it is.
func prefixOf(r *o3v1.LifecycleRule) string {
	if r.Filter != nil {
		return r.Filter.GetPrefix()
	}
	return r.GetPrefix()
}
