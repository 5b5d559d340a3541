package render

import (
	"strings"

	o3v1 "o3/api/o3/v1"
)

// Response is the answer of Ozone's snapshot diff --get-report --json.
type Response struct {
	Report          Report   `json:"snapshotDiffReport"`
	JobStatus       string   `json:"jobStatus"`
	WaitTimeMs      int64    `json:"waitTimeInMs,omitempty"`
	Reason          string   `json:"reason,omitempty"`
	SubStatus       string   `json:"subStatus,omitempty"`       // the phase of a running job
	ProgressPercent *float64 `json:"progressPercent,omitempty"` // of a running job
}

// Report is a page of entries.
type Report struct {
	VolumeName   string  `json:"volumeName"`
	BucketName   string  `json:"bucketName"`
	FromSnapshot string  `json:"fromSnapshot"`
	ToSnapshot   string  `json:"toSnapshot"` // empty: the live bucket
	DiffList     []Entry `json:"diffList"`
	NextToken    string  `json:"nextToken,omitempty"`
}

// Entry is a line of the report.
type Entry struct {
	DiffType   string `json:"diffType"` // "+", "-", "M" or "R"
	SourcePath string `json:"sourcePath"`
	TargetPath string `json:"targetPath,omitempty"`
}

// JSON returns a job and a page of its report in Ozone's shape.
func JSON(job *o3v1.DiffJob, entries []*o3v1.DiffEntry, nextToken string) Response {
	r := Response{
		Report: Report{
			VolumeName: job.GetVolume(), BucketName: job.GetBucket(), FromSnapshot: job.GetFrom(), ToSnapshot: job.GetTo(),
			DiffList: make([]Entry, 0, len(entries)), NextToken: nextToken,
		},
		JobStatus:  strings.TrimPrefix(job.GetState().String(), "DIFF_STATE_"),
		WaitTimeMs: job.GetWaitMs(), Reason: job.GetReason(),
	}
	if job.GetState() == o3v1.DiffState_DIFF_STATE_IN_PROGRESS {
		r.SubStatus, r.ProgressPercent = job.Phase, &job.Percent
	}
	for _, e := range entries {
		out := Entry{DiffType: e.Type, SourcePath: relative(e.SourcePath)}
		if e.TargetPath != "" {
			out.TargetPath = relative(e.TargetPath)
		}
		r.Report.DiffList = append(r.Report.DiffList, out)
	}
	return r
}
