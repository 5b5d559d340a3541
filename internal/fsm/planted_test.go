package fsm_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// planted are mistakes that TestHistories, or TestCrash where the text is about
// the position, must find: text of a source file that occurs there once, and
// what it is replaced with.
var planted = []struct{ name, file, old, new string }{
	{"an overwrite drops no names", "command/history.go", "return false, t.drop(key.Bucket, old.Extents)", "return false, nil"},
	{"a name too many is dropped", "command/blocks.go", "case row.Count > 2:", "case row.Count > 3:"},
	{"a copy counts no name", "command/blocks.go", "row.Count++", "row.Count += 0"},
	{"a list of extents takes its blocks along unseen", "command/blocks.go", "if e.Indirect {\n\t\tlist, err", "if false && e.Indirect {\n\t\tlist, err"},
	{"a repeated long part names its blocks twice", "command/commit_key.go", "return blockOf(direct[0]) == blockOf(bring[0]), nil", "return false, nil"},
	{"implicit directories stay when the last key goes", "command/delete_keys.go", "return true, t.prune(b, p.ancestors)\n\t}\n\treturn t.deleteDir", "return true, nil\n\t}\n\treturn t.deleteDir"},
	{"implicit directories stay when the last key moves", "command/rename_key.go", "return moved, t.prune(b, t.still(from.ancestors, to.ancestors))", "return moved, nil"},
	{"usage does not fall on purge", "command/purge_dirs.go", "t.charge(b, minus(usage{}, sizeOf(e)))", "t.charge(b, usage{})"},
	{"purge forgets sub-directories", "command/purge_dirs.go", "if isDir(e) {", "if false && isDir(e) {"},
	{"purge drops one row too many", "command/purge_dirs.go", "return len(children) < limit, nil", "return len(children) <= limit, nil"},
	{"a moved directory hangs where it was", "command/rename_key.go", "if isDir(moved) {", "if false && isDir(moved) {"},
	{"a directory moves below itself", "command/rename_key.go", "if d.entry.ObjectId == from.entry.ObjectId {", "if false && d.entry == from.entry {"},
	{"a key and a directory share a slot", "command/entries.go", "if twin != nil {", "if false && twin != nil {"},
	{"an overwrite changes the id", "command/commit_key.go", "entry.Grants = old.ObjectId,", "entry.Grants = old.ObjectId+512,"},
	{"a quota forgets implied directories", "command/commit_key.go", "u.dirs += int64(len(p.missing))", "u.dirs += 0 * int64(len(p.missing))"},
	{"If-None-Match is ignored", "command/entries.go", "if pre.IfAbsent && e != nil {", "if false && e != nil {"},
	{"unlisted parts keep their names", "command/uploads.go", "if !kept[p.key.Number] {", "if false && !kept[p.key.Number] {"},
	{"a retry is repeated", "command/answers.go", "if a.Sequence == stamp.Sequence {", "if false && a.Sequence == stamp.Sequence {"},
	{"a late copy is repeated", "command/answers.go", "if stamp.Sequence < c.row.Acked {", "if false && stamp.Sequence < c.row.Acked {"},
	{"the expiry of clients misses those of its batch", "command/housekeeping.go", "if err := t.flushClients(); err != nil {", "if err := error(nil); err != nil {"},
	{"a changed volume is not written", "command/tx.go", "if v.dirty {", "if false && v.dirty {"},
	{"a bucket's counters of a batch get lost", "command/tx.go", "if b.dirty {", "if b.dirty && b.row.UsedKeys%7 != 3 {"},
	{"a deleted bucket stays in the cache", "command/buckets.go", "delete(t.buckets, b.key)", "b.dirty = false"},
	{"the digest keeps replaced rows", "fsm/machine.go", "if oldOK {", "if false && oldOK {"},
	{"a refusal costs no op in some batches", "fsm/machine.go", "m.pos.Op++", "m.pos.Op += 1 + uint64(m.rows.Len())/3000"},
	{"the position is written in a batch of its own", "fsm/machine.go",
		"if err := m.savePosition(b); err != nil {\n\t\treturn err\n\t}\n\treturn b.Commit(false)\n}\n\nfunc (m",
		"if err := b.Commit(false); err != nil {\n\t\treturn err\n\t}\n\tp := m.store.NewBatch()\n\tdefer p.Close()\n\t" +
			"if err := m.savePosition(p); err != nil {\n\t\treturn err\n\t}\n\treturn p.Commit(false)\n}\n\nfunc (m"},
	{"start-after is off by one", "view/list.go", "start = o.StartAfter + \"\\x00\"", "start = o.StartAfter"},
	{"a token starts one name late", "view/list.go", "page.Truncated, page.NextToken = true, encodeToken(path)", "page.Truncated, page.NextToken = true, encodeToken(path+\"\\x00\")"},
	{"a page stops before its first row", "view/list.go", "c.steps = 0 //", "c.steps += 0 //"},
	{"implicit directories are listed", "view/list.go", "if !c.row.Implicit || o.Directories {", "if true || o.Directories {"},
	{"a cursor leaves a directory too early", "view/cursor.go", "for c.err == nil && len(c.levels) > 1 {", "for c.err == nil && len(c.levels) > 2 {"},
}

