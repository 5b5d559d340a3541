// Package config turns defaults, a YAML file, the environment and -D options
// into one typed Config, and reports everything that is wrong with them
// together.
//
// The registry (keys_*.go) is data: one row per key says its name, type,
// default, bounds, meaning, the test that shows its effect, and the field of
// Config it fills. The parser, the checks, the effective-configuration dump and
// docs/configuration.md all derive from the rows, so adding a key is one row
// and one field.
//
// The package starts no goroutine. Load reads files and the size of a disk and
// changes nothing; a Config is a plain value, safe to read concurrently.
package config

import (
	"time"

	"o3/internal/obs"
	"o3/internal/tlsconf"
)

// Config is the whole configuration of a server. Sizes are in bytes. Every
// field is filled by exactly one key; its bounds stand with the key.
type Config struct {
	Node      Node
	OM        OM
	Raft      Raft
	DB        DB
	S3        S3
	Block     Block
	Service   Service
	Snapshot  Snapshot
	Lifecycle Lifecycle
	Image     Image
	Export    Export
	Transfer  Transfer
	Bootstrap Bootstrap
	Recon     Recon
	Log       Log
	Audit     Audit
	Metrics   Metrics
	Tracing   Tracing

	sources map[string]Source
}

// Node is what the process as a whole needs.
type Node struct {
	DataDir       string        // everything the node keeps lives here
	ShutdownGrace time.Duration // how long requests in flight may take to finish at shutdown
	RootAccessKey string        // "" = create one on first start
	RootSecretKey obs.Secret
	Roles         []string // what the server does: RoleOM, RoleS3, RoleRecon
}

// TLS names the PEM files of one listener; all empty means plain text.
type TLS struct {
	Cert     string
	Key      string
	ClientCA string // with it, clients must present a certificate signed by it
}

// Enabled reports whether the listener speaks TLS.
func (t TLS) Enabled() bool { return t.Cert != "" }

// Files returns t in the form package tlsconf takes.
func (t TLS) Files() tlsconf.Files {
	return tlsconf.Files{Cert: t.Cert, Key: t.Key, CA: t.ClientCA}
}

// OM is the namespace manager and its listener.
type OM struct {
	Address       string
	NodeID        string
	TLS           TLS
	DefaultLayout string // OBJECT_STORE or FILE_SYSTEM_OPTIMIZED, for buckets made through the OM API
	InlineMaxSize int64  // objects up to this size are stored in their row; 0 = none
	ListScanLimit int    // rows one page of a listing may examine
}

// Raft is replication between OMs.
type Raft struct {
	Nodes         []string      // id=host:port of every OM; empty = this node alone
	EntryMaxSize  int64         // bytes of requests put in one log entry
	PendingLimit  int           // requests waiting for the log; beyond it SlowDown
	LogKeep       int64         // newest entries kept behind the flushed index
	RetryCacheTTL time.Duration // how long answers are kept for retries
}

// DB is the namespace store.
type DB struct {
	CacheSize     int64
	MemtableSize  int64
	FlushInterval time.Duration // longest time applied changes stay in memory only
}

// S3 is the S3 gateway.
type S3 struct {
	Address            string
	TLS                TLS
	Domains            []string // suffixes for virtual-host addressing
	Region             string
	DefaultLayout      string // layout of buckets created through S3
	MaxInFlight        int
	HeaderTimeout      time.Duration
	BodyIdleTimeout    time.Duration
	ConnectionIdle     time.Duration
	ClockSkew          time.Duration
	ListMaxKeys        int
	MultipartMinPart   int64
	MultipartMaxNumber int
}

// Block is the store of bytes.
type Block struct {
	Dir              string
	Reserve          int64 // free bytes below which the node is read-only
	ContainerSize    int64
	ScrubInterval    time.Duration // 0 = never
	ScrubRate        int64         // bytes per second
	RewriteInterval  time.Duration // between looks for dead space
	RewriteThreshold float64       // share of dead bytes
	RewriteRate      int64         // bytes per second
	SweepInterval    time.Duration // 0 = never
	SweepGrace       time.Duration
	FreeGrace        time.Duration
}

