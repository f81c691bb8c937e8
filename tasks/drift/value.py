"""What a drift test takes and gives."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tasks.errors import DriftError
from tasks.metrics.score import Labels, Reals

Blocks = tuple[Labels, Labels]
"""Labels of the baseline's and of the candidate's rows: equal ones depend on each other."""


@dataclass(frozen=True, slots=True)
class DriftValue:
    """What a test found, and what it stands on.

    Attributes:
        method: The test's name.
        statistic: How far apart the sides are, in the test's own unit.
        p_value: The share of arrangements that are at least as far apart, the given one included:
            how probable that is where nothing drifted.
        effect: AUC, cross-fitted, of a classifier that tells the sides apart: 0.5 is chance.
        n_baseline: The number of the baseline's rows that were compared.
        n_candidate: The number of the candidate's rows that were compared.
        units_baseline: The number of what was permuted there: rows, or blocks of them.
        units_candidate: The same of the candidate.
        rows_given: The numbers of rows that both sides came with.
        least_p: The smallest p-value that could have come out. Where it is above alpha the test
            cannot find anything, and its silence says nothing.
        null: The statistics of the other arrangements, shape (permutations,).
        warnings: What was odd about the input and what was made of it, one sentence each.
    """

    method: str
    statistic: float
    p_value: float
    effect: float
    n_baseline: int
    n_candidate: int
    units_baseline: int
    units_candidate: int
    rows_given: tuple[int, int]
    least_p: float
    null: Reals
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(math.isfinite(one) for one in (self.statistic, self.p_value, self.effect)):
            raise DriftError(f"{self.method} came out as {self}: that is a defect of the test")

    @property
    def sampled(self) -> bool:
        """Whether only a part of the given rows was compared."""
        return self.rows_given != (self.n_baseline, self.n_candidate)

    @property
    def permutations(self) -> int:
        """The number of arrangements that were looked at beside the given one."""
        return len(self.null)


class DriftTest(Protocol):
    """A two-sample test whose false alarms are as many as its p-value says."""

    def __call__(
        self,
        baseline: npt.ArrayLike,
        candidate: npt.ArrayLike,
        rng: np.random.Generator,
        *,
        blocks: Blocks | None = None,
    ) -> DriftValue:
        """Whether the rows (n, dim) and (m, dim) come from one distribution.

        With `blocks`, whole blocks are permuted. The result depends on the arrays and the
        generator's state alone. Raises DriftError for rows that are not finite, differ in width,
        are fewer than two units on a side, or labels of another length.
        """
