package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

// path is /volume/bucket/key, or the beginning of it.
type path struct{ volume, bucket, key string }

func (p path) String() string { return "/" + p.volume + "/" + p.bucket + "/" + p.key }

// parsePath reads a path of exactly the given depth: 1 volume, 2 bucket, 3 key.
func parsePath(text string, depth int) (path, error) {
	form := []string{"", "/volume", "/volume/bucket", "/volume/bucket/key"}[depth]
	bad := func(why string) (path, error) {
		return path{}, errs.New(errs.Invalid, "path "+strconv.Quote(text), why+": it must be "+form)
	}
	parts := strings.SplitN(strings.TrimPrefix(text, "/"), "/", 3)
	if len(parts) > depth && strings.Trim(strings.Join(parts[depth:], ""), "/") == "" {
		parts = parts[:depth] // a slash behind a volume or bucket does no harm
	}
	names := []string{"volume", "bucket", "key"}
	for i := range depth {
		if i >= len(parts) || parts[i] == "" {
			return bad("there is no " + names[i])
		}
	}
	if len(parts) > depth {
		return bad("there is more than a " + names[depth-1])
	}
	parts = append(parts, "", "")
	return path{parts[0], parts[1], parts[2]}, nil
}

// Bytes is a size flag: a number with an optional unit.
type Bytes uint64

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.TrimSpace(strings.ToUpper(s[len(digits):]))
	shift, ok := map[string]uint{
		"": 0, "B": 0, "K": 10, "KB": 10, "KIB": 10, "M": 20, "MB": 20, "MIB": 20,
		"G": 30, "GB": 30, "GIB": 30, "T": 40, "TB": 40, "TIB": 40, "P": 50, "PB": 50, "PIB": 50,
	}[unit]
	n, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || n > ^uint64(0)>>shift {
		return fmt.Errorf("%q is not a size: write bytes, or 64KB, 10MB, 1GB, 2TB (powers of 1024); 0 is no limit", s)
	}
	*b = Bytes(n << shift)
	return nil
}

// permissionNames are the words of --grant.
func permissionNames() []string {
	var out []string
	for n, name := range o3v1.Permission_name {
		if n != 0 {
			out = append(out, strings.TrimPrefix(name, "PERMISSION_"))
		}
	}
	slices.Sort(out)
	return out
}

// Grants is the --grant flag: USER:PERMISSION[,PERMISSION...][,USER:...]
type Grants struct {
	set  bool
	list []*o3v1.Grant
}

// UnmarshalText implements encoding.TextUnmarshaler. It adds to what is there.
func (g *Grants) UnmarshalText(text []byte) error {
	g.set = true
	for _, one := range strings.Split(string(text), ",") {
		one = strings.TrimSpace(one)
		user, word, named := strings.Cut(one, ":")
		switch {
		case one == "":
			continue
		case !named && len(g.list) > 0:
			word = one // another permission of the same user
		case !named || user == "":
			return fmt.Errorf("%q is not a grant: write USER:PERMISSION, such as ann:READ,LIST; * is everybody; permissions are %s", one, strings.Join(permissionNames(), ", "))
		default:
			g.list = append(g.list, &o3v1.Grant{Grantee: user})
		}
		n, ok := o3v1.Permission_value["PERMISSION_"+strings.ToUpper(word)]
		if !ok || n == 0 {
			return fmt.Errorf("%q is not a permission; there are %s", word, strings.Join(permissionNames(), ", "))
		}
		last := g.list[len(g.list)-1]
		last.Permissions = append(last.Permissions, o3v1.Permission(n))
	}
	return nil
}

// showGrants writes grants as --grant takes them.
func showGrants(list []*o3v1.Grant) string {
	var out []string
	for _, g := range list {
		var words []string
		for _, p := range g.Permissions {
			words = append(words, strings.TrimPrefix(p.String(), "PERMISSION_"))
		}
		out = append(out, g.Grantee+":"+strings.Join(words, ","))
	}
	return strings.Join(out, ",")
}

// showPairs writes pairs as name=value.
func showPairs(list []*o3v1.Pair) string {
	var out []string
	for _, p := range list {
		out = append(out, p.Name+"="+p.Value)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// pairs turns a map flag into pairs, in order of the names.
func pairs(m map[string]string) []*o3v1.Pair {
	var out []*o3v1.Pair
	for name, value := range m {
		out = append(out, &o3v1.Pair{Name: name, Value: value})
	}
	slices.SortFunc(out, func(a, b *o3v1.Pair) int { return strings.Compare(a.Name, b.Name) })
	return out
}
