package recon

import (
	"time"
)

// State is what a Service does.
type State string

// The states.
const (
	StateStarting  State = "STARTING"  // there is nothing to answer from yet
	StateFollowing State = "FOLLOWING" // the log is being applied
	StateRetrying  State = "RETRYING"  // the OM does not answer; what is here is served
	StateSyncing   State = "SYNCING"   // what is here cannot be followed, and is served; a new generation is being made, or Error says what begins one
)

// Phase is a step of making a generation.
type Phase string

// The phases.
const (
	PhaseImage    Phase = "IMAGE"
	PhaseRebuild  Phase = "REBUILD"
	PhaseCatchUp  Phase = "CATCH_UP"
	PhaseValidate Phase = "VALIDATE"
	PhaseSwitch   Phase = "SWITCH"
)

// Reason is why a generation was made.
type Reason string

// The reasons.
const (
	ReasonFirst       Reason = "FIRST_START"
	ReasonManual      Reason = "MANUAL_TRIGGER"
	ReasonRebuild     Reason = "MANUAL_OM_DB_REBUILD"
	ReasonTruncated   Reason = "LOG_DOES_NOT_REACH_BACK"
	ReasonOther       Reason = "SOURCE_HAS_ANOTHER_HISTORY"
	ReasonDigest      Reason = "DIGEST_DIFFERS"
	ReasonGap         Reason = "INDEX_GAP"
	ReasonDecode      Reason = "ENTRY_NOT_UNDERSTOOD"
	ReasonTasks       Reason = "TASK_FAILURES"
	ReasonDamaged     Reason = "LOCAL_STATE_DAMAGED"
	ReasonDisk        Reason = "DISK_FULL"
	ReasonVersion     Reason = "TABLES_OF_ANOTHER_VERSION"
	ReasonIncremental Reason = "INCREMENTAL_STAGING"
)

// Building is a generation in the making.
type Building struct {
	Generation  string    `json:"generation"`
	Reason      Reason    `json:"reason"`
	Detail      string    `json:"detail,omitempty"`
	Phase       Phase     `json:"phase"`
	Since       time.Time `json:"since"`
	Done, Total int64     // bytes of the image, rows of the rebuild (total: 0, not known), entries to catch up
}

// Status is how a Service is.
type Status struct {
	State      State     `json:"state"`
	Source     string    `json:"source"`
	Generation string    `json:"generation"` // that answers come from; "": none yet
	Index      uint64    `json:"index"`      // that answers reflect
	Op         uint64    `json:"op"`
	Digest     string    `json:"digest"`
	Time       time.Time `json:"time"`     // of the last command that they reflect, by the OM's clock
	Commit     uint64    `json:"commit"`   // newest entry of the OM that is known of
	Heard      time.Time `json:"heard"`    // when the OM last told of itself
	Compared   uint64    `json:"compared"` // the last index at which the digest was the OM's

	Error    string    `json:"error,omitempty"` // why the OM is not followed now
	Building *Building `json:"building,omitempty"`
	LastSync *Synced   `json:"lastSync,omitempty"`
	Syncs    uint64    `json:"syncs"`  // generations made since the start of the process
	Failed   uint64    `json:"failed"` // tries at it that came to nothing
}

// Synced is a generation that was made, or a try at it.
type Synced struct {
	Reason   Reason        `json:"reason"`
	Detail   string        `json:"detail,omitempty"`
	Finished time.Time     `json:"finished"`
	Took     time.Duration `json:"took"`
	Error    string        `json:"error,omitempty"`
}

// Lag returns how many entries of the OM are not reflected.
func (s Status) Lag() uint64 { return max(s.Commit, s.Index) - s.Index }

// Age returns how old what is answered may be: since when everything the OM had
// is reflected.
func (s Status) Age(now time.Time) time.Duration {
	if s.Heard.IsZero() {
		return 0
	}
	return max(now.Sub(s.Heard), 0)
}
