package audit

import (
	"context"
	"strconv"
	"time"

	"o3/internal/errs"
)

// maxBatch is how many records one write holds.
const maxBatch = 512

// ActionGap is the action of the line that stands for lost records; its
// parameter "records" says how many.
const ActionGap = "audit:Gap"

// Run writes what is queued until ctx ends; then it takes no more, writes what
// waits, syncs and closes the file. It is called once. Its error is that of
// the last sync or close.
func (l *Log) Run(ctx context.Context) error {
	l.mu.Lock()
	if l.mu.running {
		l.mu.Unlock()
		return errs.New(errs.Internal, "audit log", "Run was called twice")
	}
	l.mu.running = true
	l.mu.Unlock()

	var tick <-chan time.Time
	if l.opts.Sync == SyncInterval {
		t := time.NewTicker(l.opts.SyncEvery)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case e := <-l.queue:
			l.write(l.batch(e))
		case <-tick:
			l.failed(l.file.sync())
		case <-ctx.Done():
			return l.drain()
		}
	}
}

// Close writes what waits and closes a log whose Run was never called. After
// Run it does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	running := l.mu.running
	l.mu.running = true
	l.mu.Unlock()
	if running {
		return nil
	}
	return l.drain()
}

// drain ends the log: nobody enters any more, who is in gets through.
func (l *Log) drain() error {
	l.mu.Lock()
	l.mu.closed = true
	l.mu.Unlock()
	through := make(chan struct{})
	go func() {
		l.mu.senders.Wait()
		close(through)
	}()
	for {
		select {
		case e := <-l.queue:
			l.write(l.batch(e))
			continue
		case <-through:
		}
		for len(l.queue) > 0 { // nobody sends any more
			l.write(l.batch(<-l.queue))
		}
		l.write(nil) // a gap that nobody followed
		return l.file.close()
	}
}

// batch takes what else waits, up to maxBatch.
func (l *Log) batch(first entry) []entry {
	out := []entry{first}
	for len(out) < maxBatch {
		select {
		case e := <-l.queue:
			out = append(out, e)
		default:
			return out
		}
	}
	return out
}

// write writes the records, in as many pieces as files ask for.
func (l *Log) write(batch []entry) {
	for {
		lines := l.gap()
		n := 0
		for ; n < len(batch); n++ {
			line := appendLine(nil, batch[n].record)
			if len(lines) > 0 && int64(len(lines)+len(line)) > l.opts.MaxSize {
				break
			}
			lines = append(lines, line...)
		}
		l.put(lines, batch[:n])
		if batch = batch[n:]; len(batch) == 0 {
			return
		}
	}
}

// gap returns the line that stands for records lost since the last write, if any were.
func (l *Log) gap() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.told = l.mu.lost
	if l.mu.lost == 0 {
		return nil
	}
	return appendLine(nil, Record{
		Version: Version, Time: time.Now().UTC(), Action: ActionGap, Result: "ok",
		Params: map[string]string{"records": strconv.Itoa(l.mu.lost)},
	})
}

// put writes lines, which hold the records of batch, and tells everybody.
func (l *Log) put(lines []byte, batch []entry) {
	if len(lines) == 0 {
		return
	}
	err := l.file.write(lines)
	if err == nil && l.opts.Sync == SyncAlways {
		err = l.file.sync()
	}
	l.failed(err)
	l.mu.Lock()
	if err == nil {
		l.mu.lost -= l.mu.told
	} else {
		l.mu.lost += len(batch)
	}
	l.mu.Unlock()
	if err == nil && l.opts.Listener.Written != nil && len(batch) > 0 {
		l.opts.Listener.Written(len(batch))
	}
	if err != nil && l.opts.Listener.Lost != nil && len(batch) > 0 {
		l.opts.Listener.Lost(LossError, len(batch))
	}
	for _, e := range batch {
		if e.done == nil {
			continue
		}
		if err != nil {
			e.done <- errs.Wrap(errs.Unavailable, "audit log", err)
		} else {
			e.done <- nil
		}
	}
}

func (l *Log) failed(err error) {
	if err != nil && l.opts.Listener.Failed != nil {
		l.opts.Listener.Failed(err)
	}
}
