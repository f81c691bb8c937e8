"""The test to use, and how several statistics become one."""

import numpy as np
from scipy import special

from tasks.drift.components import leading_shifts, shifts, spreads
from tasks.drift.mmd import mmd
from tasks.drift.permutations import PermutationTest, Statistic
from tasks.drift.pool import PERMUTATIONS, ROWS, Pool
from tasks.drift.value import DriftTest
from tasks.metrics.score import Reals

PARTS = (mmd, leading_shifts, shifts, spreads)


def combined(*parts: Statistic) -> Statistic:
    """The soft maximum of statistics, each standardised over the arrangements.

    log of the mean of exp(z), as Biggs, Schrab and Gretton 2023, NeurIPS (arXiv 2306.08777, eq. 6)
    do with kernels: nearly the largest, and more where several agree. Mean and deviation are taken
    over all arrangements, the given one among them, so that the test is exact.
    """

    def statistic(pool: Pool, rng: np.random.Generator) -> Reals:
        found = np.stack([part(pool, rng) for part in parts])
        centred = found - found.mean(axis=1, keepdims=True)
        spread = found.std(axis=1, keepdims=True)
        z = centred / np.where(spread > 1e-12, spread, np.inf)
        return np.asarray(special.logsumexp(z, axis=0) - np.log(len(parts)))

    return statistic


def default_test(*, permutations: int = PERMUTATIONS, rows: int = ROWS) -> DriftTest:
    """The test that docs/drift_calibration.md chose."""
    return PermutationTest("combined", combined(*PARTS), permutations, rows)
