# Completion of memtorture for bash. Printed by `memtorture completion bash`; use it with
#   source <(memtorture completion bash)
_memtorture() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]} options words
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W "check sweep run replay shrink gen fmt encode decode list completion man --help --version" -- "$word"))
    return
  fi
  case $verb:$before in
    check:--seconds) return ;;
    check:--runs) return ;;
    check:--seed) return ;;
    check:-j | check:--jobs) return ;;
    check:-o | check:--out) COMPREPLY=($(compgen -f -- "$word")); return ;;
    check:--audit) COMPREPLY=($(compgen -W "never end every" -- "$word")); return ;;
    check:--crimes) return ;;
    check:--faults) return ;;
    check:--departures) return ;;
    check:--contexts) return ;;
    check:--ops-min) return ;;
    check:--ops-max) return ;;
    check:--cpus-max) return ;;
    check:--nodes-max) return ;;
    sweep:--generate) return ;;
    sweep:--seed) return ;;
    sweep:--visits) return ;;
    sweep:--pairs) return ;;
    sweep:--crossed) return ;;
    sweep:-o | sweep:--out) COMPREPLY=($(compgen -f -- "$word")); return ;;
    sweep:--crimes) return ;;
    sweep:--faults) return ;;
    sweep:--departures) return ;;
    sweep:--contexts) return ;;
    sweep:--ops-min) return ;;
    sweep:--ops-max) return ;;
    sweep:--cpus-max) return ;;
    sweep:--nodes-max) return ;;
    run:--audit) COMPREPLY=($(compgen -W "never end every" -- "$word")); return ;;
    run:--junit) COMPREPLY=($(compgen -f -- "$word")); return ;;
    replay:--audit) COMPREPLY=($(compgen -W "never end every" -- "$word")); return ;;
    shrink:-o | shrink:--out) COMPREPLY=($(compgen -f -- "$word")); return ;;
    shrink:--runs) return ;;
    shrink:--audit) COMPREPLY=($(compgen -W "never end every" -- "$word")); return ;;
    gen:--seed) return ;;
    gen:--count) return ;;
    gen:-o | gen:--out) COMPREPLY=($(compgen -f -- "$word")); return ;;
    gen:--cell) return ;;
    gen:--audit) COMPREPLY=($(compgen -W "never end every" -- "$word")); return ;;
    gen:--crimes) return ;;
    gen:--faults) return ;;
    gen:--departures) return ;;
    gen:--contexts) return ;;
    gen:--ops-min) return ;;
    gen:--ops-max) return ;;
    gen:--cpus-max) return ;;
    gen:--nodes-max) return ;;
    encode:-o | encode:--out) COMPREPLY=($(compgen -f -- "$word")); return ;;
    decode:-o | decode:--out) COMPREPLY=($(compgen -f -- "$word")); return ;;
    list:--covered) COMPREPLY=($(compgen -f -- "$word")); return ;;
  esac
  case $verb in
    check) options="--help --seconds --runs --seed --jobs --out --stop-at-first --json --audit --crimes --faults --departures --contexts --ops-min --ops-max --cpus-max --nodes-max --no-crimes --no-faults" words="" ;;
    sweep) options="--help --generate --seed --visits --pairs --crossed --no-persistent --no-recovery --all-sites --out --json --crimes --faults --departures --contexts --ops-min --ops-max --cpus-max --nodes-max --no-crimes --no-faults" words="" ;;
    run) options="--help --twice --history --sandbox --audit --json --junit" words="" ;;
    replay) options="--help --audit" words="" ;;
    shrink) options="--help --out --runs --sandbox --audit" words="" ;;
    gen) options="--help --seed --count --out --cell --run --audit --crimes --faults --departures --contexts --ops-min --ops-max --cpus-max --nodes-max --no-crimes --no-faults" words="" ;;
    fmt) options="--help --in-place --check --drop-comments" words="" ;;
    encode) options="--help --out" words="" ;;
    decode) options="--help --out" words="" ;;
    list) options="--help --json --markdown --covered" words="subjects machines operations sites rules flags contexts requests points" ;;
    completion) options="--help" words="bash" ;;
    man) options="--help" words="" ;;
    *) return ;;
  esac
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$word"))
  elif [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}
complete -o filenames -F _memtorture memtorture
