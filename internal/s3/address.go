package s3

import (
	"net/http"
	"net/url"
	"strings"
)

// address is what a request is about. Bucket and key are empty where the
// request names none.
type address struct {
	volume, bucket, key string
}

// level is the kind of thing a request is about.
type level uint8

const (
	serviceLevel level = iota
	bucketLevel
	objectLevel
)

var levelNames = [...]string{"SERVICE", "BUCKET", "OBJECT"}

func (a address) level() level {
	switch {
	case a.bucket == "":
		return serviceLevel
	case a.key == "":
		return bucketLevel
	}
	return objectLevel
}

// addressOf reads the address of a request, path-style or virtual-host style.
func (g *Gateway) addressOf(r *http.Request) (address, error) {
	path, err := requestPath(r)
	if err != nil {
		return address{}, err
	}
	if bucket := g.hostBucket(r.Host); bucket != "" {
		return address{g.opts.Volume, bucket, strings.TrimPrefix(path, "/")}, nil
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if bucket == "" && key != "" {
		return address{}, bucketNameError("", "a name has 3 to 63 characters")
	}
	return address{g.opts.Volume, bucket, key}, nil
}

// volumeAddressOf reads an address below VolumePrefix: any volume, path-style.
func volumeAddressOf(r *http.Request) (address, error) {
	path, err := requestPath(r)
	if err != nil {
		return address{}, err
	}
	volume, rest, _ := strings.Cut(strings.TrimPrefix(path, VolumePrefix), "/")
	if volume == "" {
		return address{}, refusal("NoSuchVolume", "The path names no volume: "+VolumePrefix+"<volume>/<bucket>/<key>.")
	}
	bucket, key, _ := strings.Cut(rest, "/")
	return address{volume, bucket, key}, nil
}

// requestPath returns the decoded path of a request, as it was sent.
func requestPath(r *http.Request) (string, error) {
	if r.URL.RawPath == "" {
		return r.URL.Path, nil // it needed no decoding, or decodes one way only
	}
	path, err := url.PathUnescape(r.URL.RawPath)
	if err != nil {
		return "", refusal("InvalidURI", "Couldn't parse the specified URI.")
	}
	return path, nil
}

// hostBucket returns the bucket that a Host header names below one of the
// domains, or "".
func (g *Gateway) hostBucket(host string) string {
	if len(g.opts.Domains) == 0 {
		return ""
	}
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	for _, domain := range g.opts.Domains {
		n := len(host) - len(domain)
		if n > 1 && host[n-1] == '.' && strings.EqualFold(host[n:], domain) {
			return host[:n-1]
		}
	}
	return ""
}
