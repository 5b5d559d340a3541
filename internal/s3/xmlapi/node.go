package xmlapi

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// node is an element of a request body.
type node struct {
	name     string
	kind     string // xsi:type, where there is one
	text     string
	children []node
}

// maxDepth is more than any request body nests.
const maxDepth = 8

func malformed(detail string) *Error {
	e := &Error{Code: codeMalformedXML, Message: "The XML you provided was not well-formed or did not validate against our published schema."}
	if detail != "" {
		e.Elements = [][2]string{{"Detail", detail}}
	}
	return e
}

// unreadable says why no token could be read; ended is said of the body's end.
func unreadable(err error, ended string) *Error {
	syntax, ok := errors.AsType[*xml.SyntaxError](err)
	switch {
	case err == io.EOF || ok && syntax.Msg == "unexpected EOF":
		return malformed(ended)
	case ok:
		return malformed(fmt.Sprintf("line %d: %s", syntax.Line, syntax.Msg))
	}
	return malformed("it is not in UTF-8") // the declaration names another encoding
}

// read reads a whole body of at most limit bytes and parses it. Its first
// element must have one of the names of roots.
func read(body io.Reader, limit int, roots ...string) (node, error) {
	data, err := whole(body, limit)
	if err != nil {
		return node{}, err
	}
	p := parser{d: xml.NewDecoder(bytes.NewReader(data))}
	n, err := p.document()
	if err != nil {
		return node{}, err
	}
	if !slices.Contains(roots, n.name) {
		return node{}, malformed("the root element is " + n.name + ", not " + roots[0])
	}
	return n, nil
}

// whole reads a whole body of at most limit bytes, without a byte order mark.
func whole(body io.Reader, limit int) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(data) > limit {
		return nil, &Error{Code: codeTooLong, Message: "Your request was too large.",
			Elements: [][2]string{{"MaxMessageLengthBytes", strconv.Itoa(limit)}}}
	}
	return bytes.TrimPrefix(data, []byte("\uFEFF")), nil
}

// parser turns tokens into nodes.
type parser struct{ d *xml.Decoder }

// document parses one root element with nothing but white space, comments and
// the XML declaration around it.
func (p *parser) document() (node, error) {
	var root node
	found := false
	for {
		tok, err := p.d.Token()
		if err == io.EOF && found {
			return root, nil
		}
		if err != nil {
			return node{}, unreadable(err, "the body is empty")
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if found {
				return node{}, malformed("more than one root element")
			}
			found = true
			if root, err = p.element(t, 1); err != nil {
				return node{}, err
			}
		default:
			if e := between(tok, !found); e != nil {
				return node{}, e
			}
		}
	}
}

// between checks a token outside of text: white space and comments may stand
// there, and the declaration where prolog is set. A DOCTYPE never may.
func between(tok xml.Token, prolog bool) error {
	switch t := tok.(type) {
	case xml.CharData:
		if len(bytes.TrimSpace(t)) == 0 {
			return nil
		}
		return malformed("text between elements")
	case xml.Comment:
		return nil
	case xml.ProcInst:
		if t.Target == "xml" && prolog {
			return nil
		}
	}
	return malformed("document type declarations and processing instructions are not allowed")
}

// element parses the element that start opens.
func (p *parser) element(start xml.StartElement, depth int) (node, error) {
	n := node{name: start.Name.Local}
	if depth > maxDepth {
		return n, malformed("elements nest too deep")
	}
	if ns := start.Name.Space; ns != "" && ns != Namespace {
		return n, malformed("unknown namespace " + ns)
	}
	for _, a := range start.Attr {
		switch {
		case a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns":
		case a.Name.Space == namespaceXSI && a.Name.Local == "type":
			n.kind = a.Value
		case a.Name.Space == namespaceXSI && a.Name.Local == "schemaLocation":
		default:
			return n, malformed("unknown attribute " + a.Name.Local)
		}
	}
	var text strings.Builder
	for {
		tok, err := p.d.Token()
		if err != nil {
			return n, unreadable(err, "the body ends in the element "+n.name)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			child, err := p.element(t, depth+1)
			if err != nil {
				return n, err
			}
			n.children = append(n.children, child)
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			n.text = text.String()
			if len(n.children) > 0 && strings.TrimSpace(n.text) != "" {
				return n, malformed("text between elements")
			}
			return n, nil
		default:
			if e := between(tok, false); e != nil {
				return n, e
			}
		}
	}
}

// field says what an element may hold: a leaf with text, or a list.
type field struct {
	name string
	leaf *string           // set to the text; once
	each func(*node) error // or called for the element
	many bool              // the element may repeat
	seen bool
}

// take distributes the children of n to fields. A child without a field, one
// that may not repeat and does, and a leaf with children are malformed.
func (n *node) take(fields ...field) error {
	for i := range n.children {
		c := &n.children[i]
		f := find(fields, c.name)
		switch {
		case f == nil:
			return malformed("unknown element " + c.name + " in " + n.name)
		case f.seen && !f.many:
			return malformed("element " + c.name + " is repeated")
		case f.each != nil:
			if err := f.each(c); err != nil {
				return err
			}
		case len(c.children) > 0:
			return malformed("element " + c.name + " holds elements")
		default:
			*f.leaf = c.text
		}
		f.seen = true
	}
	if len(n.children) == 0 && strings.TrimSpace(n.text) != "" {
		return malformed("text in " + n.name)
	}
	return nil
}

func find(fields []field, name string) *field {
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	return nil
}
