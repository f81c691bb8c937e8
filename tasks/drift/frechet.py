"""How far apart the normal laws are that have the sides' means and covariances."""

import numpy as np

from tasks.drift.pool import Pool
from tasks.metrics.score import Reals

LEADING = 32  # components: each arrangement takes two eigendecompositions of them


def frechet(pool: Pool, rng: np.random.Generator) -> Reals:
    """The squared Frechet distance |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    Dowson and Landau 1982, Journal of Multivariate Analysis 12(3), eq. 4; of images: Heusel et al.
    2017, NeurIPS (arXiv 1706.08500). Of the 32 leading components where there are more.
    """
    rows = pool.rows[:, :LEADING]
    k = rows.shape[1]
    outer = (rows[:, :, None] * rows[:, None, :]).reshape(len(rows), k * k)
    means, covariances = [], []
    for labels in (pool.labels, 1 - pool.labels):
        shares = labels / labels.sum(axis=1, keepdims=True)
        mean = shares @ rows
        means.append(mean)
        second = (shares @ outer).reshape(-1, k, k)
        covariances.append(second - mean[:, :, None] * mean[:, None, :])
    values, vectors = np.linalg.eigh(covariances[0])
    roots = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
    inner = np.swapaxes(roots, 1, 2) @ covariances[1] @ roots  # similar to S1 S2
    common = np.sqrt(np.maximum(np.linalg.eigvalsh(inner), 0)).sum(axis=1)
    traces = sum(np.trace(one, axis1=1, axis2=2) for one in covariances)
    return np.asarray(np.square(means[0] - means[1]).sum(axis=1) + traces - 2 * common)
