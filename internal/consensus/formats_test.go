package consensus

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"o3/internal/errs"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// TestFormats: what entries and offers of images hold in every format ever
// released is read by this program, and written byte for byte in the newest.
// The fixtures never change; see docs/formats/README.md.
func TestFormats(t *testing.T) {
	if *makeFormat != "" {
		dir := filepath.Join(formatsDir, *makeFormat)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "payloads.txt"), []byte(payloadText()), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	dirs, err := os.ReadDir(formatsDir)
	if err != nil || len(dirs) != payloadFormat {
		t.Fatalf("%d formats have fixtures, want %d: %v", len(dirs), payloadFormat, err)
	}
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join(formatsDir, d.Name(), "payloads.txt"))
			if err != nil {
				t.Fatal(err)
			}
			readPayloads(t, string(raw))
			if d.Name() == fmt.Sprintf("v%d", payloadFormat) && payloadText() != string(raw) {
				t.Errorf("this program writes other bytes: logs of released versions would be read wrongly.\n"+
					"Undo the change, or make a new format (docs/formats/README.md).\ngot\n%s\nwant\n%s", payloadText(), raw)
			}
		})
	}
}

// fixturePayload is the payload of an entry, with its first field as version.
type fixturePayload struct {
	id       batchID
	requests [][]byte
}

func fixturePayloads() []fixturePayload {
	return []fixturePayload{
		{batchID{1, 2, 3}, nil}, // as in the context of a change of membership
		{batchID{1, 2, 4}, [][]byte{[]byte("request")}},
		{batchID{1<<64 - 1, 1 << 32, 0xff}, [][]byte{{}, {0}, bytes.Repeat([]byte("long "), 60), []byte("last")}},
	}
}

var fixtureOffer = struct {
	first    uint64
	manifest string
}{0x0102030405060708, "manifest"}

// payloadText is the fixture: "payload NODE INCARNATION SEQUENCE BYTES", under
// it "request BYTES" for each request; "offer FIRST MANIFEST BYTES".
func payloadText() string {
	var out strings.Builder
	for _, p := range fixturePayloads() {
		fmt.Fprintf(&out, "payload %d %d %d %x\n", p.id.node, p.id.incarnation, p.id.sequence, encodePayload(p.id, p.requests))
		for _, r := range p.requests {
			fmt.Fprintf(&out, "request %x\n", r)
		}
	}
	fmt.Fprintf(&out, "offer %d %x %x\n", fixtureOffer.first, fixtureOffer.manifest, encodeOffer(fixtureOffer.first, []byte(fixtureOffer.manifest)))
	return out.String()
}

// readPayloads decodes what the fixture holds and compares it with what it says.
func readPayloads(t *testing.T, text string) {
	t.Helper()
	var left [][]byte // of the payload before
	payloads, offers := 0, 0
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		raw, err := hex.DecodeString(fields[len(fields)-1])
		if err != nil {
			t.Fatal(err)
		}
		switch fields[0] {
		case "payload":
			if len(left) > 0 {
				t.Errorf("%d requests too many", len(left))
			}
			var id batchID
			if id, left, err = decodePayload(raw); err != nil || strings.Join(fields[1:4], " ") != fmt.Sprint(id.node, id.incarnation, id.sequence) {
				t.Errorf("%s: %v, %v", line, id, err)
			}
			refusePayload(t, raw)
			payloads++
		case "request":
			if len(left) == 0 || !bytes.Equal(left[0], raw) {
				t.Fatalf("%s: got %x", line, left)
			}
			left = left[1:]
		case "offer":
			m, first, err := decodeOffer(&pb.Snapshot{Data: raw, Metadata: &pb.SnapshotMetadata{}})
			if err != nil || strings.Join(fields[1:3], " ") != fmt.Sprintf("%d %x", first, m.Manifest) {
				t.Errorf("%s: %d %q, %v", line, first, m.Manifest, err)
			}
			offers++
		default:
			t.Fatalf("%q", line)
		}
	}
	if len(left) > 0 || payloads < 3 || offers < 1 {
		t.Errorf("%d requests too many; %d payloads, %d offers", len(left), payloads, offers)
	}
}

// refusePayload: a later format is refused by name, a cut one as damage.
func refusePayload(t *testing.T, raw []byte) {
	t.Helper()
	newer := bytes.Clone(raw)
	newer[0] = payloadFormat + 1
	if _, _, err := decodePayload(newer); errs.KindOf(err) != errs.FormatTooNew || !strings.Contains(err.Error(), fmt.Sprintf("entry payload: format %d", payloadFormat+1)) {
		t.Errorf("a later format: %v", err)
	}
	if _, _, err := decodePayload(raw[:headerBytes-1]); errs.KindOf(err) != errs.Corrupt {
		t.Errorf("a cut header: %v", err)
	}
	if len(raw) > headerBytes {
		if _, _, err := decodePayload(raw[:len(raw)-1]); errs.KindOf(err) != errs.Corrupt {
			t.Errorf("a cut request: %v", err)
		}
	}
}
