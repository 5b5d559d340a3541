package s3

import (
	"errors"
	"fmt"
	"time"

	"o3/internal/access"
	"o3/internal/block"
	"o3/internal/ns"
)

// Sizes of S3's limits, in bytes and counts.
const (
	maxObjectSize  = 5 << 40 // of an object made of parts
	maxPutSize     = 5 << 30 // of one PUT or one part
	maxKeyLength   = 1024    // bytes of a key's name
	maxUserMeta    = 2 << 10 // bytes of all x-amz-meta-* names and values
	maxObjectTags  = 10
	maxBucketTags  = 50
	maxPartNumber  = 10000
	maxBucketsPage = 10000
	listPage       = 1000
)

// Options is the configuration of a Gateway. The zero value of each field is
// its documented default.
type Options struct {
	Region  string   // that signatures must name; "" means us-east-1
	Domains []string // host names below which a first label names a bucket
	Volume  string   // whose buckets S3 clients see; "" means s3v
	Layout  string   // of buckets created here; "" leaves it to the namespace

	InlineMax   int64 // bytes up to which an object travels in its row; 0: never
	BlockSize   int64 // bytes of the largest block; 0 means block.MaxSize
	OpenAbove   int64 // bytes above which a write is announced before its body is read; 0 means 16 MiB
	MinPartSize int64 // bytes of the smallest part but the last; 0 means 5 MiB
	MaxParts    int   // highest part number; 0 means 10,000
	ListMax     int   // most entries of a page of a listing; 0 means 1,000

	MaxInFlight int           // requests served at a time; 0 means 1,024
	IdleTimeout time.Duration // without a byte of a body in either direction; 0 means one minute
	ClockSkew   time.Duration // between a signature and our clock; 0 means 15 minutes

	// Reading is called before a key whose bytes will be read is looked up; what
	// it returns is called when they are read. Blocks that were named in between
	// must not be freed. Nil: nobody asks.
	Reading  func() (end func())
	Listener Listener
}

// Validate returns every problem of the options, joined.
func (o Options) Validate() error {
	var all []error
	check := func(ok bool, name string, value any, allowed string) {
		if !ok {
			all = append(all, fmt.Errorf("s3: %s = %v: allowed is %s", name, value, allowed))
		}
	}
	check(o.BlockSize >= 0 && o.BlockSize <= block.MaxSize, "BlockSize", o.BlockSize, fmt.Sprintf("0 to %d", block.MaxSize))
	check(o.InlineMax >= 0 && o.InlineMax <= 16<<20, "InlineMax", o.InlineMax, "0 to 16 MiB")
	check(o.OpenAbove >= 0, "OpenAbove", o.OpenAbove, "0 or more")
	check(o.MinPartSize >= 0 && o.MinPartSize <= maxPutSize, "MinPartSize", o.MinPartSize, "0 to 5 GiB")
	check(o.MaxParts >= 0 && o.MaxParts <= maxPartNumber, "MaxParts", o.MaxParts, "0 to 10,000")
	check(o.ListMax >= 0 && o.ListMax <= 10000, "ListMax", o.ListMax, "0 to 10,000")
	check(o.MaxInFlight >= 0, "MaxInFlight", o.MaxInFlight, "0 or more")
	check(o.IdleTimeout >= 0, "IdleTimeout", o.IdleTimeout, "0 or more")
	check(o.ClockSkew >= 0, "ClockSkew", o.ClockSkew, "0 or more")
	if o.Layout != "" {
		_, ok := ns.ParseLayout(o.Layout)
		check(ok, "Layout", o.Layout, "OBJECT_STORE or FILE_SYSTEM_OPTIMIZED")
	}
	return errors.Join(all...)
}

// withDefaults returns o with each zero value replaced by its default.
func (o Options) withDefaults() Options {
	def(&o.Region, "us-east-1")
	def(&o.Volume, ns.S3Volume)
	def(&o.BlockSize, int64(block.MaxSize))
	def(&o.OpenAbove, 16<<20)
	def(&o.MinPartSize, 5<<20)
	def(&o.MaxParts, maxPartNumber)
	def(&o.ListMax, listPage)
	def(&o.MaxInFlight, 1024)
	def(&o.IdleTimeout, time.Minute)
	def(&o.ClockSkew, 15*time.Minute)
	if o.Reading == nil {
		o.Reading = func() func() { return func() {} }
	}
	return o
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Listener hears what the gateway does. Nil fields are silent. Calls are made
// on the request's goroutine and must not block.
type Listener struct {
	// RequestDone is called once for each request, after its answer was
	// written or cut off.
	RequestDone func(Request)
	// BlocksLeft is called when blocks of a failed write could not be
	// deleted; the sweep will find them.
	BlocksLeft func(blocks []block.ID, err error)
}

// Request describes one served request, for metrics and audit.
type Request struct {
	ID         string // as in x-amz-request-id
	Action     string // of the route table, "Unknown" when no route matched
	Changes    bool   // whether the action changes the namespace
	Volume     string
	Bucket     string
	Key        string
	Details    map[string]string // of a change: what else it touches, "source": "/volume/bucket/key"
	Keys       []string          // of DeleteObjects: those that are gone; all that were asked for if it failed
	Refused    []string          // of DeleteObjects: those that are not, each with its error code
	Method     string
	Status     int    // of the answer; 499 when the client left before it
	Code       string // S3's error code, "" for success
	Err        error  // what failed, with causes for operators; nil for success
	Aborted    bool   // the answer was cut off after its first byte
	Principal  access.Principal
	RemoteAddr string
	UserAgent  string
	BytesIn    int64 // of the body, as sent
	BytesOut   int64 // of the body
	Started    time.Time
	Duration   time.Duration
}
