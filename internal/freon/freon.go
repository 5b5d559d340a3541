// Package freon is the load generator: `o3 freon`. It puts load on any S3
// endpoint (s3put, s3get, s3head, s3list, s3delete, s3mixed) or on the
// namespace of an O3 server (omkg, ommg, omlist, ommixed), and reports rates,
// latencies and what each operation cost the client and the server in CPU time.
//
// A run is bounded in time, in operations and in errors. Its goroutines end
// before the command returns. What is written is a function of the seed and of
// the number of the key, so that a later run with the same flags can check
// every byte it reads. Latencies are kept in histograms of fixed size.
package freon

import "o3/internal/cli"

// commands is the grammar below `o3 freon`.
type commands struct {
	S3put    s3PutCmd    `cmd:"" name:"s3put" help:"Put new objects."`
	S3get    s3GetCmd    `cmd:"" name:"s3get" help:"Get objects in random order."`
	S3head   s3HeadCmd   `cmd:"" name:"s3head" help:"Ask for the headers of objects in random order."`
	S3list   s3ListCmd   `cmd:"" name:"s3list" help:"List pages that begin at random keys."`
	S3delete s3DeleteCmd `cmd:"" name:"s3delete" help:"Delete the objects, one by one; ends when all are gone."`
	S3mixed  s3MixedCmd  `cmd:"" name:"s3mixed" help:"Mix puts, gets, heads, lists and deletes."`

	Omkg     omCreateCmd `cmd:"" name:"omkg" help:"Create keys over the OM API."`
	Ommg     omGetCmd    `cmd:"" name:"ommg" aliases:"omlookup" help:"Look keys up over the OM API, in random order."`
	Omlist   omListCmd   `cmd:"" name:"omlist" help:"List pages over the OM API that begin at random keys."`
	Ommixed  omMixedCmd  `cmd:"" name:"ommixed" help:"Mix creates, lookups, lists and deletes over the OM API."`
	Snapdiff snapDiffCmd `cmd:"" name:"snapdiff" help:"Write keys, take snapshots and have each compared with the one before."`
	Omdelete omDeleteCmd `cmd:"" name:"omdelete" help:"Delete the keys over the OM API, one by one; ends when all are gone."`
}

// Help explains what the commands have in common.
func (*commands) Help() string {
	return "A run goes on for --duration, or until --count operations are done. The s3 commands take any S3 server as --endpoint; without it " +
		"they ask the O3 server on this machine where its S3 API is. Keys are numbered: key n is the prefix and n in ten digits. " +
		"Commands that read need keys 0 to --keys - 1: --prepare makes them. The exit code is that of the first error, if there was one."
}

// Command returns `o3 freon`.
func Command() cli.Command {
	return cli.Command{Name: "freon", Help: "Put load on a server and measure it.", Cmd: new(commands)}
}
