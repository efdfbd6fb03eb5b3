#!/bin/sh
# Runs vitest by the pinned Node.js; arguments are vitest's. With LODEN_TEST_REPORT=FILE it also writes its JSON report there.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/scripts/lib.sh"
cd "$root"
pinned_node
node_env
if [ -n "${LODEN_TEST_REPORT-}" ]; then
  set -- --reporter=default --reporter=json --outputFile.json="$LODEN_TEST_REPORT" "$@"
fi
exec "$node" node_modules/vitest/vitest.mjs run "$@"
