"""A classifier that tells the sides apart, asked about rows that it has not seen.

scikit-learn fits one model for one labelling; here all arrangements are fitted at once, as products
of matrices.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import linalg, special, stats

from tasks.drift.pool import Pool, Table
from tasks.metrics.score import Reals

FOLDS = 5
STEPS = 8  # of the fit: the order of the scores hardly changes after them
RIDGE = 0.05  # for each row, on components with a mean variance of 1


class Scores(NamedTuple):
    """Of each row how much a model that has not seen its fold takes it for the candidate's.

    Attributes:
        values: Shape (arrangements, n); comparable within a fold.
        folds: Of each row its fold, shape (n,).
    """

    values: Table
    folds: npt.NDArray[np.int64]


def classifier(pool: Pool, rng: np.random.Generator) -> Reals:
    """The AUC of a logistic regression on the pool's components, cross-fitted by units.

    Lopez-Paz and Oquab 2017, ICLR (arXiv 1610.06545), with the AUC for the accuracy; the model is
    fitted anew for each arrangement.
    """
    return auc(pool, held_out(pool, rng))


def held_out(pool: Pool, rng: np.random.Generator) -> Scores:
    """Scores of ridge logistic regressions on all other folds, for each arrangement."""
    folds = folds_of(pool, rng)
    features = pool.rows * np.sqrt(pool.rows.shape[1])
    values = np.empty_like(pool.labels)
    for fold in range(int(folds.max()) + 1):
        asked = folds == fold
        weights = _logistic(features[~asked], pool.labels[:, ~asked].T)
        values[:, asked] = (features[asked] @ weights).T
    return Scores(values, folds)


def folds_of(pool: Pool, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Of each row its fold; units stay whole, and a fold holds two or more of them."""
    n_units = int(pool.units.max()) + 1
    folds = max(2, min(FOLDS, n_units // 2))
    return np.asarray((rng.permutation(n_units) % folds)[pool.units])


def auc(pool: Pool, scores: Scores) -> Reals:
    """Of each arrangement: how often a candidate's row scores above a baseline's of its fold.

    Ties count half; 0.5 where no fold holds both sides.
    """
    wins, pairs = np.zeros(len(pool.labels)), np.zeros(len(pool.labels))
    for fold in range(int(scores.folds.max()) + 1):
        asked = scores.folds == fold
        labels = pool.labels[:, asked]
        ranks = stats.rankdata(scores.values[:, asked], axis=1)
        candidates = labels.sum(axis=1)
        wins += (ranks * labels).sum(axis=1) - candidates * (candidates + 1) / 2
        pairs += candidates * (labels.shape[1] - candidates)
    return np.asarray(np.where(pairs > 0, wins / np.maximum(pairs, 1), 0.5))


def _logistic(features: Table, labels: Table) -> Table:
    """Weights (k, arrangements) of ridge logistic regressions; labels (n, arrangements).

    Steps with a fixed bound of the curvature: Boehning and Lindsay 1988, Annals of the Institute of
    Statistical Mathematics 40(4). It is one for all labels.
    """
    wide = np.column_stack([features, np.ones(len(features))])
    penalty = np.full(wide.shape[1], RIDGE * len(wide))
    penalty[-1] = 1e-9  # the intercept is free
    curvature = linalg.cho_factor(wide.T @ wide / 4 + np.diag(penalty))
    weights = np.zeros((wide.shape[1], labels.shape[1]))
    for _ in range(STEPS):
        gradient = wide.T @ (labels - special.expit(wide @ weights)) - penalty[:, None] * weights
        weights += linalg.cho_solve(curvature, gradient)
    return np.asarray(weights[:-1])
