package consensus

import "context"

// Entry is one committed log entry: many client requests. Indexes are
// contiguous; the first entry a new machine sees is Index 1 with the first
// membership, or the one after its image.
type Entry struct {
	Index, Term uint64
	Conf        []byte   // marshalled raftpb.ConfState after this entry; nil if it changes no membership
	Requests    [][]byte // possibly none; owned by the log, not to be changed
}

// Position says how far a state machine is: the last entry applied, and the
// membership at that entry (the last non-nil Conf at or before it). The zero
// Position is an empty machine.
type Position struct {
	Index, Term uint64
	Conf        []byte
}

// StateMachine is what a group replicates. Apply, Flush and Images.Install are
// never called concurrently with themselves, but Flush and Durable run beside
// Apply; Apply and Install never overlap.
type StateMachine interface {
	// Apply applies entries in order; results[i][j] answers
	// entries[i].Requests[j]. Position.Index, Term and Conf must change in the
	// same atomic step as the state. An error halts the node.
	Apply(entries []Entry) (results [][][]byte, err error)

	// Applied returns the position of the state in memory. It is asked at
	// Open, and after an Install.
	Applied() Position

	// Durable returns the position a power cut now would leave. The log is
	// truncated only behind it.
	Durable() (Position, error)

	// Flush makes everything applied before the call durable.
	Flush() error
}

// ImageMeta names an image of a state machine: everything up to Index.
type ImageMeta struct {
	Index, Term uint64
	Conf        []byte // marshalled raftpb.ConfState at Index
	Manifest    []byte // says what the image is and how to get it; opaque here
}

// Images makes, fetches and installs images. A node without Images can
// neither bring in a new node nor be brought in.
type Images interface {
	// Latest returns the newest image on offer. It is called on the Raft
	// goroutine, often: it must be O(1) and must not block.
	Latest() (ImageMeta, bool)

	// Prepare starts making an image of the applied state at an index >= min
	// and returns at once; calls while one is made coalesce. It must need no
	// further commit.
	Prepare(min uint64)

	// Fetch brings the image that node from offers into staging and validates
	// it; the one it returns may be another, newer one. progress is told the
	// bytes so far. It runs beside everything else and ends with ctx.
	Fetch(ctx context.Context, from uint64, offer ImageMeta, progress func(bytes uint64)) (ImageMeta, error)

	// Install switches the state machine to a staged image, durably; it is
	// idempotent and repeated at start until it succeeds. Afterwards
	// StateMachine.Applied is the image's position.
	Install(ImageMeta) error
}
