package ns

import (
	"reflect"
	"strings"
	"testing"

	"o3/internal/errs"
)

// wantName checks whether a name is taken, and that a refusal says why.
func wantName(t *testing.T, what string, err error, ok bool) {
	t.Helper()
	if ok && err != nil {
		t.Errorf("%s: refused: %v", what, err)
	}
	if !ok && (errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), "m")) {
		t.Errorf("%s: got %v, want it refused as invalid", what, err)
	}
}

func TestCheckBucketName(t *testing.T) {
	for name, ok := range map[string]bool{
		"abc": true, "a-b": true, "a.b": true, "123": true, "0a0": true, "a1.b2-c3": true, "a--b": true,
		strings.Repeat("a", 63): true, "1.2.3": true, "1.2.3.4.5": true, "1.2.3.a": true, "1.2.3.1234": true, "xn-a": true, "my.bucket.name": true,
		"": false, "a": false, "ab": false, strings.Repeat("a", 64): false,
		"Abc": false, "aBc": false, "a_b": false, "a b": false, "a/b": false, "äbc": false, "a\x00b": false, "abc\n": false, "a*b": false,
		"-ab": false, "ab-": false, ".ab": false, "ab.": false, "a..b": false, "a.-b": false, "a-.b": false,
		"10.0.0.1": false, "999.999.999.999": false, "xn--abc": false, "abc-s3alias": false, "abc--ol-s3": false,
	} {
		wantName(t, "bucket "+name, CheckBucketName("bucket", name), ok)
	}
}

func TestCheckKeyName(t *testing.T) {
	for name, want := range map[string]struct{ flat, tree bool }{
		"a":                       {true, true},
		"a/b/c":                   {true, true},
		"a/":                      {true, true},
		"a/b/":                    {true, true},
		"ä/€/😀":                   {true, true},
		"a b+c%20?&=#":            {true, true},
		"\t\r\n":                  {true, true},
		"...":                     {true, true},
		".a/..b":                  {true, true},
		".snapshots":              {true, true},
		"a/.snapshot":             {true, true},
		"a/.snapshot/b":           {true, true},
		strings.Repeat("a", 1024): {true, true},
		strings.Repeat("ä", 512):  {true, true},
		"/":                       {true, false},
		"//":                      {true, false},
		"/a":                      {true, false},
		"a//":                     {true, false},
		"a//b":                    {true, false},
		".":                       {true, false},
		"..":                      {true, false},
		"./a":                     {true, false},
		"a/./b":                   {true, false},
		"a/..":                    {true, false},
		"a/../":                   {true, false},
		"a\x00b":                  {true, false},
		"":                        {false, false},
		strings.Repeat("a", 1025): {false, false},
		strings.Repeat("ä", 513):  {false, false},
		"a\xff":                   {false, false},
		"\xc3":                    {false, false},
		".snapshot":               {false, false},
		".snapshot/":              {false, false},
		".snapshot/s/k":           {false, false},
	} {
		wantName(t, "flat "+name, CheckKeyName(ObjectStore, name), want.flat)
		wantName(t, "tree "+name, CheckKeyName(FileSystem, name), want.tree)
	}
}

func TestCheckUserName(t *testing.T) {
	for name, ok := range map[string]bool{
		"root": true, "bob.smith@example.com": true, "A-b_c+d=e": true, "1": true, strings.Repeat("u", 64): true,
		"": false, strings.Repeat("u", 65): false, "@users": false, "a b": false, "a/b": false, "*": false, "ä": false, "a\x00": false, "a:b": false,
	} {
		wantName(t, "user "+name, CheckUserName(name), ok)
	}
}

// TestLongNamesAreCut: an error does not repeat a kilobyte.
func TestLongNamesAreCut(t *testing.T) {
	if n := len(CheckKeyName(ObjectStore, strings.Repeat("ä", 5000)).Error()); n > 300 {
		t.Errorf("the error has %d bytes", n)
	}
}

func TestCheckSnapshotName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "A": true, "0": true, "_x": true, "s20231114-221320.000": true, "Weekly-1.2_x": true, "a..b": true, "a.": true, strings.Repeat("x", 63): true,
		"": false, strings.Repeat("x", 64): false, ".": false, "..": false, ".a": false, "-a": false, "a/b": false, "a b": false, "é": false,
		"a\x00": false, "a\n": false, "a:b": false, "a%20b": false, "*": false,
	} {
		wantName(t, "snapshot "+name, CheckSnapshotName(name), ok)
	}
}

func TestCutSnapshot(t *testing.T) {
	for path, want := range map[string]struct {
		name, rest string
		ok         bool
	}{
		".snapshot/s/a/b": {"s", "a/b", true}, ".snapshot/s/": {"s", "", true}, ".snapshot/s//a": {"s", "/a", true},
		".snapshot/s/.snapshot/t/k": {"s", ".snapshot/t/k", true},
		".snapshot/s":               {"s", "", false}, ".snapshot": {}, ".snapshot/": {}, ".snapshot//k": {"", "k", false},
		"a/.snapshot/s/k": {}, ".snapshots/s/k": {}, "": {},
	} {
		name, rest, ok := CutSnapshot(path)
		if ok != want.ok || ok && (name != want.name || rest != want.rest) {
			t.Errorf("%q: %q, %q, %v", path, name, rest, ok)
		}
	}
}

func TestSplitPath(t *testing.T) {
	for path, want := range map[string]struct {
		parents []string
		name    string
		dir     bool
	}{
		"a":      {[]string{}, "a", false},
		"a/":     {[]string{}, "a", true},
		"a/b":    {[]string{"a"}, "b", false},
		"a/b/c/": {[]string{"a", "b"}, "c", true},
	} {
		parents, name, dir := SplitPath(path)
		if !reflect.DeepEqual(parents, want.parents) || name != want.name || dir != want.dir {
			t.Errorf("%q: %q %q %v", path, parents, name, dir)
		}
	}
}

func TestLayouts(t *testing.T) {
	for _, l := range []Layout{ObjectStore, FileSystem} {
		if got, ok := ParseLayout(l.String()); !ok || got != l {
			t.Errorf("%v is read as %v", l, got)
		}
	}
	for _, s := range []string{"", "obs", "LEGACY", "UNKNOWN_LAYOUT"} {
		if l, ok := ParseLayout(s); ok {
			t.Errorf("%q is read as %v", s, l)
		}
	}
	if Layout(9).String() != "UNKNOWN_LAYOUT" {
		t.Error(Layout(9))
	}
}
