package lifecycle_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// planted are mistakes that this package's tests must find.
var planted = []struct{ name, file, old, new string }{
	{"a directory beyond a prefix is jumped over", "walk.go", "if next != path && s.Left() {", "if s.Left() {"},
	{"a scan begins on what was there before it", "turn.go", "		return time.Now(), r.start()\n", "		if err := r.start(); err != nil {\n			return next, err\n		}\n"},
	{"what stays is not kept in mind", "walk.go", "			s.Keep()\n", ""},
	{"a directory goes while something in it stays", "walk.go", "if due && s.Left() && w.holds(s, object.Path) {", "if false {"},
	{"a preview forgets what stayed", "preview.go", "t.Key, t.Kept, t.Mpu = w.key, w.kept, w.mpu", "t.Key, t.Mpu = w.key, w.mpu"},
	{"a preview begins anew with each part", "preview.go", "w.key, w.kept, w.mpu, w.every = t.Key", "w.kept, w.mpu, w.every = t.Kept, t.Mpu, p.s.o.PreviewRows //"},
	{"the pointer runs ahead of the victims", "walk.go", "		if due {\n			note()\n", "		if due {\n			key, w.parent = append(key[:0], s.PathBytes()...), s.Parent\n			note()\n"},
	{"victims are forgotten at the end of a slice", "turn.go", "case len(r.victims) > 0 || r.t.unsaved != \"\":", "case r.t.unsaved != \"\":"},
	{"a scan ends though it could not be read", "walk.go", "		ok = s.Next()\n	}\n	return s.Err() == nil, s.Err()", "		ok = s.Next()\n	}\n	return true, nil"},
	{"a cursor outlives its scan", "turn.go", "if c.scan != r.state.ScanID || c.sequence != r.state.Sequence {", "if c.phase == 0 {"},
	{"uploads are begun anew", "walk.go", "err = v.UploadsFrom(b, w.mpu, from, func", "err = v.UploadsFrom(b, \"\", from, func"},
	{"the cutoff moves with the clock", "turn.go", "int64(r.state.CutoffTime), r.s.o.Trash", "time.Now().UnixMilli()+7_200_000, r.s.o.Trash"},
	{"rows are scanned twice in a process", "turn.go", "key: r.w.key, parent: r.w.parent, mpu: r.w.mpu,\n		rows:", "key: r.state.LastScannedKey, parent: r.w.parent, mpu: r.w.mpu,\n		rows:"},
	{"a failure is tried again at once", "schedule.go", "			t.due = now.Add(s.retryAfter(t.failures))\n", "			t.due = now\n"},
	{"an error is not saved", "turn.go", "failure = r.t.unsaved", "failure = \"\""},
	{"a slice never ends", "turn.go", "return time.Now().Before(r.end) && r.s.may(r.ctx, r.t)", "return r.s.may(r.ctx, r.t)"},
	{"the window is not looked at", "schedule.go", "|| !s.o.Window.Open(time.Now())", ""},
	{"trash is emptied too early", "trash.go", "now.Sub(time.UnixMilli(at)) < t.s.o.TrashKeep", "now.Sub(time.UnixMilli(at)) < 0"},
	{"trash that is not used is emptied", "trash.go", "if !s.o.Trash || s.o.TrashKeep < 0 {", "if s.o.TrashKeep < 0 {"},
	{"uploads of any number go together", "turn.go", "r.parts+f.parts > uint64(r.s.o.AbortParts) ||", ""},
	{"a finished scan begins again at once", "schedule.go", "return time.UnixMilli(int64(state.ScanEndTime)).Add(s.o.Interval)", "return time.Time{}"},
}

// TestPlanted: each mistake, made in a copy of the source, is found. By night; by
// day it is only checked that they could be made.
func TestPlanted(t *testing.T) {
	for _, p := range planted {
		path, err := filepath.Abs(p.file)
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), p.old); n != 1 {
			t.Errorf("%s: %s holds %q %d times, want once", p.name, p.file, p.old, n)
			continue
		}
		if os.Getenv("O3_NIGHTLY") == "" {
			continue
		}
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			dir := t.TempDir()
			changed, overlay := filepath.Join(dir, p.file), filepath.Join(dir, "overlay.json")
			list, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
			if err == nil {
				err = os.WriteFile(changed, []byte(strings.Replace(string(source), p.old, p.new, 1)), 0o644)
			}
			if err == nil {
				err = os.WriteFile(overlay, list, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-vet=off", "-timeout=60s", "-failfast", "-skip", "TestPlanted|TestTimeline", ".")
			for _, e := range os.Environ() {
				if !strings.HasPrefix(e, "O3_") {
					cmd.Env = append(cmd.Env, e)
				}
			}
			out, err := cmd.CombinedOutput()
			if err == nil || strings.Contains(string(out), "[build failed]") {
				t.Errorf("not found: %.2000s", out)
			}
		})
	}
}
