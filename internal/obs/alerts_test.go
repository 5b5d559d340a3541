package obs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestAlerts: the alert rules ask for metrics that exist, promtool finds them good,
// and they fire for what they are for and for nothing else.
func TestAlerts(t *testing.T) {
	raw, err := os.ReadFile("../../docs/grafana/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, m := range Table() {
		known = append(known, m.Name)
		if m.Type == Histogram {
			known = append(known, m.Name+"_count", m.Name+"_sum", m.Name+"_bucket")
		}
	}
	names := regexp.MustCompile(`\bo3_[a-z_]+`).FindAllString(string(raw), -1)
	for _, n := range names {
		if !slices.Contains(known, n) {
			t.Errorf("a rule asks for %s, which is no metric", n)
		}
	}
	if len(names) < 8 {
		t.Errorf("only %d metrics", len(names))
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not here: .ci/run installs it (apt-get install prometheus)")
	}
	dir := t.TempDir()
	cases, err := os.ReadFile("testdata/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"alerts.yml": raw, "alerts_test.yml": cases} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		c := exec.Command(promtool, args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
