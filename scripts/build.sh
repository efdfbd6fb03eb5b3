#!/bin/sh
# Builds what is older than its sources: build/native/ (C++), dist/ (TypeScript) and build/page/ (what a browser is served).
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/scripts/lib.sh"
cd "$root"
[ -n "${LODEN_BUILD_LOCKED-}" ] || only_one
pinned_node
node_env

native() {
  # make itself knows what is older than what.
  if make -q -C native >/dev/null 2>&1; then return 0; fi
  say 'building the native part'
  make --no-print-directory -s -C native >&2 || die 'the native part does not build'
}

typescript() {
  stamp=dist/.built
  # A directory is newer when a file in it came or went.
  if [ -e "$stamp" ] &&
    [ -z "$(find src tsconfig.json tsconfig.build.json package-lock.json -newer "$stamp" -print -quit)" ]; then
    return 0
  fi
  say 'compiling TypeScript'
  mkdir -p dist
  : >"$stamp.new"
  tsc -p tsconfig.build.json >&2 || die 'TypeScript does not compile'
  # What has lost its source would still be found by an import.
  find dist -name '*.js' | while read -r file; do
    source=src/${file#dist/}
    [ -e "${source%.js}.ts" ] || rm -f "$file"
  done
  mv "$stamp.new" "$stamp"
}

page() {
  stamp=build/.page-built
  # Of src/ it has what says what the API answers, and addresses.
  if [ -e "$stamp" ] && [ -e build/page/index.html ] &&
    [ -z "$(find page src/api src/net package-lock.json -newer "$stamp" -print -quit)" ]; then
    return 0
  fi
  say 'building the page'
  mkdir -p build
  : >"$stamp.new"
  # Next to what is served: that is replaced when the new one is whole.
  rm -rf build/page.new
  vite build -c page/vite.config.ts --outDir ../build/page.new >&2 || die 'the page does not build'
  rm -rf build/page
  mv build/page.new build/page
  mv "$stamp.new" "$stamp"
}

native
typescript
page
