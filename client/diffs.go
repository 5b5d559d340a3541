package client

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

// DiffOptions says how DiffEntries gets at a report. The zero value submits
// the diff and reads it from its beginning.
type DiffOptions struct {
	Attach   bool                    // never submit: a diff that was not submitted is an error of kind NoSuchJob
	Token    string                  // of the page to begin with
	PageSize uint32                  // entries; 0: as many as the server allows
	Progress func(job *o3v1.DiffJob) // is called with each state the job is seen in; nil: nothing
}

// DiffError is a diff that ended without a report, or was not taken. Its kind
// is SlowDown for one that was REJECTED, which may be tried later; else
// Conflict.
type DiffError struct {
	Job *o3v1.DiffJob // FAILED, REJECTED or CANCELLED; Reason says why
}

// Error implements error.
func (e *DiffError) Error() string { return e.Unwrap().Error() }

// Unwrap returns the error as one with a kind.
func (e *DiffError) Unwrap() error {
	to := e.Job.To
	if to == "" {
		to = "the live bucket"
	}
	subject := fmt.Sprintf("diff of /%s/%s from %s to %s", e.Job.Volume, e.Job.Bucket, e.Job.From, to)
	detail := strings.TrimPrefix(e.Job.State.String(), "DIFF_STATE_")
	if e.Job.Reason != "" {
		detail += ": " + e.Job.Reason
	}
	kind := errs.Conflict
	if e.Job.State == o3v1.DiffState_DIFF_STATE_REJECTED {
		kind = errs.SlowDown
	}
	return errs.New(kind, subject, detail)
}

// WaitDiff submits a diff and returns its job when it is DONE. A job that ends
// otherwise is a *DiffError, at once. It asks again at growing intervals, never
// later than the server says. progress (nil: nothing) is called with each answer.
func (c *Client) WaitDiff(ctx context.Context, spec *o3v1.DiffSpec, progress func(*o3v1.DiffJob)) (*o3v1.DiffJob, error) {
	r, err := c.firstPage(ctx, spec, DiffOptions{PageSize: 1, Progress: progress})
	return r.GetJob(), err
}

// DiffPages yields the pages of a diff as they are consumed; all but the last
// have a token. It submits the diff, unless it is to attach to one, and waits
// until it is DONE. A job that ends otherwise is a *DiffError, at once and at
// any page.
//
// A report that is lost on the way (its node was replaced) is waited for once
// more and read on where it was.
func (c *Client) DiffPages(ctx context.Context, spec *o3v1.DiffSpec, opts DiffOptions) iter.Seq2[*o3v1.GetDiffResponse, error] {
	return func(yield func(*o3v1.GetDiffResponse, error) bool) {
		page, err := c.firstPage(ctx, spec, opts)
		for ; err == nil; page, err = c.nextPage(ctx, spec, page, opts) {
			if !yield(page, nil) || page.NextToken == "" {
				return
			}
		}
		yield(nil, err)
	}
}

// DiffEntries yields the entries of the pages that DiffPages yields.
func (c *Client) DiffEntries(ctx context.Context, spec *o3v1.DiffSpec, opts DiffOptions) iter.Seq2[*o3v1.DiffEntry, error] {
	return func(yield func(*o3v1.DiffEntry, error) bool) {
		for page, err := range c.DiffPages(ctx, spec, opts) {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, e := range page.Entries {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// firstPage returns the page that opts begin with.
func (c *Client) firstPage(ctx context.Context, spec *o3v1.DiffSpec, opts DiffOptions) (*o3v1.GetDiffResponse, error) {
	req := &o3v1.GetDiffRequest{Spec: spec, Token: opts.Token, PageSize: opts.PageSize}
	if !opts.Attach {
		r, err := c.SubmitDiff(ctx, &o3v1.SubmitDiffRequest{Spec: spec})
		if err != nil {
			return nil, err
		}
		if r.Job.State == o3v1.DiffState_DIFF_STATE_REJECTED { // there is no such job to ask for
			see(opts, r.Job)
			return nil, &DiffError{r.Job}
		}
		req.JobId = r.Job.JobId
	}
	return c.diffPage(ctx, req, opts)
}

// nextPage returns the page after another, of the same job whatever is
// submitted meanwhile.
func (c *Client) nextPage(ctx context.Context, spec *o3v1.DiffSpec, page *o3v1.GetDiffResponse, opts DiffOptions) (*o3v1.GetDiffResponse, error) {
	opts.Progress = nil // it is known to be done
	return c.diffPage(ctx, &o3v1.GetDiffRequest{Spec: spec, JobId: page.Job.JobId, Token: page.NextToken, PageSize: opts.PageSize}, opts)
}

func see(opts DiffOptions, job *o3v1.DiffJob) {
	if opts.Progress != nil {
		opts.Progress(job)
	}
}

// The pauses between two looks at a job double from the first to the last, or
// to what the server asks for where that is less.
const (
	firstLook = 10 * time.Millisecond
	lastLook  = 5 * time.Second
)

// diffPage asks for a page until the job is over.
func (c *Client) diffPage(ctx context.Context, req *o3v1.GetDiffRequest, opts DiffOptions) (*o3v1.GetDiffResponse, error) {
	for pause := firstLook; ; pause *= 2 {
		r, err := c.GetDiff(ctx, req)
		if err != nil {
			return nil, err
		}
		see(opts, r.Job)
		switch r.Job.State {
		case o3v1.DiffState_DIFF_STATE_DONE:
			return r, nil
		case o3v1.DiffState_DIFF_STATE_QUEUED, o3v1.DiffState_DIFF_STATE_IN_PROGRESS:
		case o3v1.DiffState_DIFF_STATE_FAILED, o3v1.DiffState_DIFF_STATE_REJECTED, o3v1.DiffState_DIFF_STATE_CANCELLED:
			return r, &DiffError{r.Job}
		default:
			return r, errs.New(errs.NotImplemented, "diff "+r.Job.JobId, "this program does not know its state "+r.Job.State.String())
		}
		limit := lastLook
		if asked := time.Duration(r.Job.WaitMs) * time.Millisecond; asked > 0 {
			limit = min(limit, asked)
		}
		pause = min(pause, limit)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return r, errs.Wrap(kindOfEnd(ctx), "diff "+r.Job.JobId, context.Cause(ctx))
		}
	}
}

func kindOfEnd(ctx context.Context) errs.Kind {
	if ctx.Err() == context.DeadlineExceeded {
		return errs.DeadlineExceeded
	}
	return errs.Canceled
}
