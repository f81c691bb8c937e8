"""How fast sinks take rows, beside their own clients' fastest calls, and what a small change costs.

`python -m benchmarks.sinks` loads 100,000 x 384 into each store that runs here, by the client's own
bulk call and by the sink, in turn; the median of three. `--change` publishes a change of 1,000 rows
in 1,000,000 (or `--rows`) as a user would, with `--mode` in another than the sink's own, each
publication in a process of its own, whose most memory is told. Both print tables. `make bench` does
both, with fewer rows where a store is slow.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.config import SinkConfig
from schemas.publication import PublicationRecord
from tasks.plugins import build, names
from tasks.publish import PublishOptions, publish
from tasks.pushing import Patience, Pushed, Pusher
from tasks.run import Stop
from tasks.sinks.base import HASH, ID, VECTOR, Element, Metric, Shape
from tasks.store.catalog import Catalog
from tests.pipeline import refresh
from tests.stores.peer import Peer, peer

ROWS, DIM = 100_000, 384
REPEATS = 3
MANY, CHANGED = 1_000_000, 1_000
FEW = 20_000  # of which ScaNN makes hashes, as its client does of any number
QUICK = ("parquet", "numpy", "lancedb", "faiss", "pgvector", "duckdb", "sqlite-vec")
"""Stores into which a million rows go within minutes."""
BARE = {"pgvector": {"index": "none"}}
"""What leaves an index out that the client's bulk call does not make either, and takes minutes."""
COLUMNS = pa.schema([("title", pa.string()), ("year", pa.int64()), ("score", pa.float64())])


def rows(n: int) -> pa.Table:
    """Unit vectors with three metadata columns, as sinks get them."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n, DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shape = shape_of_rows()
    columns = {
        ID: [f"record-{row:07d}" for row in range(n)],
        HASH: [row.to_bytes(16, "big") for row in range(n)],
        VECTOR: pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM),
        "title": [f"The title of record {row}" for row in range(n)],
        "year": rng.integers(1900, 2030, n),
        "score": rng.random(n),
    }
    return pa.table(columns, schema=shape.row_schema)


def shape_of_rows() -> Shape:
    """That of the rows."""
    return Shape(DIM, Element.FLOAT32, Metric.COSINE, COLUMNS)


def by_client(place: Peer, table: pa.Table) -> float:
    """Seconds of the client's own bulk call."""
    begun = time.perf_counter()
    place.bulk(table)
    return time.perf_counter() - begun


