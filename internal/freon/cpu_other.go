//go:build !unix

package freon

import "time"

// ownCPU is not known on this system.
func ownCPU() time.Duration { return 0 }
