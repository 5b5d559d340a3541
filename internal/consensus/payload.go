package consensus

import (
	"encoding/binary"
	"fmt"

	"o3/internal/errs"
)

// An entry's payload is a header that names the batch (format 1, node,
// incarnation, sequence), then each request with its length. The header finds
// the callers that wait when the entry is applied where it was proposed; other
// replicas ignore it.

const payloadFormat = 1

// batchID names one batch of requests for ever.
type batchID struct{ node, incarnation, sequence uint64 }

const headerBytes = 1 + 3*8

func appendHeader(p []byte, id batchID) []byte {
	p = append(p, payloadFormat)
	p = binary.BigEndian.AppendUint64(p, id.node)
	p = binary.BigEndian.AppendUint64(p, id.incarnation)
	return binary.BigEndian.AppendUint64(p, id.sequence)
}

func encodePayload(id batchID, requests [][]byte) []byte {
	n := headerBytes
	for _, r := range requests {
		n += binary.MaxVarintLen32 + len(r)
	}
	p := appendHeader(make([]byte, 0, n), id)
	for _, r := range requests {
		p = binary.AppendUvarint(p, uint64(len(r)))
		p = append(p, r...)
	}
	return p
}

func decodeHeader(p []byte) (id batchID, rest []byte, err error) {
	if len(p) < headerBytes {
		return id, nil, errs.New(errs.Corrupt, "entry payload", fmt.Sprintf("%d bytes", len(p)))
	}
	if p[0] != payloadFormat {
		return id, nil, errs.New(errs.FormatTooNew, "entry payload", fmt.Sprintf("format %d; this program reads %d", p[0], payloadFormat))
	}
	id.node = binary.BigEndian.Uint64(p[1:])
	id.incarnation = binary.BigEndian.Uint64(p[9:])
	id.sequence = binary.BigEndian.Uint64(p[17:])
	return id, p[headerBytes:], nil
}

// decodePayload returns the requests, which share p's memory.
func decodePayload(p []byte) (id batchID, requests [][]byte, err error) {
	id, p, err = decodeHeader(p)
	if err != nil {
		return id, nil, err
	}
	for len(p) > 0 {
		n, w := binary.Uvarint(p)
		if w <= 0 || n > uint64(len(p)-w) {
			return id, nil, errs.New(errs.Corrupt, "entry payload", "a request is cut off")
		}
		p = p[w:]
		requests = append(requests, p[:n:n])
		p = p[n:]
	}
	return id, requests, nil
}
