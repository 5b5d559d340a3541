package staging

// Limits is what a stage may take.
type Limits struct {
	Memory  int // bytes for counters and for sorting, all threads together
	Threads int // that decode rows
	Batch   int // rows that a thread reads before others have their turn
}

// Bounds of limits.
const (
	MinMemory = 64 << 10
	MinBatch  = 16
	MaxBatch  = 64 << 10
	perRow    = 256 << 10 // bytes of a thread's memory for each row of a batch
)

// Plan returns what a stage may take of so many bytes of memory that can be had
// (0: not known): a factor of them, and no more than most.
func Plan(available uint64, factor, multiplier float64, threads, most int) Limits {
	l := Limits{Memory: most, Threads: max(threads, 1)}
	if available > 0 {
		l.Memory = min(most, int(min(float64(available)*factor, float64(1<<40))))
	}
	l.Memory = max(l.Memory, MinMemory)
	l.Batch = min(max(int(float64(l.Memory/l.Threads)/perRow*multiplier), MinBatch), MaxBatch)
	return l
}

// Step is how far a stage has been cut down because the machine has too little.
type Step int

// The steps.
const (
	StepNone Step = iota
	StepBatches
	StepThreads
	StepPaused
	StepFailed
)

// String returns the step in words.
func (s Step) String() string {
	return [...]string{"NONE", "SMALLER_BATCHES", "FEWER_THREADS", "PAUSED", "FAILED"}[min(max(s, 0), StepFailed)]
}

// Within returns the limits that are left at a step.
func (l Limits) Within(s Step) Limits {
	if s >= StepBatches {
		l.Batch = max(l.Batch/4, MinBatch)
	}
	if s >= StepThreads {
		l.Threads = 1
	}
	return l
}

// pauseLooks is at how many looks in a row a stage that is paused must find too
// little before it fails.
const pauseLooks = 6

// Breaker cuts a stage down in steps while the machine has too little, one step
// with each look, and lets it have more again, one step with each look, when there
// is enough.
type Breaker struct {
	Step   Step
	paused int
}

// Look moves the breaker; why is "" when there is enough. It returns the step of
// before.
func (b *Breaker) Look(why string) (from Step) {
	from = b.Step
	switch {
	case b.Step == StepFailed:
	case why == "":
		b.Step, b.paused = max(b.Step-1, StepNone), 0
	case b.Step < StepPaused:
		b.Step++
	default:
		if b.paused++; b.paused >= pauseLooks {
			b.Step = StepFailed
		}
	}
	return from
}
