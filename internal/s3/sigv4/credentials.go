package sigv4

import (
	"net/http"
	"strings"
)

// Headers and query parameters of the protocol.
const (
	headerAuthorization = "Authorization"
	headerAmzDate       = "X-Amz-Date"
	headerContentSHA256 = "x-amz-content-sha256"
	headerToken         = "X-Amz-Security-Token"

	queryAlgorithm     = "X-Amz-Algorithm"
	queryCredential    = "X-Amz-Credential"
	queryDate          = "X-Amz-Date"
	queryExpires       = "X-Amz-Expires"
	querySignedHeaders = "X-Amz-SignedHeaders"
	querySignature     = "X-Amz-Signature"
	queryToken         = "X-Amz-Security-Token"
	queryContentSHA256 = "X-Amz-Content-Sha256"
)

// claim is what a request says about its signature, not yet believed.
type claim struct {
	accessKeyID   string
	scope         Scope
	signedList    string
	signed        []string
	signature     string
	date, expires string // of a presigned query
	contentSHA256 string // of a presigned query
	presigned     bool
}

// maxSignedHeaders bounds the work a request may ask for.
const maxSignedHeaders = 256

// parseClaim finds the credentials of a request: in the Authorization header,
// or in the query, never in both.
func parseClaim(r *Request, query []param) (*claim, error) {
	auth := r.Header[headerAuthorization]
	fromQuery := queryScheme(query)
	switch {
	case len(auth) > 1 || len(auth) == 1 && fromQuery != "":
		return nil, newError(codeInvalidArgument, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified").
			with("ArgumentName", headerAuthorization).with("ArgumentValue", strings.Join(auth, ", "))
	case len(auth) == 1:
		return parseHeader(auth[0])
	case fromQuery == queryAlgorithm:
		return parseQuery(query)
	case fromQuery != "":
		return nil, notV4()
	}
	e := newError(codeAccessDenied, "Access Denied")
	e.anonymous = true
	return nil, e
}

func notV4() *Error {
	return newError(codeInvalidRequest, "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
}

// queryScheme names the parameter that shows the query to be signed: ours, or
// that of signature version 2.
func queryScheme(query []param) string {
	for _, p := range query {
		switch p.name {
		case queryAlgorithm, querySignature, queryCredential:
			return queryAlgorithm
		case "AWSAccessKeyId", "Signature":
			return p.name
		}
	}
	return ""
}

func headerMalformed(detail string) *Error {
	return newError(codeHeaderMalformed, "The authorization header is malformed; "+detail)
}

// parseHeader reads an Authorization header.
func parseHeader(v string) (*claim, error) {
	scheme, rest, _ := strings.Cut(v, " ")
	switch {
	case scheme == Algorithm:
	case strings.HasPrefix(scheme, schemeECDSA):
		return nil, newError(codeNotImplemented, "Signature Version 4A (ECDSA) is not implemented; sign with AWS4-HMAC-SHA256.")
	case scheme == "":
		return nil, newError(codeInvalidArgument, "Authorization header is invalid -- one and only one ' ' (space) required").
			with("ArgumentName", headerAuthorization).with("ArgumentValue", v)
	default: // version 2 ("AWS"), Basic, Bearer
		return nil, notV4()
	}
	var credential, signed, signature string
	for rest != "" {
		var piece string
		piece, rest, _ = strings.Cut(rest, ",")
		name, value, ok := strings.Cut(strings.TrimSpace(piece), "=")
		var dst *string
		switch name {
		case "Credential":
			dst = &credential
		case "SignedHeaders":
			dst = &signed
		case "Signature":
			dst = &signature
		}
		if !ok || dst == nil || *dst != "" {
			return nil, headerMalformed("the authorization header requires three components: Credential, SignedHeaders, and Signature, each once.")
		}
		*dst = value
	}
	for _, c := range [...]struct{ name, value string }{{"Credential", credential}, {"SignedHeaders", signed}, {"Signature", signature}} {
		if c.value == "" {
			return nil, headerMalformed("missing " + c.name + ".")
		}
	}
	c := &claim{signature: signature, signedList: signed}
	if problem := c.parse(credential); problem != "" {
		return nil, headerMalformed(problem)
	}
	return c, nil
}

func queryMalformed(detail string) *Error { return newError(codeQueryParameters, detail) }

// parseQuery reads the parameters of a presigned URL.
func parseQuery(query []param) (*claim, error) {
	c := &claim{presigned: true}
	var algorithm, credential, token string
	fields := map[string]*string{
		queryAlgorithm: &algorithm, queryCredential: &credential, queryDate: &c.date,
		queryExpires: &c.expires, querySignedHeaders: &c.signedList, querySignature: &c.signature,
		queryToken: &token, queryContentSHA256: &c.contentSHA256,
	}
	for _, p := range query {
		dst := fields[p.name]
		if dst == nil {
			continue
		}
		if *dst != "" {
			return nil, queryMalformed("X-Amz-* query parameters may be given once only: " + p.name + " is repeated.")
		}
		*dst = decodeQuery(p.value)
	}
	if token != "" {
		return nil, invalidToken()
	}
	if strings.HasPrefix(algorithm, schemeECDSA) {
		return nil, newError(codeNotImplemented, "Signature Version 4A (ECDSA) is not implemented; sign with AWS4-HMAC-SHA256.")
	}
	if algorithm == "" || credential == "" || c.signature == "" || c.date == "" || c.signedList == "" || c.expires == "" {
		return nil, queryMalformed("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
	}
	if algorithm != Algorithm {
		return nil, queryMalformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"")
	}
	if problem := c.parse(credential); problem != "" {
		return nil, queryMalformed("Error parsing the X-Amz-Credential or X-Amz-SignedHeaders parameter; " + problem)
	}
	return c, nil
}

func invalidToken() *Error {
	return newError(codeInvalidToken, "The provided token is malformed or otherwise invalid. This store issues no session tokens.")
}

// decodeQuery decodes a canonical query piece.
func decodeQuery(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			c, i = unescape(s, i)
		}
		b = append(b, c)
	}
	return string(b)
}

