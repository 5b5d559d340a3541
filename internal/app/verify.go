package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"o3/internal/block"
	"o3/internal/block/container"
	"o3/internal/cli"
	"o3/internal/consensus/raftlog"
	"o3/internal/errs"
	"o3/internal/fileplan"
	"o3/internal/pebblekv"
	"o3/internal/schema"
	"o3/internal/verify"
)

// stoppedNode is a node that does not run, opened for reading: nobody can start it
// meanwhile. What the log holds beyond the store is not in the store yet.
type stoppedNode struct {
	id    identity
	dir   string
	store *pebblekv.Store // nil: broken says why
	// broken is what kept the store from being opened; the rest of the
	// directory can still be looked at.
	broken error
}

// openStopped opens the node in dir. Kinds: FormatUnknown, FormatTooNew;
// Unavailable when a server runs on it.
func openStopped(dir string) (*stoppedNode, error) {
	n := &stoppedNode{dir: dir}
	plan, err := fileplan.Read(nil, dir)
	if err != nil {
		return nil, err
	}
	if plan.State == fileplan.Applying || plan.State == fileplan.RollingBack {
		return nil, errs.New(errs.PreconditionFailed, dir, "the switch to "+plan.Plan.Why+" was cut off here: start the server, or run o3 admin om rollback")
	}
	if err := n.id.read(filepath.Join(dir, "node")); err != nil {
		return nil, err
	}
	n.store, n.broken = pebblekv.Open(pebblekv.Options{
		Dir: filepath.Join(dir, "om", "store"), Name: "om", Version: schema.Format, DisableWAL: true, ReadOnly: true,
	})
	if errs.KindOf(n.broken) == errs.Unavailable && !errors.Is(n.broken, fs.ErrPermission) {
		return nil, &errs.Error{Kind: errs.Unavailable, Subject: dir, Detail: "in use by a running server: stop it first", Err: n.broken}
	}
	return n, nil
}

func (n *stoppedNode) close() {
	if n.store != nil {
		n.store.Close()
	}
}

// finding is a problem as it is printed.
type finding struct {
	verify.Problem
	Damage *container.Damage `json:"damage,omitempty"` // where, for the check "damage"
	Keys   []string          `json:"keys,omitempty"`   // the names of a missing block
}

// printer prints what a check finds: lines of text, or JSON objects.
type printer struct {
	w    io.Writer
	json bool
	n    uint64 // findings
	err  error  // the first of w
}

func (p *printer) line(object any, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.json {
		raw, err := json.Marshal(object)
		if err != nil {
			p.err = errors.Join(p.err, err)
			return
		}
		text = string(raw)
	}
	if _, err := fmt.Fprintln(p.w, text); err != nil && p.err == nil {
		p.err = errs.Wrap(errs.Internal, "writing the output", err)
	}
}

func (p *printer) found(f finding) {
	p.n++
	text := f.Check + ": " + f.Subject + ": " + f.Detail
	switch {
	case f.Damage != nil:
		text = f.Damage.String()
	case len(f.Keys) > 0:
		text += ": " + strings.Join(f.Keys, ", ")
	}
	p.line(f, "%s", text)
}

// stopped prints err as a finding where damage that nobody has told ended the check.
func (p *printer) stopped(err error) {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok || errs.KindOf(err) != errs.Corrupt || p.n > 0 {
		return
	}
	f := finding{Problem: verify.Problem{Check: "open", Subject: e.Subject, Detail: e.Detail}}
	if e.Err != nil {
		f.Detail = strings.TrimPrefix(f.Detail+": "+e.Err.Error(), ": ")
	}
	p.found(f)
}

// storeSummary is the last line of `o3 debug db verify --json`, as "summary".
type storeSummary struct {
	FirstEntry uint64 `json:"firstEntry"` // of the log
	LastEntry  uint64 `json:"lastEntry"`
	LogBytes   int64  `json:"logBytes"`
	Files      int    `json:"files"` // of the store's tables
	Checked    bool   `json:"rowsChecked"`
	Index      uint64 `json:"index"`
	Op         uint64 `json:"op"`
	Digest     string `json:"digest"`
	Rows       uint64 `json:"rows"`
	Blocks     uint64 `json:"blocks"` // named by rows
	Problems   uint64 `json:"problems"`
}

type summary[T any] struct {
	Summary T `json:"summary"`
}

// verifyStore is `o3 debug db verify`: the log, the table files, then every row.
func verifyStore(ctx context.Context, dir string, o cli.VerifyOptions, w io.Writer) error {
	n, err := openStopped(dir)
	if err != nil {
		return err
	}
	defer n.close()
	p := &printer{w: w, json: o.JSON}
	var sum storeSummary
	err = n.checkStore(ctx, o, p, &sum)
	if o.JSON {
		p.stopped(err)
	}
	if sum.Problems = p.n; o.JSON || sum.Checked {
		p.line(summary[storeSummary]{sum}, "index %d, op %d, digest %s: %d rows, %d table files, %d blocks named, %d problems",
			sum.Index, sum.Op, sum.Digest, sum.Rows, sum.Files, sum.Blocks, sum.Problems)
	}
	if err == nil && p.n > 0 {
		err = errs.New(errs.Corrupt, dir, fmt.Sprintf("%d problems", p.n))
	}
	return cmp.Or(err, p.err)
}

