package web

import (
	"context"

	"o3/internal/recon/query"
)

// lifecycleRoutes are those about lifecycle rules and their scans.
func lifecycleRoutes() []route {
	paged := []param{pVolume, pBucket, pLimit, pCursor}
	return []route{
		{
			method: get, path: "/lifecycle", summary: "The buckets with lifecycle rules, and how their scans are.", ours: true, params: paged, answer: query.LifecyclesResponse{},
			list: func(b any) any { return b.(*query.LifecyclesResponse).Buckets },
			handle: func(_ context.Context, q *question) (reply, error) {
				return fresh(query.Lifecycles(q.view, q.in(), q.page(pCursor)))
			},
		},
		{
			method: get, path: "/lifecycle/rules", summary: "Lifecycle rules, and what the last scan did by each.", ours: true, params: paged, answer: query.LifecycleRulesResponse{},
			list: func(b any) any { return b.(*query.LifecycleRulesResponse).Rules },
			handle: func(_ context.Context, q *question) (reply, error) {
				return fresh(query.LifecycleRules(q.view, q.in(), q.page(pCursor)))
			},
		},
		{
			method: get, path: "/lifecycle/summary", summary: "How many lifecycle rules there are, and what the last scans did.", ours: true, answer: query.LifecycleSummaryResponse{},
			handle: func(_ context.Context, q *question) (reply, error) { return fresh(query.LifecycleTotals(q.view)) },
		},
	}
}
