package xmlapi

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"time"

	o3v1 "o3/api/o3/v1"
)

// DecodeLifecycleText reads a configuration that a user wrote, at most 4 MiB: the
// XML of DecodeLifecycle, or the same as JSON, as the AWS command line takes it.
// Both are refused for the same reasons.
func DecodeLifecycleText(text io.Reader) (*o3v1.LifecycleConfiguration, error) {
	data, err := whole(text, maxLifecycleBody)
	if err != nil {
		return nil, err
	}
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || trimmed[0] != '{' {
		return DecodeLifecycle(bytes.NewReader(data))
	}
	n, err := lifecycleNode(data)
	if err != nil {
		return nil, err
	}
	return lifecycleOf(n)
}

// jsonLists are the lists of the JSON, by what they stand in, with the name that
// their elements have in the XML.
var jsonLists = map[[2]string]string{
	{"LifecycleConfiguration", "Rules"}:      "Rule",
	{"And", "Tags"}:                          "Tag",
	{"Rule", "Transitions"}:                  "Transition",
	{"Rule", "NoncurrentVersionTransitions"}: "NoncurrentVersionTransition",
}

// jsonKinds say what the others are; those without are refused for what they are
// named.
var jsonKinds = map[string]string{
	"Rule": "an object", "Filter": "an object", "And": "an object", "Tag": "an object", "Expiration": "an object", "AbortIncompleteMultipartUpload": "an object",
	"ID": "a string", "Status": "a string", "Prefix": "a string", "Key": "a string", "Value": "a string", "Date": "a string",
	"Days": "a number", "DaysAfterInitiation": "a number", "ObjectSizeGreaterThan": "a number", "ObjectSizeLessThan": "a number",
}

// lifecycleNode turns a configuration in JSON into the elements it stands for.
func lifecycleNode(data []byte) (node, error) {
	n := node{name: "LifecycleConfiguration"}
	p := jsonParser{json.NewDecoder(bytes.NewReader(data))}
	p.d.UseNumber()
	if _, err := p.token(); err != nil { // the brace it begins with
		return n, err
	}
	if err := p.object(&n, 1); err != nil {
		return n, err
	}
	if _, err := p.d.Token(); err != io.EOF {
		return n, malformed("there is more behind the JSON object")
	}
	return n, nil
}

type jsonParser struct{ d *json.Decoder }

func (p *jsonParser) token() (json.Token, error) {
	tok, err := p.d.Token()
	if err != nil {
		return nil, malformed("the JSON cannot be read: " + err.Error())
	}
	return tok, nil
}

// object reads the members of an object, up to its end, as children of n.
func (p *jsonParser) object(n *node, depth int) error {
	if depth > maxDepth {
		return malformed("objects nest too deep")
	}
	seen := map[string]bool{}
	for p.d.More() {
		tok, err := p.token()
		if err != nil {
			return err
		}
		name, _ := tok.(string)
		if seen[name] {
			return malformed(name + " is repeated")
		}
		seen[name] = true
		if tok, err = p.token(); err != nil {
			return err
		}
		one := jsonLists[[2]string{n.name, name}]
		if one == "" {
			err = p.member(n, name, tok, depth)
		} else {
			err = p.list(n, name, one, tok, depth)
		}
		if err != nil {
			return err
		}
	}
	_, err := p.token()
	return err
}

// list reads a list that begins with tok.
func (p *jsonParser) list(n *node, name, one string, tok json.Token, depth int) error {
	if tok != json.Delim('[') {
		return malformed(name + " must be a list")
	}
	for p.d.More() {
		tok, err := p.token()
		if err == nil {
			err = p.value(n, one, tok, depth)
		}
		if err != nil {
			return err
		}
	}
	_, err := p.token()
	return err
}

// member reads what is no list. What goes into a list stands nowhere else.
func (p *jsonParser) member(n *node, name string, tok json.Token, depth int) error {
	for list, one := range jsonLists {
		if list[0] == n.name && one == name {
			return malformed("unknown element " + name + " in " + n.name)
		}
	}
	return p.value(n, name, tok, depth)
}

