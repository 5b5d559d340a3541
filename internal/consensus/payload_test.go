package consensus

import (
	"bytes"
	"testing"

	"o3/internal/errs"
)

// FuzzPayload: what is encoded comes back, and no bytes make the decoder
// panic, or read beyond them.
func FuzzPayload(f *testing.F) {
	f.Add([]byte("one"), []byte(""), uint64(3))
	f.Fuzz(func(t *testing.T, a, b []byte, n uint64) {
		id := batchID{n, n + 1, n + 2}
		got, requests, err := decodePayload(encodePayload(id, [][]byte{a, b}))
		if err != nil || got != id || len(requests) != 2 || !bytes.Equal(requests[0], a) || !bytes.Equal(requests[1], b) {
			t.Fatalf("%v %q %q: %v %q %v", id, a, b, got, requests, err)
		}
		if _, requests, err := decodePayload(a); err == nil {
			total := 0
			for _, r := range requests {
				total += len(r)
			}
			if total > len(a) {
				t.Fatalf("%d bytes out of %d", total, len(a))
			}
		}
	})
}

func TestPayloadRefused(t *testing.T) {
	p := encodePayload(batchID{1, 2, 3}, [][]byte{[]byte("request")})
	for n := range len(p) {
		_, requests, err := decodePayload(p[:n])
		if n == headerBytes {
			if err != nil || len(requests) != 0 {
				t.Errorf("a header alone: %v, %v", requests, err)
			}
		} else if errs.KindOf(err) != errs.Corrupt {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	p[0] = payloadFormat + 1
	if _, _, err := decodePayload(p); errs.KindOf(err) != errs.FormatTooNew {
		t.Errorf("a later format: %v", err)
	}
}
