package main

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/freon"
)

// writesOverAPI measures replacing keys over the OM API, of buckets with none,
// one and a hundred snapshots, and of one that gets another every 100 ms.
func (s *settings) writesOverAPI(ctx context.Context, l *lab, r *snapshotResult) (err error) {
	o3, err := l.startO3(filepath.Join(l.dir, "api"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o3.stop(err != nil)) }()
	c, err := client.New(client.Options{Address: o3.om, AccessKey: accessKey, SecretKey: secretKey})
	if err != nil {
		return err
	}
	defer c.Close()
	take := func(ctx context.Context, bucket string) error {
		_, err := c.CreateSnapshot(ctx, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: bucket})
		return err
	}
	load := func(bucket string, args ...string) (*freon.Result, error) {
		return l.freon(ctx, o3, o3.om, append([]string{"omkg", "--bucket", bucket, "-k", "20000", "-t", "32"}, args...)...)
	}
	names := []string{"none", "one", "hundred", "every 100 ms"}
	buckets := map[string]string{"none": "none", "one": "one", "hundred": "hundred", "every 100 ms": "often"}
	for _, name := range names {
		if _, err := load(buckets[name], "-n", "20000"); err != nil {
			return err
		}
		for range map[string]int{"one": 1, "hundred": 100}[name] {
			if err := take(ctx, buckets[name]); err != nil {
				return err
			}
		}
	}
	all := map[string][]apiResult{}
	for range s.rounds {
		for _, name := range names {
			stop := func() error { return nil }
			if name == "every 100 ms" {
				stop = every100ms(ctx, func(ctx context.Context) error { return take(ctx, buckets[name]) })
			}
			got, err := load(buckets[name], "-d", s.duration.String(), "--warmup", s.warmup.String())
			if err := errors.Join(err, stop()); err != nil {
				return err
			}
			say("replace over the API, snapshots: %s: %s", name, line(got))
			all[name] = append(all[name], api(name, 32, got))
		}
	}
	for _, name := range names {
		slices.SortFunc(all[name], func(a, b apiResult) int { return cmp.Compare(a.PerSecond, b.PerSecond) })
		r.API = append(r.API, all[name][len(all[name])/2])
	}
	return nil
}
