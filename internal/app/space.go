package app

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// spaceInterval is the time between looks at the disks.
const spaceInterval = 250 * time.Millisecond

// space watches the free bytes of the disks of data and metadata against
// ozone.block.reserve. Writes are refused below it, and taken again when an
// eighth more is free.
type space struct {
	dirs    []string
	reserve uint64
	free    func(dir string) (free, total uint64, err error)
	tell    func(why string) // "" when writes are taken again
	why     atomic.Pointer[string]
}

// refused tells why no write is taken, "" when it is.
func (s *space) refused() string {
	if why := s.why.Load(); why != nil {
		return *why
	}
	return ""
}

// run looks at the disks until ctx ends.
func (s *space) run(ctx context.Context) error {
	tick := time.NewTicker(spaceInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.look()
		case <-ctx.Done():
			return nil
		}
	}
}

// look asks every disk. One that does not answer is as it was.
func (s *space) look() {
	before, need := s.refused(), s.reserve
	if before != "" {
		need += s.reserve / 8
	}
	var low []string
	for _, dir := range s.dirs {
		free, _, err := s.free(dir)
		switch {
		case err != nil && before != "":
			return
		case err == nil && free < need:
			low = append(low, fmt.Sprintf("%s has %.1f MiB free", dir, float64(free)/(1<<20)))
		}
	}
	why := ""
	if len(low) > 0 {
		why = fmt.Sprintf("the disk of %s; ozone.block.reserve is %.1f MiB, and writing goes on with an eighth more",
			strings.Join(low, " and that of "), float64(s.reserve)/(1<<20))
	}
	s.why.Store(&why)
	if (why == "") != (before == "") {
		s.tell(why)
	}
}
