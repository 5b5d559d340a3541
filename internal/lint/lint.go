// Package lint checks the shape of the tree: that imports point down the layers
// of layers.txt, that pure packages stay pure, that files and functions stay
// small, that every package says what it is. Its test parses the sources in
// process, so that Go's test cache sees what it read. It has no goroutines.
package lint

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Limits of a file and of a function, in lines.
const (
	MaxFile     = 800
	MaxFunction = 80
)

// Rules are what layers.txt says.
type Rules struct {
	Module  string
	layers  []layer
	support []string // packages that only tests import
	pure    []string
	deny    map[string]string // imports that pure packages may not have, and why
	calls   map[string]string // calls that pure packages may not make, and why
}

type layer struct {
	number  int
	pattern string
}

// ReadRules reads layers.txt.
func ReadRules(file string) (*Rules, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := &Rules{deny: map[string]string{}, calls: map[string]string{}}
	for s := bufio.NewScanner(f); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		key, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		if err := r.add(strings.TrimSpace(key), strings.TrimSpace(rest)); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", file, line, err)
		}
	}
	return r, nil
}

func (r *Rules) add(key, rest string) error {
	words := strings.Fields(rest)
	kind, arg, _ := strings.Cut(key, " ")
	switch kind {
	case "module":
		r.Module = rest
	case "layer":
		n, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		for _, p := range words {
			r.layers = append(r.layers, layer{n, p})
		}
	case "support":
		r.support = append(r.support, words...)
	case "pure":
		r.pure = append(r.pure, words...)
	case "deny":
		r.deny[arg] = rest
	case "call":
		r.calls[arg] = rest
	default:
		return fmt.Errorf("unknown rule %s", kind)
	}
	return nil
}

// matches reports whether a package falls under a pattern: itself, or with
// "/..." itself and all below it.
func matches(pattern, pkg string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == base || strings.HasPrefix(pkg, base+"/")
	}
	return pkg == pattern
}

func anyMatch(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

// Layer returns the layer of a package by its longest pattern.
func (r *Rules) Layer(pkg string) (n int, ok bool) {
	longest := -1
	for _, l := range r.layers {
		if matches(l.pattern, pkg) && len(l.pattern) > longest {
			n, ok, longest = l.number, true, len(l.pattern)
		}
	}
	return n, ok
}

// Package is a parsed directory.
type Package struct {
	Path  string // relative to the module
	Files []*File
}

// File is a parsed source file.
type File struct {
	Name      string // relative to the module's directory
	Lines     int
	Test      bool
	Generated bool
	AST       *ast.File
	fset      *token.FileSet
}

func (f *File) line(n ast.Node) int { return f.fset.Position(n.Pos()).Line }

// Load parses every Go file below root.
func Load(root string) ([]*Package, error) {
	byDir := map[string]*Package{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		name := d.Name()
		if d.IsDir() {
			if rel != "." && (name == "testdata" || name == "vendor" || name[0] == '.' || name[0] == '_') {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); rel != "." && err == nil {
				return fs.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parse(p, rel)
		if err != nil {
			return err
		}
		dir := path.Dir(rel)
		if byDir[dir] == nil {
			byDir[dir] = &Package{Path: dir}
		}
		byDir[dir].Files = append(byDir[dir].Files, f)
		return nil
	})
	var out []*Package
	for _, p := range byDir {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *Package) int { return strings.Compare(a.Path, b.Path) })
	return out, err
}

func parse(file, rel string) (*File, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	a, err := parser.ParseFile(fset, rel, source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	return &File{
		Name: rel, AST: a, fset: fset, Lines: strings.Count(string(source), "\n"),
		Test:      strings.HasSuffix(rel, "_test.go"),
		Generated: strings.HasSuffix(rel, ".pb.go") || strings.HasSuffix(rel, "connect.go"),
	}, nil
}
