//go:build !(linux || darwin || freebsd)

package config

import "math"

// diskSize cannot be asked here, so no reserve is too large.
func diskSize(string) (int64, error) { return math.MaxInt64, nil }
