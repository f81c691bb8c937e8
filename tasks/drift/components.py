"""Principal components of the pooled rows, each on its own or the leading ones together.

Kernels see what moves in components of large variance; a shift in a small one is seen here.
"""

import numpy as np

from tasks.drift.pool import Pool, Table, unit_sums
from tasks.metrics.score import Reals

LEAST_ERROR = 1e-6  # of a feature that differs between rows, at variance 1


def shifts(pool: Pool, rng: np.random.Generator) -> Reals:
    """The largest shift of a whitened component, in standard errors.

    Looking at all of them is paid for within the same arrangements (Westfall and Young 1993,
    Resampling-Based Multiple Testing, algorithm 2.8), so that p needs no further correction.
    """
    return np.asarray(np.abs(standardised(pool, pool.whitened)).max(axis=1))


def leading_shifts(pool: Pool, rng: np.random.Generator) -> Reals:
    """The largest standardised sum of squared shifts of the first j whitened components, any j.

    Fan 1996, JASA 91(434), eq. 6 (adaptive Neyman test): max over j of
    (t_1^2 + ... + t_j^2 - j) / sqrt(2 j). With all components it is Hotelling's.
    """
    squares = np.square(standardised(pool, pool.whitened))
    number = np.arange(1, squares.shape[1] + 1)
    sums = np.cumsum(squares, axis=1)
    return np.asarray(((sums - number) / np.sqrt(2 * number)).max(axis=1))


def spreads(pool: Pool, rng: np.random.Generator) -> Reals:
    """The largest change of a component's variance or of the spread of all, in standard errors.

    The spread is the mean squared distance from the pooled centre, by Euclid and by Mahalanobis.
    """
    squares = np.square(pool.rows)
    white = squares / pool.variances
    features = np.column_stack([white, squares.sum(axis=1), white.mean(axis=1)])
    return np.asarray(np.abs(standardised(pool, features)).max(axis=1))


def standardised(pool: Pool, features: Table) -> Table:
    """Of each arrangement and feature the difference of the sides' means over its standard error.

    Shape (arrangements, features). The error is that of units dealt to the sides at random; a
    feature that is the same for all rows (Mahalanobis's distance where rows are few) gives 0.
    """
    centred = features - features.mean(axis=0)
    n_candidate = pool.labels.sum(axis=1, keepdims=True)
    inverse = 1 / n_candidate + 1 / (len(centred) - n_candidate)
    sums = unit_sums(pool, centred) if pool.blocked else centred
    error = np.sqrt(np.square(sums).sum(axis=0) / len(centred))
    scale = np.where(error > LEAST_ERROR, 1 / np.maximum(error, LEAST_ERROR), 0.0)
    return np.asarray((pool.labels @ centred) * np.sqrt(inverse) * scale)
