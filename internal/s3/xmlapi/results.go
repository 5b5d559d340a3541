package xmlapi

// ErrorDocument is the answer to a refused request. It has no namespace.
type ErrorDocument struct {
	Code      string
	Message   string
	Resource  string
	RequestID string
	HostID    string
	Elements  [][2]string // further elements, after Message
}

// AppendXML implements Document.
func (e *ErrorDocument) AppendXML(b []byte) []byte {
	b = append(b, Header+"<Error>"...)
	b = text(b, "Code", e.Code)
	b = text(b, "Message", e.Message)
	for _, x := range e.Elements {
		b = text(b, x[0], x[1])
	}
	b = optional(b, "Resource", e.Resource)
	b = text(b, "RequestId", e.RequestID)
	b = text(b, "HostId", e.HostID)
	return append(b, "</Error>"...)
}

// Location is LocationConstraint, the answer to GetBucketLocation.
type Location struct{ Region string } // "" is us-east-1

// AppendXML implements Document.
func (l *Location) AppendXML(b []byte) []byte {
	b = begin(b, "LocationConstraint")
	b = AppendEscaped(b, l.Region)
	return shut(b, "LocationConstraint")
}

// Deleted is a key that DeleteObjects removed.
type Deleted struct {
	Key                   string
	VersionID             string
	DeleteMarker          bool
	DeleteMarkerVersionID string
}

// DeleteError is a key that DeleteObjects did not remove.
type DeleteError struct{ Key, VersionID, Code, Message string }

// DeleteResult is the answer to DeleteObjects.
type DeleteResult struct {
	Deleted []Deleted // empty when the request was quiet
	Errors  []DeleteError
}

// AppendXML implements Document.
func (r *DeleteResult) AppendXML(b []byte) []byte {
	b = begin(b, "DeleteResult")
	for _, d := range r.Deleted {
		b = open(b, "Deleted")
		b = text(b, "Key", d.Key)
		b = optional(b, "VersionId", d.VersionID)
		if d.DeleteMarker {
			b = boolean(b, "DeleteMarker", true)
		}
		b = optional(b, "DeleteMarkerVersionId", d.DeleteMarkerVersionID)
		b = shut(b, "Deleted")
	}
	for _, e := range r.Errors {
		b = open(b, "Error")
		b = text(b, "Key", e.Key)
		b = optional(b, "VersionId", e.VersionID)
		b = text(b, "Code", e.Code)
		b = text(b, "Message", e.Message)
		b = shut(b, "Error")
	}
	return shut(b, "DeleteResult")
}

// Tag is a name and a value of a tag set.
type Tag struct{ Key, Value string }

// Tagging is a tag set: an answer, and the body of PutObjectTagging.
type Tagging struct{ Tags []Tag }

// AppendXML implements Document.
func (t *Tagging) AppendXML(b []byte) []byte {
	b = begin(b, "Tagging")
	b = open(b, "TagSet")
	for _, x := range t.Tags {
		b = open(b, "Tag")
		b = text(b, "Key", x.Key)
		b = text(b, "Value", x.Value)
		b = shut(b, "Tag")
	}
	b = shut(b, "TagSet")
	return shut(b, "Tagging")
}

// Grantee is who holds a grant: a canonical user (ID), a group (URI), or a
// user by e-mail address, which only a request may hold.
type Grantee struct{ ID, DisplayName, URI, EmailAddress string }

// Grant is one entry of an ACL.
type Grant struct {
	Grantee    Grantee
	Permission string // FULL_CONTROL, READ, WRITE, READ_ACP, WRITE_ACP
}

// AccessControlPolicy is an ACL: an answer, and the body of PutObjectAcl.
type AccessControlPolicy struct {
	Owner  Owner
	Grants []Grant
}

// OwnerFullControl is the ACL of everything that has no other.
func OwnerFullControl(o Owner) *AccessControlPolicy {
	return &AccessControlPolicy{o, []Grant{{Grantee{ID: o.ID, DisplayName: o.DisplayName}, "FULL_CONTROL"}}}
}

const namespaceXSI = "http://www.w3.org/2001/XMLSchema-instance"

// AppendXML implements Document.
func (p *AccessControlPolicy) AppendXML(b []byte) []byte {
	b = begin(b, "AccessControlPolicy")
	b = p.Owner.append(b, "Owner")
	b = open(b, "AccessControlList")
	for _, g := range p.Grants {
		b = open(b, "Grant")
		b = append(b, `<Grantee xmlns:xsi="`+namespaceXSI+`" xsi:type="`...)
		if g.Grantee.URI != "" {
			b = append(b, `Group">`...)
			b = text(b, "URI", g.Grantee.URI)
		} else {
			b = append(b, `CanonicalUser">`...)
			b = text(b, "ID", g.Grantee.ID)
			b = optional(b, "DisplayName", g.Grantee.DisplayName)
		}
		b = shut(b, "Grantee")
		b = text(b, "Permission", g.Permission)
		b = shut(b, "Grant")
	}
	b = shut(b, "AccessControlList")
	return shut(b, "AccessControlPolicy")
}

// Versioning is VersioningConfiguration: an answer, and the body of
// PutBucketVersioning.
type Versioning struct {
	Status    string // "", Enabled or Suspended
	MFADelete string // "", Enabled or Disabled
}

// AppendXML implements Document.
func (v *Versioning) AppendXML(b []byte) []byte {
	b = begin(b, "VersioningConfiguration")
	b = optional(b, "Status", v.Status)
	b = optional(b, "MfaDelete", v.MFADelete)
	return shut(b, "VersioningConfiguration")
}
