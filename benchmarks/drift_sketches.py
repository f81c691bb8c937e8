"""How fast sketches of ten million vectors are built, and how fast two of them compare.

Vectors are synthetic, in files that are mapped for reading: parts of a million rows, which are
written, read, sketched and deleted one after the other. `python -m benchmarks.drift_sketches`
prints the table and writes it to docs/drift_sketches.md, in some ten minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.drift.basis import Basis, basis_of, checked_rows, hashed, histogram
from tasks.drift.compare import compare
from tasks.drift.sketches import Sketch, from_arrays
from tasks.metrics.mapped import release

ROWS = 10_000_000
PART = 1_000_000
DIM = 384
BLOCK = 65_536
CLUSTERS = 64
WRITTEN = Path(__file__).parent.parent / "docs" / "drift_sketches.md"
Vectors = npt.NDArray[np.float32]


def part_of(seed: int, n: int, shift: float) -> Vectors:
    """Unit vectors around 64 centres, the spectrum falling; rows are made once and moved about."""
    rng = np.random.default_rng([seed, int(shift * 100)])
    spectrum = (1 / np.sqrt(np.arange(1, DIM + 1))).astype(np.float32)
    centres = np.random.default_rng(0).normal(size=(CLUSTERS, DIM)).astype(np.float32) * spectrum
    made = rng.standard_normal((n, DIM), dtype=np.float32)
    made *= spectrum
    made += centres[rng.integers(0, CLUSTERS, n)]
    made[:, 0] += np.float32(shift)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def written(folder: Path, seed: int, n: int, shift: float) -> Path:
    """A part as a file, which is no longer in memory."""
    file = folder / "part.npy"
    held = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(n, DIM))
    for start in range(0, n, BLOCK):
        held[start : start + BLOCK] = part_of(seed * 10_000 + start, min(BLOCK, n - start), shift)
    held.flush()
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return file


def built(folder: Path, basis: Basis, n_rows: int, shift: float, store: Path) -> dict[str, float]:
    """Seconds for reading alone and for sketching, and of the processor; the sketch is stored."""
    seconds = {"read": 0.0, "sketch": 0.0, "read_cpu": 0.0, "sketch_cpu": 0.0}
    sketch = Sketch(basis)
    for start in range(0, n_rows, PART):
        n = min(PART, n_rows - start)
        file = written(folder, start // PART, n, shift)
        held = np.load(file, mmap_mode="r")
        ids = [f"{shift}-{row}" for row in range(start, start + n)]
        for key in ("read", "sketch"):
            begun, cpu = time.perf_counter(), time.process_time()
            for at in range(0, n, BLOCK):
                if key == "read":
                    held[at : at + BLOCK].max()
                else:
                    sketch.add(held[at : at + BLOCK], ids[at : at + BLOCK])
                release(held)
            seconds[key] += time.perf_counter() - begun
            seconds[f"{key}_cpu"] += time.process_time() - cpu
        file.unlink()
        print(f"{start + n:,} rows: {seconds}", file=sys.stderr, flush=True)
    np.savez(store, **sketch.arrays())  # type: ignore[arg-type]
    return seconds


def compared(one: Path, other: Path) -> dict[str, float]:
    """Seconds and peak memory of comparing two stored sketches."""
    begun = time.perf_counter()
    sketches = []
    for path in (one, other):
        with np.load(path) as held:
            sketches.append(from_arrays(held))
    loaded = time.perf_counter()
    found = compare(sketches[0], sketches[1], np.random.default_rng(0))
    ended = time.perf_counter()
    return {
        "load_s": loaded - begun,
        "compare_s": ended - loaded,
        "peak_mb": peak_mb(),
        "p_value": found.test.p_value,
        "mmd": found.mmd,
        "frechet": found.frechet,
        "clusters": found.clusters,
    }


def peak_mb() -> float:
    """The most memory that this process had; what a forked parent had does not count."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def pieces(basis: Basis) -> dict[str, float]:
    """Seconds for what is done with 8,192 rows, piece by piece."""
    block = part_of(2, 8192, 0.0)
    ids = [str(row) for row in range(len(block))]

    def scatter() -> object:
        wide = block.astype(np.float64)
        wide -= wide.mean(axis=0)
        return wide.T @ wide

    def features() -> object:
        turned = block @ basis.waves
        return np.cos(turned).sum(axis=0, dtype=np.float64), np.sin(turned).sum(axis=0)

    taken: dict[str, Callable[[], object]] = {
        "scatter, in float64": scatter,
        "random features": features,
        "nearest centre": lambda: (block @ basis.centres.T - basis.halves).argmax(axis=1),
        "norms": lambda: histogram(np.linalg.norm(block, axis=1)),
        "hashes of ids": lambda: hashed(ids, basis.seed),
        "looking for NaN": lambda: checked_rows(block),
    }
    return {name: min(timeit.repeat(one, number=3, repeat=5)) / 3 for name, one in taken.items()}


