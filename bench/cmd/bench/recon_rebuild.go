package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/pebblekv"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/replica"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// rebuildResult is a rebuild of Recon's tables, beside raw scans of the same rows
// right before and after it.
type rebuildResult struct {
	Keys, Rows       int64
	Scan, ScanCPU    float64 // seconds
	Took, CPU        float64
	Read, Write      float64 // of Took
	Before, Peak     int64   // bytes of memory
	Spilled, Written int64
	Tasks            []task.Work
}

// rebuilds measures rebuilds of growing namespaces, each in a process of its own.
func (s *settings) rebuilds(ctx context.Context, l *lab, r *reconResult) error {
	for keys := 100_000; keys <= s.keys; keys *= 10 {
		dir := filepath.Join(l.dir, "generation")
		if err := manyKeys(filepath.Join(dir, generation.ReplicaDir), keys); err != nil {
			return err
		}
		var all []rebuildResult
		for range s.rounds {
			one, err := rebuildIn(ctx, dir)
			if err != nil {
				return err
			}
			one.Keys = int64(keys)
			say("rebuild: %d keys in %.2f s (%.0f/s, %.2f µs CPU), raw scan %.2f s", keys, one.Took, float64(keys)/one.Took, 1e6*one.CPU/float64(keys), one.Scan)
			all = append(all, one)
		}
		slices.SortFunc(all, func(a, b rebuildResult) int { return cmp.Compare(a.Took/a.Scan, b.Took/b.Scan) })
		r.Rebuilds = append(r.Rebuilds, all[len(all)/2])
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// rebuildIn has another process rebuild.
func rebuildIn(ctx context.Context, dir string) (one rebuildResult, err error) {
	self, err := os.Executable()
	if err != nil {
		return one, err
	}
	c := exec.CommandContext(ctx, self, rebuildCommand, dir)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return one, fmt.Errorf("rebuild: %w", err)
	}
	return one, json.Unmarshal(out, &one)
}

// rebuildCommand is the command of such a process.
const rebuildCommand = "recon-rebuild"

// rebuildHere does what that process is for, with the memory a server has.
func rebuildHere(ctx context.Context, dir string) (err error) {
	g, err := generation.Open(ctx, generation.Options{Dir: dir, CacheBytes: 16 << 20, MemoryBytes: 4 << 20})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	var r rebuildResult
	if err := r.scan(ctx, g); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // the peak counts from here
		return err
	}
	if r.Before, err = memoryPeak(); err != nil {
		return err
	}
	before, began := processTime(), time.Now()
	out, err := g.Rebuild(ctx, task.RebuildOptions{})
	if err != nil {
		return err
	}
	r.Took, r.CPU = time.Since(began).Seconds(), (processTime() - before).Seconds()
	if r.Peak, err = memoryPeak(); err != nil {
		return err
	}
	r.Read, r.Write, r.Spilled, r.Written, r.Tasks = out.Read.Seconds(), out.Write.Seconds(), out.Spilled, out.Written, out.Tasks
	if err := r.scan(ctx, g); err != nil {
		return err
	}
	r.Scan, r.ScanCPU = r.Scan/2, r.ScanCPU/2
	return json.NewEncoder(os.Stdout).Encode(r)
}

