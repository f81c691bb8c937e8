"""Two sets of rows as one, in random order, and the arrangements in which tests look at them."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tasks.drift.blocks import LARGE, some_of_each
from tasks.drift.value import Blocks
from tasks.errors import DriftError, MetricError
from tasks.metrics.score import Labels, Matrix, Reals, check_matrix

PERMUTATIONS = 199  # with the given arrangement 200, so that alpha = 0.05 is met exactly
ROWS = 2000  # of a side that are compared: likeness of all pairs is held
UNITS = 50  # of a side that take part, where it has so many: 4 beside 4 have no p below 2 / 70
SIDES = ("baseline", "candidate")
Table = npt.NDArray[np.float64]
"""Numbers, shape (rows, columns)."""
Numbers = npt.NDArray[np.int64]
"""A row's number, or that of its unit."""
Sides = npt.NDArray[np.bool_]
"""Whether each is of the candidate, shape (arrangements, rows or units)."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Rows of both sides in random order, and the arrangements in which they are looked at.

    A unit is what changes sides as a whole: a row, or a block of rows. What is computed of `rows`
    and `units` alone knows nothing of the sides.

    Attributes:
        rows: Shape (n, k): principal components of the pooled rows, the largest variance first and
            those without any left out. Distances are those of the rows but for one scale, at which
            the mean squared distance from the centre is 1.
        units: Of each row the number of its unit, from 0, shape (n,).
        sides: Shape (arrangements, n): whether a row is of the candidate; the first as given.
        n_units: The numbers of units of the baseline and of the candidate.
        rows_given: The numbers of rows that both came with.
        warnings: What was odd about the input and what was made of it, one sentence each.
    """

    rows: Table
    units: Numbers
    sides: Sides
    n_units: tuple[int, int]
    rows_given: tuple[int, int]
    warnings: tuple[str, ...]

    @property
    def given(self) -> "Pool":
        """The same with the given arrangement alone."""
        return replace(self, sides=self.sides[:1])

    @property
    def labels(self) -> Table:
        """Shape (arrangements, n): 1 for the candidate's rows, else 0; made anew each time."""
        return self.sides.astype(np.float64)

    def parts(self, n: int) -> Iterator["Pool"]:
        """The same with so many arrangements at a time."""
        for start in range(0, len(self.sides), n):
            yield replace(self, sides=self.sides[start : start + n])

    @property
    def variances(self) -> Reals:
        """Of each component, shape (k,); they sum to 1."""
        return np.asarray(np.square(self.rows).mean(axis=0))

    @property
    def whitened(self) -> Table:
        """The components at variance 1, shape (n, k)."""
        return np.asarray(self.rows / np.sqrt(self.variances))

    @property
    def blocked(self) -> bool:
        """Whether any two rows move together."""
        return sum(self.n_units) < len(self.units)

    @property
    def least_p(self) -> float:
        """The smallest p-value that can come out: arrangements are few, or few are looked at.

        Sides of equally many units may change places without a difference.
        """
        ways = math.comb(sum(self.n_units), self.n_units[0])
        twins = 2 if self.n_units[0] == self.n_units[1] else 1
        return max(1 / len(self.sides), twins / ways)


def pooled(
    baseline: npt.ArrayLike,
    candidate: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    blocks: Blocks | None = None,
    permutations: int = PERMUTATIONS,
    rows: int = ROWS,
) -> Pool:
    """The rows (n, dim) and (m, dim) as one pool; raises DriftError as DriftTest says.

    Of each side at most so many units are drawn as make `rows` rows on average, and of a block with
    more than 200 rows a random 200, or fewer, where else fewer than 50 units would be drawn. How
    many is taken from the sizes of both sides' units together, so that the sample is as
    exchangeable as the whole. A label that stands on both sides names two
    blocks: what those have in common makes the sides more alike, and alarms rarer. Where there are
    at most permutations + 1 arrangements, all are looked at.
    """
    sides = _checked(baseline, candidate)
    units = _units(sides, blocks)
    kept = _drawn(units, rows, rng)
    numbers = np.concatenate([units[side][kept[side]] for side in (0, 1)])
    numbers = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    counts = [len(np.unique(units[side][kept[side]])) for side in (0, 1)]
    if min(counts) < 2:
        what = "rows" if blocks is None else "blocks"
        raise DriftError(
            f"{counts[0]} {what} of the baseline and {counts[1]} of the candidate: at least 2 on "
            "each side are needed"
        )
    order = rng.permutation(len(numbers))
    values = principal(np.concatenate([sides[side][kept[side]] for side in (0, 1)])[order])
    warnings = [
        f"{len(some):,} of the {name}'s {len(side):,} rows were drawn and compared"
        for name, side, some in zip(SIDES, sides, kept, strict=True)
        if len(some) < len(side)
    ]
    if not values.shape[1]:
        warnings.append("all rows are equal: there is nothing to compare")
    return Pool(
        values,
        numbers[order],
        arrangements(counts[0], counts[1], permutations, rng)[:, numbers[order]],
        (counts[0], counts[1]),
        (len(sides[0]), len(sides[1])),
        tuple(warnings),
    )


