package verify_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv/kvtest"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/verify"
)

// TestHistoriesAreSound: whatever is done to keys, directories and snapshots, in
// whichever order reclaims and purges get on, nothing is wrong in the store at
// any time, and nothing is left of snapshots when all are reclaimed.
func TestHistoriesAreSound(t *testing.T) {
	rounds := 40
	if os.Getenv("O3_NIGHTLY") != "" {
		rounds = 2000
	}
	rng := rand.New(rand.NewPCG(kvtest.Seed(t), 3))
	for round := range rounds {
		h := &history{Driver: fsmtest.New(t, new(memkv.Store)), rng: rng}
		h.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
		h.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "bkt", Layout: []string{"OBS", "FSO"}[round%2]})
		for i := range 150 {
			h.step(t, i)
			if i%10 == 9 {
				h.sound(t)
			}
		}
		h.end(t)
	}
}

type history struct {
	*fsmtest.Driver
	rng   *rand.Rand
	block uint64
	live  []string // snapshots
}

func (h *history) name() string {
	n := []string{"a", "b", "c"}[h.rng.IntN(3)]
	for range h.rng.IntN(3) {
		n += "/" + []string{"a", "b", "c"}[h.rng.IntN(3)]
	}
	return n
}

// step does something; that it is refused is fine.
func (h *history) step(t *testing.T, i int) {
	name := h.name()
	var body proto.Message
	switch n := h.rng.IntN(20); {
	case n < 6:
		h.block++
		body = &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "bkt", Key: name, Size: 3, DeadlineMs: 1 << 60,
			Extents: []*o3v1.Extent{{Container: 1, Local: h.block, Length: 3}}}
	case n < 8:
		body = &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "bkt", Keys: []*o3v1.DeleteKey{{Key: name}, {Key: h.name() + "/"}}}
	case n == 8:
		body = &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "bkt", Keys: []*o3v1.DeleteKey{{Key: name + "/"}, {Key: h.name()}}, Recursive: true}
	case n == 9:
		body = &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "bkt", From: name, To: h.name(), Overwrite: true}
	case n == 10:
		body = &o3v1.UpdateKeyRequest{Volume: "s3v", Bucket: "bkt", Key: name, SetTags: true, Tags: []*o3v1.Pair{{Name: fmt.Sprint(i)}}}
	case n == 11:
		body = &o3v1.CreateDirectoryRequest{Volume: "s3v", Bucket: "bkt", Path: name, MayExist: true}
	case n < 14:
		body = &commandpb.PurgeDirectories{Limit: uint32(1 + h.rng.IntN(4))}
	case n < 16:
		h.live = append(h.live, fmt.Sprint("s", i))
		body = &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "bkt", Name: h.live[len(h.live)-1]}
	case n == 16 && len(h.live) > 0:
		at := h.rng.IntN(len(h.live))
		body = &o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: "bkt", Name: h.live[at]}
		h.live = append(h.live[:at], h.live[at+1:]...)
	case n == 17 && len(h.live) > 0:
		at, _, err := schema.SnapshotNames.Get(h.Store, schema.SnapshotNameKey{Bucket: h.bucket(t), Name: h.live[h.rng.IntN(len(h.live))]})
		if err != nil {
			t.Fatal(err)
		}
		body = &commandpb.RestoreKeys{Volume: "s3v", Bucket: "bkt", SnapshotOp: at.Op, Paths: []string{name, h.name() + "/", h.name()}}
	default:
		body = h.reclaim(t, uint32(1+h.rng.IntN(3)))
	}
	if body != nil {
		h.Do(t, body)
	}
}

// reclaim makes a step of any reclaim, nil when there is none.
func (h *history) reclaim(t *testing.T, limit uint32) proto.Message {
	var all []schema.SnapshotKey
	err := fsmtest.Scan(h.Store, schema.Reclaims, func(k schema.SnapshotKey, _ *schemapb.Reclaim) error {
		all = append(all, k)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		return nil
	}
	k := all[h.rng.IntN(len(all))]
	return &commandpb.ReclaimSnapshot{BucketId: uint64(k.Bucket), SnapshotOp: uint64(k.Op), Limit: limit}
}

// end deletes all and reclaims it, in any order.
func (h *history) end(t *testing.T) {
	for _, name := range h.live {
		h.Must(t, &o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: "bkt", Name: name})
	}
	for {
		body := h.reclaim(t, 5)
		if body == nil {
			break
		}
		h.Must(t, body)
	}
	for _, table := range h.sound(t) {
		switch table {
		case "history", "dirHistory", "journal", "cells", "cellEnds", "snapshots", "snapshotNames", "counters":
			t.Fatalf("rows of %s are left", table)
		}
	}
}

// sound checks the store and returns its tables.
func (h *history) sound(t *testing.T) (tables []string) {
	t.Helper()
	report, err := verify.Store(t.Context(), h.Store, verify.Options{Problem: func(p verify.Problem) { t.Errorf("op %d: %v", h.Machine.Position().Op, p) }})
	if err != nil || t.Failed() {
		t.Fatal(err)
	}
	for table := range report.Rows {
		tables = append(tables, table)
	}
	return tables
}

func (h *history) bucket(t *testing.T) (id ns.ObjectID) {
	err := fsmtest.Scan(h.Store, schema.Buckets, func(_ schema.BucketKey, b *schemapb.Bucket) error {
		id = ns.ObjectID(b.ObjectId)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}
