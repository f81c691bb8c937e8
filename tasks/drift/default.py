"""The tests by their names, the one to use, and how several statistics become one."""

from collections.abc import Mapping

import numpy as np
from scipy import special

from tasks.drift.classifier import classifier
from tasks.drift.components import leading_shifts, shifts, spreads
from tasks.drift.frechet import frechet
from tasks.drift.mmd import energy, mmd
from tasks.drift.neighbours import neighbours
from tasks.drift.permutations import PermutationTest, Statistic
from tasks.drift.pool import PERMUTATIONS, ROWS, Pool
from tasks.drift.wasserstein import wasserstein
from tasks.metrics.score import Reals


def combined(pool: Pool, rng: np.random.Generator) -> Reals:
    """The soft maximum of four statistics, each standardised over the arrangements.

    log of the mean of exp(z), as Biggs, Schrab and Gretton 2023, NeurIPS (arXiv 2306.08777, section
    4) do with kernels: nearly the largest, and more where several agree. Mean and deviation are
    those of all arrangements, the given one among them, so that the test stays exact.
    """
    found = np.concatenate(
        [np.stack([part(some, rng) for part in PARTS]) for some in pool.parts(AT_ONCE)], axis=1
    )
    centred = found - found.mean(axis=1, keepdims=True)
    deviation = found.std(axis=1, keepdims=True)
    z = centred / np.where(deviation > ROUNDING, deviation, np.inf)
    return np.asarray(special.logsumexp(z, axis=0) - np.log(len(PARTS)))


PARTS = (mmd, leading_shifts, shifts, spreads)
ROUNDING = 1e-12
AT_ONCE = 2_000  # arrangements: all that a low level takes fill memory as floats
STATISTICS: Mapping[str, Statistic] = {
    "combined": combined,
    "mmd": mmd,
    "energy": energy,
    "classifier": classifier,
    "neighbours": neighbours,
    "leading shifts": leading_shifts,
    "shifts": shifts,
    "spreads": spreads,
    "frechet": frechet,
    "wasserstein": wasserstein,
}


def default_test(*, permutations: int = PERMUTATIONS, rows: int = ROWS) -> PermutationTest:
    """The test to use: it is the one whose power holds up wherever drift may sit.

    The tables of docs/drift_calibration.md chose it. With p-values below 1 / 200 in view, more
    `permutations` are needed; above `rows` rows a side a sample is drawn.
    """
    return PermutationTest("combined", STATISTICS["combined"], permutations, rows)
