// Package rule says what a lifecycle configuration means: whether it is one,
// which rule makes an object expire and when, and which parts of a bucket no
// rule is about. It is pure: the time is an argument. A Set never changes and is
// safe for concurrent use.
//
// # Time
//
// An age rule makes an object expire when it was written the rule's number of
// days ago, rounded up to the next midnight UTC, as S3 does: with 3 days, what
// was written on the 1st at 10:30 expires on the 5th at 00:00; what was written
// at midnight sharp is not rounded. A date rule makes everything it matches expire
// from that midnight on, also what is written later, and nothing before. Where
// several rules match, the one with the earliest expiry counts, and of those the
// first in the configuration.
//
// For tests and trials a day may be shorter (Options.Day): then ages count in
// such days and are rounded up to multiples of one since 1970. Dates stay dates.
//
// # What rules match
//
// A prefix is one of the object's whole path, byte by byte, in both layouts:
// "log" matches "log/a" and "logs", as in S3, whatever lies between slashes.
//
// Directories of file-system buckets expire as keys do, with these differences,
// since a directory is more than a key whose name ends in a slash: a rule with
// tags or sizes never matches one, and a rule never matches the directory that
// is its own prefix ("logs/" empties logs/ and leaves it there). Whether a
// directory is empty is for the caller to find out.
//
// What lies in the trash of a bucket (Trash) is no rule's business: the service
// that fills it empties it.
package rule

// Bounds of a configuration.
const (
	MaxRules    = 1000
	MaxID       = 255       // bytes
	MaxPrefix   = 1024      // bytes, as of a key's name
	MaxTags     = 50        // of a rule; a key has no more
	MaxTagName  = 128       // characters
	MaxTagValue = 256       // characters
	MaxBytes    = 512 << 10 // of the whole configuration, as the log holds it
)

// Trash is the directory of a bucket that no rule applies to.
const Trash = ".Trash/"
