package staging

import "time"

// Retries says whether a stage that came to nothing is tried again by itself.
type Retries struct {
	Off   bool
	Max   int           // tries after the first one
	Delay time.Duration // before each
}

// Ending is how a stage came to nothing.
type Ending string

// The endings.
const (
	EndTask       Ending = "TASK_FAILED"
	EndImage      Ending = "IMAGE_FAILED"
	EndSource     Ending = "LOG_FAILED"
	EndValidation Ending = "VALIDATION_FAILED"
	EndSwitch     Ending = "SWITCH_FAILED"
	EndTimeout    Ending = "TIMEOUT"
	EndResources  Ending = "RESOURCES_EXHAUSTED"
	EndDisk       Ending = "DISK_FULL"
	EndCancelled  Ending = "CANCELLED"
	EndRestart    Ending = "RESTART"
	EndRefused    Ending = "REFUSED" // what was asked for cannot be done
)

// Keeps reports whether what was made is kept to be looked at.
func (e Ending) Keeps() bool { return e == EndValidation || e == EndSwitch }

// Next says what comes after a stage that ended so on its attempt: when it is
// tried again (retry), and whether it has failed for good.
func (p Retries) Next(e Ending, attempt int, now time.Time) (retry time.Time, failed bool) {
	switch {
	case e == EndCancelled, e == EndRefused:
		return time.Time{}, false
	case p.Off, attempt > p.Max && e != EndDisk: // a disk has room again some day
		return time.Time{}, true
	case e == EndRestart:
		return now, false
	}
	return now.Add(p.Delay), false
}