def by_sink(place: Peer, table: pa.Table) -> tuple[float, float]:
    """Seconds until all rows are there, and until they can be searched."""
    shape = shape_of_rows()
    sink = build("sinks", place.use, {**place.arguments(), **BARE.get(place.use, {})})
    sink.connect()
    sink.create("c", shape)
    begun = time.perf_counter()
    with sink.writing("c", shape, "{}") as writer:
        pusher = Pusher(writer, sink.limits, Patience(), lambda done: None)
        size = max(
            1, min(sink.limits.batch_rows, sink.limits.batch_bytes * len(table) // table.nbytes)
        )
        parts = (table.slice(start, size) for start in range(0, len(table), size))
        pusher.push(parts, [], Pushed())
    written = time.perf_counter()
    sink.finish("c", shape)
    ended = time.perf_counter()
    if sink.count("c") != len(table):
        raise RuntimeError(f"{place.use} has {sink.count('c')} rows of {len(table)}")
    sink.close()
    return written - begun, ended - written


def load(use: str, n: int, repeats: int) -> dict[str, Any]:
    """Rows a second of both, and their ratio."""
    table = rows(n)
    plain, ours, index = [], [], []
    for _ in range(repeats):
        for which in ("client", "sink"):
            with tempfile.TemporaryDirectory() as folder:
                place = peer(use, Path(folder) / "place")
                place.arguments()  # starts a server
                try:
                    if which == "client":
                        plain.append(by_client(place, table))
                    else:
                        seconds = by_sink(place, table)
                        ours.append(seconds[0])
                        index.append(seconds[1])
                finally:
                    place.close()
    client, sink = statistics.median(plain), statistics.median(ours)
    return {
        "sink": use,
        "rows": n,
        "client_rows_s": round(n / client),
        "rows_s": round(n / sink),
        "ratio": round(client / sink, 2),
        "index_s": round(statistics.median(index), 1),
    }


def corpus(path: Path, n: int, changed: int) -> None:
    """Short records, of which some, spread over all, say something else."""
    anew = set(range(0, n, n // changed)) if changed else set()
    ids = [f"r{row}" for row in range(n)]
    texts = [f"record {row} of the corpus{' anew' if row in anew else ''}" for row in range(n)]
    pq.write_table(
        pa.table({"id": ids, "text": texts, "year": [row % 50 for row in range(n)]}), path
    )


def change(uses: list[str], n: int, mode: str | None) -> list[dict[str, Any]]:
    """What each sink pushes, and how long that takes, when 1,000 of so many rows change."""
    with tempfile.TemporaryDirectory() as folder:
        store, file = str(Path(folder) / "vectors"), Path(folder) / "corpus.parquet"
        config = {
            "space": "many",
            "source": {
                "use": "parquet",
                "path": str(file),
                "id": "id",
                "text": "{text}",
                "metadata": ["year"],
            },
            "encoder": {"use": "hashing", "dim": DIM},
            "compute": {"use": "serial"},
        }
        for changed in (0, CHANGED):
            corpus(file, n, changed)
            refresh(config, store, promote="no")
            print(f"version with {changed} changed rows is there", file=sys.stderr, flush=True)
        found = []
        for use in uses:
            place = peer(use, Path(folder) / f"place-{use}")
            try:
                found.append({"sink": use, "rows": n} | _changed(place, store, mode))
            finally:
                place.close()
            print(found[-1], file=sys.stderr, flush=True)
        return found


def _changed(place: Peer, store: str, mode: str | None) -> dict[str, Any]:
    said = {"use": place.use, "mode": mode, **place.arguments(), **BARE.get(place.use, {})}
    done = []
    for version in (1, 2):
        with ProcessPoolExecutor(1, get_context("spawn")) as other:
            done.append(other.submit(_published, store, said, version).result())
    (first, first_mib), (record, mib) = done
    return {
        "first_s": first.seconds,
        "first_mib": first_mib,
        "how": record.how,
        "upserted": record.upserted,
        "deleted": record.deleted,
        "seconds": record.seconds,
        "mib": mib,
    }


def _published(store: str, said: dict[str, Any], version: int) -> tuple[PublicationRecord, int]:
    """One publication, and the most memory that this process had."""
    catalog = Catalog(store)
    now = catalog.serving("many")
    expected = None if now is None else now.version
    catalog.promote("many", version, who="b", why="b", expected_from=expected)
    sink = SinkConfig.model_validate(said, strict=False)
    record = publish.fn(store, "many", sink, PublishOptions(), Stop())
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return record, int(peak) // 1024


def compare() -> dict[str, list[dict[str, Any]]]:
    """Loading and changing, of all stores: as many rows as a quick one takes in seconds, or few."""
    slow = [use for use in names("sinks") if use not in QUICK]
    loaded = [
        *(load(use, ROWS, REPEATS) for use in QUICK),
        *(load(use, FEW, 1) for use in slow),
    ]
    return {"load": loaded, "change": [*change([*QUICK], ROWS, None), *change(slow, FEW, None)]}


def show_both(found: dict[str, list[dict[str, Any]]]) -> None:
    """Prints what `compare` found."""
    print(f"\nsinks, {DIM} components, loaded by their own clients and by vectorline")
    show(found["load"])
    print(f"\nsinks, a change of {CHANGED:,} rows, published")
    show(found["change"])


def show(found: list[dict[str, Any]]) -> None:
    """Prints a table."""
    print("| " + " | ".join(found[0]) + " |")
    print("| --- " * len(found[0]) + "|")
    for one in found:
        print(
            "| "
            + " | ".join(
                f"{value:,}" if isinstance(value, int) else str(value) for value in one.values()
            )
            + " |"
        )


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--change", action="store_true", help=f"{CHANGED:,} rows of many")
    parser.add_argument("--only", nargs="*", help="these sinks")
    parser.add_argument("--rows", type=int, help=f"{ROWS:,}, with --change {MANY:,}")
    parser.add_argument("--mode", help="what readers see meanwhile, with --change")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--write", type=Path, help="a JSON file")
    asked = parser.parse_args()
    if asked.change:
        uses = asked.only or [use for use in QUICK if use in names("sinks")]
        found = change(uses, asked.rows or MANY, asked.mode)
    else:
        found = []
        for use in asked.only or names("sinks"):
            found.append(load(use, asked.rows or ROWS, asked.repeats))
            print(found[-1], file=sys.stderr, flush=True)
    show(found)
    if asked.write is not None:
        asked.write.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
