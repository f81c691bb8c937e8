"""How often the drift test sounds an alarm where nothing drifted.

`python -m benchmarks.drift_calibration` draws both sides from one law 2,000 times for each cell,
prints the table and writes docs/drift_calibration.md with its figure (docs/drift_calibration.png).
"""

import argparse
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from tasks.drift import default_test
from tasks.drift.value import Blocks

Rows = npt.NDArray[np.float32]
RUNS = 2000
SEED = 0
ALPHA = 0.05
LEVEL = 0.999  # of each cell's interval
PART = 50  # runs of one piece of work
SHOWN = (0.01, 0.05, 0.1, 0.2, 0.5)
DOCS = Path(__file__).parent.parent / "docs"


class Drawn(NamedTuple):
    """Rows of one side, and the label of each row's block where rows depend on each other."""

    rows: Rows
    blocks: npt.NDArray[np.int64] | None = None


class Cell(NamedTuple):
    """One law for both sides, of `n` and `m` rows or blocks; `by_rows` forgets the blocks."""

    name: str
    law: Callable[[np.random.Generator, int], Drawn]
    n: int
    m: int
    by_rows: bool = False


def isotropic(rng: np.random.Generator, n: int, dim: int) -> Rows:
    """Normal rows without any direction."""
    return rng.standard_normal((n, dim), np.float32)


