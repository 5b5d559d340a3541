package transfer

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"

	"o3/internal/errs"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// wired is what the fixture's stream holds: chunks in each codec, and an error.
var wired = []struct {
	codec codec
	file  uint32
	off   int64
	text  string
}{
	{codecNone, 0, 0, "as it is"},
	{codecS2, 1, 1 << 40, strings.Repeat("s2 shrinks this. ", 20)},
	{codecZstd, 1, 1<<40 + 340, strings.Repeat("zstd shrinks this. ", 20)},
	{codecNone, 3, 7, ""},
}

// wire returns wired as it is sent.
func wire(t *testing.T) []byte {
	t.Helper()
	out := make([]byte, headLen)
	putHead(out, wireMagic, wireVersion)
	for _, c := range wired {
		raw := []byte(c.text)
		stored := raw
		if c.codec != codecNone {
			e := encoder{how: Compression{codec: c.codec, level: 1}}
			var err error
			if stored, err = e.pack(nil, raw); err != nil {
				t.Fatal(err)
			}
			e.close()
		}
		h := frame{kind: frameData, codec: c.codec, file: c.file, off: c.off, raw: uint32(len(raw)), stored: uint32(len(stored)),
			rawSum: xxh3.Hash(raw), storedSum: xxh3.Hash(stored)}
		out = append(h.append(out), stored...)
	}
	body := []byte(`{"kind":9,"subject":"image x","detail":"it is gone"}`)
	h := frame{kind: frameError, raw: uint32(len(body)), stored: uint32(len(body)), rawSum: xxh3.Hash(body), storedSum: xxh3.Hash(body)}
	return append(h.append(out), body...)
}

// journaled is what the fixture's journal holds.
func journaled() []record {
	var k key
	for i := range k.sum {
		k.sum[i] = byte(i)
	}
	k.size = 1<<40 + 5
	return []record{{k, 0, 1 << 20, 0x0102030405060708}, {k, 1 << 40, 5, 0xfffefdfcfbfaf9f8}}
}

func journalBytes() []byte {
	b := make([]byte, headLen)
	putHead(b, journalMagic, journalVersion)
	for _, r := range journaled() {
		b = r.append(b)
	}
	return b
}

// TestFormats: the wire and the journal of every version ever released are
// understood; the journal of the newest is written byte for byte, and the frames of
// what is not compressed too (a library may learn to compress better). The
// fixtures never change; see docs/formats/README.md.
func TestFormats(t *testing.T) {
	if *makeFormat != "" {
		dir := filepath.Join(formatsDir, *makeFormat)
		if err := errors.Join(os.MkdirAll(formatsDir, 0o755), os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "stream"), wire(t), 0o644),
			os.WriteFile(filepath.Join(dir, "journal"), journalBytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	dirs, err := os.ReadDir(formatsDir)
	if err != nil || len(dirs) != wireVersion {
		t.Fatalf("%d formats have fixtures, want %d: %v", len(dirs), wireVersion, err)
	}
	for _, d := range dirs {
		dir := filepath.Join(formatsDir, d.Name())
		readFixture(t, dir)
		list, err := readJournal(dir)
		want := journaled()
		if err != nil || len(list) != 1 || !reflect.DeepEqual(list[want[0].key], want) {
			t.Errorf("%s: the journal says %v, %v", dir, list, err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(formatsDir, "v1", "journal"))
	if err != nil || !bytes.Equal(raw, journalBytes()) {
		t.Errorf("this program writes another journal: undo the change, or make a new format (docs/formats/README.md). %v", err)
	}
	if raw, err = os.ReadFile(filepath.Join(formatsDir, "v1", "stream")); err != nil || !bytes.HasPrefix(wire(t), raw[:headLen+frameLen+len(wired[0].text)]) {
		t.Errorf("this program writes other frames: undo the change, or make a new format (docs/formats/README.md). %v", err)
	}
}

// readFixture compares the stream of a fixture with wired.
func readFixture(t *testing.T, dir string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "stream"))
	if err != nil {
		t.Fatal(err)
	}
	f := &frames{r: bytes.NewReader(raw), chunk: MinChunk}
	defer f.close()
	for _, want := range wired {
		h, data, err := f.next()
		if err != nil || h.file != want.file || h.off != want.off || h.codec != want.codec || string(data) != want.text {
			t.Fatalf("%s: have %+v %q, %v, want %+v", dir, h, data, err, want)
		}
	}
	if _, _, err := f.next(); errs.KindOf(err) != errs.Kind(9) || !strings.Contains(err.Error(), "image x: it is gone") {
		t.Errorf("%s: %v", dir, err)
	}
}
