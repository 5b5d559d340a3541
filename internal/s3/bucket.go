package s3

import (
	"encoding/base64"
	"net/http"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/s3/xmlapi"
)

// listBuckets is ListBuckets: those that the caller owns.
func (g *Gateway) listBuckets(r *request) (reply, error) {
	if r.principal.Anonymous() {
		return reply{}, refusal("AccessDenied", codes["AccessDenied"].text)
	}
	limit, err := r.query.number("max-buckets", 0, 1, maxBucketsPage, false)
	if err != nil {
		return reply{}, err
	}
	after := ""
	if token := r.query.get("continuation-token"); token != "" {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || checkBucketName(string(raw)) != nil {
			return reply{}, argument("continuation-token", token, "The continuation token provided is incorrect")
		}
		after = string(raw)
	}
	out := &xmlapi.ListBuckets{Owner: owner(r.principal.User), Prefix: r.query.get("prefix")}
	if region := r.query.get("bucket-region"); region != "" && region != g.opts.Region {
		return reply{status: http.StatusOK, document: out}, nil
	}
	for {
		page := uint32(maxBucketsPage)
		if limit > 0 {
			page = uint32(limit - len(out.Buckets))
		}
		got, err := g.ns.ListBuckets(r.ctx, &o3v1.ListBucketsRequest{
			Volume: r.volume, Prefix: out.Prefix, StartAfter: after, Limit: page, Owned: true,
		})
		if err != nil {
			return reply{}, err
		}
		for _, b := range got.Buckets {
			out.Buckets = append(out.Buckets, xmlapi.Bucket{Name: b.Name, Created: instant(b.CreatedMs), Region: g.opts.Region})
			after = b.Name
		}
		if !got.Truncated || len(got.Buckets) == 0 {
			break
		}
		if limit > 0 && len(out.Buckets) >= limit {
			out.ContinuationToken = base64.RawURLEncoding.EncodeToString([]byte(after))
			break
		}
	}
	return reply{status: http.StatusOK, document: out}, nil
}

// createBucket is CreateBucket.
func (g *Gateway) createBucket(r *request) (reply, error) {
	layout := g.opts.Layout
	if asked, err := once(r.Request.Header, "X-O3-Layout"); err != nil {
		return reply{}, err
	} else if asked != "" {
		l, ok := ns.ParseLayout(asked)
		if !ok {
			return reply{}, argument("x-o3-layout", asked, "The layout must be OBJECT_STORE or FILE_SYSTEM_OPTIMIZED.")
		}
		layout = l.String()
	}
	if r.Request.Header["X-Amz-Expected-Bucket-Owner"] != nil {
		return reply{}, notImplemented("The header x-amz-expected-bucket-owner with CreateBucket")
	}
	b, err := g.documentBody(r)
	if err != nil {
		return reply{}, err
	}
	in, err := xmlapi.DecodeCreateBucket(b)
	if err != nil {
		return reply{}, err
	}
	if c := in.LocationConstraint; c != "" && c != g.opts.Region {
		return reply{}, refusal("IllegalLocationConstraintException",
			"The "+c+" location constraint is incompatible for the region specific endpoint this request was sent to: it is "+g.opts.Region+".")
	}
	_, err = g.ns.CreateBucket(r.ctx, &o3v1.CreateBucketRequest{Volume: r.volume, Bucket: r.bucket, Layout: layout})
	if err != nil {
		return reply{}, err
	}
	r.set("Location", "/"+r.bucket)
	return reply{status: http.StatusOK}, nil
}

func (g *Gateway) bucketInfo(r *request) (*o3v1.BucketInfo, error) {
	got, err := g.ns.GetBucket(r.ctx, &o3v1.GetBucketRequest{Volume: r.volume, Bucket: r.bucket})
	if err != nil {
		return nil, err
	}
	return got.Bucket, nil
}

