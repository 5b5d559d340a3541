// Package leaktest fails a package's tests when they leave goroutines behind. It
// is for tests only.
package leaktest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end: net/http lets a connection that
// it breaks off linger for half a second, which is more than goleak waits.
const patience = 10 * time.Second

// Main is the body of a TestMain: it runs the tests, waits for the goroutines that
// are ending, and exits with 1 when others are left that allowed does not allow.
func Main(m *testing.M, allowed ...goleak.Option) {
	code := m.Run()
	if code == 0 {
		if err := settle(patience, allowed...); err != nil {
			fmt.Fprintln(os.Stderr, "the tests passed, but:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// settle waits until no goroutine is left behind, and after patience says which.
func settle(patience time.Duration, allowed ...goleak.Option) error {
	for began := time.Now(); ; {
		err := goleak.Find(allowed...) // itself waits for up to 0.4 s
		if err == nil || time.Since(began) > patience {
			return err
		}
	}
}
