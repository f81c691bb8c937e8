"""Which tests find which drift, side by side with Evidently's methods.

`python -m benchmarks.drift_power --evidently PYTHON` prints the tables and writes
docs/drift_power.md and its figure (docs/drift_power.png). PYTHON is that of an environment with
`evidently==0.7.23` and `pandas<3` (Evidently does not import on pandas 3), in which nothing else is
needed. Without it the table has our tests alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.drift.default import STATISTICS
from tasks.drift.permutations import p_of
from tasks.drift.pool import pooled

Rows = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator], Rows]
Alarms = Callable[[Rows, Rows], dict[str, bool]]
RUNS = 100
CURVE_RUNS = 200
NAMED_RUNS = 1000
SEED = 0
ALPHA = 0.05
N, DIM = 500, 64
DEVIATIONS = np.linspace(2.0, 0.3, DIM)
SHIFTS = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
CURVES = ("combined", "mmd", "energy", "shifts", "spreads")
DOCS = Path(__file__).parent.parent / "docs"

WORKER = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import pandas as pd
from evidently.legacy.metrics.data_drift import embedding_drift_methods as methods
ASKED = {
    "model": methods.model(),
    "model (bootstrap)": methods.model(bootstrap=True),
    "distance": methods.distance(),
    "distance (bootstrap)": methods.distance(bootstrap=True),
    "mmd": methods.mmd(),
    "mmd (bootstrap)": methods.mmd(bootstrap=True),
    "mmd (bootstrap, quantile 0.95)": methods.mmd(bootstrap=True, quantile_probability=0.95),
    "ratio": methods.ratio(),
}
for line in sys.stdin:
    one, other = np.load(line.strip() + "/one.npy"), np.load(line.strip() + "/other.npy")
    found = {}
    for name, method in ASKED.items():  # some change the frames that they are given
        drifted = method(pd.DataFrame(other), pd.DataFrame(one))[1]
        found[name] = bool(drifted)
    print(json.dumps(found), flush=True)
"""


def gaussian(rng: np.random.Generator, n: int = N) -> Rows:
    """Normal rows whose deviations fall from 2.0 to 0.3."""
    return rng.normal(size=(n, DIM)) * DEVIATIONS


def unit(rows: Rows) -> Rows:
    """At length 1."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def shifted(along: npt.NDArray[np.float64]) -> Draw:
    """Normal rows, moved so many deviations in each dimension."""
    return lambda rng: unit(gaussian(rng) + along * DEVIATIONS)


def in_dimension(number: int, by: float) -> npt.NDArray[np.float64]:
    """A shift in one dimension."""
    along = np.zeros(DIM)
    along[number] = by
    return along


def wider(rng: np.random.Generator) -> Rows:
    """With a deviation in the first dimension that is a quarter larger."""
    return unit(gaussian(rng) * (1 + in_dimension(0, 0.25)))


CENTRES = 1.2 * DEVIATIONS * np.random.default_rng(SEED).normal(size=(10, DIM))


def contaminated(rng: np.random.Generator) -> Rows:
    """With 5 % of rows from a new, tighter cluster."""
    new = rng.random(N) < 0.05
    return unit(np.where(new[:, None], 1.5 * CENTRES[0] + 0.5 * gaussian(rng), gaussian(rng)))


def topics(first: float) -> Draw:
    """Ten topics of a tenth each, but for the first two, which share a fifth."""
    weights = np.array([first, 0.2 - first, *[0.1] * 8])
    return lambda rng: unit(CENTRES[rng.choice(10, N, p=weights)] + 0.6 * gaussian(rng))


PLAIN = shifted(np.zeros(DIM))
NAMED = "shift of 0.3 sd in the first dimension"
DRIFTS: Mapping[str, tuple[Draw, Draw]] = {
    "none": (PLAIN, PLAIN),
    NAMED: (PLAIN, shifted(in_dimension(0, 0.3))),
    "shift of 0.3 sd in the last dimension": (PLAIN, shifted(in_dimension(DIM - 1, 0.3))),
    "shift of 0.06 sd in all dimensions": (PLAIN, shifted(np.full(DIM, 0.06))),
    "first dimension 25 % wider": (PLAIN, wider),
    "all dimensions 4 % wider, lengths kept": (gaussian, lambda rng: 1.04 * gaussian(rng)),
    "5 % from a new cluster": (PLAIN, contaminated),
    "a topic grows from 10 to 16 %": (topics(0.1), topics(0.16)),
}


def alarms(one: Rows, other: Rows, rng: np.random.Generator, asked: tuple[str, ...]) -> list[bool]:
    """Which of these tests find a drift, all in the same arrangements."""
    pool = pooled(one, other, rng)
    return [p_of(STATISTICS[name](pool, rng)) <= ALPHA for name in asked]


def power(
    drift: tuple[Draw, Draw], runs: int, asked: tuple[str, ...], evidently: Alarms = lambda *_: {}
) -> dict[str, float]:
    """The share of runs in which each test, and each of Evidently's methods, finds the drift."""
    found: list[dict[str, bool]] = []
    for run in range(runs):
        rng, own = np.random.default_rng([SEED, run]).spawn(2)
        one, other = drift[0](rng), drift[1](rng)
        ours = dict(zip(asked, alarms(one, other, own, asked), strict=True))
        found.append({**ours, **evidently(one, other)})
    return {name: float(np.mean([run[name] for run in found])) for name in found[0]}


