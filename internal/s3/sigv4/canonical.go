package sigv4

import (
	"bytes"
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// pathForm says which spelling of the path goes into the canonical request.
type pathForm uint8

const (
	// pathEncoded: decoded once and encoded as S3 defines. This is what S3
	// computes; it forgives a client or a proxy that escapes more or less.
	pathEncoded pathForm = iota
	// pathAsSent: the bytes of the request line, which is what the signers of
	// the SDKs use for a URL made by the caller. Both forms name the same key,
	// so neither can be replayed for another resource.
	pathAsSent
)

// canonical is a request prepared for signing.
type canonical struct {
	method, host, path string
	query              []param
	header             http.Header
	length             int64
	signed             []string // lower case, sorted
	signedList         string   // joined by ";"
	payload            string
}

// param is one name and value of a query, both in canonical encoding.
type param struct{ name, value string }

// append appends the canonical request.
func (c *canonical) append(b []byte, form pathForm) []byte {
	b = append(append(b, c.method...), '\n')
	if form == pathAsSent {
		b = append(b, c.path...)
	} else {
		b = appendPath(b, c.path)
	}
	b = append(b, '\n')
	for i, p := range c.query {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(append(b, p.name...), '='), p.value...)
	}
	b = append(b, '\n')
	for _, name := range c.signed {
		b = append(append(b, name...), ':')
		b = c.appendHeader(b, name)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(append(b, c.signedList...), '\n')
	return append(b, c.payload...)
}

// appendHeader appends the canonical value of a header: values joined by
// commas, each trimmed and with runs of spaces made one.
func (c *canonical) appendHeader(b []byte, name string) []byte {
	if name == "host" {
		return appendFolded(b, c.host)
	}
	values := headerValues(c.header, name)
	if len(values) == 0 && name == "content-length" && c.length > 0 {
		return strconv.AppendInt(b, c.length, 10)
	}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFolded(b, v)
	}
	return b
}

// headerValues returns the values of a header given by its lower-case name,
// without allocating for the names that occur.
func headerValues(h http.Header, name string) []string {
	var buf [64]byte
	key := append(buf[:0], name...)
	upper := true
	for i, c := range key {
		if upper && 'a' <= c && c <= 'z' {
			key[i] = c - ('a' - 'A')
		}
		upper = c == '-'
	}
	if v, ok := h[string(key)]; ok {
		return v
	}
	for k, v := range h { // a client's header may be spelled otherwise
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return nil
}

// appendFolded appends v trimmed of white space, each run of spaces as one.
func appendFolded(b []byte, v string) []byte {
	v = strings.TrimSpace(v)
	for {
		i := strings.Index(v, "  ")
		if i < 0 {
			return append(b, v...)
		}
		b = append(b, v[:i+1]...)
		v = strings.TrimLeft(v[i:], " ")
	}
}

// unreserved reports the characters that are never escaped.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_' || c == '.' || c == '~'
}

const upperHex = "0123456789ABCDEF"

func appendEscaped(b []byte, c byte) []byte {
	return append(b, '%', upperHex[c>>4], upperHex[c&15])
}

// appendPath appends an escaped path decoded once and encoded canonically:
// everything but unreserved characters and "/" as %XX. Nothing is normalised.
func appendPath(b []byte, path string) []byte {
	if path == "" {
		return append(b, '/')
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			c, i = unescape(path, i)
		}
		if unreserved(c) || c == '/' {
			b = append(b, c)
		} else {
			b = appendEscaped(b, c)
		}
	}
	return b
}

// unescape decodes the escape at s[i], a "%", and returns the place of its last
// byte. A "%" that starts no escape stands for itself.
func unescape(s string, i int) (byte, int) {
	if i+2 < len(s) {
		if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi <= 15 && lo <= 15 {
			return hi<<4 | lo, i + 2
		}
	}
	return '%', i
}

// escapesValid reports whether each % of s is followed by two hex digits.
func escapesValid(s string) bool {
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			return true
		}
		if len(s) < i+3 || unhex(s[i+1]) > 15 || unhex(s[i+2]) > 15 {
			return false
		}
		s = s[i+3:]
	}
}

// canonicalQuery splits a raw query, encodes it canonically and sorts it by
// encoded name, then encoded value. "+" is a space, a name without "=" has the
// empty value, empty pieces are nothing. It leaves out the parameter named
// skip. Escapes must be valid.
func canonicalQuery(dst []param, raw, skip string) []param {
	for raw != "" {
		var piece string
		piece, raw, _ = strings.Cut(raw, "&")
		if piece == "" {
			continue
		}
		name, value, _ := strings.Cut(piece, "=")
		name = encodeQuery(name)
		if skip != "" && name == skip {
			continue
		}
		dst = append(dst, param{name, encodeQuery(value)})
	}
	if len(dst) > 1 {
		slices.SortFunc(dst, func(a, b param) int {
			return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
		})
	}
	return dst
}

// encodeQuery turns a query piece as sent into its canonical encoding. A piece
// that is canonical already is returned as it is.
func encodeQuery(s string) string {
	if canonicalPiece(s) {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%':
			c, i = unescape(s, i)
		}
		if unreserved(c) {
			b = append(b, c)
		} else {
			b = appendEscaped(b, c)
		}
	}
	return string(b)
}

// canonicalPiece reports whether s is its own canonical encoding.
func canonicalPiece(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if unreserved(c) {
			continue
		}
		decoded, next := unescape(s, i)
		if c != '%' || next == i || lowerHex(s[i+1]) || lowerHex(s[i+2]) || unreserved(decoded) {
			return false
		}
		i = next
	}
	return true
}

func lowerHex(c byte) bool { return 'a' <= c && c <= 'f' }

// pathIsCanonical reports whether both forms of the path are the same bytes.
func pathIsCanonical(path string) bool {
	var buf [1024]byte
	return bytes.Equal(appendPath(buf[:0], path), []byte(path))
}
