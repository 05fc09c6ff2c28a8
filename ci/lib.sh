# shellcheck shell=bash disable=SC2034
# Shared by the scripts of this folder; sourced, never run.
#
#   root, here  the repository, where every script works, and the caller's folder, from which paths of arguments count
#   say, die    what goes to people: stderr, one line each; die ends the script (default code 2: trouble in the harness)
#   help_asked  prints the caller's head comment when --help is among the arguments, so that help and script agree
#
# Exit codes of all scripts: 0 as it should be, 1 something was found or failed, 2 could not do its work.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
me=$(basename "$0")
here=$PWD
cd "$root" || exit 2

# CI_JOBS caps what a script may use of a machine that it shares.
jobs=${CI_JOBS:-$(nproc 2>/dev/null || echo 1)}

# Relative paths inside the compiler cache: a copy of the tree (the zoo's) hits what the tree itself has compiled.
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1
# The tree may belong to somebody else (a checkout mounted into a container); git would refuse to list it.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$root
# Stacks with names in every sanitizer report; a report is never swallowed.
export LLVM_SYMBOLIZER_PATH=${LLVM_SYMBOLIZER_PATH:-/usr/bin/llvm-symbolizer-19}
export ASAN_SYMBOLIZER_PATH=$LLVM_SYMBOLIZER_PATH TSAN_SYMBOLIZER_PATH=$LLVM_SYMBOLIZER_PATH
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}

say() { printf '%s: %s\n' "$me" "$*" >&2; }

die() {  # MESSAGE [CODE]
  say "$1"
  exit "${2:-2}"
}

help_asked() {  # "$@": prints the head comment (from line 2 up to the first line that is none) and ends
  local argument
  for argument in "$@"; do
    case $argument in
      -h | --help)
        sed -n '2,/^[^#]/{/^#/!q;s/^# \{0,1\}//;p;}' "$root/ci/$me"
        exit 0
        ;;
    esac
  done
}

wrong_usage() { die "$1; see ci/$me --help"; }

# need_value "$@": the option $1 has a value $2. need_number additionally wants digits.
need_value() { [ $# -ge 2 ] || wrong_usage "$1 needs a value"; }
need_number() {
  need_value "$@"
  case $2 in '' | *[!0-9]*) wrong_usage "$1 needs a whole number, not '$2'" ;; esac
}

from_here() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s' "$here/$1" ;; esac; }

# writable_folder DIR: makes it, or says why there is no going on. A full disk shows here and not after an hour.
writable_folder() {
  mkdir -p "$1" 2>/dev/null || die "cannot make the folder $1: is its parent writable? choose another with --out"
  if ! (dd if=/dev/zero of="$1/.probe" bs=64k count=16) >/dev/null 2>&1; then
    rm -f "$1/.probe" 2>/dev/null || true
    die "cannot write to $1 (disk full or read-only): free some space or choose another with --out"
  fi
  rm -f "$1/.probe"
}