@contextmanager
def evidently_of(python: str | None) -> Iterator[Alarms]:
    """Evidently in its own environment, which says of rows whether they have drifted."""
    if python is None:
        yield lambda one, other: {}
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [python, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as worker,
    ):

        def ask(one: Rows, other: Rows) -> dict[str, bool]:
            if worker.stdin is None or worker.stdout is None:
                raise RuntimeError("Evidently's process has no pipes")
            np.save(Path(folder, "one.npy"), one)
            np.save(Path(folder, "other.npy"), other)
            worker.stdin.write(f"{folder}\n")
            worker.stdin.flush()
            answer: dict[str, bool] = json.loads(worker.stdout.readline())
            return {f"Evidently: {name}": drifted for name, drifted in answer.items()}

        yield ask


def table(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A line for each test, a column for each drift; in per cent."""
    lines = ["| test | " + " | ".join(found) + " |", "| --- " * (len(found) + 1) + "|"]
    for name in next(iter(found.values())):
        shares = " | ".join(f"{100 * shares[name]:.0f}" for shares in found.values())
        lines.append(f"| {name} | {shares} |")
    return [*lines, ""]


def curve_table(curves: list[dict[str, float]]) -> list[str]:
    """A line for each test, a column for each size of the named shift."""
    head = "| test | " + " | ".join(f"{size:g} sd" for size in SHIFTS) + " |"
    lines = [head, "| --- " * (len(SHIFTS) + 1) + "|"]
    for name in CURVES:
        shares = " | ".join(f"{100 * one[name]:.0f}" for one in curves)
        lines.append(f"| {name} | {shares} |")
    return [*lines, ""]


def figure(curves: list[dict[str, float]], path: Path) -> None:
    """Draws the power against the size of the shift in the first dimension."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(5, 3.5), layout="constrained")
    axes = canvas.add_subplot()
    for name in CURVES:
        axes.plot(SHIFTS, [one[name] for one in curves], marker=".", label=name)
    axes.axhline(ALPHA, color="black", lw=0.8, ls=":")
    axes.set(xlabel="shift in the first dimension, sd", ylabel="share found", ylim=(0, 1.02))
    axes.legend(fontsize=8)
    canvas.savefig(path, dpi=90, metadata={"Software": None})


def main() -> None:
    """Prints the tables and writes them with the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--named-runs", type=int, default=NAMED_RUNS)
    parser.add_argument("--curve-runs", type=int, default=CURVE_RUNS)
    parser.add_argument("--evidently", help="the Python of its environment")
    parser.add_argument("--write", type=Path, default=DOCS)
    asked = parser.parse_args()
    every = tuple(STATISTICS)
    found: dict[str, dict[str, float]] = {}
    named = power(DRIFTS[NAMED], asked.named_runs, ("combined",))
    with evidently_of(asked.evidently) as evidently:
        for name, drift in DRIFTS.items():
            found[name] = power(drift, asked.runs, every, evidently)
            print(name, found[name], file=sys.stderr, flush=True)
    curves = [
        power((PLAIN, shifted(in_dimension(0, size))), asked.curve_runs, CURVES) for size in SHIFTS
    ]
    lines = [
        "# Which drift the tests find",
        "",
        f"Made by `python -m benchmarks.drift_power` (seed {SEED}): {N} rows against {N} in {DIM} "
        "dimensions, normal with deviations that fall from 2.0 to 0.3, at length 1 but where it is "
        f"said; per cent of {asked.runs} runs with an alarm at {100 * ALPHA:.0f} %. All methods "
        "see the same rows, ours the same arrangements. `combined` is the default. Evidently is "
        "0.7.23 with pandas 2, its methods as they come but for what is said.",
        "",
        *table(found),
        f"`combined` finds the {NAMED} in {100 * named['combined']:.1f} % of "
        f"{asked.named_runs:,} runs.",
        "",
        f"The same shift in other sizes, {asked.curve_runs} runs each:",
        "",
        *curve_table(curves),
        "![Power against the size of the shift](drift_power.png)",
    ]
    said = "\n".join(lines) + "\n"
    (asked.write / "drift_power.md").write_text(said)
    figure(curves, asked.write / "drift_power.png")
    print(said)


if __name__ == "__main__":
    main()
