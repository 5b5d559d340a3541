package sigv4

import (
	"crypto/sha256"
	"strings"
	"sync"
)

// Key is a signing key: the secret bound to a date, a region and a service. It
// is held as the two padded blocks of HMAC, so that one signature is two plain
// hashes and no allocation. It is immutable and always held by pointer. Its bytes
// are two pointers away, so that no verb of fmt follows them.
type Key struct{ pads *pads }

type pads struct{ inner, outer [sha256.BlockSize]byte }

// String keeps keys out of logs.
func (*Key) String() string { return "sigv4.Key" }

// GoString keeps keys out of logs.
func (*Key) GoString() string { return "sigv4.Key" }

// DeriveKey returns the signing key of secret for scope.
func DeriveKey(secret string, scope Scope) *Key {
	var buf [128]byte
	k := newKey(append(append(buf[:0], "AWS4"...), secret...))
	for _, part := range [...]string{scope.Date, scope.Region, scope.Service, terminal} {
		sum := k.mac(append(buf[:0], part...))
		k = newKey(sum[:])
	}
	return k
}

// newKey prepares an HMAC-SHA256 key.
func newKey(secret []byte) *Key {
	var block [sha256.BlockSize]byte
	if len(secret) > len(block) {
		sum := sha256.Sum256(secret)
		copy(block[:], sum[:])
	} else {
		copy(block[:], secret)
	}
	p := new(pads)
	for i, b := range block {
		p.inner[i], p.outer[i] = b^0x36, b^0x5c
	}
	return &Key{p}
}

// mac returns the HMAC-SHA256 of msg.
func (k *Key) mac(msg []byte) [sha256.Size]byte {
	var buf [512]byte
	in := sha256.Sum256(append(append(buf[:0], k.pads.inner[:]...), msg...))
	return sha256.Sum256(append(append(buf[:0], k.pads.outer[:]...), in[:]...))
}

// Sign returns the signature of a string to sign, in lower-case hex.
func (k *Key) Sign(stringToSign []byte) [64]byte {
	return hex256(k.mac(stringToSign))
}

const hexDigits = "0123456789abcdef"

func hex256(sum [sha256.Size]byte) (out [64]byte) {
	for i, b := range sum {
		out[2*i], out[2*i+1] = hexDigits[b>>4], hexDigits[b&15]
	}
	return out
}

// unhex returns the value of a hex digit, or more than 15.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// keyCacheSize bounds a KeyCache: one entry per key, day, region and service.
const keyCacheSize = 1024

// KeyCache remembers derived signing keys. It is keyed by the secret itself,
// so a key whose secret was revoked or reset can never be served from it: the
// caller looks the secret up for each request as before. It holds at most 1024
// keys and is safe for concurrent use. The zero value is ready.
type KeyCache struct {
	mu   sync.RWMutex
	keys map[cacheKey]*Key
}

type cacheKey struct {
	secret string
	scope  Scope
}

// Key returns the signing key of secret for scope. A nil cache derives it.
func (c *KeyCache) Key(secret string, scope Scope) *Key {
	if c == nil {
		return DeriveKey(secret, scope)
	}
	at := cacheKey{secret, scope}
	c.mu.RLock()
	k, ok := c.keys[at]
	c.mu.RUnlock()
	if ok {
		return k
	}
	k = DeriveKey(secret, scope)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil || len(c.keys) >= keyCacheSize {
		c.keys = make(map[cacheKey]*Key)
	}
	at.scope = Scope{strings.Clone(scope.Date), strings.Clone(scope.Region), strings.Clone(scope.Service)} // not a piece of a request
	c.keys[at] = k
	return k
}
