"""Memory of driver and workers by the number of records, with the hashing encoder.

What is counted is anonymous memory (RssAnon): Ray's shared object store is mapped by every process
and would be counted in each. The driver's base is what a run of a hundred records takes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

BASE_RECORDS = 100
SIZES = (10_000, 100_000, 1_000_000)
BATCH = 10_000
TICK_S = 0.05
MEBIBYTE = 2**20


def texts(n_records: int, n_words: int) -> Iterator[pa.RecordBatch]:
    """Texts of so many words after the number of their record, which makes each another."""
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    for start in range(0, n_records, BATCH):
        numbers = range(start, min(start + BATCH, n_records))
        bodies = [
            " ".join([f"n{n}", *(f"w{(n * 7919 + k * 104_729) % 50_021}" for k in range(n_words))])
            for n in numbers
        ]
        yield pa.record_batch([[f"record-{n}" for n in numbers], bodies], schema=schema)


def write(path: Path, n_records: int, n_words: int, row_group: int) -> None:
    """A Parquet file, written as a stream, in row groups of so many records."""
    batches = texts(n_records, n_words)
    first = next(batches)
    with pq.ParquetWriter(path, first.schema, compression="none", use_dictionary=False) as writer:
        writer.write_batch(first, row_group_size=row_group)
        for batch in batches:
            writer.write_batch(batch, row_group_size=row_group)


class Sampler(threading.Thread):
    """The highest RssAnon of this process, and of any of its Ray workers."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.driver = self.workers = 0
        self.done = threading.Event()

    def run(self) -> None:
        """Samples until `done` is set."""
        while not self.done.wait(TICK_S):
            self.driver = max(self.driver, _anonymous("self"))
            for pid in _ray_workers():
                self.workers = max(self.workers, _anonymous(pid))


def _anonymous(pid: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def _ray_workers() -> list[str]:
    """The pids of this process's own workers: other runs on the machine are none of ours."""
    parents, workers = {}, []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                if b"ray::_Host" in (folder / "cmdline").read_bytes():
                    workers.append(folder.name)
            except OSError:
                continue
            parents[folder.name] = stat.rsplit(")", 1)[1].split()[1]
    return [pid for pid in workers if str(os.getpid()) in _ancestors(pid, parents)]


def _ancestors(pid: str, parents: Mapping[str, str]) -> set[str]:
    found = set()
    while pid in parents:
        pid = parents[pid]
        found.add(pid)
    return found


def run(store: Path, source: Mapping[str, Any], encoder: Mapping[str, Any]) -> dict[str, Any]:
    """One run over Parquet files, watched; sizes in MiB."""
    from flows.commands import refresh
    from tasks.config import from_dict
    from tasks.run import Options

    sampler = Sampler()
    sampler.start()
    config = {
        "space": "bench",
        "source": {"use": "parquet", "id": "id", "text": "text", **source},
        "encoder": dict(encoder),
    }
    started = time.monotonic()
    result = refresh(from_dict(config, "bench"), str(store), Options())
    sampler.done.set()
    sampler.join()
    return {
        "records": result["records"]["read"],
        "seconds": time.monotonic() - started,
        "driver_mib": sampler.driver / MEBIBYTE,
        "worker_mib": sampler.workers / MEBIBYTE,
        "stages": result["seconds"],
        "books": result["records"],
    }


def measure(
    sizes: tuple[int, ...] = SIZES, row_group_bytes: int = 2 * 2**30
) -> list[dict[str, Any]]:
    """One run for each size, and one over a single row group; each in a process of its own."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        cases = [(f"{n:,} records", n, 12, 50_000) for n in (BASE_RECORDS, *sizes)]
        if row_group_bytes:
            n = row_group_bytes // 1_000
            cases.append((f"one row group of {row_group_bytes / 2**30:.1f} GiB", n, 143, n))
        for name, n_records, n_words, row_group in cases:
            corpus = Path(folder) / "corpus.parquet"
            write(corpus, n_records, n_words, row_group)
            store = tempfile.TemporaryDirectory(dir=folder)
            command = [sys.executable, "-m", "benchmarks.memory", str(corpus), store.name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            size = corpus.stat().st_size / MEBIBYTE
            figures = json.loads(done.stdout.splitlines()[-1])
            base = found[0]["driver_mib"] if found else figures["driver_mib"]
            a_record = (figures["driver_mib"] - base) * MEBIBYTE / n_records
            figures |= {"driver_base_mib": base, "driver_bytes_a_record": a_record}
            found.append({"case": name, "file_mib": size, **figures})
            store.cleanup()
    return found[1:]


def main() -> None:
    """One run in this process; prints JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("store", type=Path)
    args = parser.parse_args()
    print(json.dumps(run(args.store, {"path": str(args.corpus)}, {"use": "hashing"})))


if __name__ == "__main__":
    main()
