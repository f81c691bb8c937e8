"""A large table over its life: first load, nothing to do, a tenth changed.

Every run is a process of its own, through the command's own code; memory is counted as in
`benchmarks.memory`. `--diff` takes vectors of 8 components, so that five million rows fit on the
disk: what a plan holds in memory does not depend on the dimension.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.memory import run

RECORDS = 1_000_000
FILE_RECORDS = 50_000
WORDS = 12
CASES = {
    "first load": False,
    "nothing to do": None,
    "10 % changed, 1 % new, 1 % gone": True,
    "nothing to do again": None,
}
SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("year", pa.int64())])


def write_corpus(folder: Path, n_records: int, *, changed: bool) -> None:
    """Parquet files of 50,000 records; if `changed`, 10 % have another text, 1 % are gone.

    Another 1 % is new then. Changes are spread over all files.
    """
    folder.mkdir(exist_ok=True)
    n_all = n_records + n_records // 100 if changed else n_records
    for start in range(0, n_all, FILE_RECORDS):
        numbers = [
            number
            for number in range(start, min(start + FILE_RECORDS, n_all))
            if not changed or number >= n_records or number % 100 != 7
        ]
        texts = [_text(n, edited=changed and n % 10 == 3) for n in numbers]
        columns = [[f"record-{n}" for n in numbers], texts, [2000 + n % 20 for n in numbers]]
        pq.write_table(pa.table(columns, schema=SCHEMA), folder / f"{start:09d}.parquet")


def _text(number: int, *, edited: bool) -> str:
    words = (f"w{(number * 7919 + k * 104_729) % 50_021}" for k in range(WORDS))
    return " ".join([f"n{number}", "edited" if edited else "first", *words])


def measure(n_records: int, dim: int) -> list[dict[str, Any]]:
    """Figures of the runs, by what they had to do."""
    found = []
    with tempfile.TemporaryDirectory() as place:
        corpus, store = Path(place) / "corpus", Path(place) / "vectors"
        for case, changed in CASES.items():
            if changed is not None:
                write_corpus(corpus, n_records, changed=changed)
            command = [sys.executable, "-m", "benchmarks.scale", "--one"]
            command += [str(corpus), str(store), str(dim)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append({"case": case, **json.loads(done.stdout.splitlines()[-1])})
    return found


def show(found: list[dict[str, Any]]) -> None:
    """A line for each run."""
    head = ("", "total", "start", "plan", "encode", "commit", "driver MiB", "worker MiB")
    print(f"{head[0]:<34}" + "".join(f"{name:>11}" for name in head[1:]))
    for one in found:
        seconds = [one["stages"][name] for name in head[1:6]]
        cells = [f"{value:.1f}" for value in seconds]
        cells += [f"{one[name]:.0f}" for name in ("driver_mib", "worker_mib")]
        print(f"{one['case']:<34}" + "".join(f"{cell:>11}" for cell in cells))
        print("  " + ", ".join(f"{n:,} {name}" for name, n in one["books"].items() if n))


def main() -> None:
    """One million records, or one run in this process, which prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--diff", action="store_true", help="five million records in 8 components")
    parser.add_argument("--one", nargs=3, metavar=("CORPUS", "STORE", "DIM"))
    args = parser.parse_args()
    if args.one:
        corpus, store, dim = args.one
        source = {"path": f"{corpus}/*.parquet", "metadata": ["year"]}
        print(json.dumps(run(Path(store), source, {"use": "hashing", "dim": int(dim)})))
        return
    n_records, dim = (5_000_000, 8) if args.diff else (args.records, 384)
    print(f"{n_records:,} records, {dim} components, hashing encoder", flush=True)
    show(measure(n_records, dim))


if __name__ == "__main__":
    main()
