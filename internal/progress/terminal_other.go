//go:build !unix

package progress

import "io"

// terminalWidth knows no terminals here: lines are plain.
func terminalWidth(io.Writer) int { return 0 }
