package recon

import (
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"
)

// TestGroupMemory: the limit of the control group, or of one above it, is found,
// whatever version the groups have.
func TestGroupMemory(t *testing.T) {
	const none = "9223372036854771712\n" // what version 1 says where there is no limit
	type files = map[string]string
	for _, c := range []struct {
		name        string
		files       files
		used, limit uint64
	}{
		{"no groups", files{}, 0, 0},
		{"no limit", files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.current": "5"}, 0, 0},
		{"a container", files{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "900\n",
			"sys/fs/cgroup/memory.stat": "anon 500\nfile 400\ninactive_file 250\nactive_file 50\n",
		}, 600, 1000},
		{"the limit is one above", files{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.current": "300\n",
			"sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/memory.current": "700\n",
		}, 700, 1000},
		{"the nearer one", files{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "400\n", "sys/fs/cgroup/a/b/memory.current": "300\n",
			"sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/memory.current": "700\n",
		}, 300, 400},
		{"the host's path in a container", files{
			"proc/self/cgroup": "0::/system.slice/o3\n", "sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "900\n",
		}, 900, 1000},
		{"version 1", files{
			"proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/o3\n0::/\n",
			"sys/fs/cgroup/memory/o3/memory.limit_in_bytes":   "1000\n",
			"sys/fs/cgroup/memory/o3/memory.usage_in_bytes":   "900\n",
			"sys/fs/cgroup/memory/o3/memory.stat":             "inactive_file 7\ntotal_inactive_file 100\ntotal_active_file 50\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":      none,
			"sys/fs/cgroup/memory/memory.usage_in_bytes":      "99999\n",
			"sys/fs/cgroup/memory.max":                        "1\n",
			"sys/fs/cgroup/memory/unrelated/memory.something": "1\n",
		}, 750, 1000},
		{"version 1 without a limit", files{
			"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": none, "sys/fs/cgroup/memory/memory.usage_in_bytes": "99999\n",
		}, 0, 0},
	} {
		fsys := fstest.MapFS{}
		for name, text := range c.files {
			fsys[name] = &fstest.MapFile{Data: []byte(text), Mode: fs.ModePerm}
		}
		if used, limit := groupMemory(fsys); used != c.used || limit != c.limit {
			t.Errorf("%s: %d of %d, want %d of %d", c.name, used, limit, c.used, c.limit)
		}
	}
}

// TestMemoryGivenBack: memory that is held without need is given back before it
// counts as used.
func TestMemoryGivenBack(t *testing.T) {
	for _, c := range []struct {
		used uint64 // of 100
		gave bool
		want uint64
	}{{80, false, 80}, {90, false, 90}, {91, true, 40}, {130, true, 40}} {
		t.Run(fmt.Sprint(c.used), func(t *testing.T) {
			used, gave := c.used, false
			s := &Service{o: Options{Staging: StagingOptions{Memory: func() (uint64, uint64) { return used, 100 }, giveBack: func() { used, gave = 40, true }}}}
			if got, limit := s.memory(spareMemory); got != c.want || limit != 100 || gave != c.gave {
				t.Errorf("%d of %d, given back: %v", got, limit, gave)
			}
		})
	}
}
