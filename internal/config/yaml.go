package config

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 256 << 10

// file takes the keys of a YAML file: dotted names, nested maps, or both.
func (l *loader) file(path string) {
	if path == "" {
		return
	}
	from := Source{FromFile, path}
	st, err := os.Stat(path)
	if err == nil && (!st.Mode().IsRegular() || st.Size() > maxFile) {
		err = fmt.Errorf("%s is not a file of at most %s", path, FormatSize(maxFile))
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		l.problem(Problem{Source: from, Wrong: "cannot read the configuration file: " + err.Error()})
		return
	}
	tree, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		l.problem(Problem{Source: from, Wrong: "not YAML: " + yamlError(err)})
		return
	}
	y := yamlFile{loader: l, path: path, seen: map[string]Source{}}
	for i, doc := range tree.Docs {
		if i > 0 && doc.Body != nil {
			y.bad("", doc.Body, "the file has more than one document", "one")
			break
		}
		if doc.Body != nil && doc.Body.Type() != ast.NullType && doc.Body.Type() != ast.CommentType {
			y.walk("", doc.Body)
		}
	}
}

func yamlError(err error) string {
	var y yaml.Error
	if !errors.As(err, &y) {
		return err.Error()
	}
	return fmt.Sprintf("%s in line %d", y.GetMessage(), y.GetToken().Position.Line)
}

type yamlFile struct {
	*loader
	path string
	seen map[string]Source
}

func (y *yamlFile) at(n ast.Node) Source {
	return Source{FromFile, fmt.Sprintf("%s:%d", y.path, n.GetToken().Position.Line)}
}

func (y *yamlFile) bad(name string, n ast.Node, wrong, allowed string) {
	k, _ := y.key(name)
	y.problem(Problem{Key: name, Value: mask(k, strings.TrimSpace(n.String())), Source: y.at(n), Wrong: wrong, Allowed: allowed})
}

// walk takes the values below the name prefix.
func (y *yamlFile) walk(prefix string, n ast.Node) {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			y.entry(prefix, v)
		}
	case *ast.MappingValueNode:
		y.entry(prefix, n)
	case *ast.SequenceNode:
		if prefix == "" {
			y.bad("", n, "the file is not a map of keys", "key: value")
			return
		}
		y.list(prefix, n)
	default:
		text, ok := scalar(n)
		if prefix == "" {
			y.bad("", n, "the file is not a map of keys", "key: value")
		} else if !ok {
			y.bad(prefix, n, "anchors, aliases and tags are not understood", "a plain value")
		} else {
			y.value(prefix, text, n)
		}
	}
}

func (y *yamlFile) entry(prefix string, v *ast.MappingValueNode) {
	if _, ok := v.Key.(*ast.StringNode); !ok {
		y.bad(prefix, v.Key, "not the name of a key", "key: value")
		return
	}
	name := strings.TrimSpace(v.Key.GetToken().Value)
	if prefix != "" {
		name = prefix + "." + name
	}
	if m, ok := v.Value.(*ast.MappingNode); ok && len(m.Values) == 0 {
		y.value(name, "", v.Key)
		return
	}
	if scalarNull(v.Value) {
		y.value(name, "", v.Key)
		return
	}
	y.walk(name, v.Value)
}

// list takes a YAML list for keys that are lists.
func (y *yamlFile) list(name string, n *ast.SequenceNode) {
	if k, known := y.key(name); known && k.Type != List {
		y.bad(name, n, "a list", k.Allowed())
		return
	}
	var parts []string
	for _, v := range n.Values {
		text, ok := scalar(v)
		if !ok || strings.Contains(text, ",") {
			y.bad(name, v, "an element of the list is not a plain text without commas", "")
			return
		}
		parts = append(parts, text)
	}
	y.value(name, strings.Join(parts, ","), n)
}

func (y *yamlFile) value(name, text string, n ast.Node) {
	from := y.at(n)
	if first, twice := y.seen[name]; twice {
		k, _ := y.key(name)
		y.problem(Problem{Key: name, Value: mask(k, text), Source: from, Wrong: "given before in " + first.Where, Allowed: "once"})
		return
	}
	y.seen[name] = from
	y.give(name, text, from, "")
}

func scalarNull(n ast.Node) bool { return n == nil || n.Type() == ast.NullType }

// scalar returns the text of a plain value, numbers as they are written.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.NullNode:
		return "", true
	}
	return "", false
}
