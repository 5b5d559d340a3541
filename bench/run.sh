#!/bin/sh
# Makes the figures of docs/performance.md: run.sh [s3|namespace|snapshots|bootstrap|recon|staging|lifecycle|all] [flags of
# the command bench]. Takes about 20 minutes for s3 and 10 for namespace. Use a
# machine that does nothing else.
set -eu
cd "$(dirname "$0")"
what=${1:-all}
[ $# -eq 0 ] || shift
case $what in
all)
	go run ./cmd/bench s3 "$@"
	go run ./cmd/bench namespace "$@"
	go run ./cmd/bench snapshots "$@"
	go run ./cmd/bench bootstrap "$@"
	go run ./cmd/bench recon "$@"
	go run ./cmd/bench staging "$@"
	go run ./cmd/bench lifecycle "$@"
	;;
*)
	go run ./cmd/bench "$what" "$@"
	;;
esac