def anisotropic(rng: np.random.Generator, n: int, dim: int) -> Rows:
    """Rows of length 1 around one common direction, their deviations falling from 2 to 0.02."""
    rows = isotropic(rng, n, dim) * np.geomspace(2, 0.02, dim, dtype=np.float32)
    rows[:, 0] += 3
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def falling(rng: np.random.Generator, n: int, dim: int) -> Rows:
    """Normal rows with deviations falling from 2.0 to 0.3, at length 1."""
    rows = isotropic(rng, n, dim) * np.linspace(2, 0.3, dim, dtype=np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def heavy(rng: np.random.Generator, n: int, dim: int) -> Rows:
    """Student's t rows with 2.5 degrees of freedom: a few lie far out."""
    return rng.standard_t(2.5, (n, dim)).astype(np.float32)


def clusters(rng: np.random.Generator, n: int, dim: int) -> Rows:
    """Rows of 20 topics."""
    centres = 2 * isotropic(np.random.default_rng(SEED), 20, dim)
    rows: Rows = centres[rng.integers(0, 20, n)] + isotropic(rng, n, dim)
    return rows


def copies(rng: np.random.Generator, n: int, dim: int) -> Rows:
    """Rows of which only 60 are distinct, the first of them common."""
    distinct = isotropic(np.random.default_rng(SEED), 60, dim)
    return distinct[rng.geometric(0.06, n) % 60]


def documents(rng: np.random.Generator, n: int, dim: int, most: int) -> Drawn:
    """The chunks of n documents, 1 to `most` each, which lie around their document."""
    of = np.repeat(np.arange(n), rng.integers(1, most + 1, n))
    return Drawn(falling(rng, n, dim)[of] + 0.1 * isotropic(rng, len(of), dim), of)


CELLS = (
    Cell("isotropic, d = 16", lambda rng, n: Drawn(isotropic(rng, n, 16)), 50, 50),
    Cell("anisotropic, d = 64", lambda rng, n: Drawn(anisotropic(rng, n, 64)), 50, 500),
    Cell("anisotropic, d = 768", lambda rng, n: Drawn(anisotropic(rng, n, 768)), 100, 100),
    Cell("isotropic, d = 768", lambda rng, n: Drawn(isotropic(rng, n, 768)), 200, 60),
    Cell("20 topics, d = 128", lambda rng, n: Drawn(clusters(rng, n, 128)), 250, 250),
    Cell("heavy tails, d = 32", lambda rng, n: Drawn(heavy(rng, n, 32)), 300, 150),
    Cell("60 distinct rows, d = 32", lambda rng, n: Drawn(copies(rng, n, 32)), 300, 200),
    Cell("spectrum 2.0 to 0.3, d = 64", lambda rng, n: Drawn(falling(rng, n, 64)), 500, 500),
    Cell("anisotropic, d = 384", lambda rng, n: Drawn(anisotropic(rng, n, 384)), 200, 1000),
    Cell("anisotropic, d = 32", lambda rng, n: Drawn(anisotropic(rng, n, 32)), 500, 5000),
    Cell("anisotropic, d = 16", lambda rng, n: Drawn(anisotropic(rng, n, 16)), 5000, 5000),
    Cell("documents of 1 to 20 chunks, d = 64", lambda rng, n: documents(rng, n, 64, 20), 40, 40),
    Cell("users of 1 to 60 rows, d = 32", lambda rng, n: documents(rng, n, 32, 60), 12, 9),
    Cell("documents, tested by rows", lambda rng, n: documents(rng, n, 64, 20), 40, 40, True),
    Cell("users, tested by rows", lambda rng, n: documents(rng, n, 32, 60), 12, 9, True),
)


def p_values(number: int, runs: range) -> npt.NDArray[np.float64]:
    """The p-values of some of a cell's runs, shape (len(runs),)."""
    cell = CELLS[number]
    test = default_test()
    found = np.empty(len(runs))
    for place, run in enumerate(runs):
        rng, own = np.random.default_rng([SEED, zlib.crc32(cell.name.encode()), run]).spawn(2)
        one, other = cell.law(rng, cell.n), cell.law(rng, cell.m)
        blocks: Blocks | None = None
        if one.blocks is not None and other.blocks is not None and not cell.by_rows:
            blocks = one.blocks, other.blocks
        found[place] = test(one.rows, other.rows, own, blocks=blocks).p_value
    return found


def interval(alarms: int, runs: int) -> tuple[float, float]:
    """Clopper and Pearson's."""
    ends = stats.binomtest(alarms, runs).proportion_ci(LEVEL, "exact")
    return float(ends.low), float(ends.high)


def row_of(cell: Cell, found: npt.NDArray[np.float64]) -> str:
    """A cell's line of the table."""
    low, high = interval(int((found <= ALPHA).sum()), len(found))
    shares = " | ".join(f"{100 * (found <= alpha).mean():.1f}" for alpha in SHOWN)
    holds = "yes" if low <= ALPHA <= high else "NO"
    ends = f"{100 * low:.1f} to {100 * high:.1f}"
    return f"| {cell.name} | {cell.n:,} | {cell.m:,} | {shares} | {ends} | {holds} |"


def table(every: list[tuple[Cell, npt.NDArray[np.float64]]]) -> list[str]:
    """The lines of cells and their p-values."""
    shown = " | ".join(f"{100 * alpha:.0f} %" for alpha in SHOWN)
    return [
        f"| law of both sides | n | m | {shown} | {100 * LEVEL:.1f} % interval at 5 % | holds |",
        "| --- " * (len(SHOWN) + 5) + "|",
        *(row_of(cell, found) for cell, found in every),
        "",
    ]


def figure(every: list[tuple[Cell, npt.NDArray[np.float64]]], path: Path) -> None:
    """Draws the share of alarms at each alpha; a line that holds lies on the diagonal."""
    from matplotlib.figure import Figure

    alphas = np.arange(1, 41) / 200
    canvas = Figure(figsize=(5, 4), layout="constrained")
    axes = canvas.add_subplot()
    for cell, found in every:
        shares = [(found <= alpha + 1e-9).mean() for alpha in alphas]
        color, style = ("tab:red", "--") if cell.by_rows else ("tab:blue", "-")
        axes.plot(alphas, shares, lw=0.8, color=color, ls=style)
    axes.plot(alphas, alphas, color="black", lw=0.8, ls=":")
    axes.set(xlabel="alpha", ylabel="share of alarms without drift", ylim=(0, 1.03))
    axes.plot([], [], color="tab:blue", label="the default test, a line for each law")
    axes.plot([], [], color="tab:red", ls="--", label="by rows, where rows depend on each other")
    axes.legend(loc="center right", fontsize=8)
    canvas.savefig(path, dpi=90, metadata={"Software": None})


def report(every: list[tuple[Cell, npt.NDArray[np.float64]]]) -> str:
    """The page that is written."""
    honest = [(cell, found) for cell, found in every if not cell.by_rows]
    wrong = [(cell, found) for cell, found in every if cell.by_rows]
    pooled = np.concatenate([found for _, found in honest])
    low, high = interval(int((pooled <= ALPHA).sum()), len(pooled))
    runs = len(every[0][1])
    lines = [
        "# How often the drift test sounds an alarm where nothing drifted",
        "",
        f"Made by `python -m benchmarks.drift_calibration --runs {runs}` (seed {SEED}): for each "
        f"line {runs:,} pairs of samples of one law, and the per cent of them whose p-value is at "
        "or under alpha. Of documents and users, n and m are their numbers. With 199 permutations "
        "p is a multiple of 1 / 200, and alpha = 5 % is met exactly where ties are rare; samples "
        "above 2,000 rows are drawn.",
        "",
        *table(honest),
        f"All together at 5 %: {100 * (pooled <= ALPHA).mean():.2f} % "
        f"({100 * low:.2f} to {100 * high:.2f}).",
        "",
        "The same rows, permuted one by one where they depend on each other: that is what tests "
        "without blocks do.",
        "",
        *table(wrong),
        "![Share of alarms at each alpha](drift_calibration.png)",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the tables and writes them with the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", type=Path, default=DOCS)
    asked = parser.parse_args()
    every = []
    with ProcessPoolExecutor(asked.processes) as workers:
        parts = [
            [
                workers.submit(p_values, number, range(start, min(start + PART, asked.runs)))
                for start in range(0, asked.runs, PART)
            ]
            for number in range(len(CELLS))
        ]
        for cell, answers in zip(CELLS, parts, strict=True):
            found = np.concatenate([answer.result() for answer in answers])
            every.append((cell, found))
            print(row_of(cell, found), file=sys.stderr, flush=True)
    said = report(every)
    (asked.write / "drift_calibration.md").write_text(said)
    figure(every, asked.write / "drift_calibration.png")
    print(said)


if __name__ == "__main__":
    main()
