package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"o3/internal/access"
	"o3/internal/recon"
	"o3/internal/recon/staging"
	"o3/internal/recon/web"
)

// apiLoad is what clients of the API saw; latencies are milliseconds.
type apiLoad struct {
	Requests, Failed int
	PerSecond        float64
	P50, P99         float64
}

// apiPaths are what clients ask for, in turns.
var apiPaths = []string{
	"/clusterState", "/namespace/summary?path=/vol/bench", "/namespace/usage?path=/vol/bench/directory-00000000", "/utilization/fileCount",
	"/keys/listKeys?startPrefix=/vol/bench&limit=100", "/containers?limit=100", "/task/status",
}

// api measures requests: at rest, while stages are made, and after a rollback.
func (r *reconUnder) api(ctx context.Context, o stagingOrder, out *stagingRun) (err error) {
	handler := web.New(web.Options{Source: r.Service, Auth: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			next.ServeHTTP(w, q.WithContext(access.NewContext(q.Context(), access.System)))
		})
	}})
	server := httptest.NewServer(handler)
	defer server.Close()
	for _, path := range apiPaths { // none may be a mistake of ours
		if err := answered(ctx, server.Client(), server.URL+web.Prefix+path); err != nil {
			return err
		}
	}
	load := func(while func(context.Context) error) (apiLoad, error) {
		return clients(ctx, server.URL+web.Prefix, o.Clients, while)
	}
	quiet := func(ctx context.Context) error { return pause(ctx, o.Duration) }
	if _, err := load(func(ctx context.Context) error { return pause(ctx, time.Second) }); err != nil { // warms up
		return err
	}
	if out.Rest, err = load(quiet); err != nil {
		return err
	}
	if out.During, err = load(func(ctx context.Context) error { return r.rebuild(ctx, o.Duration) }); err != nil {
		return err
	}
	began := time.Now()
	if _, _, err := r.Rollback(ctx); err != nil {
		return err
	}
	out.Rollback = time.Since(began).Seconds()
	if out.After, err = load(quiet); err != nil {
		return err
	}
	return r.undo(ctx, out)
}

// rebuild makes stages from the replica that is here, one after the other, at least
// one and for at least so long.
func (r *reconUnder) rebuild(ctx context.Context, long time.Duration) error {
	for began, made := time.Now(), false; !made || time.Since(began) < long; made = true {
		if _, err := r.Trigger(recon.Trigger{Kind: staging.Local}); err != nil {
			return err
		}
		if _, err := r.made(ctx); err != nil {
			return err
		}
	}
	return nil
}

// undo cancels a stage in the middle and measures how long it takes until nothing
// is left of it.
func (r *reconUnder) undo(ctx context.Context, out *stagingRun) error {
	if _, err := r.Trigger(recon.Trigger{Kind: staging.Local}); err != nil {
		return err
	}
	for r.Staging().Progress < 40 {
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	began := time.Now()
	if !r.CancelStaging() {
		return errors.New("the stage was over before it was cancelled: take more keys")
	}
	for {
		select {
		case t := <-r.moved:
			if t.From == staging.RollingBack {
				out.Undone = time.Since(began).Seconds()
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// clients ask, each again when it has its answer, for as long as while takes.
func clients(ctx context.Context, url string, n int, while func(context.Context) error) (apiLoad, error) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var all []time.Duration
	var out apiLoad
	var wg sync.WaitGroup
	began := time.Now()
	for c := range n {
		wg.Go(func() {
			for i := c; inner.Err() == nil; i++ {
				at := time.Now()
				err := answered(inner, client, url+apiPaths[i%len(apiPaths)])
				took := time.Since(at)
				if inner.Err() != nil {
					return // it was cut
				}
				mu.Lock()
				all = append(all, took)
				if err != nil {
					out.Failed++
					say("%v", err)
				}
				mu.Unlock()
			}
		})
	}
	err := while(ctx)
	took := time.Since(began).Seconds()
	cancel()
	wg.Wait()
	if err != nil || len(all) == 0 {
		return out, errors.Join(err, ctx.Err())
	}
	slices.Sort(all)
	ms := func(share float64) float64 { return all[int(share*float64(len(all)-1))].Seconds() * 1000 }
	out.Requests, out.PerSecond, out.P50, out.P99 = len(all), float64(len(all))/took, ms(.5), ms(.99)
	return out, nil
}

// answered fails unless there is an answer with something in it.
func answered(ctx context.Context, c *http.Client, url string) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err == nil && (resp.StatusCode != http.StatusOK || len(raw) < 3) {
		err = errors.New(url + ": " + resp.Status + ": " + string(raw))
	}
	return err
}
