#!/bin/sh
# The main job on a real corpus: look at the plan, encode, run again, search; then on
# images, on a graph, and a new encoder that has to earn its place.
# `make demo` calls it.
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

step python -m examples.scenes build/demo/scenes --n 600
step vectorline run examples/scenes.yaml
step vectorline search scenes "four purple crescents" -k 3
step vectorline search scenes "a blue hourglass above a black ring" -k 3
step vectorline search scenes --image build/demo/scenes/single/00000.png -k 3
step vectorline classify scenes --labels examples/shapes.txt --template "a {}" \
    --where "family = 'single'" --truth shape
step python -m examples.contact_sheet scenes build/demo/scenes build/demo/answers.png \
    "a large orange circle" "four purple crescents" "a striped heart" "a blue hourglass above a black ring"

step python examples/stdlib_imports.py build/demo/imports
step vectorline run examples/imports.yaml
step vectorline search imports --id json.decoder -k 6
step vectorline search imports --id asyncio.events -k 6

step python -m examples.stdlib_questions --out build/demo/questions --documents 800
step vectorline run examples/questions-hashing.yaml
step vectorline backfill examples/questions.yaml --promote auto
step vectorline evaluate questions --baseline 1

printf '\nGo on: .venv/bin/vectorline search stdlib "TEXT" --store %s\n' "$VECTORLINE_STORE"
