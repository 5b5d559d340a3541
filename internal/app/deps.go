package app

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"o3/internal/cli"
	"o3/internal/config"
	"o3/internal/errs"
	"o3/internal/freon"
	"o3/internal/pebblekv"
	"o3/internal/schema"
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
	if os.Getenv("GOGC") == "" {
		ctx, stop := context.WithCancel(ctx)
		var pace sync.WaitGroup
		pace.Go(func() { paceHeap(ctx, heapRoom) })
		defer pace.Wait()
		defer stop()
	}
	return Run(ctx, Options{Config: cfg, Out: stdout, Log: stderr})
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
	n, err := openStopped(dir)
	if err == nil {
		defer n.close()
		err = n.broken
	}
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := dumpTable(ctx, n.store, t, from, o.Limit, w); err != nil {
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
