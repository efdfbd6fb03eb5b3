#!/bin/sh
# Writes Docker's options for this node's subnet, as flannel's script of this name does: for EnvironmentFile= of docker.service.
# The same as `loden docker-opts`, for where there is no Node.js. Nothing in the subnet file is ever carried out.
#
#   mk-docker-opts.sh [-f SUBNET-FILE] [-d DOCKER-FILE] [-i] [-c] [-k KEY] [-m]
#
#   -f  The subnet file; /run/flannel/subnet.env if not given.
#   -d  The file to write; /run/docker_opts.env if not given.
#   -i  Each option as a variable of its own: DOCKER_OPT_BIP, DOCKER_OPT_IPMASQ, DOCKER_OPT_MTU.
#   -c  All together as one variable. Without -i and -c: both.
#   -k  Name of that one variable; DOCKER_OPTS if not given. What it has in the environment is put in front.
#   -m  Leave --ip-masq out.
#
# Exit status: 0 written, 1 the subnet file cannot be used or the other not written (it is as it was), 64 wrong usage.
set -uf
# Variables begin with ld_, for those of the environment are looked up by name.
export LC_ALL=C
ld_me=${0##*/}
ld_tab=$(printf '\t')
ld_newline='
'

die() { printf '%s: %s\n' "$ld_me" "$*" >&2; exit 1; }
usage() { printf '%s: %s; see the head of %s\n' "$ld_me" "$*" "$0" >&2; exit 64; }
help() { sed -n '/^set/q; s/^# \{0,1\}//p' "$0" | sed 1d; exit 0; }

for ld_arg; do
  case $ld_arg in --help | -help) help ;; esac
done

ld_from=/run/flannel/subnet.env ld_to=/run/docker_opts.env ld_key=DOCKER_OPTS
ld_individual='' ld_combined='' ld_masq=1 ld_help=''
while getopts :f:d:icmk:h ld_opt; do
  case $ld_opt in
    f) ld_from=$OPTARG ;;
    d) ld_to=$OPTARG ;;
    i) ld_individual=1 ;;
    c) ld_combined=1 ;;
    m) ld_masq='' ;;
    k) ld_key=$OPTARG ;;
    h) ld_help=1 ;;
    :) usage "-$OPTARG takes an argument" ;;
    *) usage "unknown option -$OPTARG" ;;
  esac
done
shift $((OPTIND - 1))
[ $# = 0 ] || usage "unexpected argument $1"
[ -z "$ld_help" ] || help
case $ld_key in '' | [0-9]* | *[!A-Za-z0-9_]*) usage "-k takes the name of a variable, not '$ld_key'" ;; esac
# What is set here, or by the shell: there is no telling what the environment had.
case $ld_key in
  DOCKER_OPT_* | FLANNEL_* | ld_* | BASH* | EPOCH* | OPT* | _ | PS[0-9] | IFS | LC_ALL | PATH | PWD | OLDPWD | PPID | UID | EUID | LINENO | LINES | COLUMNS | \
    RANDOM | SRANDOM | SECONDS | SHLVL | SHELLOPTS | DIRSTACK | FUNCNAME | GROUPS | HISTCMD | HOSTNAME | HOSTTYPE | MACHTYPE | OSTYPE | \
    PIPESTATUS | POSIXLY_CORRECT | TERM | HOME | SHELL | USER | LOGNAME)
    usage "-k takes a name that is not in use already, not $ld_key"
    ;;
esac
[ -n "$ld_from" ] && [ -n "$ld_to" ] || usage '-f and -d take a path'
[ -n "$ld_individual$ld_combined" ] || ld_individual=1 ld_combined=1

