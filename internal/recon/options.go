package recon

import (
	"runtime/debug"
	"time"

	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
	"o3/internal/recon/task"
)

// Options configures a Service. Dir and Sources are required; a zero field means
// its default.
type Options struct {
	Dir     string   // of the generations; made if it is absent
	Sources []Source // asked in this order; at least one

	Private []string // directories in which no backup is made, beside Recon's own

	Rebuild    task.RebuildOptions // Memory is the most a stage may have; Dir "" is below the stage's
	Generation generation.Options  // Dir is chosen by the Service; FS is that of everything here
	Staging    StagingOptions

	FlushInterval time.Duration // between flushes of what was applied; 10 s
	Backoff       time.Duration // before an OM that did not answer is asked again, doubled each time; 500 ms
	MaxBackoff    time.Duration // 30 s

	Listener Listener
}

// StagingOptions is how new generations are made.
type StagingOptions struct {
	Disabled bool // tables are rebuilt in place, and are not shown meanwhile
	Fallback bool // a stage that failed for good is tried once more in place

	BasePath  string        // where stages are made, and stay; "" is Options.Dir
	Retention time.Duration // how long the generation before is kept, and a stage that is kept; 24 h; less than 0: not at all
	Timeout   time.Duration // of a stage, without what it waits for an OM that does not answer; 2 h; less than 0: none

	MemoryFactor    float64 // of the memory that can be had, what a stage may take; 0.5
	Threads         int     // of a stage; Rebuild.Workers, or 4
	BatchMultiplier float64 // of the size of batches that follows from the memory; 2

	NoAutoRetry bool
	MaxRetries  int           // after the first try; 3
	RetryDelay  time.Duration // before each; 10 min

	ProgressInterval time.Duration // between calls of Listener.StagingProgress; 30 s
	HealthInterval   time.Duration // between looks at marker, disk, memory and the stage's files; 10 s
	Reserve          uint64        // bytes of the disk that stay free

	Space  func(dir string) (free, total uint64, err error) // nil: as the file system says
	Memory func() (used, limit uint64)                      // of the process, in bytes; limit 0: none; nil: what is nearer, that of Go's runtime or of the control group
	Hooks  TaskHooks
	Clock  Clock

	giveBack func() // memory that is held and not needed, to the system; nil where Memory is told
}

// TaskHooks are called for each task of a stage, from one goroutine. An error
// makes the stage fail. Nil fields are passed over.
type TaskHooks struct {
	OnStagingStart      func(stagingID, task string) error
	ValidateStagingData func(stagingID, task string, v *generation.View) error // beside what every stage is checked for
	OnStagingComplete   func(stagingID, task string, success bool)
	CleanupStagingData  func(stagingID, task string) // before the stage's files are removed
}

// Listener hears what a Service does. Nil fields are silent. Calls are
// synchronous and must not block.
type Listener struct {
	State    func(from, to State, why error)
	Applied  func(entries, bytes int, took time.Duration) // a message of the OM's log with entries
	Broken   func(reason Reason, err error)               // the log cannot be followed any more with what is here
	Building func(b Building)                             // a step of it begins
	Built    func(s Synced, r task.Rebuilt)               // or came to nothing
	Switched func(from, to string)                        // generations; "" is none
	Failed   func(what string, err error)                 // something beside went wrong, which is tried again

	Transition      func(t staging.Transition) // of a stage, each once
	StagingProgress func(st StagingStatus)     // while one runs
	Breaker         func(stagingID string, from, to staging.Step, why string)
	TaskStaged      func(stagingID, task string, took time.Duration, err error)
	Committed       func(stagingID string, took, switching time.Duration) // the whole stage, and the switch in it
	RolledBack      func(from, to string, took time.Duration)             // by Rollback
	Removed         func(what, path, why string)                          // what: "previous generation", "stage", "kept stage", "image"
}

// withDefaults fills what was not set.
func (o Options) withDefaults() Options {
	fill(&o.FlushInterval, 10*time.Second)
	fill(&o.Backoff, 500*time.Millisecond)
	fill(&o.MaxBackoff, 30*time.Second)
	fill(&o.Rebuild.Memory, 64<<20)
	st := &o.Staging
	fill(&st.BasePath, o.Dir)
	fill(&st.Retention, 24*time.Hour)
	fill(&st.Timeout, 2*time.Hour)
	fill(&st.MemoryFactor, 0.5)
	fill(&st.Threads, o.Rebuild.Workers)
	fill(&st.Threads, 4)
	fill(&st.BatchMultiplier, 2)
	fill(&st.MaxRetries, 3)
	fill(&st.RetryDelay, 10*time.Minute)
	fill(&st.ProgressInterval, 30*time.Second)
	fill(&st.HealthInterval, 10*time.Second)
	if st.Memory == nil {
		st.Memory, st.giveBack = ProcessMemory, debug.FreeOSMemory
	}
	if st.Clock == nil {
		st.Clock = realClock{}
	}
	return o
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
