"""A classifier that tells the sides apart, asked about rows that it has not seen.

scikit-learn fits one model for one labelling; here all arrangements are fitted at once, as products
of matrices.
"""

from typing import NamedTuple

import numpy as np
from scipy import linalg, special, stats

from tasks.drift.pool import Numbers, Pool, Table
from tasks.metrics.score import Reals

FOLDS = 5
STEPS = 10  # of the fit: the order of the scores hardly changes after them
FLAT_RIDGE = 0.05  # for each row, on whitened components: against those that are nearly constant
CURVED_RIDGE = 1.0  # for each row, on components with a mean variance of 1
CURVED = 64  # leading components whose squares are looked at


class Scores(NamedTuple):
    """Of each row how much a model that has not seen its fold takes it for the candidate's.

    Attributes:
        values: Shape (arrangements, n): above 0 where the row is likelier to be the candidate's
            than a row of unknown side; they are best compared within a fold.
        folds: Of each row its fold, shape (n,).
    """

    values: Table
    folds: Numbers


def classifier(pool: Pool, rng: np.random.Generator) -> Reals:
    """The AUC of a logistic regression on the pool's components, cross-fitted by units.

    Lopez-Paz and Oquab 2017, ICLR (arXiv 1610.06545), with the AUC for the accuracy; the model is
    fitted anew for each arrangement.
    """
    return auc(pool, _held_out(pool, pool.whitened, FLAT_RIDGE, folds_of(pool, rng)))


def best_scores(pool: Pool, rng: np.random.Generator) -> Scores:
    """Of the given arrangement, the scores of the better of two logistic regressions.

    One sees the whitened components, the other components, their squares and both distances to the
    centre, so that a change of variance is seen too. Which is better in a fold the other folds say.
    """
    pool, folds = pool.given, folds_of(pool, rng)
    models = [
        _held_out(pool, pool.whitened, FLAT_RIDGE, folds),
        _held_out(pool, _curved(pool), CURVED_RIDGE, folds),
    ]
    wins = np.array([[won[0] for won, _ in fold_wins(pool, model)] for model in models])
    elsewhere = wins.sum(axis=1, keepdims=True) - wins
    best = elsewhere.argmax(axis=0)[folds]
    return Scores(np.where(best, models[1].values, models[0].values), folds)


def folds_of(pool: Pool, rng: np.random.Generator) -> Numbers:
    """Of each row its fold; units stay whole, and a fold holds two or more of them."""
    n_units = sum(pool.n_units)
    folds = max(2, min(FOLDS, n_units // 2))
    return np.asarray((rng.permutation(n_units) % folds)[pool.units])


def auc(pool: Pool, scores: Scores) -> Reals:
    """Of each arrangement: how often a candidate's row scores above a baseline's of its fold.

    Ties count half; 0.5 where no fold holds both sides.
    """
    wins, pairs = np.sum(fold_wins(pool, scores), axis=0)
    return np.asarray(np.where(pairs > 0, wins / np.maximum(pairs, 1), 0.5))


def fold_wins(pool: Pool, scores: Scores) -> list[tuple[Reals, Reals]]:
    """Of each fold and arrangement: the pairs of both sides, and those that the candidate wins."""
    found = []
    for fold in range(int(scores.folds.max()) + 1):
        asked = scores.folds == fold
        labels = pool.labels[:, asked]
        ranks = stats.rankdata(scores.values[:, asked], axis=1)
        candidates = labels.sum(axis=1)
        wins = (ranks * labels).sum(axis=1) - candidates * (candidates + 1) / 2
        found.append((wins, candidates * (labels.shape[1] - candidates)))
    return found


def _curved(pool: Pool) -> Table:
    """Components, their squares at the same scale, and distances to the centre."""
    white = np.square(pool.whitened)
    scale = np.sqrt(pool.variances * pool.rows.shape[1])
    distances = np.column_stack([np.square(pool.rows).sum(axis=1), white.mean(axis=1)])
    deviations = distances.std(axis=0)
    distances = (distances - distances.mean(axis=0)) / np.where(deviations > 1e-6, deviations, 1)
    squares = ((white - 1) / np.sqrt(2) * scale)[:, :CURVED]
    return np.column_stack([pool.whitened * scale, squares, 3 * distances])


def _held_out(pool: Pool, features: Table, ridge: float, folds: Numbers) -> Scores:
    """Log-odds, beyond the sides' own, by ridge logistic regressions on all other folds.

    Steps with a fixed bound of the curvature, which is one for all labels and folds: Boehning and
    Lindsay 1988, Annals of the Institute of Statistical Mathematics 40(4).
    """
    wide = np.column_stack([features, np.ones(len(features))])
    penalty = np.full((wide.shape[1], 1), ridge * len(wide))
    penalty[-1] = 1e-9  # the intercept is free
    bound = linalg.cho_factor(wide.T @ wide / 4 + np.diag(penalty[:, 0]))
    values = np.empty_like(pool.labels)
    for fold in range(int(folds.max()) + 1):
        asked = folds == fold
        seen, labels = wide[~asked], pool.labels[:, ~asked].T
        odds = special.logit((labels.sum(axis=0) + 0.5) / (len(labels) + 1))
        weights = np.zeros((wide.shape[1], len(pool.labels)))
        weights[-1] = odds
        for _ in range(STEPS):
            off = labels - special.expit(seen @ weights)
            weights += linalg.cho_solve(bound, seen.T @ off - penalty * weights)
        values[:, asked] = (wide[asked] @ weights - odds).T
    return Scores(values, folds)
