package query

import (
	"strings"

	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/schema"
	"o3/internal/view"
)

// Diff is a job that compares two snapshots, as the OM has stored it.
type Diff struct {
	JobID        string   `json:"jobId"`
	Volume       string   `json:"volume"`
	Bucket       string   `json:"bucket"`
	From         string   `json:"from"`
	To           string   `json:"to" doc:"empty: the live bucket"`
	Full         bool     `json:"full"`
	Ordered      bool     `json:"ordered"`
	Prefix       string   `json:"prefix"`
	Types        []string `json:"types" doc:"empty: all"`
	State        string   `json:"state" enum:"QUEUED,IN_PROGRESS,DONE,FAILED,REJECTED,CANCELLED,UNSPECIFIED"`
	Reason       string   `json:"reason"`
	Owner        string   `json:"owner"`
	CreationTime int64    `json:"creationTime"`
	StartTime    int64    `json:"startTime"`
	FinishTime   int64    `json:"finishTime"`
	TotalEntries int64    `json:"totalEntries" doc:"of one that is DONE"`
}

// DiffsResponse answers /snapshots/diffs.
type DiffsResponse struct {
	Fresh
	Diffs  []Diff `json:"diffs"`
	Cursor string `json:"cursor" doc:"of the next page; empty: there is none"`
}

// Diffs lists the jobs that compare snapshots of a bucket, or of all.
func Diffs(v *generation.View, o SnapshotsOptions) (DiffsResponse, error) {
	r := DiffsResponse{Diffs: []Diff{}}
	b, one, err := oneBucket(v, o.Volume, o.Bucket)
	if err != nil {
		return r, err
	}
	var from schema.DiffJobKey
	if o.After != "" {
		x, rest, ok := parseRowKey(o.After, 4)
		if !ok || rest != "" {
			return r, badCursor("cursor", o.After, "/bucket id/from/to/options/")
		}
		from = schema.DiffJobKey{Bucket: ns.ObjectID(x[0]), From: ns.Op(x[1]), To: ns.Op(x[2]), Options: x[3]}
	}
	var only ns.ObjectID
	if one {
		if only = b.ID(); o.After != "" && from.Bucket != only {
			return r, badCursor("cursor", o.After, "/"+id(only)+"/from/to/options/")
		}
	}
	left := o.rows()
	err = v.DiffJobs(only, from, func(j view.DiffJob) (bool, error) {
		if len(r.Diffs) >= o.limit() || left <= 0 { // the cursor is where the next page begins
			r.Cursor = rowKey("", uint64(j.Key.Bucket), uint64(j.Key.From), uint64(j.Key.To), j.Key.Options)
			return false, nil
		}
		left--
		if i := j.Info(); o.Volume == "" || i.Volume == o.Volume {
			r.Diffs = append(r.Diffs, Diff{
				i.JobId, i.Volume, i.Bucket, i.From, i.To, i.Full, i.Ordered, i.Prefix, append([]string{}, i.Types...),
				strings.TrimPrefix(i.State.String(), "DIFF_STATE_"), i.Reason, i.Owner, i.CreatedMs, i.StartedMs, i.FinishedMs, int64(i.TotalEntries),
			})
		}
		return true, nil
	})
	return r, err
}
