package xmlapi

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	o3v1 "o3/api/o3/v1"
)

// maxLifecycleBody is more than the largest configuration takes.
const maxLifecycleBody = 4 << 20

// DecodeLifecycle reads the body of PutBucketLifecycleConfiguration, at most
// 4 MiB, under either name of its root. It checks what only the XML shows: that
// elements are where they belong, that Status is one of its two words, and that
// numbers and dates are such. What rules may say is for package lifecycle/rule
// to check. Transitions, what is about noncurrent versions and
// ExpiredObjectDeleteMarker answer NotImplemented.
func DecodeLifecycle(body io.Reader) (*o3v1.LifecycleConfiguration, error) {
	n, err := read(body, maxLifecycleBody, "LifecycleConfiguration", "BucketLifecycleConfiguration")
	if err != nil {
		return nil, err
	}
	return lifecycleOf(n)
}

// lifecycleOf reads a configuration. What is wrong with a rule names the rule.
func lifecycleOf(n node) (*o3v1.LifecycleConfiguration, error) {
	c := &o3v1.LifecycleConfiguration{}
	err := n.take(field{name: "Rule", many: true, each: func(x *node) error {
		r, err := lifecycleRule(x)
		c.Rules = append(c.Rules, r)
		return ofRule(err, x, len(c.Rules))
	}})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// ofRule has an error name the rule that it is about, by its id or, where it has
// none, by its number.
func ofRule(err error, x *node, number int) error {
	if e, ok := errors.AsType[*Error](err); ok {
		name := "number " + strconv.Itoa(number)
		for _, c := range x.children {
			if c.name == "ID" && c.text != "" && len(c.text) <= 255 {
				name = c.text
			}
		}
		e.Elements = slices.Insert(e.Elements, 0, [2]string{"Rule", name})
	}
	return err
}

func lifecycleRule(x *node) (*o3v1.LifecycleRule, error) {
	r := &o3v1.LifecycleRule{}
	status := ""
	err := x.take(
		field{name: "ID", leaf: &r.Id}, field{name: "Status", leaf: &status},
		field{name: "Prefix", each: given(&r.Prefix, asText)},
		field{name: "Filter", each: func(x *node) (err error) {
			r.Filter, err = lifecycleFilter(x)
			return err
		}},
		field{name: "Expiration", each: func(x *node) error { return lifecycleExpiration(x, r) }},
		field{name: "AbortIncompleteMultipartUpload", each: func(x *node) error {
			err := x.take(field{name: "DaysAfterInitiation", each: given(&r.AbortDays, asDays)})
			if err == nil && r.AbortDays == nil {
				err = malformed("no DaysAfterInitiation")
			}
			return err
		}},
		field{name: "Transition", each: later}, field{name: "NoncurrentVersionTransition", each: later},
		field{name: "NoncurrentVersionExpiration", each: later})
	if err != nil {
		return nil, err
	}
	if r.Enabled = status == "Enabled"; !r.Enabled && status != "Disabled" {
		return nil, malformed("Status must be Enabled or Disabled")
	}
	return r, nil
}

// lifecycleFilter reads Filter. Which of its conditions may stand together is
// for the rules to say, except that nothing stands beside And.
func lifecycleFilter(x *node) (*o3v1.LifecycleFilter, error) {
	f := &o3v1.LifecycleFilter{}
	conditions := func(more ...field) []field {
		return append(more,
			field{name: "Prefix", each: given(&f.Prefix, asText)},
			field{name: "ObjectSizeGreaterThan", each: given(&f.SizeGreaterThan, asSize)},
			field{name: "ObjectSizeLessThan", each: given(&f.SizeLessThan, asSize)},
			field{name: "Tag", many: true, each: func(x *node) error {
				tag, err := lifecycleTag(x)
				f.Tags = append(f.Tags, tag)
				return err
			}})
	}
	err := x.take(conditions(field{name: "And", each: func(and *node) error {
		if f.And = true; len(x.children) > 1 {
			return malformed("a condition beside And")
		}
		return and.take(conditions()...)
	}})...)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func lifecycleTag(x *node) (*o3v1.Pair, error) {
	var key, value *string
	err := x.take(field{name: "Key", each: given(&key, asText)}, field{name: "Value", each: given(&value, asText)})
	if err == nil && (key == nil || value == nil) {
		err = malformed("a Tag has a Key and a Value")
	}
	if err != nil {
		return nil, err
	}
	return &o3v1.Pair{Name: *key, Value: *value}, nil
}

func lifecycleExpiration(x *node, r *o3v1.LifecycleRule) error {
	var marker *node
	err := x.take(field{name: "Days", each: given(&r.ExpireDays, asDays)}, field{name: "Date", each: given(&r.ExpireDateMs, asDate)},
		field{name: "ExpiredObjectDeleteMarker", each: func(x *node) error {
			marker = x
			return nil
		}})
	switch {
	case err != nil:
		return err
	case len(x.children) == 0:
		return malformed("an Expiration has Days or a Date")
	case marker != nil && len(x.children) > 1:
		return malformed("ExpiredObjectDeleteMarker stands alone")
	case marker != nil:
		return later(marker)
	}
	return nil
}

// given reads a leaf, and keeps that it was there.
func given[T any](to **T, parse func(name, text string) (T, error)) func(*node) error {
	return func(x *node) error {
		if len(x.children) > 0 {
			return malformed("element " + x.name + " holds elements")
		}
		v, err := parse(x.name, x.text)
		*to = &v
		return err
	}
}

func asText(_, s string) (string, error) { return s, nil }

func asDays(name, s string) (int32, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
	if err != nil {
		return 0, malformed(name + " is no number of days: " + s)
	}
	return int32(n), nil
}

func asSize(name, s string) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0, malformed(name + " is no size in bytes: " + s)
	}
	return n, nil
}

