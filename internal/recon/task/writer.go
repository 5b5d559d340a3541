package task

import (
	"errors"
	"sync/atomic"
	"time"

	"o3/internal/kv"
)

// writer stores derived rows, which come in order, from a goroutine of its own:
// as table files where the store can take them, else by batches.
type writer struct {
	store  kv.Store
	loader kv.Loader // nil: the rows go by batches
	batch  kv.Batch

	work   chan *written
	free   chan *written
	over   chan struct{} // closed when the goroutine has ended
	failed atomic.Bool   // err is set
	err    error         // of the goroutine
	took   []time.Duration

	now    *written // that is being filled
	since  time.Time
	merged []time.Duration // time of those who fill
	ended  bool
}

// written is rows of one task on their way into the store.
type written struct {
	task int
	data []byte
	ends []int // of keys and values, in turns
}

const (
	writeBytes  = 64 << 10 // that go to the goroutine at once
	commitBytes = 4 << 20  // that are committed at once where there is no loader
)

func newWriter(store kv.Store, tasks int) (*writer, error) {
	w := &writer{store: store, took: make([]time.Duration, tasks), merged: make([]time.Duration, tasks)}
	if s, ok := store.(kv.Loading); ok {
		var err error
		if w.loader, err = s.NewLoader(); err != nil {
			return nil, err
		}
	} else {
		w.batch = store.NewBatch()
	}
	w.work, w.free, w.over = make(chan *written, 4), make(chan *written, 8), make(chan struct{})
	w.now = &written{task: -1}
	go w.run()
	return w, nil
}

func (w *writer) run() {
	defer close(w.over)
	for b := range w.work {
		began := time.Now()
		if w.err == nil {
			w.err = w.put(b)
			w.failed.Store(w.err != nil)
		}
		if b.task >= 0 {
			w.took[b.task] += time.Since(began)
		}
		select {
		case w.free <- b:
		default:
		}
	}
}

// begin says that the rows of a task come.
func (w *writer) begin(task int) error {
	err := w.send()
	w.now.task, w.since = task, time.Now()
	return err
}

func (w *writer) add(k []byte, c Counts) error {
	b := w.now
	b.data = append(b.data, k...)
	b.ends = append(b.ends, len(b.data))
	b.data = c.append(b.data)
	b.ends = append(b.ends, len(b.data))
	if len(b.data) < writeBytes {
		return nil
	}
	return w.send()
}

// send hands over what was added.
func (w *writer) send() error {
	if t := w.now.task; t >= 0 {
		w.merged[t] += time.Since(w.since)
	}
	if w.failed.Load() {
		w.stop()
		return w.err
	}
	if len(w.now.data) > 0 {
		next := &written{}
		select {
		case next = <-w.free:
		default:
		}
		next.task, next.data, next.ends = w.now.task, next.data[:0], next.ends[:0]
		w.work <- w.now
		w.now = next
	}
	w.since = time.Now()
	return nil
}

// put stores rows.
func (w *writer) put(b *written) error {
	at := 0
	for i := 0; i < len(b.ends); i += 2 {
		k, v := b.data[at:b.ends[i]], b.data[b.ends[i]:b.ends[i+1]]
		at = b.ends[i+1]
		if w.loader != nil {
			if err := w.loader.Add(k, v); err != nil {
				return err
			}
			continue
		}
		if err := w.batch.Set(k, v); err != nil {
			return err
		}
	}
	if w.loader != nil || w.batch.Len() < commitBytes {
		return nil
	}
	err := errors.Join(w.batch.Commit(false), w.batch.Close())
	w.batch = w.store.NewBatch()
	return err
}

// end makes the rows visible, and adds to works what they cost.
func (w *writer) end(works works) error {
	if err := w.send(); err != nil {
		return err
	}
	w.stop()
	if w.err != nil {
		return w.err
	}
	for i := range works {
		works[i].Took += w.merged[i] + w.took[i]
	}
	if w.loader != nil {
		return w.loader.Commit()
	}
	return w.batch.Commit(false)
}

// stop ends the goroutine. It may be called twice.
func (w *writer) stop() {
	if !w.ended {
		w.ended = true
		close(w.work)
	}
	<-w.over
}

// close forgets what end has not made visible.
func (w *writer) close() error {
	w.stop()
	if w.loader != nil {
		return w.loader.Close()
	}
	return w.batch.Close()
}
