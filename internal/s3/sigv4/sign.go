package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signer signs requests of our own client. It is safe for concurrent use.
type Signer struct {
	AccessKeyID string
	Secret      string
	Region      string
	Service     string    // "" means s3
	Keys        *KeyCache // nil derives the key for each request
}

// String names the signer without its secret.
func (s Signer) String() string { return "sigv4.Signer " + s.AccessKeyID }

// GoString names the signer without its secret.
func (s Signer) GoString() string { return s.String() }

// leftUnsigned are headers that transports and proxies add or change.
var leftUnsigned = [...]string{
	"accept-encoding", "authorization", "connection", "content-length", "expect", "te",
	"trailer", "transfer-encoding", "upgrade", "user-agent", "x-amzn-trace-id",
}

// Sign signs r in its headers, as of now: it sets x-amz-date,
// x-amz-content-sha256 (to payload: a hex SHA-256, or the String of a Payload)
// and Authorization. The returned Stream signs the chunks of a body for the
// signed streaming modes.
func (s *Signer) Sign(r *http.Request, payload string, now time.Time) *Stream {
	now = now.UTC()
	r.Header.Del(headerAuthorization)
	r.Header.Set(headerAmzDate, now.Format(TimeFormat))
	r.Header.Set(headerContentSHA256, payload)
	c := s.canonical(r, payload)
	scope := s.scope(now)
	key, seed := s.sign(c, scope, now)
	r.Header.Set(headerAuthorization, Algorithm+" Credential="+s.AccessKeyID+"/"+scope.String()+
		", SignedHeaders="+c.signedList+", Signature="+string(seed[:]))
	return newStream(key, now.Format(TimeFormat), scope, seed)
}

// Presign returns the URL of r with a signature in its query that is good for
// life, from one second to MaxExpires, in whole seconds. The headers of r are
// signed too, so whoever uses the URL must send them. The body is not covered
// unless r names x-amz-content-sha256. r is not changed.
func (s *Signer) Presign(r *http.Request, life time.Duration, now time.Time) (string, error) {
	if life < time.Second || life > MaxExpires {
		return "", queryMalformed("the life of a presigned URL is from 1 second to 7 days")
	}
	now = now.UTC()
	scope := s.scope(now)
	payload := PayloadUnsigned.String()
	if v := headerValues(r.Header, headerContentSHA256); len(v) > 0 {
		payload = v[0]
	}
	c := s.canonical(r, payload)
	add := url.Values{
		queryAlgorithm:     {Algorithm},
		queryCredential:    {s.AccessKeyID + "/" + scope.String()},
		queryDate:          {now.Format(TimeFormat)},
		queryExpires:       {strconv.FormatInt(int64(life/time.Second), 10)},
		querySignedHeaders: {c.signedList},
	}
	raw := add.Encode()
	if r.URL.RawQuery != "" {
		raw = r.URL.RawQuery + "&" + raw
	}
	c.query = canonicalQuery(nil, raw, "")
	_, seed := s.sign(c, scope, now)
	u := *r.URL
	u.RawQuery = raw + "&" + querySignature + "=" + string(seed[:])
	if u.Host == "" {
		u.Host = r.Host
	}
	return u.String(), nil
}

func (s *Signer) scope(now time.Time) Scope {
	service := s.Service
	if service == "" {
		service = serviceS3
	}
	return Scope{Date: now.Format(DateFormat), Region: s.Region, Service: service}
}

// canonical prepares r, with all its headers signed but those left unsigned.
func (s *Signer) canonical(r *http.Request, payload string) *canonical {
	req := FromHTTP(r)
	c := &canonical{
		method: req.Method, host: req.Host, path: req.Path, header: req.Header, payload: payload,
		query: canonicalQuery(nil, req.RawQuery, ""), signed: []string{"host"},
	}
	for name := range r.Header {
		if lower := strings.ToLower(name); lower != "host" && !slices.Contains(leftUnsigned[:], lower) {
			c.signed = append(c.signed, lower)
		}
	}
	slices.Sort(c.signed)
	c.signedList = strings.Join(c.signed, ";")
	if c.method == "" {
		c.method = http.MethodGet
	}
	return c
}

// sign returns key and signature.
func (s *Signer) sign(c *canonical, scope Scope, now time.Time) (*Key, [64]byte) {
	key := s.Keys.Key(s.Secret, scope)
	return key, key.Sign(appendStringToSign(nil, now, scope, c.append(nil, pathEncoded)))
}
