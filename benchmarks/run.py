"""All benchmarks, as a table of ratios; `make bench` calls it.

It takes about half an hour on two cores.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import images, memory, sinks, skipgram, speed, walks, words

HERE = Path(__file__).parent.parent
CORPUS = HERE / "build" / "demo" / "stdlib.parquet"
STARTS = 11


def help_seconds() -> float:
    """The median time of `vectorline --help`."""
    program = Path(sys.executable).parent / "vectorline"
    times = []
    for _ in range(STARTS):
        started = time.perf_counter()
        subprocess.run([program, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Runs what was asked for, prints tables, and writes build/bench.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=6_000, help="texts of the speed comparison")
    parser.add_argument("--pictures", type=int, default=2_000, help="pictures to encode")
    parser.add_argument(
        "--only",
        choices=[
            "help",
            "speed",
            "walks",
            "skipgram",
            "words",
            "images",
            "sinks",
            "quality",
            "memory",
        ],
    )
    args = parser.parse_args()
    found: dict[str, object] = {}
    if not CORPUS.exists():
        script = HERE / "examples" / "stdlib_docstrings.py"
        subprocess.run([sys.executable, script, "--out", CORPUS], check=True)
    if args.only in (None, "help"):
        found["help_s"] = help_seconds()
        print(f"vectorline --help: {found['help_s']:.3f} s", flush=True)
    if args.only in (None, "speed"):
        found["speed"] = _speed(args.records)
    compared: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
        "walks": (walks.compare, walks.show),
        "skipgram": (skipgram.compare, skipgram.show),
        "words": (words.compare, words.show),
        "images": (partial(images.compare, args.pictures), partial(images.show, n=args.pictures)),
        "sinks": (sinks.compare, sinks.show_both),
    }
    for name, (compare, show) in compared.items():
        if args.only in (None, name):
            found[name] = compare()
            show(found[name])
    if args.only in (None, "quality"):
        _quality()
    if args.only in (None, "memory"):
        found["memory"] = _memory()
    out = HERE / "build" / "bench.json"
    out.write_text(json.dumps(found, indent=1))
    print(f"all figures: {out.relative_to(HERE)}")


def _speed(n_records: int) -> dict[str, object]:
    precisions = list(dict.fromkeys(["float32", "auto"]))
    found = speed.measure(CORPUS, n_records, precisions)
    print(f"\nencode stage, {n_records:,} docstrings, all-MiniLM-L6-v2, rows a second")
    print(f"  SentenceTransformer.encode into LanceDB, defaults  {found['plain']:8.0f}")
    for precision in precisions:
        one = found[precision]
        print(
            f"  vectorline, {precision:<10} {one['rows_s']:8.0f}   x {one['ratio']:.2f}"
            f"   (loading included: {one['all_in']:.0f})"
        )
    return found


def _quality() -> None:
    print("\n50,000 records with repeats and bad rows", flush=True)
    subprocess.run([sys.executable, "-m", "benchmarks.quality", CORPUS], check=True)


def _memory() -> list[dict[str, object]]:
    found = memory.measure()
    print(
        f"\n{'memory, hashing encoder':<34}{'file MiB':>10}{'worker MiB':>12}"
        f"{'driver MiB':>12}{'+ bytes/record':>16}{'seconds':>9}"
    )
    for one in found:
        print(
            f"  {one['case']:<32}{one['file_mib']:>10.0f}{one['worker_mib']:>12.0f}"
            f"{one['driver_mib']:>12.0f}{one['driver_bytes_a_record']:>16.0f}{one['seconds']:>9.0f}",
            flush=True,
        )
    return found


if __name__ == "__main__":
    main()
