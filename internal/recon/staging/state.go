package staging

import (
	"slices"
	"time"
)

// State is where a stage is.
type State string

// The states.
const (
	None          State = "NONE"            // no stage
	Initializing  State = "INITIALIZING"    // its directory and its replica are being made
	Processing    State = "PROCESSING"      // tasks fill its tables, and the log brings it up to date
	ReadyToCommit State = "READY_TO_COMMIT" // it is whole and was validated
	Committing    State = "COMMITTING"      // the switch
	Committed     State = "COMMITTED"       // answers come from it
	RollingBack   State = "ROLLING_BACK"    // it came to nothing and is cleared away
	Failed        State = "FAILED"          // it came to nothing and is not tried again by itself
)

// States returns all states in the order in which a stage has them.
func States() []State {
	return []State{None, Initializing, Processing, ReadyToCommit, Committing, Committed, RollingBack, Failed}
}

// becomes are the transitions; there are no others.
var becomes = map[State][]State{
	None:          {Initializing},
	Initializing:  {Processing, RollingBack},
	Processing:    {ReadyToCommit, RollingBack},
	ReadyToCommit: {Committing, RollingBack},
	Committing:    {Committed, RollingBack},
	Committed:     {None},
	RollingBack:   {None, Failed},
	Failed:        {Initializing},
}

// CanBecome reports whether there is a transition from s to t.
func (s State) CanBecome(t State) bool { return slices.Contains(becomes[s], t) }

// Running reports whether a stage is being made or cleared away.
func (s State) Running() bool { return s != None && s != Failed }

// Kind is what a stage is made of.
type Kind string

// The kinds, each doing what those before it do.
const (
	Incremental Kind = "INCREMENTAL" // of the generation in force, tables included, and the log since
	Local       Kind = "LOCAL"       // of the replica that is here: its tables are built anew
	Full        Kind = "FULL"        // of an image of the OM
)

// Covers reports whether a stage of kind k does what one of kind other would.
func (k Kind) Covers(other Kind) bool { return k.rank() >= other.rank() && k.rank() > 0 }

func (k Kind) rank() int { return slices.Index([]Kind{"", Incremental, Local, Full}, k) }

// Transition is one step of a stage.
type Transition struct {
	StagingID string
	From, To  State
	Reason    string        // why, in a word of the program's
	Detail    string        // why, in words
	Attempt   int           // 1 for the first one
	Took      time.Duration // spent in From
}
