package schema

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/schema/schemapb"
)

// TestDecodeListed compares the short decoder with the whole one, on random
// entries; both refuse what is cut off.
func TestDecodeListed(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	owner, in := "", &Strings{}
	for range 2000 {
		e := randomEntry(rng)
		value, err := Entries.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		got := &schemapb.Entry{}
		if err := DecodeListed([]byte("key"), value, got, owner, in); err != nil {
			t.Fatal(err)
		}
		want := proto.Clone(e).(*schemapb.Entry)
		want.Extents, want.Headers, want.Tags, want.Grants, want.PartSizes = nil, nil, nil, nil, nil
		if !proto.Equal(got, want) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
		owner = got.Owner
		cut := value[:1+rng.IntN(len(value))]
		whole := Entries.DecodeInto([]byte("key"), cut, &schemapb.Entry{})
		if short := DecodeListed([]byte("key"), cut, &schemapb.Entry{}, "", nil); whole == nil != (short == nil) && errs.KindOf(whole) != errs.Corrupt {
			t.Fatalf("cut to %d of %d bytes: %v, the whole decoder says %v", len(cut), len(value), short, whole)
		}
	}
	for _, bad := range [][]byte{nil, {9}, {1, 0xff}, {1, 0x42, 5, 'a'}} {
		if err := DecodeListed([]byte("key"), bad, &schemapb.Entry{}, "", nil); err == nil {
			t.Errorf("%v was decoded", bad)
		}
	}
}

func randomEntry(rng *rand.Rand) *schemapb.Entry {
	e := &schemapb.Entry{
		Kind: o3v1.EntryKind(1 + rng.IntN(2)), ObjectId: rng.Uint64(), Since: rng.Uint64N(1000), Born: rng.Uint64N(1000),
		CreatedMs: rng.Int64(), ModifiedMs: rng.Int64N(10), Size: rng.Uint64() >> rng.IntN(64),
		Etag: fmt.Sprint(rng.Uint64N(3)), Owner: fmt.Sprint("owner", rng.IntN(2)), Implicit: rng.IntN(2) == 0,
	}
	for range rng.IntN(4) {
		e.Extents = append(e.Extents, &o3v1.Extent{Container: rng.Uint64(), Local: 1, Length: rng.Int64()})
		e.PartSizes = append(e.PartSizes, rng.Uint64N(9))
		e.Tags = append(e.Tags, &o3v1.Pair{Name: "n", Value: "v"})
	}
	if rng.IntN(2) == 0 {
		e.Headers = &o3v1.Headers{ContentType: "text/plain"}
		e.Checksum = &o3v1.Checksum{Algorithm: "CRC32", Value: []byte{1, 2}}
		e.Grants = []*o3v1.Grant{{Grantee: "*", Permissions: []o3v1.Permission{1}}}
	}
	return e
}
