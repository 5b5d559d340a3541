package access

import o3v1 "o3/api/o3/v1"

// Resource is a volume, bucket or key as far as access goes.
type Resource struct {
	Owner  string
	Grants []*o3v1.Grant
}

// Allowed reports whether p has permission on the last of chain: as an admin,
// as the owner of any resource in the chain (volume, bucket, key), or by a
// grant on any of them.
func Allowed(p Principal, permission o3v1.Permission, chain ...Resource) bool {
	if p.Admin() {
		return true
	}
	for _, r := range chain {
		if !p.Anonymous() && r.Owner == p.User {
			return true
		}
		for _, g := range r.Grants {
			if names(g, p) && grants(g, permission) {
				return true
			}
		}
	}
	return false
}

func grants(g *o3v1.Grant, want o3v1.Permission) bool {
	for _, have := range g.Permissions {
		switch {
		case have == want, have == o3v1.Permission_PERMISSION_ALL:
			return true
		case have == o3v1.Permission_PERMISSION_WRITE && want == o3v1.Permission_PERMISSION_DELETE:
			return true
		}
	}
	return false
}

func names(g *o3v1.Grant, p Principal) bool {
	if g.Grantee == Anyone {
		return true
	}
	return !p.Anonymous() && (g.Grantee == SignedIn || g.Grantee == p.User)
}