// headBucket is HeadBucket.
func (g *Gateway) headBucket(r *request) (reply, error) {
	b, err := g.bucketInfo(r)
	if err != nil {
		return reply{}, err
	}
	r.set("X-Amz-Bucket-Region", g.opts.Region)
	r.set("X-Amz-Access-Point-Alias", "false")
	r.set("X-O3-Layout", b.Layout)
	return reply{status: http.StatusOK}, nil
}

// deleteBucket is DeleteBucket.
func (g *Gateway) deleteBucket(r *request) (reply, error) {
	_, err := g.ns.DeleteBucket(r.ctx, &o3v1.DeleteBucketRequest{Volume: r.volume, Bucket: r.bucket})
	return reply{status: http.StatusNoContent}, err
}

// getBucketLocation is GetBucketLocation.
func (g *Gateway) getBucketLocation(r *request) (reply, error) {
	if _, err := g.bucketInfo(r); err != nil {
		return reply{}, err
	}
	region := g.opts.Region
	if region == "us-east-1" {
		region = ""
	}
	return reply{status: http.StatusOK, document: &xmlapi.Location{Region: region}}, nil
}

// getBucketVersioning is GetBucketVersioning: no bucket has versions.
func (g *Gateway) getBucketVersioning(r *request) (reply, error) {
	if _, err := g.bucketInfo(r); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, document: &xmlapi.Versioning{}}, nil
}

// getBucketACL is GetBucketAcl.
func (g *Gateway) getBucketACL(r *request) (reply, error) {
	b, err := g.bucketInfo(r)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, document: xmlapi.OwnerFullControl(owner(b.Owner))}, nil
}

// putBucketACL is PutBucketAcl, for the one ACL there is.
func (g *Gateway) putBucketACL(r *request) (reply, error) {
	b, err := g.bucketInfo(r)
	if err != nil {
		return reply{}, err
	}
	return g.keepACL(r, b.Owner)
}

// getObjectACL is GetObjectAcl.
func (g *Gateway) getObjectACL(r *request) (reply, error) {
	key, err := g.lookup(r, false)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, document: xmlapi.OwnerFullControl(owner(key.Owner))}, nil
}

// putObjectACL is PutObjectAcl, for the one ACL there is.
func (g *Gateway) putObjectACL(r *request) (reply, error) {
	key, err := g.lookup(r, false)
	if err != nil {
		return reply{}, err
	}
	return g.keepACL(r, key.Owner)
}

// keepACL accepts an ACL that says what holds already: that of the owner.
func (g *Gateway) keepACL(r *request, who string) (reply, error) {
	if !r.principal.Admin() && !access.Allowed(r.principal, o3v1.Permission_PERMISSION_ALL, access.Resource{Owner: who}) {
		return reply{}, errs.New(errs.Denied, r.resource(), "")
	}
	b, err := g.documentBody(r)
	if err != nil {
		return reply{}, err
	}
	if r.Request.Header["X-Amz-Acl"] != nil { // private, or it had been refused
		var none [1]byte
		n, err := b.Read(none[:])
		if n > 0 {
			return reply{}, refusal("InvalidRequest", "An ACL is given either by x-amz-acl or by a document, not by both.")
		}
		return reply{status: http.StatusOK}, ended(err)
	}
	in, err := xmlapi.DecodeACL(b)
	if err != nil {
		return reply{}, err
	}
	for _, grant := range in.Grants {
		if grant.Grantee.ID != who || grant.Permission != "FULL_CONTROL" {
			return reply{}, notImplemented("An ACL with other grants than FULL_CONTROL of the owner")
		}
	}
	if in.Owner.ID != "" && in.Owner.ID != who {
		return reply{}, errs.New(errs.Denied, r.resource(), "")
	}
	return reply{status: http.StatusOK}, nil
}

// location is where an object is, as CompleteMultipartUpload says it.
func (r *request) location() string {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.Host + strings.SplitN(r.RequestURI, "?", 2)[0]
}
