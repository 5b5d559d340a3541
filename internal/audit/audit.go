// Package audit keeps the audit log: one JSON line for every change and every
// act of an administrator, saying who did what, on what, and how it ended.
//
// A Log is one goroutine, Run, that writes what callers queue. Record waits
// for room at most as long as it is told, never for the disk, unless the log
// is strict: then it returns when the line is written and fails the request
// when it cannot be. Without strict a lost record is counted, reported, and
// the gap is noted in the log itself as soon as it can be written again.
//
// Files rotate by size, their number is bounded, their mode is 0600. A crash
// leaves at most one torn line, the last: readers skip it, Open removes it.
// docs/formats/audit.md describes the lines.
package audit

import (
	"context"
	"sync"
	"time"

	"o3/internal/errs"
)

// Version is the format of the lines written.
const Version = 1

// Record is one line.
type Record struct {
	Version   int               `json:"v"`
	Time      time.Time         `json:"time"`
	RequestID string            `json:"requestId,omitempty"`
	Principal string            `json:"principal,omitempty"` // who; empty = anonymous
	AccessKey string            `json:"accessKey,omitempty"` // the id of the key that signed
	From      string            `json:"from,omitempty"`      // the client's address
	Action    string            `json:"action"`              // s3:PutObject, admin:CreateUser …
	Resource  string            `json:"resource,omitempty"`  // /volume/bucket/key
	Params    map[string]string `json:"params,omitempty"`    // what else matters; secrets are masked
	Result    string            `json:"result"`              // ok, or the kind of the error
	Detail    string            `json:"detail,omitempty"`    // of the error, as the user saw it
}

// Sync says when lines are forced to disk.
type Sync uint8

// The policies.
const (
	SyncInterval Sync = iota // at most SyncEvery after they were written
	SyncAlways               // before Record's batch counts as written
	SyncNever                // when the system likes
)

// Listener hears what the log does. Nil fields are silent. Calls come from the
// goroutine of Run or of Record and must not block.
type Listener struct {
	Written func(records int)                  // lines are in the file (and, with SyncAlways, on disk)
	Lost    func(reason Loss, records int)     // they never will be
	Failed  func(err error)                    // the disk refused; also before Lost
	Rotated func(old string, deleted []string) // a new file was begun
	Torn    func(path string, bytes int64)     // Open removed the torn last line of a crash
}

// Loss is why a record was lost.
type Loss string

// The losses.
const (
	LossFull   Loss = "full"   // the queue had no room in time
	LossError  Loss = "error"  // the disk refused
	LossClosed Loss = "closed" // Run had ended
)

// Options is the configuration of a Log.
type Options struct {
	Path      string        // of the current file; older ones are Path.00000001, Path.00000002 …
	MaxSize   int64         // bytes at which the next file is begun; 0 means 64 MiB
	MaxFiles  int           // files kept, the current one included; 0 means 16
	Queue     int           // records that may wait; 0 means 8192
	Wait      time.Duration // longest wait of Record for room when not strict; 0 = none
	Sync      Sync
	SyncEvery time.Duration // 0 means 1 s
	Strict    bool          // Record returns when the line is written, and fails when it is not
	Listener  Listener

	open func(path string) (file, error) // tests put a failing disk here
}

// Log is an audit log. It is safe for concurrent use.
type Log struct {
	opts  Options
	queue chan entry
	file  *rotor // owned by Run

	mu struct {
		sync.Mutex
		lost    int // records lost since the last line, for the gap line
		told    int // how many of them the gap line being written tells
		running bool
		closed  bool
		senders sync.WaitGroup
	}
}

type entry struct {
	record Record
	done   chan<- error // strict: gets the outcome
}

// Open opens or creates the log, in a directory that it makes if need be. A
// torn last line is removed. A file of a newer format is refused with kind
// FormatTooNew.
func Open(o Options) (*Log, error) {
	if o.MaxSize == 0 {
		o.MaxSize = 64 << 20
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = 16
	}
	if o.Queue == 0 {
		o.Queue = 8192
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = time.Second
	}
	if o.open == nil {
		o.open = openFile
	}
	f, err := openRotor(o)
	if err != nil {
		return nil, err
	}
	return &Log{opts: o, queue: make(chan entry, o.Queue), file: f}, nil
}

// Record queues r, with Time and Version filled in, and without its secrets.
// It may be called before Run, as long as the queue has room. Not strict, it
// returns nil always: what is lost is reported to the Listener. Strict, it
// returns nil when the line is written, an error of kind Unavailable when it
// is not, or ctx's error when that ends first (the line may still be written).
func (l *Log) Record(ctx context.Context, r Record) error {
	r.Version = Version
	if r.Time.IsZero() || r.Time.Year() < 0 || r.Time.Year() > 9999 { // what JSON can say
		r.Time = time.Now()
	}
	r.Time = r.Time.UTC()
	r = trimmed(r)
	if !l.enter() {
		return l.lose(LossClosed)
	}
	e := entry{record: r}
	var done chan error
	if l.opts.Strict {
		done = make(chan error, 1)
		e.done = done
	}
	sent, err := l.send(ctx, e)
	if err == nil && !sent {
		err = l.lose(LossFull) // before the log can end: its last line tells
	}
	l.mu.senders.Done()
	if err != nil || !sent || !l.opts.Strict {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// send puts e into the queue. Its error is ctx's, in strict mode only.
func (l *Log) send(ctx context.Context, e entry) (bool, error) {
	select {
	case l.queue <- e:
		return true, nil
	default:
	}
	if l.opts.Strict {
		select {
		case l.queue <- e:
			return true, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	if l.opts.Wait <= 0 {
		return false, nil
	}
	t := time.NewTimer(l.opts.Wait)
	defer t.Stop()
	select {
	case l.queue <- e:
		return true, nil
	case <-t.C:
	case <-ctx.Done():
	}
	return false, nil
}

// Waiting returns how many records wait to be written.
func (l *Log) Waiting() int { return len(l.queue) }

// enter lets a caller send; Run does not end before all such callers are through.
func (l *Log) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return false
	}
	l.mu.senders.Add(1)
	return true
}

// lose counts a record that will not be written.
func (l *Log) lose(why Loss) error {
	l.mu.Lock()
	l.mu.lost++
	l.mu.Unlock()
	if f := l.opts.Listener.Lost; f != nil {
		f(why, 1)
	}
	if l.opts.Strict {
		return errs.New(errs.Unavailable, "audit log", "the record cannot be written ("+string(why)+")")
	}
	return nil
}
