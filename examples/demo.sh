#!/bin/sh
# The main job on a real corpus: look at the plan, encode, run again, search. `make demo` calls it.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
export VECTORLINE_STORE=build/demo/vectors

step() {
    printf '\n$'
    for word in "$@"; do
        case $word in *" "*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '\n'
    "$@"
}

step python examples/stdlib_docstrings.py --out build/demo/stdlib.parquet
step vectorline plan examples/stdlib.yaml
step vectorline run examples/stdlib.yaml
step vectorline run examples/stdlib.yaml
step vectorline search stdlib "parse the options of a command line" -k 3
step vectorline search stdlib "a temporary file that is deleted when it is closed" -k 3
step vectorline search stdlib "cache of the least recently used results" -k 3

printf '\nGo on: .venv/bin/vectorline search stdlib "TEXT" --store %s\n' "$VECTORLINE_STORE"
