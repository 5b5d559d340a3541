package bootstrap

import (
	"context"

	"o3/internal/image"
)

// place is what makes a node of fetched files and puts it in force.
type place interface {
	// take holds a data directory, which it makes if need be; a switch that was cut
	// off is completed or rolled back first. Kind Unavailable: a server runs on it.
	take(dir string) (held, error)

	// look tells what take would meet, and changes nothing.
	look(dir string) (looked, error)

	// nodeAt tells whether dir is the complete data directory of a node.
	nodeAt(dir string) (image.Node, bool, error)

	// adopt makes the files of an image a node's data directory, by renames. It
	// goes on where it was cut off.
	adopt(ctx context.Context, a adoption) error
}

// held is a data directory that is held.
type held interface {
	state() (planState, string, error)            // the plan's state and its id
	may(m *image.Manifest, blockDir string) error // why swap would be refused
	swap(blockDir, id, why string) error
	Close() error
}

// planState is where a switch stands.
type planState int

const (
	planNone    planState = iota
	planApplied           // the new node is in force, the old state is kept
	planServed            // and it has served: the old state goes
	planPending           // cut off; only look meets it
)

// looked is what look sees.
type looked struct {
	plan    planState
	id      string
	running bool // somebody holds the directory
}

// adoption is what adopt is to do.
type adoption struct {
	from, to string // the fetched image; the data directory to make
	nodeID   string
}
