"""Seconds, CPU seconds and peak memory of the metrics of a whole space, at a million vectors.

Vectors are made once: clusters of unequal spread, some noise, some rows twice; the other encoder's
are the same, turned, with noise of their own. Both are files that are mapped for reading. Each
metric runs in a process of its own, whose peak (VmHWM) counts its mapped pages too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.metrics import compare, geometry
from tasks.metrics.score import Score

BLOCK = 10_000
N_CLUSTERS = 1000
SEED = 0
Mapped = npt.NDArray[np.float32]


def rng() -> np.random.Generator:
    """The same draws for every metric."""
    return np.random.default_rng(SEED)


def score(value: object) -> str:
    """What a metric gave, where it is one number."""
    return f"{value.value:.6g}" if isinstance(value, Score) else ""


OF_ONE: dict[str, Callable[[Mapped], object]] = {
    "spectrum": geometry.spectrum,
    "participation_ratio": geometry.participation_ratio,
    "iso_score": geometry.iso_score,
    "rank_me": geometry.rank_me,
    "alpha_req": geometry.alpha_req,
    "anisotropy": geometry.anisotropy,
    "norms": geometry.norms,
    "duplicates": geometry.duplicates,
    "uniformity": lambda one: geometry.uniformity(one, rng=rng()),
    "two_nn": lambda one: geometry.two_nn(one, rng=rng()),
    "levina_bickel": lambda one: geometry.levina_bickel(one, rng=rng()),
    "correlation_dimension": lambda one: geometry.correlation_dimension(one, rng=rng()),
    "hubness": lambda one: geometry.hubness(one, rng=rng()),
    "anti_hubs": lambda one: geometry.anti_hubs(one, rng=rng()),
}
OF_TWO: dict[str, Callable[[Mapped, Mapped], object]] = {
    "alignment": geometry.alignment,
    "modality_gap": geometry.modality_gap,
    "linear_cka": compare.linear_cka,
    "debiased_cka": compare.debiased_cka,
    "procrustes": compare.procrustes,
    "moved": lambda one, other: compare.moved(one, other, 20),
    "neighbour_overlap": lambda one, other: compare.neighbour_overlap(one, other, rng=rng()),
    "rank_biased_overlap": lambda one, other: compare.rank_biased_overlap(one, other, rng=rng()),
    "second_order_cosine": lambda one, other: compare.second_order_cosine(one, other, rng=rng()),
    "hubness_change": lambda one, other: compare.hubness_change(one, other, rng=rng()),
}


def write(folder: Path, n_rows: int, dim: int) -> None:
    """Both matrices, a block at a time."""
    draw = rng()
    centres = draw.normal(size=(N_CLUSTERS, dim)) / np.sqrt(np.arange(1, dim + 1))
    spreads = draw.uniform(0.1, 0.5, size=N_CLUSTERS)
    turn = np.linalg.qr(draw.normal(size=(dim, dim)))[0]
    one, other = (
        np.lib.format.open_memmap(folder / name, mode="w+", dtype=np.float32, shape=(n_rows, dim))
        for name in ("one.npy", "other.npy")
    )
    for start in range(0, n_rows, BLOCK):
        size = min(BLOCK, n_rows - start)
        cluster = draw.integers(N_CLUSTERS, size=size)
        spread = spreads[cluster, None] / np.sqrt(np.arange(1, dim + 1))
        rows = centres[cluster] + spread * draw.normal(size=(size, dim))
        rows[: size // 20] = draw.normal(size=(size // 20, dim)) / np.sqrt(np.arange(1, dim + 1))
        rows[-size // 100 :] = rows[: len(rows[-size // 100 :])]
        one[start : start + size] = rows
        other[start : start + size] = (rows + 0.02 * draw.normal(size=rows.shape)) @ turn


def peak_mib() -> float:
    """Of this process, mapped pages and all."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def run_one(name: str, folder: Path) -> dict[str, object]:
    """What one metric gives, its seconds, those of all threads, and this process's peak."""
    one, other = (np.load(folder / f"{file}.npy", mmap_mode="r") for file in ("one", "other"))
    started, busy = time.perf_counter(), time.process_time()
    value = OF_ONE[name](one) if name in OF_ONE else OF_TWO[name](one, other)
    return {
        "value": score(value),
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - busy,
        "peak_mib": peak_mib(),
    }


def main() -> None:
    """Prints a line for each metric as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--folder", type=Path, help="where the vectors are kept for a next run")
    parser.add_argument("--only", nargs="*", default=[*OF_ONE, *OF_TWO])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(run_one(given.child, given.folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "other.npy").exists():
            write(folder, given.rows, given.dim)
        print(f"{'metric':24}{'seconds':>9}{'CPU s':>9}{'peak MiB':>10}  value", flush=True)
        for name in given.only:
            command = [sys.executable, "-m", "benchmarks.metrics_at_scale", "--child", name]
            run = subprocess.run(
                [*command, "--folder", str(folder)], check=True, stdout=subprocess.PIPE, text=True
            )
            found = json.loads(run.stdout)
            spent = f"{found['seconds']:9.1f}{found['cpu']:9.1f}{found['peak_mib']:10.0f}"
            print(f"{name:24}{spent}  {found['value']}", flush=True)


if __name__ == "__main__":
    main()
