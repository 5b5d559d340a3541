package rule

import (
	"strconv"
	"strings"
	"time"

	o3v1 "o3/api/o3/v1"
)

// maxSummary bounds a Summary, in bytes, give or take one rule.
const maxSummary = 1 << 10

// Summary says in a line what rules do, for logs and audit: each rule's id, what
// it is about and what happens to it. Of a long configuration it tells the
// first rules and how many more there are.
func Summary(rules []*o3v1.LifecycleRule) string {
	var b strings.Builder
	for i, r := range rules {
		if i > 0 {
			b.WriteString("; ")
		}
		if b.Len() > maxSummary {
			b.WriteString("and " + strconv.Itoa(len(rules)-i) + " more")
			break
		}
		summarize(&b, r)
	}
	return b.String()
}

func summarize(b *strings.Builder, r *o3v1.LifecycleRule) {
	if r.GetId() != "" {
		b.WriteString(clip(r.Id) + ": ")
	}
	if !r.GetEnabled() {
		b.WriteString("disabled ")
	}
	if r.GetPrefix() != "" || r.GetFilter().GetPrefix() != "" {
		b.WriteString("prefix=" + strconv.Quote(clip(prefixOf(r))) + " ")
	}
	f := r.GetFilter()
	for _, t := range f.GetTags() {
		b.WriteString("tag=" + strconv.Quote(t.GetName()+"="+t.GetValue()) + " ")
	}
	if f != nil && f.SizeGreaterThan != nil {
		b.WriteString("size>" + strconv.FormatUint(*f.SizeGreaterThan, 10) + " ")
	}
	if f != nil && f.SizeLessThan != nil {
		b.WriteString("size<" + strconv.FormatUint(*f.SizeLessThan, 10) + " ")
	}
	var acts []string
	if r != nil && r.ExpireDays != nil {
		acts = append(acts, "expire after "+strconv.Itoa(int(*r.ExpireDays))+"d")
	}
	if r != nil && r.ExpireDateMs != nil {
		acts = append(acts, "expire from "+time.UnixMilli(*r.ExpireDateMs).UTC().Format(time.DateOnly))
	}
	if r != nil && r.AbortDays != nil {
		acts = append(acts, "abort uploads after "+strconv.Itoa(int(*r.AbortDays))+"d")
	}
	b.WriteString(strings.Join(acts, ", "))
}

// clip shortens an id or a prefix.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