// Service is the background work on the namespace.
type Service struct {
	OpenKeyExpire     time.Duration
	OpenKeyInterval   time.Duration
	OpenKeyBatch      int
	DirDeleteInterval time.Duration
	DirDeleteBatch    int
	KeyDeleteInterval time.Duration
	KeyDeleteBatch    int
}

// Snapshot is what concerns snapshots and their diffs.
type Snapshot struct {
	Limit           int
	ReclaimInterval time.Duration
	ReclaimBatch    int
	DiffThreads     int
	DiffMaxPage     int
	DiffWait        time.Duration
	DiffKeep        time.Duration
	DiffCleanup     time.Duration
	DiffMaxChanges  int
	ForceFull       bool
	DiffDir         string
	DiffMemory      int64
}

// Lifecycle is what concerns the scans that make lifecycle rules happen.
type Lifecycle struct {
	Enabled         bool
	Interval        time.Duration
	Timeout         time.Duration
	Workers         int
	Batch           int
	SaveInterval    time.Duration
	SaveRows        int
	AbortParts      int
	Trash           bool
	TrashKeep       time.Duration
	TrashCheckpoint time.Duration
	Rate            int    // victims per second; 0 = no bound
	Window          string // as lifecycle.ParseWindow reads it
	Day             time.Duration
}

// Image is what concerns images of the node, for backups.
type Image struct {
	Retain   int
	Interval time.Duration // 0 = never
	Rate     int64         // bytes per second; 0 = no bound
}

// Transfer is how images and the log travel between nodes.
type Transfer struct {
	Enabled     bool  // this node is a source, and may be a target
	Insecure    bool  // also without TLS to other machines
	Chunk       int64 // bytes
	Streams     int
	Rate        int64  // bytes per second; 0 = no bound
	Compress    bool   // a source compresses for those who ask for it
	Compression string // what a target asks for
	HoldLimit   int64  // bytes of log kept for a receiver
}

// Bootstrap is how a node is made of another one.
type Bootstrap struct {
	Timeout time.Duration // for the whole
	Retries int           // at one source, without progress
	Strict  bool
}

// Recon is what follows an OM and answers questions about all of its namespace.
type Recon struct {
	Address       string
	TLS           TLS
	Dir           string
	Readers       bool // users who are no admins may look
	Threads       int
	Memory        int64
	FlushInterval time.Duration
	OM            []string // URLs, where the OM is not in this process
	AccessKey     string
	SecretKey     obs.Secret
	OMTLS         TLS // ClientCA: who the OM's certificate must come from
	MaxRetry      time.Duration
	Staging       Staging
	Alert         Alert
}

// Staging is how Recon makes new generations.
type Staging struct {
	Enabled          bool
	BasePath         string
	Retention        time.Duration // 0 = nothing is kept
	Timeout          time.Duration // 0 = none
	MemoryFactor     float64
	Threads          int
	BatchMultiplier  float64
	AutoRetry        bool
	MaxRetries       int // after the first try
	RetryDelay       time.Duration
	ProgressInterval time.Duration
	HealthInterval   time.Duration
	Development      bool // of these three one is true
	Beta             bool
	Production       bool
	Fallback         bool // to in place
	Enhanced         bool // tasks and tables are told of one by one
}

// Alert is what Recon tells of by itself.
type Alert struct {
	Webhook  obs.Secret // URL; "" = nobody is told
	Lag      time.Duration
	DiskFree int64 // bytes
}

// Export is what concerns exports of images, the node's backups.
type Export struct {
	AccessKey string // "" = from the environment
	SecretKey obs.Secret
	Rate      int64  // bytes per second; 0 = no bound
	Target    string // "" = no exports by itself
	Interval  time.Duration
	Keep      int // 0 = all
}

// Log is the operators' log.
type Log struct {
	Level       string        // debug, info, warn, error
	Format      string        // text, json
	SlowRequest time.Duration // 0 = off
}

// Audit is the audit log.
type Audit struct {
	Enabled  bool
	Path     string
	MaxSize  int64
	MaxFiles int
	Queue    int
	Sync     string // always, interval, never
	Strict   bool
}

// Metrics is what the OM listener shows of the process.
type Metrics struct {
	Enabled  bool
	Profiler bool
}

// Tracing is OpenTelemetry.
type Tracing struct {
	Endpoint    string // URL of an OTLP/HTTP collector; "" = off
	SampleRatio float64
}
