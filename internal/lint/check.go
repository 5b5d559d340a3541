package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"strconv"
	"strings"
)

// Check returns what is wrong with the packages, one line each.
func (r *Rules) Check(pkgs []*Package) []string {
	var out []string
	for _, p := range pkgs {
		c := &checker{rules: r, pkg: p, report: func(file *File, line int, format string, args ...any) {
			out = append(out, fmt.Sprintf("%s:%d: %s", file.Name, line, fmt.Sprintf(format, args...)))
		}}
		c.checkPackage()
	}
	return out
}

type checker struct {
	rules  *Rules
	pkg    *Package
	report func(f *File, line int, format string, args ...any)
}

func (c *checker) checkPackage() {
	source := false
	for _, f := range c.pkg.Files {
		c.checkSize(f)
		if !f.Test {
			source = true
			c.checkImports(f)
		}
	}
	if !source {
		return
	}
	if _, ok := c.rules.Layer(c.pkg.Path); !ok {
		c.report(c.pkg.Files[0], 1, "package %s is in no layer of layers.txt", c.pkg.Path)
	}
	c.checkComment()
	c.checkState()
	if anyMatch(c.rules.pure, c.pkg.Path) {
		for _, f := range c.pkg.Files {
			if !f.Test && !f.Generated {
				c.checkCalls(f)
			}
		}
	}
}

func (c *checker) checkSize(f *File) {
	if f.Generated {
		return
	}
	if f.Lines > MaxFile {
		c.report(f, MaxFile, "the file has %d lines, at most %d are allowed", f.Lines, MaxFile)
	}
	for _, d := range f.AST.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		first, last := f.line(fn), f.fset.Position(fn.End()).Line
		if n := last - first + 1; n > MaxFunction {
			c.report(f, first, "function %s has %d lines, at most %d are allowed", fn.Name.Name, n, MaxFunction)
		}
		if fn.Name.Name == "init" && fn.Recv == nil {
			c.report(f, first, "init runs unseen: do it where it is needed")
		}
	}
}

func (c *checker) checkImports(f *File) {
	mine, _ := c.rules.Layer(c.pkg.Path)
	support := anyMatch(c.rules.support, c.pkg.Path)
	pure := anyMatch(c.rules.pure, c.pkg.Path)
	for _, i := range f.AST.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue
		}
		if why, ok := c.rules.deny[name]; ok && pure && !f.Generated {
			c.report(f, f.line(i), "pure package imports %s: %s", name, why)
		}
		local, ok := strings.CutPrefix(name, c.rules.Module+"/")
		if !ok {
			continue
		}
		if theirs, ok := c.rules.Layer(local); ok && theirs > mine && !support {
			c.report(f, f.line(i), "layer %d imports %s of layer %d", mine, local, theirs)
		}
		if anyMatch(c.rules.support, local) && !support {
			c.report(f, f.line(i), "%s is for tests only", local)
		}
	}
}

// checkComment wants one package comment, that says what the package is.
func (c *checker) checkComment() {
	var found []*File
	generated := true
	for _, f := range c.pkg.Files {
		if f.Test || f.Generated {
			continue
		}
		generated = false
		if f.AST.Doc != nil {
			found = append(found, f)
		}
	}
	if generated {
		return
	}
	if len(found) != 1 {
		c.report(c.pkg.Files[0], 1, "package %s has %d package comments, want one", c.pkg.Path, len(found))
		return
	}
	f := found[0]
	name := f.AST.Name.Name
	text := f.AST.Doc.Text()
	if name == "main" {
		if !strings.HasPrefix(text, "Command ") {
			c.report(f, 1, `the comment of a command begins with "Command"`)
		}
	} else if !strings.HasPrefix(text, "Package "+name+" ") {
		c.report(f, 1, `the package comment does not begin with "Package %s"`, name)
	}
}

// checkState finds assignments to variables of the package: two servers in one
// process would share them.
func (c *checker) checkState() {
	vars := map[string]bool{}
	decls := map[*ast.ValueSpec]bool{}
	for _, f := range c.pkg.Files {
		if f.Test || f.Generated {
			continue
		}
		for _, d := range f.AST.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				decls[v] = true
				for _, n := range v.Names {
					vars[n.Name] = n.Name != "_"
				}
			}
		}
	}
	for _, f := range c.pkg.Files {
		if !f.Test && !f.Generated {
			ast.Inspect(f.AST, func(n ast.Node) bool { c.checkAssign(f, n, vars, decls); return true })
		}
	}
}

func (c *checker) checkAssign(f *File, n ast.Node, vars map[string]bool, decls map[*ast.ValueSpec]bool) {
	var targets []ast.Expr
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			targets = n.Lhs
		}
	case *ast.IncDecStmt:
		targets = []ast.Expr{n.X}
	}
	for _, t := range targets {
		id := root(t)
		if id == nil || !vars[id.Name] {
			continue
		}
		if id.Obj != nil { // found in this file: the package's variable, or one of its own
			spec, ok := id.Obj.Decl.(*ast.ValueSpec)
			if !ok || !decls[spec] {
				continue
			}
		}
		c.report(f, f.line(n), "%s is a variable of the package and changes: put it into a value that its user makes", id.Name)
	}
}

// root returns x of x, x.f, x[i] and *x.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// checkCalls finds uses like time.Now in a pure package.
func (c *checker) checkCalls(f *File) {
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			c.report(f, f.line(g), "pure package starts a goroutine")
		}
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && x.Obj == nil {
			if why, denied := c.rules.calls[x.Name+"."+s.Sel.Name]; denied {
				c.report(f, f.line(s), "pure package uses %s.%s: %s", x.Name, s.Sel.Name, why)
			}
		}
		return true
	})
}
