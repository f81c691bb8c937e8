"""Graphs of one and of ten million edges: load, scan, walk and fit; time, memory, and the slope.

Edges stand in Parquet files of a million, their ids are integers, and degrees follow a power law,
20 in the mean. Every stage is a process of its own, which has done it with a graph of a thousand
edges before: imports and compiling do not count. Memory is the highest resident size, pages of
mapped files among it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.walks import power_law

if TYPE_CHECKING:
    from tasks.graphs.csr import Graph
    from tasks.sources.edges import EdgeSource

BASE_EDGES = 1_000
SIZES = (1_000_000, 10_000_000)
FILE_EDGES = 1_000_000
MEAN_DEGREE = 20
WALKS: dict[str, Any] = {"length": 80, "walks_per_node": 10, "seed": 0}
FIT: dict[str, Any] = {"dim": 64, "walk_length": 80, "walks_per_node": 1, "window": 5}
MEBIBYTE = 2**20


def write_edges(folder: Path, n_edges: int) -> None:
    """The Parquet files."""
    source, target, _ = power_law(2 * n_edges // MEAN_DEGREE, n_edges)
    for start in range(0, n_edges, FILE_EDGES):
        part = slice(start, start + FILE_EDGES)
        pq.write_table(
            pa.table({"source": source[part], "target": target[part]}),
            folder / f"{start:09d}.parquet",
        )


def load(source: "EdgeSource") -> str:
    """Reads the files and builds the graph in the cache folder."""
    shards = source.shards(source.files())
    return f"{len(shards)} shards"


def scan(source: "EdgeSource") -> str:
    """Reads the record of each node, whose content is its neighbourhood."""
    n_records = n_bytes = 0
    for shard in source.shards(source.files()):
        for record in source.read(shard):
            n_records += 1
            n_bytes += len(record.content.data)  # type: ignore[union-attr]
    return f"{n_records:,} records, {n_bytes / MEBIBYTE:,.0f} MiB of contents"


def walk(source: "EdgeSource", p: float, q: float) -> str:
    """Walks from all nodes, on one core."""
    from tasks.graphs.walks import corpus

    n_steps = sum(int((block >= 0).sum()) for block in corpus(_graph(source), **WALKS, p=p, q=q))
    return f"{n_steps / 1e6:,.0f} million steps"


def fit(source: "EdgeSource") -> str:
    """Vectors of all nodes, by a thread for each core."""
    from tasks.encoders.node2vec import Node2VecEncoder

    encoder = Node2VecEncoder(**FIT, p=0.5, q=2.0)
    with tempfile.TemporaryDirectory() as folder:
        found = encoder.fit(_graph(source), Path(folder), threads=os.cpu_count() or 1)
    return f"{found.metrics['words'] / 1e6:,.0f} million words, loss {found.metrics['loss']:.3f}"


def _graph(source: "EdgeSource") -> "Graph":
    return cast("Graph", source.corpus(source.files()).data)


STAGES: dict[str, Callable[["EdgeSource"], str]] = {
    "load": load,
    "scan": scan,
    "walk p=1 q=1": lambda source: walk(source, 1.0, 1.0),
    "walk p=.5 q=2": lambda source: walk(source, 0.5, 2.0),
    "fit": fit,
}


def measure_stage(stage: str, base: Path, edges: Path) -> dict[str, Any]:
    """Seconds and memory of one stage in this process."""
    from tasks.sources.edges import EdgeSource

    def source(folder: Path) -> EdgeSource:
        return EdgeSource(path=str(folder / "*.parquet"), source="source", target="target")

    STAGES[stage](source(base))
    loaded = _peak_mib()
    started, cpu = time.monotonic(), time.process_time()
    told = STAGES[stage](source(edges))
    return {
        "stage": stage,
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - cpu,
        "base_mib": loaded,
        "mib": _peak_mib(),
        "told": told,
    }


def _peak_mib() -> float:
    # Not by getrusage, which counts what the process was before it became this program.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def measure(sizes: tuple[int, ...] = SIZES) -> dict[int, list[dict[str, Any]]]:
    """The figures of all stages, by the number of edges."""
    found: dict[int, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "VECTORLINE_CACHE": f"{place}/cache"}
        folders = {size: Path(place) / str(size) for size in (BASE_EDGES, *sizes)}
        for n_edges, folder in folders.items():
            folder.mkdir()
            write_edges(folder, n_edges)
        for size in (BASE_EDGES, *sizes):  # what the first compiles, the others find
            found[size] = []
            for stage in STAGES:
                command: list[str | Path] = [sys.executable, "-m", "benchmarks.scale_graphs"]
                command += ["--stage", stage, folders[BASE_EDGES], folders[size]]
                done = subprocess.run(
                    command, check=True, stdout=subprocess.PIPE, text=True, env=environment
                )
                found[size].append(json.loads(done.stdout.splitlines()[-1]))
                show(size, found[size][-1])
        del found[BASE_EDGES]
    return found


def show(n_edges: int, one: dict[str, Any]) -> None:
    """A line for a stage."""
    print(
        f"{n_edges:>12,} edges  {one['stage']:<14}{one['seconds']:>8.1f} s"
        f"{one['cpu_seconds']:>9.1f} CPU-s{one['mib']:>8,.0f} MiB, {one['base_mib']:,.0f} before"
        f"   {one['told']}",
        flush=True,
    )


def show_slopes(found: dict[int, list[dict[str, Any]]]) -> None:
    """How each stage grows from the first size to the last one."""
    few, many = min(found), max(found)
    print(f"\nfrom {few:,} to {many:,} edges")
    for first, last in zip(found[few], found[many], strict=True):
        time_ratio = last["cpu_seconds"] / first["cpu_seconds"]
        added = (last["mib"] - first["mib"]) * MEBIBYTE / (many - few)
        print(
            f"  {first['stage']:<14} CPU-seconds x {time_ratio:5.1f}   memory x "
            f"{last['mib'] / first['mib']:4.1f}, {added:.0f} bytes for an edge more"
        )


def main() -> None:
    """All stages, or one of them in this process, which prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, nargs="+", default=SIZES)
    parser.add_argument("--stage", nargs=3, metavar=("STAGE", "BASE", "EDGES"))
    args = parser.parse_args()
    if args.stage:
        stage, base, edges = args.stage
        print(json.dumps(measure_stage(stage, Path(base), Path(edges))))
        return
    print(f"walks: {WALKS}\nfit, on {os.cpu_count()} threads: {FIT}")
    show_slopes(measure(tuple(args.edges)))


if __name__ == "__main__":
    main()
