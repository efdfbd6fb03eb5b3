#!/bin/sh
# Fuzzes the forwarder's core and what the CNI plugin reads for a while: npm run fuzz -- [--minutes N] [TARGET...]
#   --minutes N   for each target (5)
#   TARGET        only these of native/fuzz/TARGET_fuzz.cc
# Starts from the committed corpus and from what earlier runs kept in build/fuzz/TARGET/. A finding ends its target; the input is
# kept there as well, how to run it again is printed, and the status is 1.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/scripts/lib.sh"
cd "$root"

minutes=5
targets=
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) [ $# -ge 2 ] || die '--minutes needs a number'; minutes=$2; shift ;;
    --minutes=*) minutes=${1#*=} ;;
    -*) die "unknown option $1: see the head of scripts/fuzz.sh" ;;
    *)
      [ -e "native/fuzz/$1_fuzz.cc" ] || die "there is no native/fuzz/$1_fuzz.cc"
      targets="$targets $1"
      ;;
  esac
  shift
done
case $minutes in '' | *[!0-9]* | 0*) die "--minutes wants a whole number above 0, not '$minutes'" ;; esac
if [ -z "$targets" ]; then
  for file in native/fuzz/*_fuzz.cc; do
    file=${file##*/}
    targets="$targets ${file%_fuzz.cc}"
  done
fi

[ -n "$(make -s -C native clang)" ] || die 'needs clang++ with libFuzzer: apt-get install clang-14 libclang-rt-14-dev'
san=fuzzer,address,undefined
built=build/native/fuzzer+address+undefined
mkdir -p "$built"
say 'building'
flock "$built/.lock" make --no-print-directory -s -j"$(nproc)" -C native SAN=$san fuzzers >&2 || die 'the fuzz targets do not build'

# Sanitizers of clang 14 fail now and then where memory is laid out with much randomness.
layout='setarch -R'
$layout true 2>/dev/null || layout=
export UBSAN_OPTIONS=print_stacktrace=1

status=0
for target in $targets; do
  kept=build/fuzz/$target
  mkdir -p "$kept/corpus"
  say "$target: $minutes min, log in $kept/log"
  # Names of findings begin with what they are: crash-, timeout-, oom-, leak-.
  if $layout "$built/$target" -max_total_time=$((minutes * 60)) -timeout=30 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="$kept/" "$kept/corpus" "native/fuzz/corpus/$target" >"$kept/log" 2>&1; then
    say "$target: nothing found; $(sed -n 's/^stat::number_of_executed_units: */inputs: /p' "$kept/log")"
    continue
  fi
  status=1
  tail -n 60 "$kept/log" >&2
  finding=$(sed -n 's/.*Test unit written to //p' "$kept/log" | tail -n 1)
  say "$target: FOUND ${finding:-something, see $kept/log}"
  [ -z "$finding" ] || say "run it again: $built/$target $finding; once fixed, keep it as native/fuzz/corpus/$target/found-NAME"
done
exit $status
