package app

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"o3/internal/block/container"
	"o3/internal/cli"
	"o3/internal/config"
	"o3/internal/consensus/raftlog"
	"o3/internal/errs"
	"o3/internal/freon"
	"o3/internal/pebblekv"
	"o3/internal/schema"
	"o3/internal/verify"
)

// Deps is what the command line needs of a node.
func Deps() cli.Deps {
	return cli.Deps{
		Version: Version, Serve: serve,
		DebugDBDump: dump, DebugDBVerify: verifyStore, DebugBlockVerify: verifyBlocks,
		Commands: []cli.Command{freon.Command()},
	}
}

// serve is `o3 server`.
func serve(ctx context.Context, f cli.ServeFlags, stdout, stderr io.Writer) error {
	cfg, err := config.Load(config.Sources{File: f.Config, Env: f.Env, Set: f.Set, Data: f.Data})
	if err != nil {
		return err
	}
	return Run(ctx, Options{Config: cfg, Out: stdout, Log: stderr})
}

// openStopped opens the store of a node that does not run, for reading. What
// the log holds beyond it is not in it yet.
func openStopped(dir string) (*pebblekv.Store, error) {
	return pebblekv.Open(pebblekv.Options{
		Dir: filepath.Join(dir, "om", "store"), Name: "om", Version: schema.Format, DisableWAL: true, ReadOnly: true,
	})
}

// dump is `o3 debug db dump`: a JSON object per row, in key order.
func dump(ctx context.Context, dir string, o cli.DumpOptions, w io.Writer) error {
	tables := schema.Tables()
	if o.Table != "" {
		var names []string
		kept := tables[:0:0]
		for _, t := range tables {
			names = append(names, t.Name)
			if t.Name == o.Table {
				kept = append(kept, t)
			}
		}
		if tables = kept; len(tables) == 0 {
			return errs.New(errs.Invalid, "table "+o.Table, "the tables are "+strings.Join(names, ", "))
		}
	}
	from, err := hex.DecodeString(o.From)
	if err != nil {
		return errs.New(errs.Invalid, "key "+o.From, `must be hexadecimal digits, as in the field "at" of a dumped row`)
	}
	store, err := openStopped(dir)
	if err != nil {
		return err
	}
	defer store.Close()
	for _, t := range tables {
		if err := dumpTable(ctx, store, t, from, o.Limit, w); err != nil {
			return err
		}
	}
	return nil
}

func dumpTable(ctx context.Context, store *pebblekv.Store, t schema.Description, from []byte, limit int, w io.Writer) error {
	it, err := store.Iter([]byte{t.Space}, []byte{t.Space + 1})
	if err != nil {
		return err
	}
	defer it.Close()
	rows := 0
	for ok := it.SeekGE(from); ok; ok = it.Next() {
		if rows++; limit > 0 && rows > limit {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		value, err := it.Value()
		if err != nil {
			return err
		}
		row, err := t.Row(it.Key(), value)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s,\"at\":\"%x\"}\n", row[:len(row)-1], it.Key()); err != nil {
			return err
		}
	}
	return it.Err()
}

// verifyStore is `o3 debug db verify`: the log, the table files, then every row.
func verifyStore(ctx context.Context, dir string, step func(done, total int64), w io.Writer) error {
	log, err := raftlog.Verify(ctx, raftlog.Options{Dir: filepath.Join(dir, "om", "raft")})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "log entries %d to %d, %d bytes\n", log.First, log.Last, log.Bytes)
	store, err := openStopped(dir)
	if err != nil {
		return err
	}
	defer store.Close()
	problems := uint64(0)
	found := func(p verify.Problem) {
		problems++
		fmt.Fprintf(w, "%s: %s: %s\n", p.Check, p.Subject, p.Detail)
	}
	files := 0
	err = store.Verify(ctx, func(f pebblekv.File) {
		files++
		if f.Err != nil {
			found(verify.Problem{Check: "file", Subject: f.Path, Detail: f.Err.Error()})
		}
	})
	if err != nil {
		return err
	}
	if problems > 0 {
		return errs.New(errs.Corrupt, dir, fmt.Sprintf("%d table files are damaged; the rows cannot be trusted", problems))
	}
	report, err := verify.Store(ctx, store, verify.Options{
		Problem: found, Progress: func(rows uint64) { step(int64(rows), 0) },
	})
	if err != nil {
		return err
	}
	rows := uint64(0)
	for _, n := range report.Rows {
		rows += n
	}
	fmt.Fprintf(w, "index %d, op %d, digest %v: %d rows, %d table files, %d blocks named, %d problems\n",
		report.Position.Index, report.Position.Op, report.Position.Digest, rows, files, report.Blocks, problems)
	if problems > 0 {
		return errs.New(errs.Corrupt, dir, fmt.Sprintf("%d problems", problems))
	}
	return nil
}

// verifyBlocks is `o3 debug block verify`: every stored byte, then whether each
// block that a row names is there.
func verifyBlocks(ctx context.Context, dir string, step func(done, total int64), w io.Writer) error {
	var id identity
	if err := id.read(filepath.Join(dir, "node")); err != nil {
		return err
	}
	blocks := id.Blocks
	if blocks == "" {
		blocks = filepath.Join(dir, "blocks")
	}
	opts := container.Options{Dir: blocks, Node: id.Number, Reserve: -1}
	damages := 0
	done, err := container.Verify(ctx, opts, func(d container.Damage) error {
		damages++
		_, err := fmt.Fprintln(w, d)
		return err
	})
	if err != nil {
		return err
	}
	missing, err := missingBlocks(ctx, dir, opts, step, w)
	if err != nil {
		return err
	}
	summary, err := json.Marshal(done)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s, %d damaged ranges, %d missing blocks\n", summary, damages, missing)
	if damages+missing > 0 {
		return errs.New(errs.Corrupt, dir, fmt.Sprintf("%d damaged ranges, %d missing blocks", damages, missing))
	}
	return nil
}

// missingBlocks counts the blocks that rows name and that are not stored.
func missingBlocks(ctx context.Context, dir string, opts container.Options, step func(done, total int64), w io.Writer) (int, error) {
	store, err := openStopped(dir)
	if err != nil {
		return 0, err
	}
	defer store.Close()
	blocks, err := container.OpenReadOnly(opts)
	if err != nil {
		return 0, err
	}
	defer blocks.Close()
	missing := 0
	_, err = verify.Store(ctx, store, verify.Options{Blocks: blocks, Progress: func(rows uint64) { step(int64(rows), 0) },
		Problem: func(p verify.Problem) {
			if p.Check == "blocks" {
				missing++
				fmt.Fprintf(w, "%s: %s\n", p.Subject, p.Detail)
			}
		}})
	return missing, err
}
