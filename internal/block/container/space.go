package container

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

const (
	spaceEvery = 200 * time.Millisecond // how long a look at the disk is good
	spaceBytes = 32 << 20               // how much may be admitted on one look
	fullPause  = time.Second            // how long a full disk is left alone
)

// space watches the free bytes of the disk against the reserve.
type space struct {
	fs      vfs.FS
	dir     string
	reserve int64
	tell    func(on bool, free int64)

	low   atomic.Bool  // writing is refused
	until atomic.Int64 // unix nanoseconds at which to look again
	since atomic.Int64 // bytes admitted since the last look

	mu   sync.Mutex // held during a look
	full time.Time  // when the disk was last found full; zero: not
	free int64      // at the last look, -1 unknown
}

func newSpace(o Options) *space {
	return &space{fs: o.FS, dir: o.Dir, reserve: max(o.Reserve, 0), tell: o.Listener.ReadOnly, free: -1}
}

// admit says whether n bytes may be written now.
func (g *space) admit(n int64) error {
	if g.since.Add(n) > spaceBytes || time.Now().UnixNano() >= g.until.Load() {
		g.look()
	}
	if !g.low.Load() {
		return nil
	}
	return g.refusal("")
}

// refusal is the error of a Put that may not write; why is what the disk said,
// "" when it is the reserve.
func (g *space) refusal(why string) error {
	g.mu.Lock()
	free, full := g.free, !g.full.IsZero()
	g.mu.Unlock()
	if why == "" {
		if free < 0 || full && free >= g.resume() {
			why = fmt.Sprintf("the disk was full a moment ago; it is tried again within %v", fullPause+spaceEvery)
		} else {
			why = fmt.Sprintf("%s free, the reserve is %s; writing resumes at %s",
				mib(free), mib(g.reserve), mib(g.resume()))
		}
	}
	return errs.New(errs.ReadOnly, g.dir, why+"; reading and deleting still work")
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// resume is the free space at which writing begins again.
func (g *space) resume() int64 { return g.reserve + g.reserve/8 }

// exhausted notes that a write found no space.
func (g *space) exhausted() {
	g.mu.Lock()
	g.full = time.Now()
	g.mu.Unlock()
	g.set(true, 0)
	g.until.Store(time.Now().Add(spaceEvery).UnixNano())
}

// look asks the disk. Concurrent callers go on with what is known.
func (g *space) look() {
	if !g.mu.TryLock() {
		return
	}
	defer g.mu.Unlock()
	now := time.Now()
	g.since.Store(0)
	g.until.Store(now.Add(spaceEvery).UnixNano())
	u, err := g.fs.GetDiskUsage(g.dir)
	if err != nil {
		g.free = -1
		if !errors.Is(err, vfs.ErrUnsupported) {
			return // keep to what was known
		}
	} else {
		g.free = int64(min(u.AvailBytes, 1<<62))
	}
	if !g.full.IsZero() && now.Sub(g.full) < fullPause {
		return // a full disk is not tried again at once
	}
	switch {
	case g.free < 0:
		g.set(false, g.free)
	case g.free < g.reserve:
		g.set(true, g.free)
	case g.free >= g.resume():
		g.set(false, g.free)
	}
	if !g.low.Load() {
		g.full = time.Time{}
	}
}

func (g *space) set(low bool, free int64) {
	if g.low.Swap(low) != low {
		g.tell(low, free)
	}
}

// room reports whether n bytes can be written without touching the last half
// of the reserve: what rewriting may use, since it frees more than it takes.
func (g *space) room(n int64) bool {
	u, err := g.fs.GetDiskUsage(g.dir)
	return err != nil || int64(min(u.AvailBytes, 1<<62))-n > g.reserve/2
}
