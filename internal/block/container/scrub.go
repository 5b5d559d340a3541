package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"o3/internal/errs"
)

const (
	scrubMagic  = "O3SCRUB\x00"
	scrubHead   = 20
	scrubSave   = 10 * time.Second // time between saves of the position
	scrubListed = 1000             // damages kept in a report
)

// ScrubReport is what a scrub has done so far, or did.
type ScrubReport struct {
	Started    time.Time `json:"started"`
	Finished   time.Time `json:"finished,omitzero"` // zero: under way, or interrupted
	Position   uint64    `json:"position"`          // the last container that was read to its end
	Containers int64     `json:"containers"`
	Blocks     int64     `json:"blocks"`
	Bytes      int64     `json:"bytes"`
	Damages    int64     `json:"damages"`
	Damaged    []Damage  `json:"damaged"` // the first 1000
}

type scrubState struct {
	running sync.Mutex // held by the scrub
	mu      sync.Mutex
	report  ScrubReport
	told    map[spot]bool // what report counts; those it lists, of one before Open
	saved   time.Time
}

// count puts d into the report, unless it is there: a container in which a
// scrub was interrupted is read again. The caller holds mu.
func (c *scrubState) count(d Damage) {
	if c.told[spotOf(d)] {
		return
	}
	if c.told == nil {
		c.told = map[spot]bool{}
	}
	if len(c.told) < knownMost {
		c.told[spotOf(d)] = true
	}
	c.report.Damages++
	if len(c.report.Damaged) < scrubListed {
		c.report.Damaged = append(c.report.Damaged, d)
	}
}

// ScrubStatus returns the report of the scrub under way, or of the last one;
// its Started is zero when there never was one.
func (s *Store) ScrubStatus() ScrubReport {
	s.scrub.mu.Lock()
	defer s.scrub.mu.Unlock()
	r := s.scrub.report
	r.Damaged = append([]Damage(nil), r.Damaged...)
	return r
}

// Scrub reads every live block of the store at Options.ScrubRate, and tells of
// damage by the Listener and in the report. It goes on where one that was
// interrupted stopped, also by a restart. Kind Conflict: one is under way.
func (s *Store) Scrub(ctx context.Context) (ScrubReport, error) {
	if !s.scrub.running.TryLock() {
		return ScrubReport{}, errs.New(errs.Conflict, "scrub", "one is under way")
	}
	defer s.scrub.running.Unlock()
	if err := s.usable(); err != nil {
		return ScrubReport{}, err
	}
	s.update(func(r *ScrubReport) {
		if r.Started.IsZero() || !r.Finished.IsZero() {
			*r = ScrubReport{Started: time.Now().UTC()}
			s.scrub.told = nil
			s.known.begin()
		}
	})
	err := s.scrubAll(ctx, limiter(s.o.ScrubRate))
	if err == nil {
		s.known.end()
		s.update(func(r *ScrubReport) { r.Finished = time.Now().UTC() })
	}
	if serr := s.saveScrub(); serr != nil && err == nil {
		err = serr
	}
	r := s.ScrubStatus()
	s.o.Listener.Scrubbed(r)
	if errors.Is(err, errStopped) {
		err = errs.New(errs.Unavailable, "block store", "closed")
	}
	return r, err
}

func (s *Store) update(f func(*ScrubReport)) {
	s.scrub.mu.Lock()
	defer s.scrub.mu.Unlock()
	f(&s.scrub.report)
}

func (s *Store) scrubAll(ctx context.Context, l *rate.Limiter) error {
	c := &checker{
		s:    s,
		wait: func(n int64) error { return s.wait(ctx, l, n) },
		found: func(d Damage) error {
			if d.Dead {
				return nil
			}
			s.damaged(d)
			s.update(func(*ScrubReport) {
				s.scrub.count(d)
			})
			return nil
		},
	}
	for _, b := range s.all() {
		if b.id <= s.ScrubStatus().Position {
			continue
		}
		blocks, bytes := c.blocks, c.bytes
		if err := c.box(b); err != nil {
			if ctx.Err() != nil {
				return canceled(ctx)
			}
			return err
		}
		s.update(func(r *ScrubReport) {
			r.Position = b.id
			r.Containers++
			r.Blocks += c.blocks - blocks
			r.Bytes += c.bytes - bytes
		})
		if time.Since(s.scrub.saved) >= scrubSave {
			if err := s.saveScrub(); err != nil {
				return err
			}
		}
	}
	return nil
}

// saveScrub writes the report down. A disk without space is no error: a
// restart then begins at an older position.
func (s *Store) saveScrub() error {
	body, err := json.Marshal(s.ScrubStatus())
	if err != nil {
		return fmt.Errorf("container: %w", err)
	}
	b := append([]byte(scrubMagic), make([]byte, scrubHead-len(scrubMagic))...)
	le.PutUint32(b[8:], Version)
	le.PutUint32(b[12:], uint32(len(body)))
	le.PutUint32(b[16:], crc(body))
	b = append(b, body...)

	s.life.RLock()
	defer s.life.RUnlock()
	if s.writable() != nil {
		return nil
	}
	tmp := scrubName + tmpSuffix
	f, err := s.create(tmp)
	if err != nil {
		return ignoreFull(err)
	}
	_, err = f.WriteAt(b, 0)
	if err != nil {
		f.Close()
		return ignoreFull(s.writeFault(tmp, err))
	}
	err = s.syncData(f, tmp)
	f.Close()
	if err != nil {
		return err
	}
	if err := s.o.FS.Rename(s.path(tmp), s.path(scrubName)); err != nil {
		return ignoreFull(s.writeFault(scrubName, err))
	}
	s.scrub.saved = time.Now()
	return s.syncDir()
}

func ignoreFull(err error) error {
	if errs.KindOf(err) == errs.ReadOnly {
		return nil
	}
	return err
}

// loadScrub reads the last report. A damaged one is forgotten: the next scrub
// begins at the first container.
func (s *Store) loadScrub() error {
	f, err := s.o.FS.Open(s.path(scrubName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("container: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("container: %w", err)
	}
	b := make([]byte, st.Size())
	if err := readFull(f, b, 0); err != nil {
		return fmt.Errorf("container: %w", err)
	}
	if len(b) < scrubHead || string(b[:8]) != scrubMagic {
		return nil
	}
	if err := checkVersion(scrubName, le.Uint32(b[8:])); err != nil {
		return err
	}
	body := b[scrubHead:]
	if int(le.Uint32(b[12:])) != len(body) || le.Uint32(b[16:]) != crc(body) {
		return nil
	}
	var r ScrubReport
	if json.Unmarshal(body, &r) == nil {
		s.scrub.report, s.scrub.told = r, map[spot]bool{}
		for _, d := range r.Damaged {
			s.scrub.told[spotOf(d)] = true
			s.known.note(d)
		}
	}
	return nil
}
