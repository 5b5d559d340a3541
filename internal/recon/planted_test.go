package recon_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// planted are mistakes of the service that the named tests must find: text of a
// source file that occurs there once, and what it is replaced with.
var planted = []struct{ name, test, file, old, new string }{
	{"the marker names a generation before it is whole", "TestPowerCuts", "stage.go", "	steps := []struct {", "	if st.job.attempt == 1 && s.inForce().Generation != \"\" {\n\t\t_ = s.mark(marker{Generation: st.job.id})\n\t}\n	steps := []struct {"},
	{"the marker is not synced before it is renamed", "TestPowerCuts", "directory.go", "err = errors.Join(err, f.Sync(), f.Close()); err == nil {", "err = errors.Join(err, f.Close()); err == nil {"},
	{"the directory of a stage is not synced", "TestDirectoryIsSynced", "stage.go", "if err := s.d.sync(at); err != nil {", "if err := error(nil); err != nil {"},
	{"the generation in force is removed at a start", "TestPowerCuts", "start.go", "if name == s.marker.Generation || name == s.marker.Previous || name == newest {", "if name == s.marker.Previous || name == newest {"},
	{"a stage that was cut is forgotten", "TestScripts/restart", "start.go", "	if r.Stopped {\n		due, failed = s.clock.Now(), false\n	}\n	s.settle(", "	if r.Stopped {\n		due, failed = time.Time{}, false\n	}\n	s.settle("},
	{"stages that nobody wants stay", "TestPowerCuts", "start.go", "		if err := s.d.remove(name); err != nil {", "		if err := error(nil); err != nil {"},
	{"a full disk is a failed task", "TestDiskFull", "stage.go", "	if diskFull(err) {", "	if false {"},
	{"a generation that failed is asked to flush", "TestDiskFull", "generation/clone.go", "	if g.sound() != nil {", "	if false {"},
	{"a look after a failure mixes entries", "TestDiskFull", "generation/generation.go", "		g.frozen = before\n", "		_ = before\n"},
	{"what has come in of an image is lost by a restart", "TestImageSurvives", "start.go", "s.d.salvage(r.StagingID, true)", "error(nil)"},
	{"what has come in of an image is lost by a failure", "TestImageSurvives", "undo.go", "s.d.salvage(j.id, false)", "error(nil)"},
	{"from nothing uses what is left", "TestImageSurvives", "stage.go", "	if st.job.clean {", "	if false {"},
	{"stages are not validated", "TestScripts/switch", "tables.go", "	err = s.look(ctx, st, v)\n", "	err = nil\n"},
	{"a stage that is kept is removed", "TestScripts/switch", "undo.go", "	if e.how.Keeps() {", "	if false {"},
	{"a failed switch leaves the marker", "TestScripts/switch", "stage.go", "	if err := s.mark(next); err != nil {", "	if err := s.mark(next); err != nil && st.job.attempt > 1 {"},
	{"triggers join a stage that is over", "TestScripts/queue", "job.go", "return !s.stage.over && !a.clean && s.stage.job.kind.Covers(a.kind)", "return !a.clean"},
	{"no trigger joins the stage that is made", "TestScripts/queue", "job.go", "	if running && s.joinable(a) {", "	if false {"},
	{"tables that are rebuilt are shown", "TestScripts/inplace", "tables.go", "	held.g.Withhold(s.withheld(\"stage \" + st.job.id))\n", ""},
	{"the breaker does not pause", "TestScripts/load", "guard.go", "	case to == staging.StepPaused && st.paused == nil:", "	case false:"},
	{"the generation before is kept for ever", "TestScripts/success", "health.go", "now.Sub(time.UnixMilli(m.SinceMs)) >= keep {", "now.Sub(time.UnixMilli(m.SinceMs)) < 0 {"},
	{"a cancelled stage is tried again", "TestScripts/cancel", "staging/retry.go", "	case e == EndCancelled, e == EndRefused:", "	case e == EndRefused:"},
	{"tries are not counted", "TestScripts/task", "undo.go", "	j.attempt++\n", ""},
	{"waiting for an OM is time of the stage", "TestScripts/waiting", "bring.go", "	st.idle += s.clock.Now().Sub(began)\n", "	st.idle += 0 * s.clock.Now().Sub(began)\n"},
	{"an incremental stage is served without the log", "TestIncrementalIsRefused", "stage.go", "	if err := s.applyDeltaToStaging(ctx, st); err != nil {", "	if err := s.applyDeltaToStaging(ctx, st); err != nil && st.job.kind != staging.Incremental {"},
	{"a rebuild copies the replica", "TestRebuildLinksTheReplica", "stage.go", "		if err = cur.g.Checkpoint(s.d.fs.PathJoin(at, generation.ReplicaDir)); err == nil {", "		if err = s.bring(ctx, st, at); err == nil {\n\t\t\terr = st.g.Close()\n\t\t}\n\t\tif err == nil {"},
}

// TestPlanted shows that the tests find each planted mistake: it compiles the
// package with the mistake in place (go test -overlay, nothing is written to the
// tree). That takes minutes, so it runs with O3_NIGHTLY=1 only; without, it keeps
// the list in step with the sources.
func TestPlanted(t *testing.T) {
	for _, p := range planted {
		path, err := filepath.Abs(p.file)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(raw), p.old); n != 1 {
			t.Errorf("%s: %s holds %q %d times, want once", p.name, p.file, p.old, n)
			continue
		}
		if os.Getenv("O3_NIGHTLY") == "" {
			continue
		}
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			mustFail(t, p.test, path, strings.Replace(string(raw), p.old, p.new, 1))
		})
	}
}

// mustFail runs tests with a source replaced.
func mustFail(t *testing.T, test, path, source string) {
	dir := t.TempDir()
	replaced, overlay := filepath.Join(dir, filepath.Base(path)), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: replaced}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{replaced: []byte(source), overlay: list} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=3", "-timeout=120s", "-run", "^("+test+")$", ".")
	cmd.Env = append(os.Environ(), "O3_NIGHTLY=")
	if strings.Contains(test, "/") {
		cmd.Args[len(cmd.Args)-2] = test + "$"
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		t.Error("no test has found it")
	case strings.Contains(string(out), "[build failed]") || !strings.Contains(string(out), "FAIL"):
		t.Fatalf("it was not tried: %v\n%s", err, out)
	}
}
