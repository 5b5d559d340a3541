package s3

import (
	"net"
	"strings"
	"unicode/utf8"

	"o3/internal/ns"
)

// checkBucketName applies S3's rules for the names of buckets.
func checkBucketName(name string) error {
	if len(name) < 3 || len(name) > 63 {
		return bucketNameError(name, "a name has 3 to 63 characters")
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '-' || c == '.':
			if i == 0 || i == len(name)-1 {
				return bucketNameError(name, "a name begins and ends with a letter or a digit")
			}
			switch name[i-1 : i+1] {
			case "..":
				return bucketNameError(name, "a name has no two adjacent periods")
			case ".-", "-.":
				return bucketNameError(name, "a name has no period beside a hyphen")
			}
		default:
			return bucketNameError(name, "a name consists of a-z, 0-9, '-' and '.'")
		}
	}
	if last := name[len(name)-1]; '0' <= last && last <= '9' && net.ParseIP(name) != nil {
		return bucketNameError(name, "a name is not an IP address")
	}
	for _, prefix := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, prefix) {
			return bucketNameError(name, "the prefix "+prefix+" is reserved")
		}
	}
	for _, suffix := range []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, suffix) {
			return bucketNameError(name, "the suffix "+suffix+" is reserved")
		}
	}
	return nil
}

func bucketNameError(name, rule string) error {
	return refusal("InvalidBucketName", "The specified bucket is not valid: "+rule+".").with("BucketName", name)
}

// checkKey applies S3's rules for the names of keys.
func checkKey(key string) error {
	switch {
	case len(key) > maxKeyLength:
		return refusal("KeyTooLongError", "Your key is too long: a key has at most 1024 bytes.").
			with("Size", itoa(int64(len(key)))).with("MaxSizeAllowed", itoa(maxKeyLength))
	case !utf8.ValidString(key):
		return refusal("InvalidURI", "Couldn't parse the specified URI: the key is not valid UTF-8.")
	}
	return nil
}

// belowSnapshots reports whether a key is .snapshot or below it: it names what
// a snapshot has, or nothing.
func belowSnapshots(key string) bool {
	return key == ns.SnapshotPrefix || strings.HasPrefix(key, ns.SnapshotPrefix+"/")
}
