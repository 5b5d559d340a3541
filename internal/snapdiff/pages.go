package snapdiff

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/snapdiff/report"
	"o3/internal/view"
)

// maxPageBytes bounds a page besides its number of entries, so that it fits into
// a message. One entry always goes.
const maxPageBytes = 16 << 20

// meta is what the report of a job says it is about. That of a diff against the
// live bucket names the op which that stood at.
func (s *Service) meta(k schema.DiffJobKey, id uint64, pinned ns.Op) report.Meta {
	return report.Meta{JobID: id, Bucket: k.Bucket, From: k.From, To: max(k.To, pinned), Options: k.Options}
}

// readPage fills in a page of a report. One that is not on this node is computed
// anew.
func (s *Service) readPage(ctx context.Context, j *view.DiffJob, first uint64, size uint32, resp *o3v1.GetDiffResponse) error {
	path := s.reportPath(j.Row.JobId)
	rd, err := report.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		resp.Job, err = s.again(ctx, j)
		return err
	case errs.KindOf(err) == errs.Corrupt, errs.KindOf(err) == errs.FormatUnknown:
		return unreadable(path, err)
	case err != nil:
		return err
	}
	defer rd.Close()
	if have, want := rd.Meta(), s.meta(j.Key, j.Row.JobId, ns.Op(j.Row.PinnedOp)); have != want {
		if have.To = want.To; j.Key.To == 0 && have == want {
			resp.Job, err = s.again(ctx, j) // it is of a try that came to nothing
			return err
		}
		return errs.New(errs.Corrupt, path, "it is the report of another job")
	}
	total := rd.Entries()
	if first > total || first == total && total > 0 {
		return errs.New(errs.Invalid, "page token", fmt.Sprintf("it begins at entry %d of %d", first, total))
	}
	n := s.o.MaxPage
	if size > 0 && uint64(size) < uint64(n) {
		n = int(size)
	}
	if resp.Entries, err = page(rd, first, n); err != nil {
		return unreadable(path, err)
	}
	if next := first + uint64(len(resp.Entries)); next < total {
		resp.NextToken = report.EncodeToken(j.Row.JobId, next)
	}
	return nil
}

// page reads up to n entries of at most maxPageBytes, some at a time.
func page(rd *report.Reader, first uint64, n int) (out []*o3v1.DiffEntry, err error) {
	const some = 1024
	bytes := 0
	for len(out) < n {
		entries, err := rd.Page(first+uint64(len(out)), min(n-len(out), some))
		if err != nil || len(entries) == 0 {
			return out, err
		}
		for _, e := range entries {
			if bytes += proto.Size(e) + 8; bytes > maxPageBytes && len(out) > 0 {
				return out, nil
			}
			out = append(out, e)
		}
	}
	return out, nil
}

// unreadable tells what to do about a report that is damaged.
func unreadable(path string, err error) error {
	what, kind := err.Error(), errs.KindOf(err)
	if e, ok := errors.AsType[*errs.Error](err); ok {
		what = e.Detail
	}
	return &errs.Error{Kind: kind, Subject: path, Detail: what + "; forget the job and submit it again", Err: err}
}

// again has a job whose report is lost computed once more, under the same id.
// Whoever asks for it at the same time finds it waiting.
func (s *Service) again(ctx context.Context, j *view.DiffJob) (*o3v1.DiffJob, error) {
	release, err := s.claim(ctx, j.Key)
	if err != nil {
		return nil, err
	}
	defer release()
	now, err := s.find(ctx, &o3v1.DiffSpec{Volume: j.Row.Volume, Bucket: j.Row.Bucket}, idOf(*j))
	if err != nil {
		return nil, err
	}
	if o3v1.DiffState(now.Row.State) != done { // another was faster
		return now.Info(), nil
	}
	change := &commandpb.UpdateDiffJob{Expected: []o3v1.DiffState{done}, State: queued}
	gone, err := s.gone(j.Key)
	switch {
	case err != nil:
		return nil, err
	case j.Key.To == 0:
		change.State, change.Reason = failed, "its report is lost, and the live bucket has moved on; submit it again"
	case gone != 0:
		change.State, change.Reason = failed, fmt.Sprintf("its report is lost, and %s is deleted", side(j, gone))
	case !s.place():
		info := j.Info()
		info.State, info.Reason = rejected, "its report is lost and must be computed again: "+s.busy()
		return info, nil
	default:
		defer s.unplace()
	}
	info, err := s.update(ctx, j.Key, j.Row.JobId, change)
	if err != nil {
		s.lose(nil) // it may wait nevertheless
		return nil, err
	}
	if info.State == queued {
		s.enqueue(j.Key, j.Row.JobId)
	} else {
		s.finished(Finished{Job: info})
	}
	return info, nil
}