# Bare paths could be taken for options.
case $ld_from in /*) ;; *) ld_from=./$ld_from ;; esac
case $ld_to in /*) ;; *) ld_to=./$ld_to ;; esac

# From here on a name that the file does not have is what the environment says.
: "${FLANNEL_SUBNET=}" "${FLANNEL_MTU=}" "${FLANNEL_IPMASQ=}"

# The last line of a name counts, as when a shell reads the file; quotes around a value are not part of it.
read_subnet_file() {
  while IFS= read -r ld_line || [ -n "$ld_line" ]; do
    ld_line=${ld_line#"${ld_line%%[! $ld_tab]*}"}
    case $ld_line in
      "export "* | "export$ld_tab"*)
        ld_line=${ld_line#export}
        ld_line=${ld_line#"${ld_line%%[! $ld_tab]*}"}
        ;;
    esac
    ld_value=${ld_line#*=}
    ld_value=${ld_value%"${ld_value##*[! $ld_tab]}"}
    case $ld_value in
      '"'*'"') ld_value=${ld_value#'"'} ld_value=${ld_value%'"'} ;;
      "'"*"'") ld_value=${ld_value#"'"} ld_value=${ld_value%"'"} ;;
    esac
    case $ld_line in
      FLANNEL_SUBNET=*) FLANNEL_SUBNET=$ld_value ;;
      FLANNEL_MTU=*) FLANNEL_MTU=$ld_value ;;
      FLANNEL_IPMASQ=*) FLANNEL_IPMASQ=$ld_value ;;
    esac
  done <"$ld_from"
}

if [ -e "$ld_from" ]; then
  [ -f "$ld_from" ] || die "$ld_from is no regular file: name the subnet file by -f"
  [ -r "$ld_from" ] || die "cannot read $ld_from: run this as root"
  [ "$(wc -c <"$ld_from")" -le 65536 ] || die "$ld_from has more than 65536 bytes: it is no subnet file"
  [ "$(tr -cd '\000-\010\013-\037\177' <"$ld_from" | wc -c)" -eq 0 ] ||
    die "$ld_from has control characters: it is no subnet file"
  read_subnet_file
else
  printf '%s: %s\n' "$ld_me" "$ld_from is missing: is the daemon running? No options come from it" >&2
fi

# A decimal number of at most three digits, without leading zeros, that is not above a limit.
is_number() {
  case $1 in '' | *[!0-9]* | 0?* | ????*) return 1 ;; esac
  [ "$1" -le "$2" ]
}

is_subnet() {
  # A dot at the end would be no field of its own.
  case $1 in */*/* | *./*) return 1 ;; */*) ;; *) return 1 ;; esac
  is_number "${1#*/}" 32 || return 1
  ld_ifs=$IFS IFS=.
  # shellcheck disable=SC2086
  set -- ${1%/*}
  IFS=$ld_ifs
  [ $# = 4 ] || return 1
  for ld_octet; do is_number "$ld_octet" 255 || return 1; done
}

is_mtu() {
  case $1 in *[!0-9]* | 0* | ??????*) return 1 ;; esac
  [ "$1" -ge 68 ] && [ "$1" -le 65535 ]
}

if [ -n "$FLANNEL_SUBNET" ]; then
  is_subnet "$FLANNEL_SUBNET" ||
    die "FLANNEL_SUBNET in $ld_from is '$FLANNEL_SUBNET', but should be an IPv4 subnet such as 10.1.74.1/24"
  DOCKER_OPT_BIP=--bip=$FLANNEL_SUBNET
fi
if [ -n "$FLANNEL_MTU" ]; then
  is_mtu "$FLANNEL_MTU" || die "FLANNEL_MTU in $ld_from is '$FLANNEL_MTU', but should be a number from 68 to 65535"
  DOCKER_OPT_MTU=--mtu=$FLANNEL_MTU
fi
if [ -n "$FLANNEL_IPMASQ" ] && [ -n "$ld_masq" ]; then
  # Only one of the two masquerades.
  case $FLANNEL_IPMASQ in
    true) DOCKER_OPT_IPMASQ=--ip-masq=false ;;
    false) DOCKER_OPT_IPMASQ=--ip-masq=true ;;
    *) die "FLANNEL_IPMASQ in $ld_from is '$FLANNEL_IPMASQ', but should be true or false" ;;
  esac
fi

# Sets ld_value to that of a variable; the name has been looked at.
value_of() {
  eval "ld_value=\${$1-}"
  case $ld_value in
    *[[:cntrl:]]*) die "$1 in the environment has control characters: set it to one line of text" ;;
  esac
}

# For double quotes as sh and systemd's EnvironmentFile= read them.
escaped() { printf '%s\n' "$1" | sed 's/[\\"$`]/\\&/g'; }

# Further options for Docker may come from the environment.
ld_names=$({
  # shellcheck disable=SC2016
  awk 'BEGIN { for (n in ENVIRON) if (n ~ /^DOCKER_OPT_[A-Za-z0-9_]+$/ && ENVIRON[n] != "") print n }' </dev/null
  [ -z "${DOCKER_OPT_BIP-}" ] || echo DOCKER_OPT_BIP
  [ -z "${DOCKER_OPT_MTU-}" ] || echo DOCKER_OPT_MTU
  [ -z "${DOCKER_OPT_IPMASQ-}" ] || echo DOCKER_OPT_IPMASQ
} | sort -u)

value_of "$ld_key"
ld_all=$ld_value${ld_value:+ }
ld_text=
for ld_name in $ld_names; do
  value_of "$ld_name"
  ld_all="$ld_all $ld_value"
  [ -z "$ld_individual" ] || ld_text="$ld_text$ld_name=\"$(escaped "$ld_value")\"$ld_newline"
done
[ -z "$ld_combined" ] || ld_text="$ld_text$ld_key=\"$(escaped "$ld_all")\"$ld_newline"

case $ld_to in /dev/* | /proc/*) ld_direct=1 ;; *) ld_direct='' ;; esac
if [ -n "$ld_direct" ] || { [ -e "$ld_to" ] && ! [ -f "$ld_to" ]; }; then
  # E.g. /dev/stdout: nothing to be replaced by another file.
  printf %s "$ld_text" >"$ld_to" || die "cannot write $ld_to"
  exit 0
fi
[ ! -e "$ld_to" ] || ld_to=$(readlink -f "$ld_to") || die 'cannot follow the link to the file to be written'
mkdir -p "$(dirname "$ld_to")" || die "cannot write $ld_to: there is no such directory"
ld_new=$ld_to.tmp-$$
trap 'rm -f "$ld_new"' EXIT
rm -f "$ld_new" &&
  (set -C; printf %s "$ld_text" >"$ld_new") &&
  chmod 644 "$ld_new" &&
  mv -f "$ld_new" "$ld_to" || die "cannot write $ld_to: run this as root"
