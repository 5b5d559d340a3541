package schema

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestStrings: strings stay what they are, whatever is made after them.
func TestStrings(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	text := func() string {
		return strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(1<<rng.IntN(15)))
	}
	var none *Strings
	for _, s := range []*Strings{{}, none} {
		var got, want []string
		for range 3000 {
			a, b := text(), text()
			got, want = append(got, s.Of([]byte(a)), s.Join(a, b)), append(want, a, a+b)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("string %d is %.60q, want %.60q", i, got[i], want[i])
			}
		}
	}
	s, b := &Strings{}, []byte("an etag of 32 bytes, as most are")
	if n := testing.AllocsPerRun(100, func() {
		for range 256 {
			_ = s.Of(b)
		}
	}); n > 1 {
		t.Errorf("%v allocations for 8 KiB", n)
	}
}
