package recon

import (
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
)

// memory returns what is used of the memory that may be, and the limit; 0: there is
// none. Where less than enough is left, what Go's runtime holds and does not need is
// given back first.
func (s *Service) memory(enough func(limit uint64) uint64) (used, limit uint64) {
	used, limit = s.o.Staging.Memory()
	if give := s.o.Staging.giveBack; give != nil && limit > 0 && limit-min(used, limit) < enough(limit) {
		give()
		used, limit = s.o.Staging.Memory()
	}
	return used, limit
}

// ProcessMemory is what the process holds, and its limit: that of Go's runtime
// (GOMEMLIMIT) or that of its control group, whichever is nearer.
func ProcessMemory() (used, limit uint64) {
	used, limit = runtimeMemory()
	if u, l := groupMemory(os.DirFS("/")); nearer(u, l, used, limit) {
		return u, l
	}
	return used, limit
}

// nearer reports whether the first of two limits is, by the part of it that is
// used, the nearer one.
func nearer(used, limit, other, otherLimit uint64) bool {
	return limit > 0 && (otherLimit == 0 || float64(used)/float64(limit) > float64(other)/float64(otherLimit))
}

// runtimeMemory returns the bytes that Go's runtime holds, and its soft limit.
func runtimeMemory() (used, limit uint64) {
	if n := debug.SetMemoryLimit(-1); n < math.MaxInt64 {
		limit = uint64(n)
	}
	m := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(m)
	return m[0].Value.Uint64() - m[1].Value.Uint64(), limit
}

// noLimit is from where on a limit of a control group is none.
const noLimit = 1 << 62

// groupFiles are where Linux tells of the memory of control groups, by version.
var groupFiles = map[bool]struct{ root, limit, used, cache string }{
	false: {"sys/fs/cgroup", "memory.max", "memory.current", ""},
	true:  {"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"},
}

// groupMemory returns what the control group of the process uses, without the part
// of the page cache that the kernel takes back by itself, and its limit; of the
// group and those above it the one that is nearest to its limit. Limit 0: none, or
// not on this system.
func groupMemory(files fs.FS) (used, limit uint64) {
	at, old := groupOf(files)
	if at == "" {
		return 0, 0
	}
	f := groupFiles[old]
	for {
		dir := path.Join(f.root, at)
		if l, ok := number(files, path.Join(dir, f.limit)); ok && l < noLimit {
			if u, ok := number(files, path.Join(dir, f.used)); ok {
				if u -= min(u, cacheOf(files, path.Join(dir, "memory.stat"), f.cache)); nearer(u, l, used, limit) {
					used, limit = u, l
				}
			}
		}
		if at == "/" {
			return used, limit
		}
		at = path.Dir(at)
	}
}

// groupOf returns the control group of the process that has its memory, "" for
// none, and whether it is one of version 1.
func groupOf(files fs.FS) (at string, old bool) {
	raw, err := fs.ReadFile(files, "proc/self/cgroup")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(raw)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(parts) < 3:
		case strings.Contains(","+parts[1]+",", ",memory,"):
			return path.Clean("/" + parts[2]), true
		case parts[0] == "0":
			at = path.Clean("/" + parts[2])
		}
	}
	return at, false
}

// number reads a file that holds a number; "max" is none.
func number(files fs.FS, name string) (uint64, bool) {
	raw, err := fs.ReadFile(files, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(raw)), 10, 64)
	return n, err == nil
}

// cacheOf returns how much of what a group uses is files in the page cache.
func cacheOf(files fs.FS, name, prefix string) (sum uint64) {
	raw, err := fs.ReadFile(files, name)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key == prefix+"inactive_file" || key == prefix+"active_file" {
			n, _ := strconv.ParseUint(value, 10, 64) // the kernel writes a number
			sum += n
		}
	}
	return sum
}