def unit_sums(pool: Pool, values: Table) -> Table:
    """The sums of each unit's rows, shape (units, columns)."""
    sums = np.zeros((sum(pool.n_units), values.shape[1]))
    np.add.at(sums, pool.units, values)
    return sums


def _checked(baseline: npt.ArrayLike, candidate: npt.ArrayLike) -> tuple[Matrix, Matrix]:
    try:
        sides = check_matrix(baseline, "the baseline"), check_matrix(candidate, "the candidate")
    except MetricError as error:
        raise DriftError(str(error)) from None
    if sides[0].shape[1] != sides[1].shape[1]:
        raise DriftError(
            f"the baseline has {sides[0].shape[1]} components, the candidate {sides[1].shape[1]}"
        )
    return sides


def _units(sides: tuple[Matrix, Matrix], blocks: Blocks | None) -> list[Numbers]:
    """Of each side's rows the numbers of their units; the candidate's follow the baseline's."""
    given: list[Labels] = [np.arange(len(side)) for side in sides]
    if blocks is not None:
        given = [*blocks]
    units: list[Numbers] = []
    for name, side, labels in zip(SIDES, sides, given, strict=True):
        if len(labels) != len(side):
            raise DriftError(f"the {name} has {len(side)} rows and {len(labels)} labels of blocks")
        first = int(units[0].max()) + 1 if units else 0
        units.append(first + np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64))
    return units


def _drawn(units: list[Numbers], rows: int, rng: np.random.Generator) -> list[Numbers]:
    """Which rows of each side are compared, ascending."""
    sizes = np.bincount(np.concatenate(units))
    wanted = min(UNITS, max(len(np.unique(numbers)) for numbers in units))
    large = LARGE
    while large > 1 and rows < wanted * np.minimum(sizes, large).mean():
        large -= 1
    most = max(2, int(rows / np.minimum(sizes, large).mean()))
    kept = []
    for numbers in units:
        there = np.unique(numbers)
        chosen = there if len(there) <= most else rng.choice(there, most, replace=False)
        mine = np.flatnonzero(np.isin(numbers, chosen))
        if (sizes[chosen] > large).any():
            held = np.zeros(len(sizes), np.int64)
            held[chosen] = large
            mine = some_of_each(numbers, held, rng)
        kept.append(mine)
    return kept


def arrangements(
    n_baseline: int, n_candidate: int, permutations: int, rng: np.random.Generator
) -> Sides:
    """Sides of units, shape (arrangements, units): as given first, where the baseline's lead."""
    n_units = n_baseline + n_candidate
    given = np.arange(n_units) >= n_baseline
    if math.comb(n_units, n_candidate) > permutations + 1:
        made = np.tile(given, (permutations + 1, 1))
        rng.permuted(made[1:], axis=1, out=made[1:])
        return made
    chosen = np.array(list(itertools.combinations(range(n_units), n_candidate)))
    every = np.zeros((len(chosen), n_units), np.bool_)
    np.put_along_axis(every, chosen, True, axis=1)
    return every[::-1]  # the last combination is that of the last units


def principal(rows: Matrix) -> Table:
    """Principal components of the rows at a mean squared length of 1: see Pool.rows."""
    wide = rows.astype(np.float64)
    largest = float(np.abs(wide).max())
    wide /= largest if largest > 0 else 1.0  # squares of tiny numbers would vanish
    wide -= wide.mean(axis=0)
    scale = float(np.sqrt(np.einsum("ij,ij->", wide, wide) / len(wide)))
    if scale < ROUNDING:  # what it leaves of equal rows
        return np.empty((len(wide), 0))
    wide /= scale
    tall = len(wide) > wide.shape[1]
    values, vectors = np.linalg.eigh((wide.T @ wide if tall else wide @ wide.T) / len(wide))
    there = np.flatnonzero(values > ROUNDING)[::-1]
    if tall:
        return np.asarray(wide @ vectors[:, there])
    return np.asarray(vectors[:, there] * np.sqrt(len(wide) * values[there]))


ROUNDING = 1e-12