// TestPlanted shows that TestHistories finds each planted mistake: it compiles
// the package with the mistake in place (go test -overlay, nothing is written
// to the tree). That takes minutes, so it runs with O3_NIGHTLY=1 only; without,
// the test keeps the lists in step with the sources.
func TestPlanted(t *testing.T) {
	all := slices.Clone(plantedPast)
	for _, p := range slices.Concat(planted, plantedDerived, plantedLifecycle) {
		all = append(all, plantedPast[0])
		all[len(all)-1].name, all[len(all)-1].changes = p.name, []change{{p.file, p.old, p.new}}
	}
	for _, p := range all {
		changed, ok := plant(t, p.name, p.changes)
		if !ok || os.Getenv("O3_NIGHTLY") == "" {
			continue
		}
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) { mustFail(t, changed) })
	}
}

// plant returns the changed sources by their paths.
func plant(t *testing.T, name string, changes []change) (changed map[string]string, ok bool) {
	changed = map[string]string{}
	for _, c := range changes {
		path, err := filepath.Abs(filepath.Join("..", c.file))
		if err != nil {
			t.Fatal(err)
		}
		source, ok := changed[path]
		if !ok {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			source = string(raw)
		}
		if n := strings.Count(source, c.old); n != 1 {
			t.Errorf("%s: %s holds %q %d times, want once", name, c.file, c.old, n)
			return nil, false
		}
		changed[path] = strings.Replace(source, c.old, c.new, 1)
	}
	return changed, true
}

// mustFail runs the tests with sources replaced.
func mustFail(t *testing.T, changed map[string]string) {
	dir := t.TempDir()
	replace := map[string]string{}
	for path, source := range changed {
		replace[path] = filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(replace[path], []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, list, 0o644); err != nil {
		t.Fatal(err)
	}
	out, found := "", false
	for _, test := range []string{"^TestHistories$", "^TestHistoriesOfLifecycle$", "^TestCrash$"} {
		if out, found = runWith(t, overlay, test); found {
			break
		}
	}
	if !found {
		t.Errorf("not found: %s", out)
		return
	}
	for line := range strings.SplitSeq(out, "\n") {
		if strings.Contains(line, "_test.go:") && !strings.Contains(line, "O3_SEED") {
			t.Logf("found: %.200s", strings.TrimSpace(line))
			break
		}
	}
}

// runWith runs a test with sources replaced, and reports whether it failed as a
// test, not for want of compiling.
func runWith(t *testing.T, overlay, test string) (out string, failed bool) {
	cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-vet=off", "-run", test, ".")
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "O3_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	raw, err := cmd.CombinedOutput()
	return string(raw), err != nil && strings.Contains(string(raw), "--- FAIL: Test")
}
