package kvtest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Seed returns the seed of a random test: that of the environment variable
// O3_SEED, else a fresh one. It is printed when the test fails or is verbose.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("O3_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("O3_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("O3_SEED=%d", seed)
	return seed
}
