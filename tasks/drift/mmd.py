"""Distances of two samples from the likeness of all pairs: within the sides, and between them."""

import numpy as np

from tasks.drift.pool import Pool, Table
from tasks.metrics.score import Reals

FEW = 300  # rows whose distances give the median, within a per cent or two


def mmd(pool: Pool, rng: np.random.Generator) -> Reals:
    """The squared maximum mean discrepancy, unbiased, under a Gaussian kernel.

    Gretton, Borgwardt, Rasch, Schoelkopf and Smola 2012, JMLR 13, lemma 6; the kernel is
    exp(-d^2 / (2 s^2)) with s half the median distance of the pooled rows (of 300 of them; equal
    ones left out): half, because it finds small new clusters that the median smooths over and loses
    nothing elsewhere. With blocks, the means are over pairs of different blocks.
    """
    squares = squared_distances(pool.rows)
    few = squares[:FEW, :FEW]
    width = float(np.median(few[few > 0])) if (few > 0).any() else float(squares.max())
    squares *= -2 / width  # width / 4 is the square of half the median
    return apart(np.exp(squares, out=squares), pool)


def energy(pool: Pool, rng: np.random.Generator) -> Reals:
    """The energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'|, unbiased, of rows scaled to spread 1.

    Szekely and Rizzo 2013, Journal of Statistical Planning and Inference 143(8), eq. 2.5. With
    blocks, the means are over pairs of different blocks.
    """
    squares = squared_distances(pool.rows)
    return apart(-np.sqrt(squares, out=squares), pool)


def apart(alike: Table, pool: Pool) -> Reals:
    """Of each arrangement: the mean likeness within the sides, both, less twice that between them.

    `alike` (n, n) is changed: pairs of one unit, which never part, become 0 and do not count. All
    arrangements at once are one product of (1 + permutations, n) and (n, n).
    """
    if pool.blocked:
        alike[pool.units[:, None] == pool.units[None, :]] = 0.0
    else:
        np.fill_diagonal(alike, 0.0)
    sizes = np.bincount(pool.units)[pool.units].astype(np.float64)
    candidate = pool.labels
    sums = alike.sum(axis=0)
    within = np.einsum("ij,ij->i", candidate @ alike, candidate)
    between = candidate @ sums - within
    other = sums.sum() - within - 2 * between
    n, n_pairs = candidate.sum(axis=1), candidate @ sizes
    m, m_pairs = len(sizes) - n, sizes.sum() - n_pairs
    return np.asarray(within / (n**2 - n_pairs) + other / (m**2 - m_pairs) - 2 * between / (n * m))


def squared_distances(rows: Table) -> Table:
    """Of all pairs, shape (n, n), from products; never below 0."""
    lengths = np.einsum("ij,ij->i", rows, rows)
    squares = rows @ rows.T
    squares *= -2
    squares += lengths
    squares += lengths[:, None]
    squares[squares < 1e-12] = 0.0  # rounding of equal rows, at a mean squared length of 1
    return squares
