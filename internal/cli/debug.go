package cli

import (
	"context"
	"io"

	"o3/internal/progress"
)

type debugCmd struct {
	DB    debugDB    `cmd:"" name:"db" help:"The store of names."`
	Block debugBlock `cmd:"" help:"The store of bytes."`
}

type debugDB struct {
	Dump   dbDump   `cmd:"" help:"Print the rows."`
	Verify dbVerify `cmd:"" help:"Check every row, every counter and the digest."`
}

type debugBlock struct {
	Verify blockVerify `cmd:"" help:"Read every block and check that every key's blocks are there."`
}

type dbDump struct {
	Data  string `placeholder:"DIR" help:"Data directory (default: ozone.metadata.dirs, ./o3-data)."`
	Table string `placeholder:"NAME" help:"Only this table."`
	From  string `placeholder:"KEY" help:"Begin at this key, written as the dump writes it."`
	Limit int    `placeholder:"N" help:"At most so many rows of each table; 0 is all."`
}

// Run prints rows.
func (c *dbDump) Run(ctx context.Context, s *Session) error {
	dir, err := s.dataDir(c.Data)
	if err != nil {
		return err
	}
	return s.deps.DebugDBDump(ctx, dir, DumpOptions{Table: c.Table, From: c.From, Limit: c.Limit, JSON: s.JSON}, s.Stdout)
}

type dbVerify struct {
	Data string `placeholder:"DIR" help:"Data directory (default: ozone.metadata.dirs, ./o3-data)."`
}

// Help says what --json prints.
func (c *dbVerify) Help() string { return verifyHelp }

// verifyHelp is of both checks.
const verifyHelp = `With --json each problem is an object on a line of its own, {"check": …, "subject": …, "detail": …}; the last line is {"summary": {…}}.`

// Run checks the store.
func (c *dbVerify) Run(ctx context.Context, s *Session) error {
	return s.verify(ctx, c.Data, "verify rows", false, s.deps.DebugDBVerify)
}

type blockVerify struct {
	Data string `placeholder:"DIR" help:"Data directory (default: ozone.metadata.dirs, ./o3-data)."`
}

// Help says what --json prints.
func (c *blockVerify) Help() string {
	return verifyHelp + ` A damaged range also has "damage", the place in its file; a missing block has "keys", the names it is known by.`
}

// Run checks the blocks.
func (c *blockVerify) Run(ctx context.Context, s *Session) error {
	return s.verify(ctx, c.Data, "verify blocks", false, s.deps.DebugBlockVerify)
}

func (s *Session) verify(ctx context.Context, data, label string, bytes bool, f func(context.Context, string, VerifyOptions, io.Writer) error) error {
	dir, err := s.dataDir(data)
	if err != nil {
		return err
	}
	bar := progress.Start(progress.Options{Label: label, Unit: "rows", Bytes: bytes, Out: s.Stderr, Quiet: s.Quiet || s.JSON})
	err = f(ctx, dir, VerifyOptions{JSON: s.JSON, Step: func(done, total int64) { bar.SetTotal(total); bar.Set(done) }}, s.Stdout)
	bar.Close()
	return err
}
