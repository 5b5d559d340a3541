package errs

// Kind classifies an error. The numbers cross the wire and are stored in retry
// answers: they are append-only.
type Kind uint8

// The kinds.
const (
	OK                  Kind = iota
	Internal                 // a fault of ours, or anything unclassified
	Invalid                  // the request is malformed or out of bounds
	NoSuchVolume             //
	NoSuchBucket             //
	NoSuchKey                //
	NoSuchUpload             //
	NoSuchPrincipal          // user or access key
	VolumeExists             //
	BucketExists             // owned by somebody else
	BucketOwnedByYou         // exists already and is the caller's
	KeyExists                // only where the caller asked for absence
	PrincipalExists          //
	NotEmpty                 // volume, bucket or directory
	ParentIsKey              // FSO: a component of the path is a key
	IsDirectory              // FSO: the path names a directory
	InvalidRename            // FSO: a directory below itself
	Unauthenticated          // no or wrong credentials
	Denied                   // authenticated, but not allowed
	PreconditionFailed       // If-Match and the like
	NotModified              //
	Conflict                 // changed under the caller: retry after a fresh read
	QuotaExceeded            //
	NotLeader                // ask another node
	Unavailable              // starting, stopping or without quorum: retry
	ReadOnly                 // below the disk reserve
	Corrupt                  // stored bytes fail their checksum
	NotImplemented           //
	TooLarge                 // entity or part above a limit
	TooSmall                 // multipart part below the minimum
	InvalidPart              // complete names a part that is absent or differs
	InvalidPartOrder         //
	BadDigest                // the body is not what its digest says
	InvalidRange             //
	SlowDown                 // too many requests: retry later
	Canceled                 // the caller went away
	DeadlineExceeded         //
	FormatTooNew             // a store or file written by a later version
	FormatUnknown            // not one of our files at all
	NoSuchSnapshot           //
	SnapshotExists           //
	NoSuchJob                //
	NoSuchConfiguration      // e.g. lifecycle, tags
	TooMany                  // a count limit (snapshots, jobs, buckets)
	numKinds
)

var kindNames = [numKinds]string{
	"ok", "internal error", "invalid", "no such volume", "no such bucket", "no such key",
	"no such upload", "no such principal", "volume exists", "bucket exists",
	"bucket already owned by you", "key exists", "principal exists", "not empty",
	"a parent of the path is a key", "is a directory", "invalid rename", "unauthenticated",
	"denied", "precondition failed", "not modified", "conflict", "quota exceeded", "not leader",
	"unavailable", "read-only", "corrupt", "not implemented", "too large", "too small",
	"invalid part", "invalid part order", "bad digest", "invalid range", "slow down", "canceled",
	"deadline exceeded", "format too new", "format unknown", "no such snapshot",
	"snapshot exists", "no such job", "no such configuration", "too many",
}

// String returns the kind in words.
func (k Kind) String() string {
	if k < numKinds {
		return kindNames[k]
	}
	return "unknown kind"
}

// Kinds returns every kind but OK, for tables that must be total.
func Kinds() []Kind {
	out := make([]Kind, 0, numKinds-1)
	for k := Internal; k < numKinds; k++ {
		out = append(out, k)
	}
	return out
}