// value reads the value that begins with tok.
func (p *jsonParser) value(n *node, name string, tok json.Token, depth int) error {
	child, kind := node{name: name}, ""
	switch t := tok.(type) {
	case json.Delim:
		kind = "a list"
		if t == '{' {
			kind = "an object"
		}
	case string:
		child.text, kind = t, "a string"
	case json.Number:
		child.text, kind = t.String(), "a number"
	}
	if want := jsonKinds[name]; kind != want && want != "" {
		return malformed(name + " must be " + want)
	}
	switch {
	case kind == "an object":
		err := p.object(&child, depth+1)
		if name == "Rule" {
			err = ofRule(err, &child, len(n.children)+1)
		}
		if err != nil {
			return err
		}
	case kind == "a list": // of something unknown
		return malformed("unknown element " + name + " in " + n.name)
	case strings.ContainsFunc(child.text, outsideXML):
		return malformed(name + " has a character that XML cannot hold")
	}
	n.children = append(n.children, child)
	return nil
}

// outsideXML tells the characters that no document of XML 1.0 has.
func outsideXML(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}

// The configuration in JSON. Its fields are named as in the XML.
type (
	jsonLifecycle struct{ Rules []jsonRule }

	jsonRule struct {
		ID                             string
		Status                         string
		Prefix                         *string         `json:",omitempty"`
		Filter                         *jsonFilter     `json:",omitempty"`
		Expiration                     *jsonExpiration `json:",omitempty"`
		AbortIncompleteMultipartUpload *jsonAbort      `json:",omitempty"`
	}

	jsonFilter struct {
		Prefix                *string     `json:",omitempty"`
		Tag                   *jsonTag    `json:",omitempty"`
		Tags                  []jsonTag   `json:",omitempty"`
		ObjectSizeGreaterThan *uint64     `json:",omitempty"`
		ObjectSizeLessThan    *uint64     `json:",omitempty"`
		And                   *jsonFilter `json:",omitempty"`
	}

	jsonTag struct{ Key, Value string }

	jsonExpiration struct {
		Days *int32 `json:",omitempty"`
		Date string `json:",omitempty"`
	}

	jsonAbort struct{ DaysAfterInitiation int32 }
)

// AppendJSON appends the configuration as indented JSON to b: what
// DecodeLifecycleText and the AWS command line take.
func (l *Lifecycle) AppendJSON(b []byte) ([]byte, error) {
	c := jsonLifecycle{Rules: []jsonRule{}}
	for _, r := range l.Rules {
		out := jsonRule{ID: r.Id, Status: "Disabled", Prefix: r.Prefix}
		if r.Enabled {
			out.Status = "Enabled"
		}
		if r.Filter != nil {
			out.Filter = jsonFilterOf(r.Filter)
		}
		if r.ExpireDays != nil || r.ExpireDateMs != nil {
			out.Expiration = &jsonExpiration{Days: r.ExpireDays}
		}
		if r.ExpireDateMs != nil {
			out.Expiration.Date = time.UnixMilli(*r.ExpireDateMs).UTC().Format(time.RFC3339)
		}
		if r.AbortDays != nil {
			out.AbortIncompleteMultipartUpload = &jsonAbort{*r.AbortDays}
		}
		c.Rules = append(c.Rules, out)
	}
	w := bytes.NewBuffer(b)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(c)
	return w.Bytes(), err
}

func jsonFilterOf(f *o3v1.LifecycleFilter) *jsonFilter {
	out := &jsonFilter{Prefix: f.Prefix, ObjectSizeGreaterThan: f.SizeGreaterThan, ObjectSizeLessThan: f.SizeLessThan}
	for _, t := range f.Tags {
		out.Tags = append(out.Tags, jsonTag{t.Name, t.Value})
	}
	if f.And {
		return &jsonFilter{And: out}
	}
	if len(out.Tags) > 0 { // one: more stand in And
		out.Tag, out.Tags = &out.Tags[0], nil
	}
	return out
}
