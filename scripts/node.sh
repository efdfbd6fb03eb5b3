#!/bin/sh
# Runs a TypeScript file by the pinned Node.js, which strips the types itself: scripts/node.sh demo/main.ts --hosts 2
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/scripts/lib.sh"
pinned_node
node_env
file=$1
shift
case $file in /*) ;; *) file=$root/$file ;; esac
exec "$node" --disable-warning=ExperimentalWarning "$file" "$@"
