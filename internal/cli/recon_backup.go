package cli

import (
	"context"
	"encoding/json"
	"net/url"
	"path/filepath"

	"o3/internal/errs"
	"o3/internal/recon"
)

type reconBackup struct {
	reconFlags
	Dir string `arg:"" help:"Directory on the server's machine; absent or empty"`
}

// Help says what it is good for.
func (c *reconBackup) Help() string {
	return "The replica, the tables and the SQLite file of the state in force, at one entry of the OM's log, with checksums. The directory appears when all of it is there. On the file system of Recon's directory most of it is hard links and takes little space at first; for a copy that outlives the disk, copy the directory elsewhere."
}

// Run has the server do it.
func (c *reconBackup) Run(ctx context.Context, s *Session) error {
	dir, err := filepath.Abs(s.path(c.Dir))
	if err != nil {
		return errs.Wrap(errs.Invalid, c.Dir, err)
	}
	raw, err := c.change(ctx, s, "recon/backup", url.Values{"path": {dir}}, 0)
	if err != nil {
		return err
	}
	var got recon.BackupSummary
	if err := json.Unmarshal(raw, &got); err != nil {
		return errs.Wrap(errs.Unavailable, "Recon", err)
	}
	return s.doneAs(got, "%s holds %s at index %d: %d files, %s.", dir, got.Generation, got.Index, got.Files, size(uint64(got.Bytes)))
}

type reconRestore struct {
	Dir     string `arg:"" help:"The backup"`
	To      string `placeholder:"DIR" help:"Recon's directory (default: ozone.recon.db.dir)."`
	Replace bool   `help:"Also where Recon has a state already, which is removed."`
}

// Help says what follows.
func (c *reconRestore) Help() string {
	return "Everything is compared with its checksums. Until the last file is written, what was there stays in force. When the server starts, the OM's log brings the state up to date; where it does not reach back, or the OM has another history, a new image is brought as ever."
}

// Run restores.
func (c *reconRestore) Run(ctx context.Context, s *Session) (err error) {
	to := s.path(c.To)
	if to == "" {
		conf, err := s.settings()
		if err != nil {
			return err
		}
		to = conf.Recon.Dir
	}
	bar := s.bytesBar("restore")
	m, name, err := recon.Restore(ctx, recon.RestoreOptions{
		From: s.path(c.Dir), Dir: to, Replace: c.Replace,
		Progress: func(done, total int64) { bar.SetTotal(total); bar.Set(done) },
	})
	bar.Close()
	if err != nil {
		return err
	}
	type restored struct {
		recon.BackupSummary
		As string `json:"as"`
		To string `json:"to"`
	}
	got := m.Summary()
	return s.doneAs(restored{got, name, to}, "%s has the state of %s at index %d, as %s: %s.", to, got.Generation, got.Index, name, size(uint64(got.Bytes)))
}
