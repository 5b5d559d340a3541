package raftlog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"o3/internal/errs"
)

// TestVerify reads a whole log, and names the entry that a flipped byte hits.
func TestVerify(t *testing.T) {
	fs := vfs.NewMem()
	payload := bytes.Repeat([]byte("payload "), 20)
	l, err := Open(Options{FS: fs, Dir: "raft", NodeID: 3, Incarnation: 1000})
	if err != nil || l.Incarnation() != 1001 {
		t.Fatal(err)
	}
	if err := l.Bootstrap([]byte("conf")); err != nil {
		t.Fatal(err)
	}
	var entries []*pb.Entry
	for i := range uint64(50) {
		index, term := i+2, uint64(1)
		entries = append(entries, &pb.Entry{Index: &index, Term: &term, Data: payload})
	}
	if err := l.Write(Write{Entries: entries, Sync: true}); err != nil {
		t.Fatal(err)
	}
	if err := l.db.Flush(); err != nil { // into a table
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	v, err := Verify(context.Background(), Options{FS: fs, Dir: "raft"})
	if err != nil || v.First != 2 || v.Last != 51 || v.Bytes < 50*160 {
		t.Fatalf("a healthy log: %+v, %v", v, err)
	}
	if index, term, err := End(Options{FS: fs, Dir: "raft"}); err != nil || index != 51 || term != 1 {
		t.Fatalf("its end: %d, %d, %v", index, term, err)
	}
	if err := fs.Remove("raft/" + guardFile); err != nil { // as a power cut may
		t.Fatal(err)
	}
	if v, err := Verify(context.Background(), Options{FS: fs, Dir: "raft"}); err != nil || v.First != 2 || v.Last != 51 {
		t.Fatalf("without the tail guard: %+v, %v", v, err)
	}
	if _, err := fs.Stat("raft/" + guardFile); err == nil {
		t.Fatal("Verify made a tail guard")
	}
	if l, err = Open(Options{FS: fs, Dir: "raft", NodeID: 3}); err != nil || l.Incarnation() != 1002 || l.Close() != nil {
		t.Fatalf("what End or Verify left: %v", err)
	}
	flipText(t, fs, "raft/"+storeDir, payload)
	if _, err := Verify(context.Background(), Options{FS: fs, Dir: "raft"}); errs.KindOf(err) != errs.Corrupt {
		t.Fatalf("a flipped byte: %v", err)
	} else {
		t.Log(err)
	}
	if _, err := Verify(context.Background(), Options{FS: vfs.NewMem(), Dir: "nothing"}); err == nil {
		t.Fatal("an absent log was verified")
	}
}

// flipText changes a byte in the middle of the first table of dir that holds text.
func flipText(t *testing.T, fs vfs.FS, dir string, text []byte) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		path := fs.PathJoin(dir, name)
		f, err := fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		at := bytes.LastIndex(content, text)
		if at < 0 {
			continue
		}
		content[at+10] ^= 1
		w, err := fs.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(content)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("no table holds the entries")
}
