package command

import (
	"fmt"
	"strings"

	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
)

// The bounds of a step of a lifecycle scan.
const (
	MaxStepVictims     = 1000
	MaxStepDirectories = 1000      // distinct ones of what is moved to trash: each may have to be made there
	MaxStepBytes       = 512 << 10 // of the victims' paths
	MaxStepError       = 1024      // bytes of an error to be shown
)

// ScanAfter returns the first path that a scan has not covered when it has
// covered path: the keys up to it or, in a file-system bucket, when it ends in a
// slash, that directory and all below it. Of nothing covered ("") it is "". In
// the order of a scan it grows.
func ScanAfter(layout ns.Layout, path string) string {
	switch {
	case path == "":
		return ""
	case layout == ns.FileSystem && strings.HasSuffix(path, "/"):
		return path[:len(path)-1] + string(rune('/'+1))
	}
	return path + "\x00"
}

// UploadPosition names a multipart upload in the state of a scan.
func UploadPosition(name string, id ns.ObjectID) string { return name + "/" + UploadID(id) }

// ParseUploadPosition returns the row that UploadPosition names.
func ParseUploadPosition(bucket ns.ObjectID, position string) (schema.UploadKey, error) {
	i := strings.LastIndexByte(position, '/')
	if i < 0 {
		return schema.UploadKey{}, errs.New(errs.Invalid, fmt.Sprintf("position %q", position), "is not that of a multipart upload")
	}
	id, err := ParseUploadID(position[i+1:])
	if err != nil {
		return schema.UploadKey{}, errs.New(errs.Invalid, fmt.Sprintf("position %q", position), "is not that of a multipart upload")
	}
	return schema.UploadKey{Bucket: bucket, Name: position[:i], Upload: id}, nil
}

// StepSize tells how much of a step the victims added to it take. The zero value
// is an empty step.
type StepSize struct {
	victims, directories, bytes int
	moved                       string // the last path that is moved
}

// Add adds the next victim of a step and reports whether the step has room for
// it; if not, it is not added. Into an empty step any victim goes.
func (s *StepSize) Add(layout ns.Layout, v *commandpb.LifecycleVictim) bool {
	next := *s
	next.victims++
	next.bytes += len(v.Path)
	if layout == ns.FileSystem && v.Action == commandpb.LifecycleAction_LIFECYCLE_ACTION_TRASH {
		dir := v.Path[:strings.LastIndexByte(strings.TrimSuffix(v.Path, "/"), '/')+1]
		shared := 0 // of it, with the directories of the path before
		for i := range min(len(dir), len(s.moved)) {
			if dir[i] != s.moved[i] {
				break
			}
			if dir[i] == '/' {
				shared = i + 1
			}
		}
		next.directories += strings.Count(dir[shared:], "/")
		next.moved = v.Path
	}
	if next.victims > MaxStepVictims || next.directories > MaxStepDirectories || next.bytes > MaxStepBytes {
		return false
	}
	*s = next
	return true
}
