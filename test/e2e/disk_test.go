//go:build e2e && linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of that many bytes and returns where.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skipf("this test mounts a small file system, which needs root: %v", err)
	}
	ok(t, err)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// filler takes space on a disk, as somebody else's files do.
type filler struct {
	t    *testing.T
	path string
}

// leave fills the disk until only so many bytes are free; 0 takes all.
func (f filler) leave(free int64) {
	f.t.Helper()
	out, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ok(f.t, err)
	defer out.Close()
	chunk := make([]byte, 64<<10)
	for {
		var st unix.Statfs_t
		ok(f.t, unix.Statfs(filepath.Dir(f.path), &st))
		room := int64(st.Bavail)*int64(st.Bsize) - free
		if room <= 0 {
			return
		}
		if _, err := out.Write(chunk[:min(room, int64(len(chunk)))]); errors.Is(err, unix.ENOSPC) && free == 0 {
			return
		} else {
			ok(f.t, err)
		}
	}
}

func (f filler) remove() { f.t.Helper(); ok(f.t, os.Remove(f.path)) }

// disk is a server on a small disk, and what it acknowledged.
type disk struct {
	*server
	c      *s3.Client
	filler filler
	want   map[string]content
	next   uint64
}

func newDisk(t *testing.T, size int64, sets ...string) *disk {
	t.Helper()
	dir := smallDisk(t, size)
	s := newServer(t, append([]string{"ozone.block.container.size=4MB", "ozone.om.db.memtable.size=256KB", "ozone.om.db.flush.interval=200ms",
		"ozone.om.ratis.log.purge.preservation.log.num=1", "ozone.block.free.grace=0s", "ozone.block.deleting.service.interval=50ms",
		"ozone.block.scrub.interval=0"}, sets...)...)
	s.data = filepath.Join(dir, "data")
	s.start()
	d := &disk{server: s, c: s.sdk(), filler: filler{t, filepath.Join(dir, "filler")}, want: map[string]content{}}
	makeBucket(t, d.c, "full", "")
	return d
}

// put writes an object; what is acknowledged is noted.
func (d *disk) put(size int64) error {
	d.next++
	key, bucket, v := fmt.Sprintf("k%05d", d.next), "full", content{d.next, size}
	_, err := d.c.PutObject(d.t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(v.bytes())})
	if err == nil {
		d.want[key] = v
	}
	return err
}

// isFull wants a write to be refused.
func (d *disk) isFull(size int64) func() error {
	return func() error {
		if err := d.put(size); code(err) != "StorageFull" {
			return fmt.Errorf("a write of %d bytes below the reserve: %v", size, err)
		}
		return nil
	}
}

func (d *disk) delete(key string) error {
	bucket := "full"
	_, err := d.c.DeleteObject(d.t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
	if err == nil {
		delete(d.want, key)
	}
	return err
}

// all reads everything that was acknowledged.
func (d *disk) all() {
	d.t.Helper()
	bucket := "full"
	for key, v := range d.want {
		out, err := d.c.GetObject(d.t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			d.t.Fatalf("%s was acknowledged: %v", key, err)
		}
		got, err := io.ReadAll(out.Body)
		ok(d.t, errors.Join(err, out.Body.Close()))
		if !bytes.Equal(got, v.bytes()) {
			d.t.Fatalf("%s came back different", key)
		}
	}
}

// TestDiskReserve: below the reserve writes are refused with the reason, reads
// and deletes go on, and writing resumes when there is space again, whether
// somebody else frees it or a delete does.
func TestDiskReserve(t *testing.T) {
	d := newDisk(t, 128<<20, "ozone.block.reserve=32MB", "ozone.block.rewrite.threshold=0.1", "ozone.block.rewrite.bytes.per.second=1GB")
	for range 20 {
		ok(t, d.put(100_000))
		ok(t, d.put(1000))
	}
	d.filler.leave(30 << 20)
	eventually(t, d.isFull(100_000))
	refused := d.put(100_000)
	if code(refused) != "StorageFull" || !strings.Contains(refused.Error(), "reserve") {
		t.Fatalf("the refusal says %v", refused)
	}
	t.Log(refused)
	eventually(t, d.isFull(10)) // also one that would lie in its row
	if out, exit := d.o3("admin", "status"); exit != 2 || !strings.Contains(out, "read-only") {
		t.Fatalf("admin status: exit code %d\n%s", exit, out)
	}
	d.all()
	ok(t, d.delete("k00001"))
	ok(t, d.delete("k00002"))
	if out, exit := d.o3("sh", "key", "put", "/s3v/full/cli", "server_test.go"); exit != 7 {
		t.Fatalf("o3 sh key put: exit code %d\n%s", exit, out)
	}
	d.restart() // a full disk is no reason not to start
	d.all()
	d.filler.leave(30 << 20) // stopping may have given some back
	eventually(t, d.isFull(100_000))
	d.filler.remove()
	eventually(t, func() error { return d.put(100_000) })
	if out, exit := d.o3("admin", "status"); exit == 2 {
		t.Fatalf("admin status: exit code %d\n%s", exit, out)
	}

	// Full of our own objects: deletes make room.
	for refused = nil; refused == nil; refused = d.put(1 << 20) {
	}
	wantCode(t, refused, "StorageFull")
	n := 0
	for key, v := range d.want {
		if v.size == 1<<20 && n < 40 {
			ok(t, d.delete(key))
			n++
		}
	}
	eventually(t, func() error { return d.put(1 << 20) })
	d.all()
	d.stop()
	d.verify()
}

// TestDiskFull: without a reserve the disk fills to its last byte. The node
// refuses, or stops and says why; it never acknowledges what it cannot keep,
// and comes back when there is space.
func TestDiskFull(t *testing.T) {
	d := newDisk(t, 64<<20, "ozone.block.reserve=0")
	for range 10 {
		ok(t, d.put(200_000))
		ok(t, d.put(2000))
	}
	d.filler.leave(0)
	var last error
	for i := 0; i < 40 && d.running(); i++ {
		for _, size := range []int64{500_000, 10} {
			if err := d.put(size); err != nil {
				last = err
			}
		}
	}
	if last == nil {
		t.Fatal("a disk without a free byte took 40 objects")
	}
	t.Log(last)
	d.filler.remove()
	eventually(t, func() error { // it goes on, or has stopped and said why
		if err := d.put(500_000); d.running() {
			return err
		}
		return nil
	})
	if d.running() {
		d.stop()
	} else if text := d.log.tail(2000); !strings.Contains(text, "the disk is full: free space and start again") {
		t.Errorf("the node stopped and does not say why:\n%s", text)
	}
	d.start()
	d.all()
	ok(t, d.put(500_000))
	d.stop()
	d.verify()
}
