package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"o3/internal/errs"
)

// Secrets returns the secret of an access key. An error of kind
// errs.NoSuchPrincipal becomes InvalidAccessKeyId; any other error is returned
// by Verify as it is.
type Secrets func(accessKeyID string) (secret string, err error)

// Options configures a Verifier. The zero value accepts S3 requests for any
// region, within the default skew, and derives each signing key anew.
type Options struct {
	Region  string        // the only region accepted; "" accepts any
	Service string        // "" means s3
	MaxSkew time.Duration // 0 means DefaultSkew
	Keys    *KeyCache     // nil derives the key for each request
}

// Verifier checks signatures.
type Verifier struct{ opts Options }

// NewVerifier returns a Verifier.
func NewVerifier(opts Options) *Verifier {
	if opts.Service == "" {
		opts.Service = serviceS3
	}
	if opts.MaxSkew == 0 {
		opts.MaxSkew = DefaultSkew
	}
	return &Verifier{opts}
}

// Verify returns who signed r, as seen at now. The errors are *Error with an
// AWS code, or what secrets returned; a request without credentials matches
// ErrAnonymous. It never changes r and keeps only strings of it.
func (v *Verifier) Verify(r Request, now time.Time, secrets Secrets) (*Identity, error) {
	if !escapesValid(r.Path) || !escapesValid(r.RawQuery) {
		return nil, newError(codeInvalidURI, "Couldn't parse the specified URI.")
	}
	var params [16]param
	query := canonicalQuery(params[:0], r.RawQuery, "")
	c, err := parseClaim(&r, query)
	if err != nil {
		return nil, err
	}
	id := &Identity{AccessKeyID: c.accessKeyID, Scope: c.scope, Presigned: c.presigned, SignedHeaders: c.signed}
	if err := v.checkScope(c); err != nil {
		return nil, err
	}
	if r.Host == "" {
		return nil, newError(codeMissingHeader, "Your request was missing a required header: host.")
	}
	if len(r.Header[headerToken]) > 0 {
		return nil, invalidToken()
	}
	if err := v.checkTime(id, c, &r, now); err != nil {
		return nil, err
	}
	if missing := c.unsignedHeaders(r.Header); len(missing) > 0 {
		slices.Sort(missing)
		return nil, newError(codeAccessDenied, "There were headers present in the request which were not signed").
			with("HeadersNotSigned", strings.Join(missing, ", "))
	}
	word, err := payloadWord(id, c, &r)
	if err != nil {
		return nil, err
	}
	secret, err := secrets(c.accessKeyID)
	if err != nil {
		if errs.KindOf(err) == errs.NoSuchPrincipal {
			return nil, newError(codeInvalidAccessKeyID, "The AWS Access Key Id you provided does not exist in our records.").
				with("AWSAccessKeyId", c.accessKeyID)
		}
		return nil, err
	}
	if c.presigned {
		query = slices.DeleteFunc(query, func(p param) bool { return p.name == querySignature })
	}
	err = v.match(id, c, secret, &canonical{
		method: r.Method, host: r.Host, path: r.Path, query: query, header: r.Header,
		length: r.ContentLength, signed: c.signed, signedList: c.signedList, payload: word,
	})
	if err != nil {
		return nil, err
	}
	return id, nil
}

// signs reports whether the client lists a header, by its lower-case name.
func (c *claim) signs(name string) bool {
	_, ok := slices.BinarySearch(c.signed, name)
	return ok
}

// checkScope refuses a scope of another service or region.
func (v *Verifier) checkScope(c *claim) error {
	refuse := func(detail string) *Error {
		if c.presigned {
			return queryMalformed("Error parsing the X-Amz-Credential parameter; " + detail)
		}
		return headerMalformed(detail)
	}
	if c.scope.Service != v.opts.Service {
		return refuse("incorrect service \"" + c.scope.Service + "\". This endpoint belongs to \"" + v.opts.Service + "\".")
	}
	if v.opts.Region != "" && c.scope.Region != v.opts.Region {
		return refuse("the region '"+c.scope.Region+"' is wrong; expecting '"+v.opts.Region+"'").with("Region", v.opts.Region)
	}
	return nil
}

// checkTime sets the identity's times and refuses a stale or early request.
func (v *Verifier) checkTime(id *Identity, c *claim, r *Request, now time.Time) error {
	if c.presigned {
		return v.checkPresigned(id, c, now)
	}
	at, ok := requestTime(r.Header)
	if !ok {
		return newError(codeAccessDenied, "AWS authentication requires a valid Date or x-amz-date header")
	}
	id.SignedAt = at
	if diff := now.Sub(at).Abs(); diff > v.opts.MaxSkew {
		return newError(codeTimeTooSkewed, "The difference between the request time and the current time is too large.").
			with("RequestTime", at.Format(TimeFormat)).
			with("ServerTime", now.UTC().Format(time.RFC3339)).
			with("MaxAllowedSkewMilliseconds", strconv.FormatInt(v.opts.MaxSkew.Milliseconds(), 10))
	}
	if date := at.Format(DateFormat); date != c.scope.Date {
		return headerMalformed("Invalid credential date \"" + c.scope.Date + "\". This date is not the same as X-Amz-Date: \"" + date + "\".")
	}
	return nil
}

