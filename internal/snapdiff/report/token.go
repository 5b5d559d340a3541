package report

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"

	"o3/internal/errs"
)

// TokenVersion is the first byte of a page token.
const TokenVersion = 1

const tokenSize = 1 + 8 + 8 + 4

// EncodeToken returns the token of the page of a job's report that begins at
// entry number entry.
func EncodeToken(job, entry uint64) string {
	b := append(make([]byte, 0, tokenSize), TokenVersion)
	b = binary.BigEndian.AppendUint64(b, job)
	b = binary.BigEndian.AppendUint64(b, entry)
	b = binary.BigEndian.AppendUint32(b, uint32(xxh3.Hash(b)))
	return base64.RawURLEncoding.EncodeToString(b)
}

// DecodeToken returns the entry number that a page of job begins at; 0 for an
// empty token. The error is of kind Invalid. Whether the report has that entry
// is for the caller to see.
func DecodeToken(token string, job uint64) (entry uint64, err error) {
	if token == "" {
		return 0, nil
	}
	bad := func(what string) error { return errs.New(errs.Invalid, fmt.Sprintf("page token %.64q", token), what) }
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	switch {
	case err != nil || len(b) == 0:
		return 0, bad("it is not one that a snapshot diff returned")
	case b[0] != TokenVersion:
		return 0, bad(fmt.Sprintf("it has version %d, this program knows version %d", b[0], TokenVersion))
	case len(b) != tokenSize || binary.BigEndian.Uint32(b[17:]) != uint32(xxh3.Hash(b[:17])):
		return 0, bad("it is cut or mistyped")
	case binary.BigEndian.Uint64(b[1:]) != job:
		return 0, bad("it belongs to another job")
	}
	return binary.BigEndian.Uint64(b[9:]), nil
}
