#!/bin/sh
# Makes a checkout ready to run, test and measure: Debian packages, npm packages, the build.
# Each step looks first whether there is anything to do; with nothing to do it takes a fraction of a second.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/scripts/lib.sh"
cd "$root"
only_one

# Runs a command, keeping its output for the case that it fails.
quietly() {
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    rm -f "$log"
  else
    status=$?
    tail -n 30 "$log" >&2
    rm -f "$log"
    die "failed with status $status: $*"
  fi
}

debian_packages() {
  wanted=$(grep -v '^#' scripts/packages.txt)
  if ! command -v dpkg-query >/dev/null; then
    say "this is no Debian: make sure yourself that these are installed:" $wanted
    return
  fi
  # dpkg-query fails when it has never heard of one of them; what it prints is right all the same.
  # shellcheck disable=SC2086,SC2016
  installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $wanted 2>/dev/null | sed -n 's/ installed$//p')
  missing=
  for package in $wanted; do
    case "
$installed
" in
      *"
$package
"*) ;;
      *) missing="$missing $package" ;;
    esac
  done
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || die "run it as root, or install these first: apt-get install$missing"
  say "installing Debian packages:$missing"
  export DEBIAN_FRONTEND=noninteractive
  quietly apt-get -q update
  # shellcheck disable=SC2086
  quietly apt-get -qy --no-install-recommends install $missing
}

npm_packages() {
  stamp=node_modules/.loden-stamp
  # The architecture too: the same checkout may be mounted on another machine, and the pinned Node is a binary.
  now=$(uname -m; cksum <package-lock.json)
  if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$now" ]; then return 0; fi
  command -v npm >/dev/null || die 'npm is missing: install Node.js 20 or newer with npm'
  if [ -x node_modules/.bin/node ] && node_modules/.bin/node scripts/lock-matches.mjs; then
    printf '%s\n' "$now" >"$stamp"
    return 0
  fi
  say 'installing npm packages'
  # No package here needs its install script; npm's warnings are about the machine's Node, which only runs npm.
  quietly npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  [ -x node_modules/.bin/node ] || die "there is no pinned Node.js for $(uname -s) on $(uname -m)"
  printf '%s\n' "$now" >"$stamp"
}

[ "$(uname -s)" = Linux ] || die "Loden needs Linux, this is $(uname -s)"
debian_packages
npm_packages
LODEN_BUILD_LOCKED=1 sh scripts/build.sh