// requestTime reads x-amz-date, or Date where it is absent.
func requestTime(h http.Header) (time.Time, bool) {
	if v := h[headerAmzDate]; len(v) > 0 {
		at, err := time.Parse(TimeFormat, v[0])
		return at.UTC(), err == nil && len(v) == 1 && len(v[0]) == len(TimeFormat)
	}
	v := h["Date"]
	if len(v) != 1 {
		return time.Time{}, false
	}
	if at, err := time.Parse(TimeFormat, v[0]); err == nil && len(v[0]) == len(TimeFormat) {
		return at.UTC(), true
	}
	at, err := http.ParseTime(v[0])
	return at.UTC(), err == nil
}

// checkPresigned checks the life of a presigned URL.
func (v *Verifier) checkPresigned(id *Identity, c *claim, now time.Time) error {
	at, err := time.Parse(TimeFormat, c.date)
	if err != nil || len(c.date) != len(TimeFormat) {
		return queryMalformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	seconds, err := strconv.ParseInt(c.expires, 10, 64)
	switch {
	case err != nil:
		return queryMalformed("X-Amz-Expires should be a number")
	case seconds < 1:
		return queryMalformed("X-Amz-Expires must be at least one second")
	case seconds > int64(MaxExpires/time.Second):
		return queryMalformed("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	if date := at.Format(DateFormat); date != c.scope.Date {
		return queryMalformed("Invalid credential date \"" + c.scope.Date + "\". This date is not the same as X-Amz-Date: \"" + date + "\".")
	}
	id.SignedAt, id.Expires = at.UTC(), at.UTC().Add(time.Duration(seconds)*time.Second)
	if at.Sub(now) > v.opts.MaxSkew {
		return newError(codeAccessDenied, "Request is not valid yet").
			with("X-Amz-Date", c.date).with("ServerTime", now.UTC().Format(time.RFC3339))
	}
	if !now.Before(id.Expires) {
		return newError(codeAccessDenied, "Request has expired").
			with("X-Amz-Expires", c.expires).
			with("Expires", id.Expires.Format(time.RFC3339)).
			with("ServerTime", now.UTC().Format(time.RFC3339))
	}
	return nil
}

// payloadWord sets the identity's payload mode and returns the last line of
// the canonical request.
func payloadWord(id *Identity, c *claim, r *Request) (string, error) {
	var word string
	switch v := headerValues(r.Header, headerContentSHA256); {
	case len(v) == 1 && (c.contentSHA256 == "" || c.contentSHA256 == v[0]):
		word = v[0]
	case len(v) > 0:
		return "", newError(codeInvalidArgument, "x-amz-content-sha256 must be given once.").
			with("ArgumentName", headerContentSHA256)
	case c.contentSHA256 != "":
		word = c.contentSHA256
	case c.presigned:
		word = PayloadUnsigned.String()
	default:
		return "", newError(codeInvalidRequest, "Missing required header for this request: "+headerContentSHA256)
	}
	mode, err := ParsePayload(word)
	if err != nil {
		return "", err
	}
	id.Payload = mode
	if mode == PayloadHash {
		id.PayloadSHA256 = word
	}
	return word, nil
}

// match compares the signatures and completes the identity.
func (v *Verifier) match(id *Identity, c *claim, secret string, req *canonical) error {
	var space [2048]byte
	var text [256]byte
	id.key = v.opts.Keys.Key(secret, c.scope)
	try := func(form pathForm) ([]byte, []byte, bool) {
		creq := req.append(space[:0], form)
		sts := appendStringToSign(text[:0], id.SignedAt, c.scope, creq)
		id.seed = id.key.Sign(sts)
		return creq, sts, Equal(id.seed, []byte(c.signature))
	}
	creq, sts, ok := try(pathEncoded)
	if ok {
		return nil
	}
	creq, sts = slices.Clone(creq), slices.Clone(sts)
	if !pathIsCanonical(req.path) {
		if _, _, ok := try(pathAsSent); ok {
			return nil
		}
	}
	return newError(codeSignatureMismatch, messageSignatureDiffers).
		with("AWSAccessKeyId", c.accessKeyID).
		with("StringToSign", string(sts)).
		with("SignatureProvided", c.signature).
		with("StringToSignBytes", hexBytes(sts)).
		with("CanonicalRequest", string(creq)).
		with("CanonicalRequestBytes", hexBytes(creq))
}

// hexBytes spells bytes as S3 does: two digits each, separated by spaces.
func hexBytes(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	out := make([]byte, 0, 3*len(b))
	for _, c := range b {
		out = append(out, hexDigits[c>>4], hexDigits[c&15], ' ')
	}
	return string(out[:len(out)-1])
}

// appendStringToSign appends the string to sign of a canonical request.
func appendStringToSign(b []byte, at time.Time, scope Scope, creq []byte) []byte {
	b = append(b, Algorithm+"\n"...)
	b = at.AppendFormat(b, TimeFormat)
	b = append(b, '\n')
	b = append(append(append(append(b, scope.Date...), '/'), scope.Region...), '/')
	b = append(append(b, scope.Service...), "/"+terminal+"\n"...)
	sum := sha256.Sum256(creq)
	return hex.AppendEncode(b, sum[:])
}