// parse reads the credential and the list of signed headers. It returns what
// is wrong with them, or "".
func (c *claim) parse(credential string) string {
	// From the right: an access key id may hold a slash.
	var part [4]string
	rest := credential
	for i := 3; i >= 0; i-- {
		at := strings.LastIndexByte(rest, '/')
		if at < 0 {
			return "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."
		}
		rest, part[i] = rest[:at], rest[at+1:]
	}
	if rest == "" || part[1] == "" || part[2] == "" || !isDate(part[0]) {
		return "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."
	}
	if part[3] != terminal {
		return "incorrect terminal \"" + part[3] + "\". This endpoint uses \"aws4_request\"."
	}
	c.accessKeyID, c.scope = rest, Scope{Date: part[0], Region: part[1], Service: part[2]}
	n := strings.Count(c.signedList, ";") + 1
	if n > maxSignedHeaders {
		return "too many signed headers."
	}
	c.signed = make([]string, 0, n)
	last := ""
	for name := range strings.SplitSeq(c.signedList, ";") {
		if name <= last || !isLowerToken(name) {
			return "SignedHeaders must be header names in lower case, sorted, each once, separated by \";\"."
		}
		c.signed = append(c.signed, name)
		last = name
	}
	return ""
}

func isDate(s string) bool {
	if len(s) != 8 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// isLowerToken reports whether s is a header name without capitals.
func isLowerToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' || strings.IndexByte("()<>@,;:\\\"/[]?={}", c) >= 0 {
			return false
		}
	}
	return s != ""
}

// unsignedHeaders returns the headers which S3 wants signed and that are not:
// host and every x-amz-* header.
func (c *claim) unsignedHeaders(h http.Header) []string {
	var out []string
	if !c.signs("host") {
		out = append(out, "host")
	}
	for name := range h {
		if len(name) > 6 && strings.EqualFold(name[:6], "x-amz-") {
			if lower := strings.ToLower(name); !c.signs(lower) {
				out = append(out, lower)
			}
		}
	}
	return out
}