// scan reads every row of the namespace.
func (r *rebuildResult) scan(ctx context.Context, g *generation.Generation) (err error) {
	v, err := g.View(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	before, began := processTime(), time.Now()
	it, err := v.Rows.Iter(nil, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	r.Rows = 0
	for ok := it.First(); ok; ok = it.Next() {
		if _, err := it.Value(); err != nil {
			return err
		}
		r.Rows++
	}
	r.Scan += time.Since(began).Seconds()
	r.ScanCPU += (processTime() - before).Seconds()
	return it.Err()
}

// processTime is what this process has used of processors.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memoryPeak returns the most bytes of memory that this process had.
func memoryPeak() (bytes int64, err error) {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(raw), "VmHWM:")
	if !ok {
		return 0, errors.New("/proc/self/status does not tell the peak of memory")
	}
	var kib int64
	_, err = fmt.Sscanf(rest, "%d", &kib)
	return kib << 10, err
}

// manyKeys makes a replica with a bucket of keys as S3 clients leave them, in a
// tree of directories of a hundred keys each.
func manyKeys(dir string, n int) (err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	s, err := pebblekv.Open(pebblekv.Options{Dir: dir, Name: "om", Version: schema.Format, DisableWAL: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := replica.Open(s); err != nil {
		return err
	}
	l, err := s.NewLoader()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	t := &tree{l: l, rng: rand.New(rand.NewPCG(1, 2)), keys: n}
	if err := t.write(); err != nil {
		return err
	}
	return errors.Join(l.Commit(), s.Flush())
}

// tree writes the rows of manyKeys in their order.
type tree struct {
	l    kv.Loader
	rng  *rand.Rand
	keys int
}

const (
	treeBucket = ns.ObjectID(1 << 20)
	treeDir    = 100  // keys in a directory
	treeBranch = 1000 // keys below a directory of the bucket
)

func treeDirID(n int) ns.ObjectID { return treeBucket + 1 + ns.ObjectID(n) }
func treeDirName(n int) string    { return fmt.Sprintf("directory-%08d/", n) }
func treeParent(n int) ns.ObjectID { // of the directory that begins with key n
	if n%treeBranch == 0 {
		return treeBucket
	}
	return treeDirID(n - n%treeBranch)
}

func (t *tree) put(key, value []byte, err error) error {
	if err != nil {
		return err
	}
	return t.l.Add(key, value)
}

func (t *tree) write() error {
	value, err := schema.Buckets.Encode(&schemapb.Bucket{ObjectId: uint64(treeBucket), Layout: uint32(ns.FileSystem)})
	if err := t.put(schema.Buckets.Key(schema.BucketKey{Volume: 1, Name: "bench"}), value, err); err != nil {
		return err
	}
	for n := 0; n < t.keys; n += treeBranch {
		if err := t.directory(n); err != nil {
			return err
		}
	}
	for n := 0; n < t.keys; n++ {
		if n%treeBranch == 0 {
			for sub := n + treeDir; sub < min(n+treeBranch, t.keys); sub += treeDir {
				if err := t.directory(sub); err != nil {
					return err
				}
			}
		}
		if err := t.key(n); err != nil {
			return err
		}
	}
	for n := 0; n < t.keys; n += treeDir {
		value, err := schema.Dirs.Encode(&schemapb.Dir{ParentId: uint64(treeParent(n)), Name: treeDirName(n)})
		if err := t.put(schema.Dirs.Key(schema.DirKey{Bucket: treeBucket, Dir: treeDirID(n)}), value, err); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) directory(n int) error {
	value, err := schema.Entries.Encode(&schemapb.Entry{Kind: o3v1.EntryKind_ENTRY_KIND_DIRECTORY, ObjectId: uint64(treeDirID(n))})
	return t.put(schema.Entries.Key(schema.EntryKey{Bucket: treeBucket, Parent: treeParent(n), Name: treeDirName(n)}), value, err)
}

func (t *tree) key(n int) error {
	var etag [16]byte
	binary.NativeEndian.PutUint64(etag[:], t.rng.Uint64())
	binary.NativeEndian.PutUint64(etag[8:], t.rng.Uint64())
	size := uint64(1) << (n % 24)
	value, err := schema.Entries.Encode(&schemapb.Entry{
		Kind: o3v1.EntryKind_ENTRY_KIND_KEY, ObjectId: 1<<40 + uint64(n), Since: uint64(n), Size: size, Etag: hex.EncodeToString(etag[:]), Owner: "root",
		CreatedMs: 1_700_000_000_000, ModifiedMs: 1_700_000_000_000 + int64(n)<<10,
		Extents: []*o3v1.Extent{{Container: 1<<48 | t.rng.Uint64N(uint64(t.keys/1000)), Local: uint64(n), Length: int64(size)}},
	})
	return t.put(schema.Entries.Key(schema.EntryKey{Bucket: treeBucket, Parent: treeDirID(n - n%treeDir), Name: fmt.Sprintf("part-%08d.parquet", n)}), value, err)
}
