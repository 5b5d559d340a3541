package view

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// tokenVersion is the first byte of a listing token, format 1: the version, a
// checksum of four bytes, the path at which the next page starts.
const tokenVersion = 1

func encodeToken(path string) string {
	b := make([]byte, 0, 5+len(path))
	b = append(b, tokenVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(xxh3.HashString(path)))
	return base64.RawURLEncoding.EncodeToString(append(b, path...))
}

func decodeToken(token string) (path string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 5 || b[0] != tokenVersion {
		return "", errToken
	}
	path = string(b[5:])
	if binary.BigEndian.Uint32(b[1:]) != uint32(xxh3.HashString(path)) {
		return "", errToken
	}
	return path, nil
}
