"""The rows that segments are made of, and how likely it is that so many of a side are in one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from tasks.drift.basis import checked_rows
from tasks.drift.clusters import Numbers
from tasks.drift.value import Blocks
from tasks.errors import DriftError
from tasks.metrics.score import Labels, Matrix, Reals

ROWS = 10_000  # of a side; more are sampled
LIKE = 3  # of the larger side, for each row of the other, where both must be around
LEAST = 100, 10  # rows of the baseline and of the candidate
PERMUTATIONS = 9_999


@dataclass(frozen=True, eq=False)
class Counted:
    """Rows of both sides, the baseline's first.

    Attributes:
        rows: Shape (n, dim).
        units: What each moves with, from 0, shape (n,).
        sides: Whether it is of the candidate, shape (n,).
        numbers: Its number on its side as it was given, shape (n,).
        n_given: The numbers of rows that the sides came with.
        rng: Of all that is drawn for them.
    """

    rows: Matrix
    units: Numbers
    sides: npt.NDArray[np.bool_]
    numbers: Numbers
    n_given: tuple[int, int]
    rng: np.random.Generator

    def of(self, rows: npt.NDArray[np.bool_]) -> "Counted":
        """These rows alone."""
        units = np.unique(self.units[rows], return_inverse=True)[1].astype(np.int64)
        return Counted(
            self.rows[rows], units, self.sides[rows], self.numbers[rows], self.n_given, self.rng
        )

    def some_units(self, share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Rows of so many of the baseline's units: the same ones whatever the candidate is."""
        units = np.unique(self.units[~self.sides])
        drawn = rng.choice(units, max(1, int(share * len(units))), replace=False)
        return np.isin(self.units, drawn)

    def alike(self) -> "Counted":
        """The same with at most three of the larger side's rows for each of the other's, drawn."""
        places = np.flatnonzero(~self.sides), np.flatnonzero(self.sides)
        most = LIKE * min(map(len, places))
        held = np.zeros(len(self.sides), np.bool_)
        for rows in places:
            held[self.rng.permutation(rows)[:most] if len(rows) > most else rows] = True
        return self.of(held)

    def growth(self, of: Numbers, n: int) -> Reals:
        """How likely a difference of shares as large is by chance, of each of n segments.

        `of` names the segment of each row. Where each row is a unit of its own: Fisher's exact test
        (1935, JRSS 98(1)), twice the smaller tail. Else units are permuted 9,999 times, and
        p = (b + 1) / (B + 1).
        """
        candidate = np.bincount(of[self.sides], minlength=n)
        if len(np.unique(self.units)) == len(self.units):
            law = stats.hypergeom(len(of), int(self.sides.sum()), np.bincount(of, minlength=n))
            tails = np.minimum(law.cdf(candidate), law.sf(candidate - 1))
            return np.asarray(np.minimum(1.0, 2 * tails))
        counts = np.zeros((int(self.units.max()) + 1, n))
        np.add.at(counts, (self.units, of), 1.0)
        sides = np.zeros(len(counts), np.bool_)
        sides[self.units] = self.sides
        total = counts.sum(axis=0)

        def apart(sides: npt.NDArray[np.bool_]) -> Reals:
            mine = sides.astype(np.float64) @ counts
            return np.asarray(np.abs(mine / mine.sum() - (total - mine) / (total - mine).sum()))

        seen = apart(sides) * (1 - 1e-9)
        as_far = sum(
            (apart(self.rng.permutation(sides)) >= seen).astype(np.int64)
            for _ in range(PERMUTATIONS)
        )
        return np.asarray((as_far + 1) / (PERMUTATIONS + 1))


def counted_of(
    baseline: npt.ArrayLike,
    candidate: npt.ArrayLike,
    blocks: Blocks | None,
    rng: np.random.Generator,
) -> tuple[Counted, list[str]]:
    """All rows, or a sample of each side that the other has no part in, and what is said of it.

    Raises DriftError as `checked_rows`, for too few rows, other widths and labels of other lengths.
    """
    sides = checked_rows(baseline), checked_rows(candidate)
    if sides[0].shape[1] != sides[1].shape[1]:
        raise DriftError(
            f"the baseline has {sides[0].shape[1]} components, the candidate {sides[1].shape[1]}"
        )
    n_given = len(sides[0]), len(sides[1])
    if n_given[0] < LEAST[0] or n_given[1] < LEAST[1]:
        raise DriftError(f"{n_given} rows of baseline and candidate: at least {LEAST} are needed")
    units: list[Numbers] = []
    taken, said = [], []
    draws = rng.spawn(2)
    for place, name in enumerate(("baseline", "candidate")):
        labels = None if blocks is None else blocks[place]
        mine = _units(n_given[place], name, labels)
        rows = np.arange(len(mine))
        if len(mine) > ROWS:
            rows = np.sort(draws[place].choice(rows, ROWS, replace=False))
            said.append(
                f"segments are of {ROWS:,} of the {name}'s {len(mine):,} rows, drawn at random"
            )
        taken.append(rows)
        units.append(mine[rows] + (1 + units[0].max() if units else 0))
    counted = Counted(
        np.concatenate([side[rows] for side, rows in zip(sides, taken, strict=True)]),
        np.unique(np.concatenate(units), return_inverse=True)[1].astype(np.int64),
        np.repeat([False, True], [len(rows) for rows in taken]),
        np.concatenate(taken),
        n_given,
        rng,
    )
    return counted, said


def _units(n: int, name: str, labels: Labels | None) -> Numbers:
    if labels is None:
        return np.arange(n)
    if len(labels) != n:
        raise DriftError(f"{name} has {n} rows and {len(labels)} labels of blocks")
    units = np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64)
    if units.max() < 3:
        raise DriftError(f"{name} has {units.max() + 1} blocks: at least 4 are needed")
    return units
