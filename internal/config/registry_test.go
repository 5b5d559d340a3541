package config

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

func TestReference(t *testing.T) {
	const path = "../../docs/configuration.md"
	if *update {
		if err := os.WriteFile(path, []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != Reference() {
		t.Errorf("%s is not what the registry says (%v): run go generate ./internal/config", path, err)
	}
}

// TestRegistry checks what the rows promise each other.
func TestRegistry(t *testing.T) {
	form := regexp.MustCompile(`^(ozone|o3\.root)(\.[a-z0-9][a-z0-9-]*)+$`)
	names, envs, fields := map[string]bool{}, map[string]string{}, map[any]string{}
	var c Config
	for _, k := range Keys() {
		if !form.MatchString(k.Name) || names[k.Name] {
			t.Errorf("%s: the name is malformed or there twice", k.Name)
		}
		if twin := envs[k.Env()]; twin != "" {
			t.Errorf("%s and %s have the same variable", k.Name, twin)
		}
		if twin := fields[k.field(&c)]; twin != "" {
			t.Errorf("%s and %s fill the same field", k.Name, twin)
		}
		if !strings.HasSuffix(k.Doc, ".") || strings.Contains(k.Doc, "\n") {
			t.Errorf("%s: %q is not a sentence", k.Name, k.Doc)
		}
		if !regexp.MustCompile(`^[a-z/]+\.Test[A-Z]\w+$`).MatchString(k.ShownBy) {
			t.Errorf("%s: ShownBy %q is not package.TestName", k.Name, k.ShownBy)
		}
		if (k.Type == Enum) != (len(k.Values) > 0) {
			t.Errorf("%s: Values belong to a choice", k.Name)
		}
		if ordered := k.Type == Duration || k.Type == Size || k.Type == Int || k.Type == Float; ordered != (k.Min != "" && k.Max != "") {
			t.Errorf("%s: numbers have bounds, others have not", k.Name)
		}
		for _, bound := range []string{k.Min, k.Max} {
			if bound == "" {
				continue
			}
			if _, err := k.parse(bound); err != nil {
				t.Errorf("%s: bound %s: %v", k.Name, bound, err)
			}
		}
		if ref, _, ok := strings.Cut(strings.TrimPrefix(k.Default, "${"), "}"); ok && !names[ref] {
			t.Errorf("%s: its default names %s, which does not stand before it", k.Name, ref)
		}
		names[k.Name], envs[k.Env()], fields[k.field(&c)] = true, k.Name, k.Name
	}
	if n := fieldCount(reflect.TypeFor[Config]()); n != len(names) {
		t.Errorf("Config has %d fields for %d keys", n, len(names))
	}
}

func fieldCount(t reflect.Type) int {
	n := 0
	for f := range t.Fields() {
		switch {
		case !f.IsExported():
		case f.Type.Kind() == reflect.Struct:
			n += fieldCount(f.Type)
		default:
			n++
		}
	}
	return n
}

// TestEveryKeyIsRead gives each key a value of its own and finds it in Config
// and in no other field.
func TestEveryKeyIsRead(t *testing.T) {
	other := map[string]string{
		"ozone.s3g.tls.cert": "a.crt", "ozone.s3g.tls.key": "a.key", "ozone.s3g.tls.client.ca": "ca.crt",
		"o3.root.access.key": "anaccesskey", "o3.root.secret.key": "a-secret-key", "ozone.om.nodes": "om1=h:1",
		"ozone.om.node.id": "om9", "ozone.tracing.endpoint": "http://h:1",
		"ozone.om.snapshot.compression": "zstd:3", "ozone.lifecycle.service.work.window": "22:00-06:00", "ozone.recon.alert.webhook.url": "http://h:1/hook",
		"ozone.server.roles": "om", "ozone.recon.om.address": "http://h:1", "ozone.recon.om.access.key": "anaccesskey", "ozone.recon.om.secret.key": "a-secret-key",
		"ozone.om.image.s3.access.key": "anaccesskey", "ozone.om.image.s3.secret.key": "a-secret-key", "ozone.om.image.export.target": "/backup",
	}
	for _, k := range Keys() {
		value, ok := other[k.Name]
		switch {
		case ok:
		case k.Type == Bool:
			value = map[string]string{"true": "false", "false": "true"}[k.Default]
		case k.Type == Enum:
			value = k.Values[slices.IndexFunc(k.Values, func(v string) bool { return v != k.Default })]
		case k.Type == Address:
			value = "127.0.0.1:1"
		case k.Max != "" && k.Max != k.Default:
			value = k.Max
		case k.Max != "":
			value = k.Min
		default:
			value = "another"
		}
		c, changed := Default(), Default()
		if err := k.set(changed, value); err != nil {
			t.Errorf("%s: %v", k.Name, err)
			continue
		}
		for _, each := range Keys() {
			if same := each.format(c) == each.format(changed); same != (each.Name != k.Name) {
				t.Errorf("setting %s to %s: %s became %q", k.Name, value, each.Name, each.format(changed))
			}
		}
	}
}

// TestEachKeyIsShown finds the test that each key names, and the key's name in
// its file.
func TestEachKeyIsShown(t *testing.T) {
	type where struct{ pkg, name string }
	tests := map[where]string{} // the text of the file
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), "../"))
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				tests[where{pkg, f.Name.Name}] = string(text)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Keys() {
		pkg, name, _ := strings.Cut(k.ShownBy, ".")
		text, ok := tests[where{pkg, name}]
		if !ok {
			t.Errorf("%s: there is no %s", k.Name, k.ShownBy)
		} else if !strings.Contains(text, `"`+k.Name) && !strings.Contains(text, k.Name+"=") {
			t.Errorf("%s: the file of %s does not name it", k.Name, k.ShownBy)
		}
	}
}
