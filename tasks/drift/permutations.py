"""The one mechanism of all tests: rows, or whole blocks of them, change sides at random.

scipy.stats.permutation_test calls the statistic anew for each arrangement and knows no blocks; here
a statistic takes all arrangements at once, as products of matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.drift.classifier import auc, best_scores
from tasks.drift.pool import PERMUTATIONS, ROWS, Pool, pooled
from tasks.drift.value import Blocks, DriftValue
from tasks.errors import DriftError
from tasks.metrics.score import Reals

Statistic = Callable[[Pool, np.random.Generator], Reals]
"""Of each arrangement how far apart the sides are, shape (arrangements,).

It treats all arrangements alike: what it draws does not depend on labels."""


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """A DriftTest: the share of arrangements that lie as far apart as the given one.

    p = (b + 1) / (B + 1), ties included (Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol.
    9(1)): exact for every statistic, number of rows and dimension, as long as units are
    exchangeable where nothing drifted. Rows are drawn and arranged as `pool.pooled` says.

    Attributes:
        method: The test's name.
        statistic: What is compared.
        permutations: B.
        rows: Of a side, above which a sample is drawn.
    """

    method: str
    statistic: Statistic
    permutations: int = PERMUTATIONS
    rows: int = ROWS

    def __post_init__(self) -> None:
        if self.permutations < 1 or self.rows < 2:
            raise DriftError(
                f"permutations = {self.permutations}, rows = {self.rows}: at least 1 and 2 are "
                "needed"
            )

    def __call__(
        self,
        baseline: npt.ArrayLike,
        candidate: npt.ArrayLike,
        rng: np.random.Generator,
        *,
        blocks: Blocks | None = None,
    ) -> DriftValue:
        """As DriftTest."""
        pool = pooled(
            baseline,
            candidate,
            rng,
            blocks=blocks,
            permutations=self.permutations,
            rows=self.rows,
        )
        found, effect = np.zeros(len(pool.sides)), 0.5
        if pool.rows.shape[1]:
            found = self.statistic(pool, rng)
            effect = float(auc(pool.given, best_scores(pool, rng))[0])
        n_candidate = int(pool.sides[0].sum())
        return DriftValue(
            self.method,
            float(found[0]),
            p_of(found),
            effect,
            len(pool.units) - n_candidate,
            n_candidate,
            *pool.n_units,
            pool.rows_given,
            pool.least_p,
            found[1:],
            pool.warnings,
        )


def p_of(found: Reals) -> float:
    """The share of the statistics that are not below the first, which is the given arrangement's.

    Those that differ by rounding alone are ties.
    """
    tied = 1e-12 + 1e-9 * float(np.ptp(found))
    return float(np.mean(found >= found[0] - tied))
