package image_test

import (
	"testing"

	"o3/internal/image"
	"o3/internal/image/imagetest"
)

// TestDirectory: a directory is a target.
func TestDirectory(t *testing.T) {
	imagetest.Targets(t, 256<<10, func(t *testing.T) func() image.Target {
		dir := t.TempDir()
		return func() image.Target { return image.Directory{Dir: dir, Reserve: -1} }
	})
}
