package access_test

import (
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
)

const (
	read    = o3v1.Permission_PERMISSION_READ
	write   = o3v1.Permission_PERMISSION_WRITE
	list    = o3v1.Permission_PERMISSION_LIST
	create  = o3v1.Permission_PERMISSION_CREATE
	remove  = o3v1.Permission_PERMISSION_DELETE
	control = o3v1.Permission_PERMISSION_ALL
)

func grant(who string, what ...o3v1.Permission) access.Resource {
	return access.Resource{Owner: "owner", Grants: []*o3v1.Grant{{Grantee: who, Permissions: what}}}
}

// TestAllowed is the decision table: each row names exactly what is allowed.
func TestAllowed(t *testing.T) {
	all := []o3v1.Permission{read, write, list, create, remove, control}
	var (
		root   = access.Principal{User: "root", Role: access.RoleAdmin}
		bob    = access.Principal{User: "bob", Role: access.RoleUser}
		nobody = access.Principal{}
		bare   = access.Resource{Owner: "owner"}
	)
	for name, c := range map[string]struct {
		who   access.Principal
		chain []access.Resource
		want  []o3v1.Permission
	}{
		"an admin may do everything":               {root, []access.Resource{bare}, all},
		"an admin may do everything on nothing":    {root, nil, all},
		"the system may do everything":             {access.System, []access.Resource{bare}, all},
		"a stranger may do nothing":                {bob, []access.Resource{bare}, nil},
		"nobody may do nothing":                    {nobody, []access.Resource{bare}, nil},
		"nobody owns nothing":                      {nobody, []access.Resource{{}}, nil},
		"an unknown role is a user's":              {access.Principal{User: "bob", Role: "Admin"}, []access.Resource{bare}, nil},
		"the owner of the last":                    {bob, []access.Resource{bare, {Owner: "bob"}}, all},
		"the owner of the first":                   {bob, []access.Resource{{Owner: "bob"}, bare}, all},
		"a grant of one permission":                {bob, []access.Resource{grant("bob", read)}, []o3v1.Permission{read}},
		"a grant of two":                           {bob, []access.Resource{grant("bob", read, list)}, []o3v1.Permission{read, list}},
		"a grant on a parent":                      {bob, []access.Resource{grant("bob", list), bare}, []o3v1.Permission{list}},
		"grants on both":                           {bob, []access.Resource{grant("bob", list), grant("bob", read)}, []o3v1.Permission{list, read}},
		"writing is deleting too":                  {bob, []access.Resource{grant("bob", write)}, []o3v1.Permission{write, remove}},
		"deleting is not writing":                  {bob, []access.Resource{grant("bob", remove)}, []o3v1.Permission{remove}},
		"all is all":                               {bob, []access.Resource{grant("bob", control)}, all},
		"all the others are not all":               {bob, []access.Resource{grant("bob", read, write, list, create, remove)}, all[:5]},
		"a grant to somebody else":                 {bob, []access.Resource{grant("eve", control)}, nil},
		"names are compared whole":                 {bob, []access.Resource{grant("bo", control), grant("bobby", control), grant("Bob", control)}, nil},
		"a grant to anyone":                        {bob, []access.Resource{grant(access.Anyone, read)}, []o3v1.Permission{read}},
		"a grant to anyone, nobody":                {nobody, []access.Resource{grant(access.Anyone, read)}, []o3v1.Permission{read}},
		"a grant to users":                         {bob, []access.Resource{grant(access.SignedIn, list)}, []o3v1.Permission{list}},
		"a grant to users, nobody":                 {nobody, []access.Resource{grant(access.SignedIn, list)}, nil},
		"a grant to an empty name is to nobody":    {nobody, []access.Resource{grant("", control)}, nil},
		"a grant of nothing":                       {bob, []access.Resource{grant("bob")}, nil},
		"a grant of something unknown is not all":  {bob, []access.Resource{grant("bob", 99)}, nil},
		"a grant of the unspecified is of nothing": {bob, []access.Resource{grant("bob", 0)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			want := map[o3v1.Permission]bool{}
			for _, p := range c.want {
				want[p] = true
			}
			for _, p := range all {
				if got := access.Allowed(c.who, p, c.chain...); got != want[p] {
					t.Errorf("%v: allowed is %v", p, got)
				}
			}
		})
	}
}

func TestContext(t *testing.T) {
	if p := access.FromContext(t.Context()); !p.Anonymous() || p.Admin() {
		t.Errorf("a bare context has %+v", p)
	}
	bob := access.Principal{User: "bob", AccessKey: "AK", Role: access.RoleUser}
	if p := access.FromContext(access.NewContext(t.Context(), bob)); p != bob {
		t.Errorf("%+v", p)
	}
}
