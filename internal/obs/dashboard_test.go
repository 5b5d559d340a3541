package obs

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestDashboard: the Grafana dashboard in the tree is the one the code makes,
// and every metric it asks for is in the table. -update writes it.
func TestDashboard(t *testing.T) {
	const path = "../../docs/grafana/o3.json"
	got, err := Dashboard()
	if err != nil || !json.Valid(got) {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code makes (go test ./internal/obs -run TestDashboard -update): %v", path, err)
	}
	var known []string
	for _, m := range Table() {
		known = append(known, m.Name)
		if m.Type == Histogram {
			known = append(known, m.Name+"_bucket")
		}
	}
	names := regexp.MustCompile(`\bo3_[a-z_]+`).FindAllString(string(got), -1)
	for _, n := range names {
		if !slices.Contains(known, n) {
			t.Errorf("the dashboard asks for %s, which is no metric", n)
		}
	}
	if len(names) < 20 {
		t.Errorf("only %d metrics", len(names))
	}
}
