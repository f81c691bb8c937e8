"""How far rows would have to be carried, seen from many directions."""

import numpy as np

from tasks.drift.pool import Pool
from tasks.metrics.score import Reals

DIRECTIONS = 50


def wasserstein(pool: Pool, rng: np.random.Generator) -> Reals:
    """The sliced 1-Wasserstein distance: its mean over 50 random directions.

    Bonneel, Rabin, Peyre and Pfister 2015, Journal of Mathematical Imaging and Vision 51(1); in one
    direction it is the area between both distribution functions. The directions are one set for
    all arrangements; rows are scaled to a spread of 1.
    """
    directions = rng.normal(size=(pool.rows.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    seen = pool.rows @ directions
    # Of a row the step that it makes in the difference of both distribution functions.
    n_candidate = pool.labels.sum(axis=1, keepdims=True)
    n_baseline = len(pool.units) - n_candidate
    steps = pool.labels * (1 / n_candidate + 1 / n_baseline) - 1 / n_baseline
    total = np.zeros(len(steps))
    for along in seen.T:
        order = np.argsort(along)
        between = np.cumsum(steps[:, order], axis=1)[:, :-1]
        total += np.abs(between) @ np.diff(along[order])
    return np.asarray(total / DIRECTIONS)