// checkStore fails when it cannot go on.
func (n *stoppedNode) checkStore(ctx context.Context, o cli.VerifyOptions, p *printer, sum *storeSummary) error {
	log, err := raftlog.Verify(ctx, raftlog.Options{Dir: filepath.Join(n.dir, "om", "raft")})
	if err != nil {
		return err
	}
	sum.FirstEntry, sum.LastEntry, sum.LogBytes = log.First, log.Last, log.Bytes
	if !o.JSON {
		if log.Last < log.First {
			p.line(nil, "no log entries; the next one is %d", log.First)
		} else {
			p.line(nil, "log entries %d to %d, %d bytes", log.First, log.Last, log.Bytes)
		}
	}
	if n.broken != nil {
		return n.broken
	}
	err = n.store.Verify(ctx, func(f pebblekv.File) {
		sum.Files++
		if f.Err != nil {
			p.found(finding{Problem: verify.Problem{Check: "file", Subject: f.Path, Detail: f.Err.Error()}})
		}
	})
	if err == nil && p.n > 0 {
		err = errs.New(errs.Corrupt, n.dir, fmt.Sprintf("%d table files are damaged; the rows cannot be trusted", p.n))
	}
	if err != nil {
		return err
	}
	report, err := verify.Store(ctx, n.store, verify.Options{
		Problem: func(f verify.Problem) { p.found(finding{Problem: f}) }, Progress: func(rows uint64) { o.Step(int64(rows), 0) },
	})
	if err != nil {
		return err
	}
	for _, rows := range report.Rows {
		sum.Rows += rows
	}
	at := report.Position
	sum.Checked, sum.Index, sum.Op, sum.Digest, sum.Blocks = true, at.Index, uint64(at.Op), fmt.Sprint(at.Digest), report.Blocks
	return nil
}

// blockSummary is the last line of `o3 debug block verify --json`, as "summary".
type blockSummary struct {
	container.Verified
	Missing  uint64 `json:"missing"`     // blocks that rows name and that are not stored
	RowFault uint64 `json:"rowProblems"` // of the rows themselves: db verify tells them
}

// verifyBlocks is `o3 debug block verify`: every stored byte, then whether each
// block that a row names is there.
func verifyBlocks(ctx context.Context, dir string, o cli.VerifyOptions, w io.Writer) error {
	n, err := openStopped(dir)
	if err != nil {
		return err
	}
	defer n.close()
	blocks := n.id.Blocks
	if blocks == "" {
		blocks = filepath.Join(dir, "blocks")
	}
	opts := container.Options{Dir: blocks, Node: n.id.Number, Reserve: -1}
	p := &printer{w: w, json: o.JSON}
	var sum blockSummary
	err = n.checkBlocks(ctx, opts, o, p, &sum)
	if o.JSON {
		p.stopped(err)
	}
	if o.JSON || err == nil {
		told, jerr := json.Marshal(sum.Verified)
		if jerr != nil {
			return jerr
		}
		p.line(summary[blockSummary]{sum}, "%s, %d damaged ranges, %d missing blocks", told, sum.Damages, sum.Missing)
	}
	switch {
	case err != nil:
	case sum.RowFault > 0:
		err = errs.New(errs.Corrupt, dir, fmt.Sprintf("%d damaged ranges, %d missing blocks, and %d problems of the rows that name blocks: see o3 debug db verify",
			sum.Damages, sum.Missing, sum.RowFault))
	case p.n > 0:
		err = errs.New(errs.Corrupt, dir, fmt.Sprintf("%d damaged ranges, %d missing blocks", sum.Damages, sum.Missing))
	}
	return cmp.Or(err, p.err)
}

// checkBlocks fails when it cannot go on.
func (n *stoppedNode) checkBlocks(ctx context.Context, opts container.Options, o cli.VerifyOptions, p *printer, sum *blockSummary) (err error) {
	sum.Verified, err = container.Verify(ctx, opts, func(d container.Damage) error {
		p.found(finding{Problem: verify.Problem{Check: "damage", Subject: "file " + d.File, Detail: d.Detail}, Damage: &d})
		return p.err
	})
	if err == nil {
		err = n.broken
	}
	if err != nil {
		return err
	}
	return n.missing(ctx, opts, o, p, sum)
}

// missingNamed bounds the missing blocks whose keys are looked for.
const missingNamed = 10_000

// missing tells of the blocks that rows name and that are not stored, and of
// their keys.
func (n *stoppedNode) missing(ctx context.Context, opts container.Options, o cli.VerifyOptions, p *printer, sum *blockSummary) error {
	blocks, err := container.OpenReadOnly(opts)
	if err != nil {
		return err
	}
	defer blocks.Close()
	lost := map[block.ID]*finding{}
	_, err = verify.Store(ctx, n.store, verify.Options{Blocks: blocks, Progress: func(rows uint64) { o.Step(int64(rows), 0) },
		Problem: func(f verify.Problem) {
			if f.Check != "blocks" {
				sum.RowFault++
				return
			}
			sum.Missing++
			var id block.ID
			if _, err := fmt.Sscanf(f.Subject, "block %d/%d", &id.Container, &id.Local); err == nil && len(lost) < missingNamed {
				lost[id] = &finding{Problem: f}
			} else {
				p.found(finding{Problem: f})
			}
		}})
	if err != nil || len(lost) == 0 {
		return err
	}
	err = n.nameKeys(ctx, lost)
	order := func(a, b block.ID) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Local, b.Local))
	}
	for _, id := range slices.SortedFunc(maps.Keys(lost), order) {
		p.found(*lost[id])
	}
	return err
}
