"""What the indexes of a large table cost and give: upkeep's time and memory, searches, recall.

Searches go through `Space.nearest`, with vectors of the table for questions. Texts of random words
lie in no clusters: an index has it harder than with vectors of a language model.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import MEBIBYTE, Sampler
from benchmarks.scale import write_corpus
from tasks.space import Space, open_space

RECORDS = 200_000
DIM = 384
QUERIES = 100
EXACT_QUERIES = 10
WHERE = "year = 2007"  # one record in twenty


def upkeep(store: str) -> dict[str, Any]:
    """One upkeep in this process; seconds, peak memory in MiB, and what it says of the index."""
    from schemas.config import IndexConfig, Retention
    from tasks.maintain import maintain

    table = open_space("bench", store, "latest").entry.table
    sampler = Sampler()
    sampler.start()
    started = time.monotonic()
    done = maintain.fn(store, table, Retention(), IndexConfig(columns=("year",)), 0.0)
    seconds = time.monotonic() - started
    sampler.done.set()
    sampler.join()
    return {"seconds": seconds, "mib": sampler.driver / MEBIBYTE, **done["index"]}


def searches(store: str) -> dict[str, float]:
    """Median milliseconds of a search for ten records, and the share of the nearest found."""
    space = open_space("bench", store, "latest")
    rows = np.random.default_rng(1).choice(space.rows, QUERIES, replace=False)
    queries = np.stack(space.dataset.take(rows.tolist(), ["vector"])["vector"].to_numpy())
    found: dict[str, float] = {}
    for name, where in (("all", None), ("filtered", WHERE)):
        fast, hits = _timed(space, queries, where, exact=False)
        slow, truth = _timed(space, queries[:EXACT_QUERIES], where, exact=True)
        shared = [len(one & other) / len(other) for one, other in zip(hits, truth, strict=False)]
        found |= {f"{name}_ms": fast, f"{name}_exact_ms": slow}
        found[f"{name}_recall"] = statistics.mean(shared)
    return found


def _timed(
    space: Space, queries: np.ndarray, where: str | None, *, exact: bool
) -> tuple[float, list[set[str]]]:
    seconds, found = [], []
    for query in queries:
        started = time.perf_counter()
        hits = space.nearest(query, 10, where=where, columns=[], exact=exact)
        seconds.append(time.perf_counter() - started)
        found.append({hit.id for hit in hits})
    return 1000 * statistics.median(seconds), found


def measure(n_records: int) -> None:
    """Prints a line for each state of the table."""
    print(f"{n_records:,} records, {DIM} components, hashing encoder; ten nearest, p50 in ms")
    names = ("all_ms", "all_exact_ms", "filtered_ms", "filtered_exact_ms")
    print(f"{'':<34}" + "".join(f"{name.replace('_', ' '):>18}" for name in names) + "     recall")
    with tempfile.TemporaryDirectory() as place:
        corpus, store = Path(place) / "corpus", str(Path(place) / "vectors")
        for changed in (False, True):
            write_corpus(corpus, n_records, changed=changed)
            _apart("benchmarks.scale", "--one", str(corpus), store, str(DIM))
            _show("10 % changed since" if changed else "no index", searches(store))
            done = _apart("benchmarks.indexes", "--upkeep", store)
            _show("after upkeep", searches(store))
            print(
                f"  upkeep {done['seconds']:.1f} s, {done['mib']:.0f} MiB; {done['kind']}, "
                f"recall@10 {done['recall']:.3f}, nprobes {done['nprobes']}, "
                f"refine {done['refine']}, retrained {done['retrained']}",
                flush=True,
            )


def _show(state: str, found: dict[str, float]) -> None:
    names = ("all_ms", "all_exact_ms", "filtered_ms", "filtered_exact_ms")
    cells = "".join(f"{found[name]:>18.1f}" for name in names)
    recalls = f"{found['all_recall']:.3f}, filtered {found['filtered_recall']:.3f}"
    print(f"{state:<34}{cells}     {recalls}", flush=True)


def _apart(module: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """All of it, or one upkeep in this process, which prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--upkeep", metavar="STORE")
    args = parser.parse_args()
    if args.upkeep:
        print(json.dumps(upkeep(args.upkeep)))
    else:
        measure(args.records)


if __name__ == "__main__":
    main()
