package client_test

import (
	"context"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/rpc"
	"o3/internal/rpc/rpctest"
)

// BenchmarkCall measures a small signed call over HTTP/1.1 (what the client
// uses) and over HTTP/2, alone and from 32 goroutines.
func BenchmarkCall(b *testing.B) {
	s := rpctest.Start(b, rpctest.NewMemory(), rpc.Options{})
	for _, protocol := range []string{"http1", "http2"} {
		c, err := client.New(client.Options{Address: s.URL, AccessKey: rpctest.RootKey, SecretKey: rpctest.RootSecret})
		if err != nil {
			b.Fatal(err)
		}
		if protocol == "http2" {
			client.UseHTTP2(c)
		}
		req := &o3v1.GetVolumeRequest{Volume: "s3v"}
		call := func(b *testing.B) {
			if _, err := c.GetVolume(context.Background(), req); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(protocol+"/one", func(b *testing.B) {
			for b.Loop() {
				call(b)
			}
		})
		b.Run(protocol+"/32", func(b *testing.B) {
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					call(b)
				}
			})
		})
		_ = c.Close()
	}
}