// asDate reads a date or an instant of ISO 8601, in Unix milliseconds. An
// instant without a zone is in UTC. One between two milliseconds is rounded up:
// it is not midnight.
func asDate(_, s string) (int64, error) {
	s = strings.TrimSpace(s)
	for _, layout := range [...]string{time.DateOnly, time.RFC3339, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil && t.UTC().Year() >= 0 && t.UTC().Year() <= 9999 {
			return t.Add(time.Millisecond - 1).UnixMilli(), nil
		}
	}
	return 0, &Error{Code: codeInvalidArg, Message: "'Date' must be a date of ISO 8601, at midnight GMT",
		Elements: [][2]string{{"ArgumentName", "Date"}, {"ArgumentValue", s}}}
}

// Lifecycle is a LifecycleConfiguration as an answer, in the shape that its
// rules were given in.
type Lifecycle struct{ Rules []*o3v1.LifecycleRule }

// AppendXML implements Document.
func (l *Lifecycle) AppendXML(b []byte) []byte {
	b = begin(b, "LifecycleConfiguration")
	for _, r := range l.Rules {
		b = open(b, "Rule")
		b = text(b, "ID", r.Id)
		if r.Prefix != nil {
			b = text(b, "Prefix", *r.Prefix)
		}
		if r.Filter != nil {
			b = appendFilter(b, r.Filter)
		}
		if r.Enabled {
			b = text(b, "Status", "Enabled")
		} else {
			b = text(b, "Status", "Disabled")
		}
		if r.ExpireDays != nil || r.ExpireDateMs != nil {
			b = open(b, "Expiration")
			if r.ExpireDays != nil {
				b = number(b, "Days", int64(*r.ExpireDays))
			}
			if r.ExpireDateMs != nil {
				b = instant(b, "Date", time.UnixMilli(*r.ExpireDateMs))
			}
			b = shut(b, "Expiration")
		}
		if r.AbortDays != nil {
			b = open(b, "AbortIncompleteMultipartUpload")
			b = number(b, "DaysAfterInitiation", int64(*r.AbortDays))
			b = shut(b, "AbortIncompleteMultipartUpload")
		}
		b = shut(b, "Rule")
	}
	return shut(b, "LifecycleConfiguration")
}

func appendFilter(b []byte, f *o3v1.LifecycleFilter) []byte {
	b = open(b, "Filter")
	if f.And {
		b = open(b, "And")
	}
	if f.Prefix != nil {
		b = text(b, "Prefix", *f.Prefix)
	}
	for _, t := range f.Tags {
		b = open(b, "Tag")
		b = text(b, "Key", t.Name)
		b = text(b, "Value", t.Value)
		b = shut(b, "Tag")
	}
	if f.SizeGreaterThan != nil {
		b = text(b, "ObjectSizeGreaterThan", strconv.FormatUint(*f.SizeGreaterThan, 10))
	}
	if f.SizeLessThan != nil {
		b = text(b, "ObjectSizeLessThan", strconv.FormatUint(*f.SizeLessThan, 10))
	}
	if f.And {
		b = shut(b, "And")
	}
	return shut(b, "Filter")
}
