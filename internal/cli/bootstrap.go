package cli

import (
	"context"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"o3/internal/audit"
	"o3/internal/bootstrap"
	"o3/internal/config"
	"o3/internal/errs"
	"o3/internal/transfer"
)

type bootstrapCmd struct {
	From       []string `placeholder:"URL" help:"Address of the OM API of the node to bootstrap from; further ones, separated by commas, are asked when it fails."`
	Data       string   `placeholder:"DIR" help:"Data directory of the new node (default: ozone.metadata.dirs, ./o3-data)."`
	BlockDir   string   `placeholder:"DIR" help:"Block directory of the new node (default: ozone.block.dir, blocks in the data directory)."`
	NodeID     string   `name:"node-id" placeholder:"ID" help:"ozone.om.node.id of the new node (default: that of the image)."`
	WithBlocks bool     `help:"Fetch the bytes of objects too. Without, the new node takes up the block directory of the source's, which must be there."`
	Fresh      bool     `help:"Have the source make a new image, also where it has one."`
	Replace    bool     `help:"Let a node that is in the data directory make way; it is kept until the new one has served (o3 admin om rollback)."`
	Rate       Bytes    `placeholder:"SIZE" help:"Bytes per second from the network (default: ozone.om.snapshot.transfer.bandwidth)."`
	Strict     bool     `xor:"strict" help:"Verify every block of every table and the digest of the state (default: ozone.om.bootstrap.validation.strict)."`
	NoStrict   bool     `xor:"strict" help:"Verify the checksums of all files only."`
	Check      bool     `xor:"act" help:"Look at the prerequisites on both sides, change nothing, and end."`
	Status     bool     `xor:"act" help:"Show the bootstraps of the data directory so far, and end."`
}

// Help tells how it goes.
func (c *bootstrapCmd) Help() string {
	return "Makes the data directory of a new node from a running one, on the machine of the new node, whose server must not run. " +
		"Everything is made below DIR/staged; what is in DIR stays untouched until the one switch at the end. " +
		"A bootstrap that was cut off, by whatever, goes on when it is run again. See docs/bootstrap.md. " +
		"With --check the exit code is 0 when a bootstrap would work. With --json each event is an object on a line of its own; the last one has \"event\": \"done\"."
}

// Run bootstraps a node.
func (c *bootstrapCmd) Run(ctx context.Context, s *Session) error {
	cfg, err := config.Load(config.Sources{File: s.path(s.Config), Env: s.Env, Set: s.Define, Data: s.path(c.Data)})
	if err != nil {
		return errs.New(errs.Invalid, "configuration", err.Error())
	}
	dir, err := filepath.Abs(s.path(cfg.Node.DataDir))
	if err != nil {
		return errs.Wrap(errs.Internal, cfg.Node.DataDir, err)
	}
	if c.Status {
		return c.status(s, dir)
	}
	o, err := c.options(s, cfg, dir)
	if err != nil {
		return err
	}
	if c.Check {
		return c.check(ctx, s, o)
	}
	show := newBootstrapShow(s)
	o.Listener = show.listener()
	got, err := bootstrap.Run(ctx, o)
	show.close()
	if err != nil {
		if k := errs.KindOf(err); k == errs.Canceled || k == errs.DeadlineExceeded {
			s.remark("What was fetched is kept in %s: run the command again to go on.", filepath.Join(dir, "staged"))
		}
		return bootstrapError(err)
	}
	return c.tell(s, cfg, o, got)
}

// bootstrapError is err as the command shows it: of several sources' errors all
// are told, and the kind is that of the first.
func bootstrapError(err error) error {
	many, ok := err.(interface{ Unwrap() []error })
	if !ok || len(many.Unwrap()) < 2 {
		return err
	}
	var texts []string
	for _, e := range many.Unwrap() {
		texts = append(texts, message(e))
	}
	return &errs.Error{Kind: errs.KindOf(err), Subject: "bootstrap", Detail: strings.Join(texts, "; "), Err: err}
}

// options puts together what the command line and the configuration say.
func (c *bootstrapCmd) options(s *Session, cfg *config.Config, dir string) (o bootstrap.Options, err error) {
	compression := transfer.Compression{}
	if cfg.Transfer.Compress {
		if compression, err = transfer.ParseCompression(cfg.Transfer.Compression); err != nil {
			return o, err
		}
	}
	o = bootstrap.Options{
		DataDir: dir, NodeID: c.NodeID, WithBlocks: c.WithBlocks, Fresh: c.Fresh, Replace: c.Replace,
		Strict: c.Strict || cfg.Bootstrap.Strict && !c.NoStrict, Disabled: !cfg.Transfer.Enabled,
		Timeout: cfg.Bootstrap.Timeout, Retries: orNone(cfg.Bootstrap.Retries), Chunk: int(cfg.Transfer.Chunk),
		Streams: max(1, cfg.Transfer.Streams/2), Rate: cfg.Transfer.Rate, Compression: compression, Insecure: cfg.Transfer.Insecure,
		Reserve: orNone(cfg.Block.Reserve), Operator: operator(), Audit: auditLog(s, cfg),
	}
	if c.Rate > 0 {
		o.Rate = int64(c.Rate)
	}
	blocks := s.path(first(c.BlockDir, cfg.Block.Dir))
	if blocks, err = filepath.Abs(blocks); err != nil {
		return o, errs.Wrap(errs.Internal, blocks, err)
	}
	if blocks != filepath.Join(dir, "blocks") {
		o.BlockDir = blocks
	}
	if len(c.From) == 0 {
		return o, errs.New(errs.Invalid, "--from", "the address of a node to bootstrap from is needed, such as https://om1:9874")
	}
	for _, url := range c.From {
		source, err := c.source(s, url, o.Streams)
		if err != nil {
			return o, err
		}
		o.Sources = append(o.Sources, source)
	}
	return o, nil
}

