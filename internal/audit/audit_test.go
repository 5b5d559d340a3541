package audit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"o3/internal/errs"
	"o3/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// running is a log whose Run the test ends.
type running struct {
	*Log
	path string
	stop func() error // ends Run and returns its error
}

func start(t *testing.T, o Options) running {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "audit", "audit.log")
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = stop() })
	return running{l, o.Path, stop}
}

func (r running) end(t *testing.T) {
	t.Helper()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
}

func all(t *testing.T, path string, q Query) ([]Record, Found) {
	t.Helper()
	var out []Record
	found, err := Read(path, q, func(r Record) error { out = append(out, r); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out, found
}

// actions joins what was done, gaps with the number of records they stand for.
func actions(records []Record) string {
	var out []string
	for _, r := range records {
		s := r.Action
		if s == ActionGap {
			s = "gap of " + r.Params["records"]
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func record(t *testing.T, l *Log, action string) {
	t.Helper()
	if err := l.Record(t.Context(), Record{Action: action, Result: "ok"}); err != nil {
		t.Fatalf("%s: %v", action, err)
	}
}

func TestWrittenAndRead(t *testing.T) {
	l := start(t, Options{})
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	given := []Record{
		{Time: at, RequestID: "r1", Principal: "ann", AccessKey: "AK1", From: "10.0.0.1:5", Action: "s3:PutObject", Resource: "/s3v/b/k <&>ü", Params: map[string]string{"size": "5"}, Result: "ok"},
		{Time: at.Add(time.Minute), Principal: "bob", AccessKey: "AK2", Action: "s3:DeleteObject", Resource: "/s3v/b/k", Result: "denied", Detail: "denied: /s3v/b/k"},
		{Time: at.Add(time.Hour), Principal: "ann", AccessKey: "AK1", Action: "admin:CreateUser", Resource: "carl", Result: "ok"},
	}
	for _, r := range given {
		if err := l.Record(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	l.end(t)
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{}, "s3:PutObject s3:DeleteObject admin:CreateUser"},
		{Query{Principal: "ann"}, "s3:PutObject admin:CreateUser"},
		{Query{AccessKey: "AK2"}, "s3:DeleteObject"},
		{Query{Action: "s3:*"}, "s3:PutObject s3:DeleteObject"},
		{Query{Action: "s3:Put"}, ""},
		{Query{Resource: "/s3v/b/"}, "s3:PutObject s3:DeleteObject"},
		{Query{Result: "denied"}, "s3:DeleteObject"},
		{Query{RequestID: "r1"}, "s3:PutObject"},
		{Query{Since: at.Add(time.Minute)}, "s3:DeleteObject admin:CreateUser"},
		{Query{Until: at.Add(time.Minute)}, "s3:PutObject"},
	} {
		got, found := all(t, l.path, c.q)
		if actions(got) != c.want || found.Records != len(got) || found.Torn+len(found.Damaged) > 0 {
			t.Errorf("%+v: %s (%+v)", c.q, actions(got), found)
		}
	}
	got, _ := all(t, l.path, Query{RequestID: "r1"})
	want := given[0]
	want.Version, want.Time = Version, at.UTC()
	if fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", got[0], want)
	}
	text, _ := os.ReadFile(l.path)
	line, _, _ := strings.Cut(string(text), "\n")
	const golden = `{"v":1,"time":"2026-03-01T11:00:00Z","requestId":"r1","principal":"ann","accessKey":"AK1","from":"10.0.0.1:5","action":"s3:PutObject","resource":"/s3v/b/k <&>ü","params":{"size":"5"},"result":"ok"}`
	if line != golden {
		t.Errorf("the line is\n%s, want\n%s", line, golden)
	}
	if st, err := os.Stat(l.path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestSecretsAndBounds(t *testing.T) {
	l := start(t, Options{})
	params := map[string]string{"X-Amz-Signature": "hidden1", "secretKey": "hidden2", "PASSWORD": "hidden3", "sessionToken": "hidden4", "prefix": "shown"}
	long := map[string]string{}
	for i := range 200 {
		long[fmt.Sprintf("%03d%s", i, strings.Repeat("\x01", 4000))] = strings.Repeat("\x02", 4000)
	}
	bell := strings.Repeat("\x07", 100_000)
	for _, r := range []Record{
		{Action: "a", Result: "ok", Params: params},
		{Action: bell, Principal: bell, AccessKey: bell, From: bell, Resource: bell, Result: bell, Detail: bell, RequestID: bell, Params: long},
		{Action: "b", Resource: "bad \xff byte", Result: "ok"},
		{Action: "c", Result: "ok", Time: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Action: "d", Result: "ok", Resource: strings.Repeat("ü", maxText)},
	} {
		if err := l.Record(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if params["secretKey"] != "hidden2" {
		t.Error("the caller's map was changed")
	}
	l.end(t)
	text, _ := os.ReadFile(l.path)
	if strings.Contains(string(text), "hidden") || !strings.Contains(string(text), `"prefix":"shown"`) {
		t.Errorf("secrets: %.300s", text)
	}
	for line := range strings.Lines(string(text)) {
		if len(line) > maxLine {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	got, found := all(t, l.path, Query{})
	if len(got) != 5 || len(found.Damaged) > 0 {
		t.Fatalf("%d records, %+v", len(got), found)
	}
	if got[2].Resource != "bad \ufffd byte" || got[3].Time.Year() > 9999 || !strings.HasSuffix(got[4].Resource, "ü…") {
		t.Errorf("%q, %v, %q", got[2].Resource, got[3].Time, got[4].Resource[len(got[4].Resource)-10:])
	}
}

// TestList: a list of names stays within a parameter, and counts what it hides.
func TestList(t *testing.T) {
	long := strings.Repeat("x", 2*maxParam)
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"a"}, `"a"`},
		{[]string{"a b", `c"`, "\xff"}, `"a b" "c\"" "\xff"`},
		{[]string{long}, `"xxx…`},
		{[]string{long, "b", "c"}, `"xxx… and 2 more`},
		{[]string{"a", long, "c"}, `"a" and 2 more`},
		{[]string{"a", "b", long}, `"a" "b" and 1 more`},
	} {
		got := List(c.names)
		head, tail, cut := strings.Cut(c.want, "…")
		if ok := got == c.want || cut && strings.HasPrefix(got, head) && strings.HasSuffix(got, "…"+tail); !ok || len(got) > maxParam {
			t.Errorf("%.20q: %.40s… of %d bytes, want %s", c.names, got, len(got), c.want)
		}
	}
	for n := range 400 {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprint(i)
		}
		got := List(names)
		shown := strings.Count(got, `"`) / 2
		if hidden := n - shown; len(got) > maxParam || hidden > 0 != strings.HasSuffix(got, fmt.Sprintf(" and %d more", hidden)) {
			t.Fatalf("%d names: %d bytes: %s", n, len(got), got)
		}
	}
}

func TestRotation(t *testing.T) {
	var rotated, deleted int
	l := start(t, Options{MaxSize: 1000, MaxFiles: 4, Strict: true, Listener: Listener{
		Rotated: func(_ string, gone []string) { rotated++; deleted += len(gone) },
	}})
	for i := range 100 {
		record(t, l.Log, fmt.Sprintf("act%03d", i))
	}
	l.end(t)
	older, err := rotatedFiles(l.path)
	if err != nil || len(older) != 3 || rotated-deleted != 3 {
		t.Fatalf("%v, %v: %d begun, %d deleted", older, err, rotated, deleted)
	}
	for _, path := range append(older, l.path) {
		if st, err := os.Stat(path); err != nil || st.Size() > 1000 || st.Size() < 80 || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, st, err)
		}
	}
	got, found := all(t, l.path, Query{})
	if found.Files != 4 || len(got) < 20 {
		t.Fatalf("%+v", found)
	}
	for i, r := range got { // the newest ones, in order, without a hole
		if want := fmt.Sprintf("act%03d", 100-len(got)+i); r.Action != want {
			t.Fatalf("record %d is %s, want %s", i, r.Action, want)
		}
	}
	// Again, with fewer files allowed: numbers go on, the surplus goes.
	l2 := start(t, Options{Path: l.path, MaxSize: 1000, MaxFiles: 2})
	l2.end(t)
	again, _ := rotatedFiles(l.path)
	if len(again) != 1 || again[0] != older[2] {
		t.Errorf("after lowering the bound: %v", again)
	}
}

func rotatedFiles(path string) (out []string, err error) {
	files, err := rotated(path)
	for _, f := range files {
		out = append(out, f.path)
	}
	return out, err
}

// TestBatchesAreSplit: even records that are written together stay within the
// size of a file.
func TestBatchesAreSplit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(Options{Path: path, MaxSize: 500, MaxFiles: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 { // Run has not begun: they wait together
		record(t, l, fmt.Sprintf("act%03d", i))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := rotatedFiles(path)
	if len(files) < 300/8 {
		t.Errorf("only %d files", len(files))
	}
	for _, f := range append(files, path) {
		if st, err := os.Stat(f); err != nil || st.Size() > 500 {
			t.Errorf("%s has %d bytes, %v", f, st.Size(), err)
		}
	}
	if got, _ := all(t, path, Query{}); len(got) != 300 || got[299].Action != "act299" {
		t.Errorf("%d records", len(got))
	}
}

// TestWhatWaitsIsWritten: the end of a log loses nothing that was accepted.
func TestWhatWaitsIsWritten(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "audit.log")
		l, err := Open(Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			record(t, l, "a")
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got, _ := all(t, path, Query{}); len(got) != 3 {
			t.Fatalf("%d of 3 records", len(got))
		}
	}
}

func TestFullQueue(t *testing.T) {
	losses := map[Loss]int{}
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(Options{Path: path, Queue: 2, Listener: Listener{Lost: func(why Loss, n int) { losses[why] += n }}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 { // nobody writes yet
		record(t, l, fmt.Sprint("a", i))
	}
	if losses[LossFull] != 3 || l.Waiting() != 2 {
		t.Errorf("lost %v, waiting %d", losses, l.Waiting())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	record(t, l, "late")
	if losses[LossClosed] != 1 {
		t.Errorf("after the end: %v", losses)
	}
	if got, _ := all(t, path, Query{}); actions(got) != "gap of 3 a0 a1" {
		t.Errorf("%s", actions(got))
	}
	if err := l.Run(t.Context()); err == nil {
		t.Error("it ran twice")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestWaitIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(Options{Path: path, Queue: 1, Wait: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		record(t, l, "first")
		begin := time.Now()
		record(t, l, "lost")
		if took := time.Since(begin); took != 50*time.Millisecond {
			t.Errorf("it waited %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		begin = time.Now()
		if err := l.Record(ctx, Record{Action: "lost", Result: "ok"}); err != nil || time.Since(begin) != 20*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		go func() {
			time.Sleep(10 * time.Millisecond)
			<-l.queue
		}()
		record(t, l, "in time")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if got, _ := all(t, path, Query{}); actions(got) != "gap of 2 in time" {
		t.Errorf("%s", actions(got))
	}
}

// TestLossIsInTheLog: a log does not end while somebody in it loses a record.
func TestLossIsInTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var l *Log
		ended := make(chan error, 1)
		l, err := Open(Options{Path: path, Queue: 1, Listener: Listener{Lost: func(Loss, int) {
			go func() { ended <- l.Run(ctx) }()
			synctest.Wait()
			if len(ended) > 0 {
				t.Error("it ended")
			}
		}}})
		if err != nil {
			t.Fatal(err)
		}
		record(t, l, "a")
		record(t, l, "lost")
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if got, _ := all(t, path, Query{}); actions(got) != "a gap of 1" && actions(got) != "gap of 1 a" {
		t.Errorf("%s", actions(got))
	}
}

// disk is a file that fails when told to.
type disk struct {
	*os.File
	mu struct {
		sync.Mutex
		writeErr, syncErr error
		partial           int // bytes written before writeErr
		syncs             int
		unsynced          bool
	}
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.writeErr != nil {
		n, _ := d.File.Write(p[:min(d.mu.partial, len(p))])
		return n, d.mu.writeErr
	}
	d.mu.unsynced = true
	return d.File.Write(p)
}

func (d *disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.syncs++
	d.mu.unsynced = false
	return d.mu.syncErr
}

func (d *disk) set(writeErr, syncErr error, partial int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.writeErr, d.mu.syncErr, d.mu.partial = writeErr, syncErr, partial
}

func (d *disk) state() (syncs int, unsynced bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.syncs, d.mu.unsynced
}

func withDisk(o Options) (Options, *disk) {
	d := &disk{}
	o.open = func(path string) (file, error) {
		f, err := openFile(path)
		if err != nil {
			return nil, err
		}
		d.File = f.(*os.File)
		return d, nil
	}
	return o, d
}

var errFull = errors.New("no space left on device")

func TestDiskFullAndBack(t *testing.T) {
	var lost, failed int
	o, d := withDisk(Options{Strict: true, Sync: SyncNever, Listener: Listener{
		Lost:   func(why Loss, n int) { lost += n },
		Failed: func(error) { failed++ },
	}})
	l := start(t, o)
	record(t, l.Log, "before")
	for _, partial := range []int{0, 1, 50, 1 << 20} {
		d.set(errFull, nil, partial)
		err := l.Record(t.Context(), Record{Action: "during", Result: "ok"})
		if errs.KindOf(err) != errs.Unavailable || !errors.Is(err, errFull) {
			t.Fatalf("with the disk full: %v", err)
		}
	}
	d.set(nil, nil, 0)
	record(t, l.Log, "after")
	record(t, l.Log, "later")
	l.end(t)
	if lost != 4 || failed != 4 {
		t.Errorf("lost %d, failed %d", lost, failed)
	}
	got, found := all(t, l.path, Query{})
	if actions(got) != "before gap of 4 after later" || len(found.Damaged)+found.Torn > 0 {
		t.Errorf("%s %+v", actions(got), found)
	}
}

func TestStrictFollowsTheDisk(t *testing.T) {
	o, d := withDisk(Options{Strict: true, Sync: SyncAlways})
	l := start(t, o)
	for range 3 {
		record(t, l.Log, "a")
		if _, unsynced := d.state(); unsynced {
			t.Error("it returned before the line was on disk")
		}
	}
	d.set(nil, errFull, 0)
	if err := l.Record(t.Context(), Record{Action: "b", Result: "ok"}); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("the sync failed: %v", err)
	}
	d.set(nil, nil, 0)
	l.end(t)
	if err := l.Record(t.Context(), Record{Action: "c", Result: "ok"}); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("after the end: %v", err)
	}
}

func TestStrictCallerGoesAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(Options{Path: path, Strict: true, Queue: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errs.New(errs.Canceled, "caller", "gone"))
	for range 2 { // one waits for its line, one for room
		if err := l.Record(ctx, Record{Action: "a", Result: "ok"}); errs.KindOf(err) != errs.Canceled {
			t.Errorf("%v", err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSyncPolicies(t *testing.T) {
	for _, c := range []struct {
		policy Sync
		syncs  [3]int // after the writes, after 1 s, after 10 s of nothing more
	}{{SyncAlways, [3]int{2, 2, 2}}, {SyncInterval, [3]int{0, 1, 1}}, {SyncNever, [3]int{0, 0, 0}}} {
		path := filepath.Join(t.TempDir(), "audit.log")
		synctest.Test(t, func(t *testing.T) {
			o, d := withDisk(Options{Path: path, Sync: c.policy, Strict: true})
			l := start(t, o)
			record(t, l.Log, "a")
			record(t, l.Log, "b")
			for i, wait := range []time.Duration{0, 1100 * time.Millisecond, 9 * time.Second} {
				time.Sleep(wait)
				synctest.Wait()
				if n, _ := d.state(); n != c.syncs[i] {
					t.Errorf("policy %d: %d syncs at point %d, want %d", c.policy, n, i, c.syncs[i])
				}
			}
			l.end(t)
		})
	}
}

// TestCrash cuts the file at every byte, as a crash may: the reader sees every
// whole line, Open removes the piece, and what is written next is readable.
func TestCrash(t *testing.T) {
	l := start(t, Options{})
	for i := range 4 {
		record(t, l.Log, fmt.Sprint("a", i))
	}
	l.end(t)
	text, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	for cut := range len(text) + 1 {
		if err := os.WriteFile(path, text[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		whole := strings.Count(string(text[:cut]), "\n")
		piece := cut - (strings.LastIndex(string(text[:cut]), "\n") + 1)
		got, found := all(t, path, Query{})
		if len(got) != whole || (found.Torn == 1) != (piece > 0) || len(found.Damaged) > 0 {
			t.Fatalf("cut at %d: %d records, %+v", cut, len(got), found)
		}
		removed := int64(0)
		again, err := Open(Options{Path: path, Listener: Listener{Torn: func(_ string, n int64) { removed = n }}})
		if err != nil {
			t.Fatal(err)
		}
		record(t, again, "next")
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		got, found = all(t, path, Query{})
		if removed != int64(piece) || len(got) != whole+1 || got[whole].Action != "next" || found.Torn+len(found.Damaged) > 0 {
			t.Fatalf("cut at %d: removed %d of %d, %s, %+v", cut, removed, piece, actions(got), found)
		}
	}
}

func TestDamageAndVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	good := `{"v":1,"time":"2026-01-01T00:00:00Z","action":"a","result":"ok"}` + "\n"
	put := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(path, good+"garbage\n"+good+strings.Repeat("x", maxLine*2)+"\n"+"{}\n"+good+good[:20])
	put(path+".00000003", good+"\x00\x00\x00\n")
	put(path+".00000012", good)
	put(path+".other", "not ours")
	got, found := all(t, path, Query{})
	want := []string{path + ".00000003:2", path + ":2", path + ":4", path + ":5"}
	if len(got) != 5 || found.Files != 3 || found.Torn != 1 || fmt.Sprint(found.Damaged) != fmt.Sprint(want) {
		t.Errorf("%d records, %+v", len(got), found)
	}
	newer := strings.Replace(good, `"v":1`, `"v":2`, 1)
	put(path, good+newer)
	if _, err := Read(path, Query{}, func(Record) error { return nil }); errs.KindOf(err) != errs.FormatTooNew || !strings.Contains(err.Error(), path+":2") {
		t.Errorf("reading a later version: %v", err)
	}
	if _, err := Open(Options{Path: path}); errs.KindOf(err) != errs.FormatTooNew {
		t.Errorf("opening a later version: %v", err)
	}
	put(path, strings.Repeat("x", 3*maxLine))
	if _, err := Open(Options{Path: path}); errs.KindOf(err) != errs.FormatUnknown {
		t.Errorf("opening something else: %v", err)
	}
	if _, err := Read(path+"-absent", Query{}, nil); errs.KindOf(err) != errs.NoSuchKey {
		t.Errorf("no log: %v", err)
	}
	stop := errors.New("enough")
	put(path, good+good)
	calls := 0
	if _, err := Read(path, Query{}, func(Record) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// TestReadWhileRotating: the file that a reader opened as the current one is
// rotated away, and the next one too, before it looks for older ones: it reads
// each once, in the order in which they were written.
func TestReadWhileRotating(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	line := func(action string) []byte {
		return fmt.Appendf(nil, `{"v":1,"time":"2026-01-01T00:00:00Z","action":%q,"result":"ok"}`+"\n", action)
	}
	for name, action := range map[string]string{"": "b", ".00000001": "a", ".00000003": "c"} {
		if err := os.WriteFile(path+name, line(action), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(path, path+".00000002"); err != nil { // one file, by both names: as the reader meets it
		t.Fatal(err)
	}
	if got, found := all(t, path, Query{}); actions(got) != "a b c" || found.Files != 3 {
		t.Errorf("%s, %+v", actions(got), found)
	}
}

// TestManyWriters: concurrent callers, rotation and readers; each record is
// there once, each caller's in its order, and the log says what it lost.
func TestManyWriters(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	lost := 0
	// However few get through, what the queue holds is more than a file.
	l := start(t, Options{MaxSize: 8 << 10, MaxFiles: 10_000, Queue: 128, Listener: Listener{Lost: func(_ Loss, n int) { mu.Lock(); lost += n; mu.Unlock() }}})
	const writers, each = 8, 300
	var done sync.WaitGroup
	for w := range writers {
		random := rand.New(rand.NewPCG(seed, uint64(w)))
		done.Go(func() {
			for i := range each {
				record(t, l.Log, fmt.Sprintf("w%d:%04d:%s", w, i, strings.Repeat("x", random.IntN(100))))
			}
		})
	}
	for range 3 {
		done.Go(func() {
			for range 10 {
				if _, err := Read(l.path, Query{}, func(Record) error { return nil }); err != nil {
					t.Errorf("reading meanwhile: %v", err)
				}
			}
		})
	}
	done.Wait()
	l.end(t)
	got, found := all(t, l.path, Query{})
	last, records, gaps := [writers]int{}, 0, 0
	for _, r := range got {
		var w, i, n int
		if r.Action == ActionGap {
			_, _ = fmt.Sscan(r.Params["records"], &n)
			gaps += n
			continue
		}
		if _, err := fmt.Sscanf(r.Action, "w%d:%04d:", &w, &i); err != nil || i+1 <= last[w] {
			t.Fatalf("%s after %d: %v", r.Action, last[w]-1, err)
		}
		last[w] = i + 1
		records++
	}
	if records+lost != writers*each || gaps != lost || found.Torn+len(found.Damaged) > 0 || found.Files < 2 {
		t.Errorf("%d records, %d lost, gaps of %d, %+v", records, lost, gaps, found)
	}
}

func BenchmarkRecord(b *testing.B) {
	l, err := Open(Options{Path: filepath.Join(b.TempDir(), "audit.log"), Wait: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	r := Record{Principal: "ann", AccessKey: "AK1", From: "10.0.0.1:5", Action: "s3:PutObject", Resource: "/s3v/bucket/some/key", Result: "ok", Params: map[string]string{"size": "4096"}}
	b.ReportAllocs()
	for b.Loop() {
		_ = l.Record(ctx, r)
	}
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
