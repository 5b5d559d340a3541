package leaktest

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { Main(m) }

func linger(end <-chan struct{}) { <-end }

// TestSettle: a goroutine that stays is named; one that ends after a second, later
// than goleak itself waits, is not.
func TestSettle(t *testing.T) {
	others := goleak.IgnoreCurrent()
	end := make(chan struct{})
	go linger(end)
	if err := settle(0, others); err == nil || !strings.Contains(err.Error(), "leaktest.linger") {
		t.Errorf("one that stays: %v", err)
	}
	time.AfterFunc(time.Second, func() { close(end) })
	if err := settle(time.Minute, others); err != nil {
		t.Errorf("one that ends: %v", err)
	}
}
