package rule

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
)

// WithIDs returns the rules of a configuration with an id for each that has
// none, made of what the rule says: the same configuration given twice is the
// same. The rules that are changed are copies.
func WithIDs(rules []*o3v1.LifecycleRule) []*o3v1.LifecycleRule {
	taken := make(map[string]bool, len(rules))
	for _, r := range rules {
		taken[r.GetId()] = true
	}
	tried := map[string]int{} // ids made of a content, so that equal rules take one try each
	out := make([]*o3v1.LifecycleRule, len(rules))
	for i, r := range rules {
		if out[i] = r; r.GetId() != "" {
			continue
		}
		named := &o3v1.LifecycleRule{}
		if r != nil {
			named = proto.CloneOf(r)
		}
		content, _ := proto.MarshalOptions{Deterministic: true}.Marshal(r) // at worst empty: one more try
		for named.Id == "" || taken[named.Id] {
			named.Id = idOf(content, tried[string(content)])
			tried[string(content)]++
		}
		taken[named.Id] = true
		out[i] = named
	}
	return out
}

// idOf returns the n-th id of a rule's content: 32 hexadecimal digits.
func idOf(content []byte, n int) string {
	sum := sha256.Sum256(strconv.AppendInt(content[:len(content):len(content)], int64(n), 10))
	return hex.EncodeToString(sum[:16])
}
