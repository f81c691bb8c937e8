"""Whether rows have their own side for neighbours."""

import numpy as np
from scipy import sparse

from tasks.drift.mmd import squared_distances
from tasks.drift.pool import Pool
from tasks.metrics.score import Reals

NEIGHBOURS = 10


def neighbours(pool: Pool, rng: np.random.Generator) -> Reals:
    """The share of a row's 10 nearest rows that are of its side, above what chance gives.

    Schilling 1986, JASA 81(395); Henze 1988, Annals of Statistics 16(2). The mean is taken over
    each side and both are added, less 1: sides of other sizes count alike. Rows of a row's own
    unit are no neighbours of it; ties go to whoever comes first in the pool's random order.
    """
    squares = squared_distances(pool.rows)
    squares[pool.units[:, None] == pool.units] = np.inf
    k = min(NEIGHBOURS, len(squares) - int(np.bincount(pool.units).max()))
    near = np.argsort(squares, axis=1, kind="stable")[:, :k]
    ends = np.arange(0, near.size + 1, k)
    shares = np.full(near.size, 1 / k)
    graph = sparse.csr_array((shares, near.ravel(), ends), shape=squares.shape)
    candidate = pool.labels.T
    alike = graph @ candidate  # of each row and arrangement the share of the candidate's
    n_candidate = candidate.sum(axis=0)
    own = (candidate * alike).sum(axis=0) / n_candidate
    other = ((1 - candidate) * (1 - alike)).sum(axis=0) / (len(squares) - n_candidate)
    return np.asarray(own + other - 1)
