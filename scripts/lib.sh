# Shared by the scripts in this directory; sourced, never run. The caller has set `root`.

# Progress and errors go to standard error: standard output belongs to the program that is started in the end (--json).
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# One setup or build of a checkout at a time: holds a lock on the scripts' own directory until the shell ends.
only_one() {
  command -v flock >/dev/null || return 0
  exec 9<"$root/scripts"
  flock -n 9 || { say 'waiting for another setup or build of this checkout'; flock 9; }
}

# Sets `node` to the pinned Node.js.
pinned_node() {
  node=$root/node_modules/.bin/node
  [ -x "$node" ] || die "there is no $node: run \`npm run setup\`"
}

# node_modules/.bin first, so that whatever says `env node` gets the pinned one. A NODE_EXTRA_CA_CERTS costs every
# process 80 ms at its start and nothing here speaks TLS with the world.
node_env() {
  PATH=$root/node_modules/.bin:$PATH
  export PATH
  unset NODE_EXTRA_CA_CERTS
}
