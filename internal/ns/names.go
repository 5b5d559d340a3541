package ns

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"o3/internal/errs"
)

// The limits of names, in bytes.
const (
	MinBucketName = 3
	MaxBucketName = 63
	MaxKeyName    = 1024
	MaxUserName   = 64

	MaxSnapshotName = 63
)

// SnapshotPrefix is the first component of a path into a snapshot. Keys below
// it cannot be written.
const SnapshotPrefix = ".snapshot"

// CheckBucketName returns an error of kind Invalid unless s is a valid name of
// a bucket or volume by the rules of S3.
func CheckBucketName(what, s string) error {
	bad := func(rule string) error {
		return errs.New(errs.Invalid, fmt.Sprintf("%s name %q", what, s), rule)
	}
	if len(s) < MinBucketName || len(s) > MaxBucketName {
		return bad(fmt.Sprintf("must have %d to %d characters", MinBucketName, MaxBucketName))
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
			return bad("may hold only a-z, 0-9, '-' and '.'")
		}
	}
	first, last := s[0], s[len(s)-1]
	if first == '-' || first == '.' || last == '-' || last == '.' {
		return bad("must start and end with a letter or digit")
	}
	if strings.Contains(s, "..") || strings.Contains(s, ".-") || strings.Contains(s, "-.") {
		return bad("may not hold '..', '.-' or '-.'")
	}
	if isIPv4(s) {
		return bad("may not look like an IP address")
	}
	if strings.HasPrefix(s, "xn--") || strings.HasSuffix(s, "-s3alias") || strings.HasSuffix(s, "--ol-s3") {
		return bad("has a reserved prefix or suffix")
	}
	return nil
}

func isIPv4(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return false
	}
	for _, p := range parts {
		if len(p) == 0 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// CheckKeyName returns an error of kind Invalid unless s can name a key (or, in
// a file-system bucket, a directory when it ends in a slash).
func CheckKeyName(l Layout, s string) error {
	bad := func(rule string) error {
		shown := s
		if len(shown) > 80 {
			shown = shown[:80] + "…"
		}
		return errs.New(errs.Invalid, fmt.Sprintf("key name %q", shown), rule)
	}
	switch {
	case s == "":
		return bad("may not be empty")
	case len(s) > MaxKeyName:
		return bad(fmt.Sprintf("has %d bytes, at most %d are allowed", len(s), MaxKeyName))
	case !utf8.ValidString(s):
		return bad("must be UTF-8")
	case s == SnapshotPrefix || strings.HasPrefix(s, SnapshotPrefix+"/"):
		return bad("the prefix " + SnapshotPrefix + "/ is reserved for snapshots")
	}
	if l != FileSystem {
		return nil
	}
	for _, c := range strings.Split(strings.TrimSuffix(s, "/"), "/") {
		switch {
		case c == "":
			return bad("in a file-system bucket may not start with '/' nor hold '//'")
		case c == "." || c == "..":
			return bad("in a file-system bucket may not hold the component " + c)
		case strings.IndexByte(c, 0) >= 0:
			return bad("in a file-system bucket may not hold a NUL byte")
		}
	}
	return nil
}

// CutSnapshot splits a path into a snapshot, .snapshot/<name>/<path>, into the
// snapshot's name and the path there; ok is false for any other.
func CutSnapshot(s string) (name, path string, ok bool) {
	rest, ok := strings.CutPrefix(s, SnapshotPrefix+"/")
	if !ok {
		return "", "", false
	}
	name, path, ok = strings.Cut(rest, "/")
	return name, path, ok && name != ""
}

// CheckSnapshotName returns an error of kind Invalid unless s can name a
// snapshot.
func CheckSnapshotName(s string) error {
	bad := func(rule string) error { return errs.New(errs.Invalid, fmt.Sprintf("snapshot name %q", s), rule) }
	if len(s) == 0 || len(s) > MaxSnapshotName {
		return bad(fmt.Sprintf("must have 1 to %d characters", MaxSnapshotName))
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return bad("may hold only letters, digits, '-', '_' and '.'")
		}
	}
	if s[0] == '.' || s[0] == '-' {
		return bad("may not start with '.' or '-'")
	}
	return nil
}

// SplitPath splits the path of a key or directory in a file-system bucket into
// the names of its ancestor directories and its own name, both without
// slashes; dir tells whether the path ended in one.
func SplitPath(path string) (parents []string, name string, dir bool) {
	trimmed := strings.TrimSuffix(path, "/")
	parts := strings.Split(trimmed, "/")
	return parts[:len(parts)-1], parts[len(parts)-1], trimmed != path
}

// CheckUserName returns an error of kind Invalid unless s can name a user.
func CheckUserName(s string) error {
	bad := func(rule string) error { return errs.New(errs.Invalid, fmt.Sprintf("user name %q", s), rule) }
	if len(s) == 0 || len(s) > MaxUserName {
		return bad(fmt.Sprintf("must have 1 to %d characters", MaxUserName))
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.@+=", c) >= 0) {
			return bad("may hold only letters, digits and -_.@+=")
		}
	}
	if s[0] == '@' {
		return bad("may not start with '@'")
	}
	return nil
}
