// Package access decides who may do what. It is pure: a decision is a function
// of the principal, the owners and grants of the resource and its parents, and
// the permission asked for.
package access

import "context"

// Role is what a user is to the whole store.
type Role string

// The roles.
const (
	RoleAdmin Role = "admin" // everything, and the admin acts
	RoleUser  Role = "user"  // what ownership and grants allow
)

// Anyone is the grantee that means everybody, signed or not; SignedIn means
// every user.
const (
	Anyone   = "*"
	SignedIn = "@users"
)

// Principal is who asks. The zero value is an anonymous client.
type Principal struct {
	User      string
	AccessKey string
	Role      Role
}

// System is the principal of the server's own services. No user can have its name.
var System = Principal{User: "@o3", Role: RoleAdmin}

// Anonymous reports whether nobody signed the request.
func (p Principal) Anonymous() bool { return p.User == "" }

// Admin reports whether p may do admin acts.
func (p Principal) Admin() bool { return p.Role == RoleAdmin }

type principalKey struct{}

// NewContext returns ctx carrying p.
func NewContext(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext returns the principal of ctx, anonymous when there is none.
func FromContext(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
