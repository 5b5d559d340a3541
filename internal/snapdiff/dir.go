package snapdiff

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"o3/internal/errs"
	"o3/internal/snapdiff/report"
)

// ReportSuffix ends the name of a report: the job's id comes before it.
const ReportSuffix = ".diff"

// scratchPrefix starts the name of a directory of what a running job could not
// hold in memory.
const scratchPrefix = "scratch-"

// prepareDir makes the directory of reports and removes what a crash left half
// written in it. Files of others, should there be any, are left alone.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return errs.Wrap(errs.Internal, dir, err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return errs.Wrap(errs.Internal, dir, err)
	}
	for _, f := range files {
		name := f.Name()
		scratch := f.IsDir() && strings.HasPrefix(name, scratchPrefix)
		id, half, _ := strings.Cut(name, ReportSuffix)
		if !scratch && !(isID(id) && strings.HasSuffix(half, report.TempSuffix)) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return errs.Wrap(errs.Internal, dir, err)
		}
	}
	return nil
}

// reports returns the ids of the jobs whose reports are in dir.
func reports(dir string) (ids []string, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, dir, err)
	}
	for _, f := range files {
		if id, ok := strings.CutSuffix(f.Name(), ReportSuffix); ok && isID(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func isID(s string) bool {
	_, err := parseID(s)
	return err == nil
}

// removeStrays removes the reports of jobs that are not known.
func removeStrays(dir string, ids []string, known map[string]bool) (err error) {
	for _, id := range ids {
		if known[id] {
			continue
		}
		if rm := os.Remove(filepath.Join(dir, id+ReportSuffix)); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, errs.Wrap(errs.Internal, dir, rm))
		}
	}
	return err
}