// orNone makes of a number that means "none" when zero one that means it when
// negative.
func orNone[N int | int64](n N) N {
	if n == 0 {
		return -1
	}
	return n
}

// operator is who runs this, as the system knows them.
func operator() string {
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return u.Username
}

// auditLog opens the audit log that the node will write.
func auditLog(s *Session, cfg *config.Config) func() (*audit.Log, error) {
	a := cfg.Audit
	if !a.Enabled {
		return nil
	}
	return func() (*audit.Log, error) {
		return audit.Open(audit.Options{Path: s.path(a.Path), MaxSize: a.MaxSize, MaxFiles: a.MaxFiles, Sync: audit.SyncAlways, Strict: a.Strict,
			Listener: audit.Listener{Failed: func(err error) { s.remark("the audit log cannot be written: %v", err) }}})
	}
}

// check shows the prerequisites.
func (c *bootstrapCmd) check(ctx context.Context, s *Session, o bootstrap.Options) error {
	rows, err := bootstrap.Check(ctx, o)
	t := s.table("PREREQUISITE", "RESULT", "")
	for _, r := range rows {
		var perr error
		if s.JSON {
			perr = s.doneAs(r, "")
		} else {
			perr = t.row(nil, r.Name, strings.ToUpper(string(r.Level)), r.Text)
		}
		if perr != nil {
			return perr
		}
	}
	if perr := t.end(); perr != nil {
		return perr
	}
	if err != nil && len(rows) > 0 && !s.JSON { // the table has said why
		code, _ := exitCode(errs.KindOf(err))
		s.code = code
		return nil
	}
	return bootstrapError(err)
}

// status shows the record.
func (c *bootstrapCmd) status(s *Session, dir string) error {
	rec, err := bootstrap.ReadRecord(dir)
	if err != nil {
		return err
	}
	t := s.table("STARTED", "RESULT", "REASON", "PHASE", "TOOK", "SOURCE", "IMAGE", "INDEX", "SENT", "REUSED")
	for _, a := range rec.Attempts {
		if s.JSON {
			err = s.doneAs(a, "")
		} else {
			took := "-"
			if a.EndedMs > 0 {
				took = (time.Duration(a.EndedMs-a.StartedMs) * time.Millisecond).Round(time.Millisecond * 100).String()
			}
			err = t.row(nil, when(a.StartedMs), a.Result, first(string(a.Reason), "-"), a.Phase, took, first(a.Source, "-"), first(a.Image, "-"),
				a.Index, size(uint64(a.Sent)), size(uint64(a.Reused+a.Resumed)))
		}
		if err != nil {
			return err
		}
	}
	if err := t.end(); err != nil {
		return err
	}
	last := rec.Last()
	switch {
	case last == nil:
		s.remark("There was no bootstrap in %s.", dir)
	case last.Result == bootstrap.Running:
		s.remark("The last one runs, or was cut off in %s: run it again to go on.", last.Phase)
	case last.Detail != "":
		s.remark("The last one failed: %s", last.Detail)
	}
	return nil
}

// tell says what was made, and how to start it.
func (c *bootstrapCmd) tell(s *Session, cfg *config.Config, o bootstrap.Options, got *bootstrap.Result) error {
	start := "o3 server --data " + o.DataDir
	if got.NodeID != "" && got.NodeID != cfg.OM.NodeID {
		start += " -D ozone.om.node.id=" + got.NodeID
	}
	if o.BlockDir != "" {
		start += " -D ozone.block.dir=" + o.BlockDir
	}
	if s.JSON {
		type done struct {
			Event string `json:"event"`
			*bootstrap.Result
			Data  string `json:"data"`
			Start string `json:"start"`
		}
		return s.doneAs(done{"done", got, o.DataDir, start}, "")
	}
	var b strings.Builder
	b.WriteString("Node " + got.NodeID + " is in place in " + o.DataDir + ": image " + got.Image + " of " + got.Source + ", ")
	b.WriteString(size(uint64(got.Bytes)) + ", of which " + size(uint64(got.Sent)) + " came over the network.\n")
	b.WriteString("It stands at index " + strconv.FormatUint(got.Index, 10) + ", digest " + got.Digest)
	if got.Entries > 0 {
		b.WriteString(", with " + strconv.FormatUint(got.Entries, 10) + " log entries after the image")
	}
	if got.Behind > 0 {
		b.WriteString("; the source has " + strconv.FormatUint(got.Behind, 10) + " log entries more by now")
	}
	b.WriteString(".\n")
	if got.Previous != "" {
		b.WriteString("What was there before is kept in " + got.Previous + " until the node has served; until then it comes back with\n  o3 admin om rollback --data " + o.DataDir + "\n")
	}
	if blocks := first(o.BlockDir, filepath.Join(o.DataDir, "blocks")); !got.Blocks && !present(filepath.Join(blocks, "node")) {
		b.WriteString("It has no bytes of objects: before the start, put the block directory of the source in the place of " + blocks + ".\n")
	}
	b.WriteString("Users and access keys are those of the source. Start it:\n  " + start)
	return s.done(nil, "%s", b.String())
}

func present(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
