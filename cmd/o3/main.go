// Command o3 is the server and the command line of O3 in one program.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"o3/internal/app"
	"o3/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	code := cli.Run(ctx, os.Args[1:], cli.IO{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Environ()}, app.Deps())
	stop()
	os.Exit(code)
}
