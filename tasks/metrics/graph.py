"""What vectors of nodes are worth: links that they tell from chance, classes, and other seeds.

AUC is taken here because scikit-learn's gives no value for each link, of which an interval can be
had. Node classification is the logistic probe of `downstream`.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import linalg

from tasks.errors import MetricError
from tasks.metrics.downstream import logistic_probe
from tasks.metrics.score import Reals, Score, check_matrix, mean_score, unit_rows

node_classification = logistic_probe

Edges = npt.NDArray[np.int64]
"""Pairs of nodes, shape (m, 2)."""
ROUNDS = 200  # of drawing what is no edge; a graph that needs more is all but complete


class Negatives(StrEnum):
    """How the ends of pairs that are no edges are drawn."""

    UNIFORM = "uniform"
    """Each node alike."""
    DEGREE = "degree"
    """Each as often as it ends an edge: links are told from pairs as well connected as they are."""


def negatives(
    edges: npt.ArrayLike,
    n_nodes: int,
    *,
    rng: np.random.Generator,
    kind: Negatives | str = Negatives.UNIFORM,
    n: int | None = None,
) -> Edges:
    """Pairs of different nodes that are no edges, each once, smaller node first: shape (n, 2).

    As many as there are edges, if `n` does not say. Edges are taken as undirected; give all of
    them, of training and of test. Raises MetricError for edges of other shapes or of nodes that are
    none, and where there are not as many such pairs, or too few to be found.
    """
    known = np.asarray(edges)
    if known.ndim != 2 or known.shape[1] != 2 or not len(known) or known.dtype.kind not in "iu":
        raise MetricError(f"edges have shape {known.shape}: expected (m, 2) of whole numbers")
    if known.min() < 0 or known.max() >= n_nodes:
        raise MetricError(f"edges name nodes {known.min()} to {known.max()}; there are {n_nodes}")
    wanted = len(known) if n is None else n
    taken = np.unique(_keys(known[known[:, 0] != known[:, 1]], n_nodes))
    free = n_nodes * (n_nodes - 1) // 2 - len(taken)
    if not 1 <= wanted <= free:
        raise MetricError(f"n = {wanted}: expected 1 to {free}, the pairs that are no edges")
    by_degree = Negatives(kind) == Negatives.DEGREE
    found = np.empty(0, np.int64)
    for _ in range(ROUNDS):
        size = (2 * wanted, 2)
        pairs = rng.choice(known.ravel(), size) if by_degree else rng.integers(0, n_nodes, size)
        keys = _keys(pairs[pairs[:, 0] != pairs[:, 1]], n_nodes)
        found = np.concatenate([found, keys[~np.isin(keys, taken)]])
        found = found[np.sort(np.unique(found, return_index=True)[1])]  # in the order of the draw
        if len(found) >= wanted:
            return np.column_stack(np.divmod(found[:wanted], n_nodes))
    raise MetricError(
        f"{len(found)} of {wanted} pairs that are no edges were found: the graph is too dense"
    )


def link_auc(
    positives: npt.ArrayLike, negatives: npt.ArrayLike, *, degrees: npt.ArrayLike | None = None
) -> Score:
    """The share of pairs of a link and a non-link in which the link has the higher score.

    The area under the ROC curve; equal scores count half (Hanley and McNeil 1982, Radiology 143).
    `positives` (p,) are scores of links, `negatives` (q,) of what are none. per_item is the share
    of each link, its placement (DeLong et al. 1988, Biometrics 44). `degrees` (p,), such as of the
    less connected end, puts the mean of links by degree into parts: of 0, 1 to 3, 4 to 15, 16 to 63
    and so on. Raises MetricError for no scores or ones that are not finite.
    """
    links, others = _scores(positives, "positives"), np.sort(_scores(negatives, "negatives"))
    below = np.searchsorted(others, links, "left") + np.searchsorted(others, links, "right")
    return _by_degree(below / 2 / len(others), degrees)


def link_average_precision(positives: npt.ArrayLike, negatives: npt.ArrayLike) -> Score:
    """The average precision of links among non-links, by scikit-learn; equal scores count together.

    It depends on how many non-links there are to a link: parts has their share as `links`, what
    chance would give. n is the number of links. Raises MetricError as `link_auc`.
    """
    from sklearn.metrics import average_precision_score

    links, others = _scores(positives, "positives"), _scores(negatives, "negatives")
    truth = np.repeat([1, 0], [len(links), len(others)])
    value = average_precision_score(truth, np.concatenate([links, others]))
    return Score(float(value), len(links), parts={"links": len(links) / len(truth)})


def link_hits(
    positives: npt.ArrayLike,
    negatives: npt.ArrayLike,
    k: int,
    *,
    degrees: npt.ArrayLike | None = None,
) -> Score:
    """The share of links that score higher than the k-th best non-link.

    Hits@k of the Open Graph Benchmark (Hu et al. 2020, arXiv:2005.00687): equal scores are no hit.
    per_item is 1 for a hit; `degrees` as in `link_auc`. Raises MetricError as that, and for fewer
    than k non-links.
    """
    links, others = _scores(positives, "positives"), np.sort(_scores(negatives, "negatives"))
    if not 1 <= k <= len(others):
        raise MetricError(f"k = {k}: expected 1 to {len(others)}, the number of negatives")
    return _by_degree(links > others[-k], degrees)


def link_mrr(
    positives: npt.ArrayLike, negatives: npt.ArrayLike, *, degrees: npt.ArrayLike | None = None
) -> Score:
    """The mean of 1 / the rank of each link among non-links: all of them, or those of its own.

    `negatives` has shape (q,), or (p, q) where each link has its own. Among equal scores the rank
    is the mean of the first and the last, as the Open Graph Benchmark has it. per_item is of each
    link; `degrees` as in `link_auc`. Raises MetricError as that, and for other shapes.
    """
    links = _scores(positives, "positives")
    others = np.asarray(negatives, np.float64)
    if others.ndim == 2:
        if len(others) != len(links):
            raise MetricError(f"there are {len(links)} links and negatives of {len(others)}")
        own = _scores(others.ravel(), "negatives").reshape(others.shape)
        above, equal = (own > links[:, None]).sum(axis=1), (own == links[:, None]).sum(axis=1)
    else:
        row = np.sort(_scores(others, "negatives"))
        above = len(row) - np.searchsorted(row, links, "right")
        equal = len(row) - above - np.searchsorted(row, links, "left")
    return _by_degree(1 / (1 + above + equal / 2), degrees)


def seed_stability(vectors_by_seed: Sequence[npt.ArrayLike]) -> Score:
    """The mean cosine of nodes between fits with other seeds, after the best rotation.

    Fits differ by a rotation or reflection that means nothing: each pair is laid on each other by
    orthogonal Procrustes (Schönemann 1966, Psychometrika 31), without centring or scaling. Row i of
    each, shape (n, dim), is node i. per_item is the mean of a node over pairs of seeds; parts has
    the lowest mean of a pair. n random vectors are not at 0, but the closer to 1 the fewer they
    are for their dimension. Raises MetricError for fewer than two fits and for other shapes.
    """
    fits = [unit_rows(check_matrix(fit, f"fit {seed}")) for seed, fit in enumerate(vectors_by_seed)]
    shapes = sorted({fit.shape for fit in fits})
    if len(fits) < 2 or len(shapes) > 1:
        raise MetricError(f"{len(fits)} fits of shapes {shapes}: 2 or more of one shape are needed")
    cosines = [
        np.einsum("ij,ij->i", one @ linalg.orthogonal_procrustes(one, other)[0], other)
        for place, one in enumerate(fits)
        for other in fits[place + 1 :]
    ]
    zeros = int(np.logical_or.reduce([~fit.any(axis=1) for fit in fits]).sum())
    return mean_score(
        np.mean(cosines, axis=0, dtype=np.float64),
        warnings=[f"{zeros} nodes have a vector of zeros: their cosine is 0"] if zeros else (),
        parts={"lowest_pair": float(min(pair.mean(dtype=np.float64) for pair in cosines))},
    )


def _keys(pairs: npt.NDArray[np.integer], n_nodes: int) -> npt.NDArray[np.int64]:
    ordered = np.sort(pairs.astype(np.int64), axis=1)
    return ordered[:, 0] * n_nodes + ordered[:, 1]


def _scores(values: npt.ArrayLike, name: str) -> Reals:
    scores = np.asarray(values, np.float64)
    if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise MetricError(f"{name} have shape {scores.shape}: expected finite scores, (n,)")
    return scores


def _by_degree(per_item: npt.ArrayLike, degrees: npt.ArrayLike | None) -> Score:
    values = np.asarray(per_item, np.float64)
    if degrees is None:
        return mean_score(values)
    of = np.asarray(degrees, np.int64)
    if of.shape != values.shape or of.min() < 0:
        raise MetricError(f"degrees have shape {of.shape}: expected {values.shape}, 0 or more")
    parts = {}
    low, high = 0, 0
    while low <= of.max():
        within = (of >= low) & (of <= high)
        if within.any():
            name = f"degree {low} to {high}" if high > low else f"degree {low}"
            parts[name] = float(values[within].mean())
        low, high = high + 1, 4 * (high + 1) - 1
    return mean_score(values, parts=parts)
