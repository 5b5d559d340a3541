package config

import (
	"errors"
	"net"
	"regexp"
)

var layouts = []string{"OBJECT_STORE", "FILE_SYSTEM_OPTIMIZED"}

func s3Keys() group {
	s3 := func(f func(*S3) any) func(*Config) any { return func(c *Config) any { return f(&c.S3) } }
	keys := []Key{
		{
			Name: "ozone.s3g.http-address", Type: Address, Default: ":9878", ShownBy: "app.TestKeyAddresses",
			Doc:   "Where the S3 API listens, with or without TLS.",
			field: s3(func(s *S3) any { return &s.Address }),
		}, {
			Name: "ozone.s3g.domain.name", Type: List, ShownBy: "app.TestKeyDomainName", check: checkDomain,
			Doc:   "Domains below which a host name names a bucket (`bucket.domain`); without one only path-style requests are understood.",
			field: s3(func(s *S3) any { return &s.Domains }),
		}, {
			Name: "ozone.s3g.region", Type: String, Default: "us-east-1", ShownBy: "app.TestKeyRegion", check: checkRegion,
			Doc:   "The region that signatures must name and GetBucketLocation answers.",
			field: s3(func(s *S3) any { return &s.Region }),
		}, {
			Name: "ozone.s3g.default.bucket.layout", Type: Enum, Values: layouts, Default: "OBJECT_STORE", ShownBy: "app.TestKeyS3Layout",
			Doc:   "The layout of buckets created through S3.",
			field: s3(func(s *S3) any { return &s.DefaultLayout }),
		}, {
			Name: "ozone.s3g.max.inflight.requests", Type: Int, Default: "1024", Min: "1", Max: "1000000", ShownBy: "app.TestKeyMaxInFlight",
			Doc:   "How many requests are served at a time, through S3 and through the OM API each; one more is answered SlowDown.",
			field: s3(func(s *S3) any { return &s.MaxInFlight }),
		}, {
			Name: "ozone.s3g.request.header.timeout", Type: Duration, Default: "30s", Min: "100ms", Max: "1h", ShownBy: "app.TestKeyHeaderTimeout",
			Doc:   "How long a client may take to send the headers of a request.",
			field: s3(func(s *S3) any { return &s.HeaderTimeout }),
		}, {
			Name: "ozone.s3g.request.body.idle.timeout", Type: Duration, Default: "1m", Min: "100ms", Max: "1h", ShownBy: "app.TestKeyBodyIdleTimeout",
			Doc:   "How long no byte of a body may move, in either direction, before the request is cut off.",
			field: s3(func(s *S3) any { return &s.BodyIdleTimeout }),
		}, {
			Name: "ozone.s3g.connection.idle.timeout", Type: Duration, Default: "2m", Min: "100ms", Max: "1d", ShownBy: "app.TestKeyConnectionIdle",
			Doc:   "How long a connection without a request is kept open.",
			field: s3(func(s *S3) any { return &s.ConnectionIdle }),
		}, {
			Name: "ozone.s3g.clock.skew", Type: Duration, Default: "15m", Min: "1s", Max: "1d", ShownBy: "app.TestKeyClockSkew",
			Doc:   "How far a signature's time may be from the server's clock, through S3 and the OM API; beyond it RequestTimeTooSkewed.",
			field: s3(func(s *S3) any { return &s.ClockSkew }),
		}, {
			Name: "ozone.s3g.list.max.keys.limit", Type: Int, Default: "1000", Min: "1", Max: "10000", ShownBy: "app.TestKeyListMaxKeys",
			Doc:   "The most keys one page of a listing holds, whatever max-keys asks for.",
			field: s3(func(s *S3) any { return &s.ListMaxKeys }),
		}, {
			Name: "ozone.s3g.multipart.min.part.size", Type: Size, Default: "5MB", Min: "1", Max: "5GB", ShownBy: "app.TestKeyMultipartLimits",
			Doc:   "The smallest part of a multipart upload, the last one excepted; a smaller one is answered EntityTooSmall when the upload is completed.",
			field: s3(func(s *S3) any { return &s.MultipartMinPart }),
		}, {
			Name: "ozone.s3g.multipart.max.parts", Type: Int, Default: "10000", Min: "1", Max: "10000", ShownBy: "app.TestKeyMultipartLimits",
			Doc:   "The highest part number of a multipart upload.",
			field: s3(func(s *S3) any { return &s.MultipartMaxNumber }),
		},
	}
	keys = append(keys, tlsKeys("ozone.s3g.tls", "the S3 API", func(c *Config) *TLS { return &c.S3.TLS })...)
	return group{"S3 gateway", "", keys}
}

// tlsKeys are the three keys of a listener.
func tlsKeys(prefix, what string, at func(*Config) *TLS) []Key {
	return []Key{
		{
			Name: prefix + ".cert", Type: Path, ShownBy: "app.TestKeyTLS",
			Doc:   "PEM file with the certificate of " + what + " and the intermediate ones; unset, it speaks plain text. Read again when it changes.",
			field: func(c *Config) any { return &at(c).Cert },
		}, {
			Name: prefix + ".key", Type: Path, ShownBy: "app.TestKeyTLS",
			Doc:   "PEM file with the private key of that certificate.",
			field: func(c *Config) any { return &at(c).Key },
		}, {
			Name: prefix + ".client.ca", Type: Path, ShownBy: "app.TestKeyTLS",
			Doc:   "PEM file with authorities; set, every client of " + what + " must present a certificate that one of them signed.",
			field: func(c *Config) any { return &at(c).ClientCA },
		},
	}
}

var (
	domainForm = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	regionForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)
)

func checkDomain(s string) error {
	if net.ParseIP(s) != nil || len(s) > 253 || !domainForm.MatchString(s) {
		return errors.New("not a domain name")
	}
	return nil
}

func checkRegion(s string) error {
	if !regionForm.MatchString(s) {
		return errors.New("a region has 1 to 64 of a-z 0-9 -")
	}
	return nil
}