def apart(one: Path, other: Path) -> dict[str, float]:
    """The same in a process of its own, by the command line."""
    command = [sys.executable, "-m", "benchmarks.drift_sketches", "--compare", str(one), str(other)]
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return {**found, "process_s": time.perf_counter() - begun}


def main() -> None:
    """Prints the tables and writes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--compare", type=Path, nargs=2)
    parser.add_argument("--write", type=Path, default=WRITTEN)
    asked = parser.parse_args()
    if asked.compare:
        print(json.dumps(compared(*asked.compare)))
        return
    sample = part_of(1, 2000, 0.0)
    basis = basis_of(sample, sample[:CLUSTERS])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = [folder / "one.npz", folder / "other.npz", folder / "moved.npz"]
        shifts = (0.0, 0.01, 0.2)  # the second is of other rows, and as good as still
        seconds = [
            built(folder, basis, asked.rows if place < 2 else PART, shift, store)
            for place, (shift, store) in enumerate(zip(shifts, stores, strict=True))
        ]
        size = stores[0].stat().st_size / 2**20
        found = [apart(stores[0], store) for store in stores[1:]]
    said = report(asked.rows, seconds[0], pieces(basis), size, found)
    asked.write.write_text(said)
    print(said)


def report(
    n_rows: int,
    seconds: dict[str, float],
    each: dict[str, float],
    size: float,
    found: list[dict[str, float]],
) -> str:
    """The page that is written."""
    gigabytes = n_rows * DIM * 4 / 1e9
    lines = [
        "# Sketches of ten million vectors",
        "",
        f"Made by `python -m benchmarks.drift_sketches` with one thread: {n_rows:,} x {DIM} "
        f"float32 ({gigabytes:.1f} GB), {CLUSTERS} centres, {basis_said()}. A stored sketch has "
        f"{size:.1f} MB.",
        "",
        "## Building",
        "",
        "| | seconds | of the processor | rows in such a second | GB in such a second |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {seconds[key]:.0f} | {seconds[f'{key}_cpu']:.0f} | "
            f"{n_rows / seconds[f'{key}_cpu']:,.0f} | {gigabytes / seconds[f'{key}_cpu']:.2f} |"
            for name, key in (
                ("reading the mapped file, and its largest component", "read"),
                ("sketching, reading included", "sketch"),
            )
        ),
        "",
        "Of 8,192 rows, piece by piece, in milliseconds: "
        + ", ".join(f"{name} {1000 * one:.1f}" for name, one in each.items())
        + ".",
        "",
        f"Sketching takes {seconds['sketch_cpu'] / seconds['read_cpu']:.0f} times as long as "
        "reading: arithmetic binds it, the products of matrices before all, and not the disk. "
        "Parts are sketched by workers side by side and merged, which takes milliseconds.",
        "",
        "## Comparing two of them",
        "",
        "A process of its own; `compare` is the default test on their samples, and the "
        "distances of all rows.",
        "",
        "| candidate | load, s | compare, s | whole process, s | peak, MB | p-value | "
        "MMD^2 | Frechet | clusters |",
        "|" + " --- |" * 9,
        *(
            f"| {name} | {one['load_s']:.2f} | {one['compare_s']:.2f} | "
            f"{one['process_s']:.2f} | {one['peak_mb']:.0f} | {one['p_value']:.3f} | "
            f"{one['mmd']:.1e} | {one['frechet']:.1e} | {one['clusters']:.3f} |"
            for name, one in zip(
                (f"{n_rows:,} other rows, moved by 0.01", f"{PART:,} rows, moved by 0.2"),
                found,
                strict=True,
            )
        ),
    ]
    return "\n".join(lines) + "\n"


def basis_said() -> str:
    """What the basis holds by default."""
    return f"{Basis.frequencies} frequencies, samples of {Basis.rows:,} rows"


if __name__ == "__main__":
    main()
