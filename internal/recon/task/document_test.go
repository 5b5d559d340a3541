package task_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"o3/internal/recon/task"
)

var update = flag.Bool("update", false, "write the derived tables to docs/formats/recon.md")

// TestFormatDocument: docs/formats/recon.md lists the derived tables that there are.
func TestFormatDocument(t *testing.T) {
	const path, begin, end = "../../../docs/formats/recon.md", "-update -->\n", "<!-- end -->"
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	have, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for them", path)
	}
	fills := map[string][]string{}
	for _, one := range task.All() {
		for _, table := range one.Tables {
			fills[table] = append(fills[table], one.Name)
		}
	}
	want := "| Byte | Table | Key | Counters | Task |\n|---|---|---|---|---|\n"
	for _, table := range task.Tables() {
		at := fmt.Sprintf("0x%02x", table.First)
		if table.First >= 0x80 {
			at = "SQLite"
		}
		want += fmt.Sprintf("| %s | `%s` | %s | %s | %s |\n", at, table.Name, table.Tuple, table.Slots, strings.Join(fills[table.Name], ", "))
		if len(fills[table.Name]) == 0 {
			t.Errorf("no task fills %s", table.Name)
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if have != want {
		t.Errorf("%s is not what the code has: go test ./internal/recon/task -run TestFormatDocument -update", path)
	}
}
