"""Groups of vectors: how they are found, how they agree with labels, and how stable they are.

A label of -1 is HDBSCAN's noise: `silhouette` and `typical_rows` leave it out, and the measures of
two labellings take it for a cluster like any other.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics.blocks import choose, take
from tasks.metrics.score import Labels, Matrix, Score, check_lengths, check_matrix, mean_score

NOISE = -1
WHOLE_ROWS = 50_000  # k-means takes them all at once, and batches of more
BATCH_ROWS = 4096
HDBSCAN_ROWS = 50_000  # its time grows with their square
SILHOUETTE_ROWS = 10_000  # likewise
STABILITY_ROWS = 20_000
STABILITY_SHARE = 0.8  # of the rows in each resample, as Ben-Hur et al. advise


class Clusters(NamedTuple):
    """The cluster of each row, from 0, shape (n,), and the centres, shape (n_clusters, dim)."""

    labels: npt.NDArray[np.int64]
    centres: Matrix


def k_means(vectors: npt.ArrayLike, n_clusters: int, *, rng: np.random.Generator) -> Clusters:
    """Lloyd's k-means, k-means++ starts, the best of three; in batches beyond 50,000 rows.

    Batches are of Sculley 2010 (WWW), by scikit-learn. Raises MetricError where n_clusters is not
    from 1 to n, and without batches where fewer rows differ.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    matrix = check_matrix(vectors)
    _check_clusters(n_clusters, len(matrix))
    seed = int(rng.integers(2**32))
    if len(matrix) <= WHOLE_ROWS:
        model = KMeans(n_clusters, n_init=3, random_state=seed)
    else:
        model = MiniBatchKMeans(n_clusters, n_init=3, batch_size=BATCH_ROWS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(matrix)
        except ConvergenceWarning as warning:
            raise MetricError(f"{n_clusters} clusters need as many different rows") from warning
    return Clusters(model.labels_.astype(np.int64), model.cluster_centers_)


def hdbscan(
    vectors: npt.ArrayLike, *, min_cluster_size: int = 5, min_samples: int | None = None
) -> npt.NDArray[np.int64]:
    """The cluster of each row by density, from 0, and -1 for noise, shape (n,).

    HDBSCAN of Campello, Moulavi and Sander 2013 (PAKDD), by scikit-learn, on Euclidean distances.
    `min_samples` (None is min_cluster_size) is the number of neighbours that make a row dense.
    Raises MetricError where one of them is not from 2 (or 1) to n, and above 50,000 rows.
    """
    from sklearn.cluster import HDBSCAN

    matrix = check_matrix(vectors, at_least=2)
    if len(matrix) > HDBSCAN_ROWS:
        raise MetricError(
            f"{len(matrix)} rows: HDBSCAN takes {HDBSCAN_ROWS} at most; take a sample"
        )
    if not 2 <= min_cluster_size <= len(matrix):
        raise MetricError(f"min_cluster_size = {min_cluster_size}: expected 2 to {len(matrix)}")
    if min_samples is not None and not 1 <= min_samples <= len(matrix):
        raise MetricError(f"min_samples = {min_samples}: expected 1 to {len(matrix)}")
    model = HDBSCAN(min_cluster_size=min_cluster_size, min_samples=min_samples, copy=True)
    labels: npt.NDArray[np.int64] = model.fit(matrix).labels_.astype(np.int64)
    return labels


def typical_rows(
    vectors: npt.ArrayLike, labels: Labels, n: int
) -> dict[int | str, npt.NDArray[np.int64]]:
    """Of each label, the n rows nearest the mean of its rows, nearest first; all if it has fewer.

    Labels come in their order; noise has no typical rows. Ties go to the smaller row. Raises
    MetricError for other lengths and for n below 1.
    """
    matrix = check_matrix(vectors)
    given = np.asarray(labels)
    check_lengths(vectors=matrix, labels=given)
    if n < 1:
        raise MetricError(f"n = {n}: expected 1 or more")
    found = {}
    for label in _without_noise(np.unique(given)):
        rows = np.flatnonzero(given == label)
        members = take(matrix, rows)
        apart = np.linalg.norm(members - members.mean(axis=0, dtype=np.float64), axis=1)
        found[label.item()] = rows[np.argsort(apart, kind="stable")[:n]]
    return found


def v_measure(truth: Labels, found: Labels) -> Score:
    """The harmonic mean of homogeneity and completeness, both in `parts`; 1 is agreement.

    Rosenberg and Hirschberg 2007 (EMNLP), beta = 1. It grows with the number of clusters even where
    they are chance: `ami` and `ari` do not. Raises MetricError for other lengths or no labels.
    """
    from sklearn.metrics import homogeneity_completeness_v_measure

    one, other, odd = _labellings(truth, found)
    homogeneity, completeness, value = homogeneity_completeness_v_measure(one, other)
    parts = {"homogeneity": float(homogeneity), "completeness": float(completeness)}
    return Score(float(value), len(one), warnings=odd, parts=parts)


def nmi(truth: Labels, found: Labels) -> Score:
    """Normalised mutual information, 0 to 1, by the arithmetic mean: it equals the V-measure.

    Kvalseth 1987 (IEEE Transactions on Systems, Man and Cybernetics 17). Raises as `v_measure`.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return _agreement(normalized_mutual_info_score, truth, found)


def ami(truth: Labels, found: Labels) -> Score:
    """Mutual information adjusted for chance: 0 is chance, 1 agreement; it may be negative.

    Vinh, Epps and Bailey 2010 (JMLR 11:2837), by the arithmetic mean. Raises as `v_measure`.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    return _agreement(adjusted_mutual_info_score, truth, found)


def ari(truth: Labels, found: Labels) -> Score:
    """The Rand index adjusted for chance: 0 is chance, 1 agreement; it may be negative.

    Hubert and Arabie 1985 (Journal of Classification 2:193). Raises as `v_measure`.
    """
    from sklearn.metrics import adjusted_rand_score

    return _agreement(adjusted_rand_score, truth, found)


def silhouette(
    vectors: npt.ArrayLike,
    labels: Labels,
    *,
    sample: int | None = SILHOUETTE_ROWS,
    rng: np.random.Generator,
) -> Score:
    """The mean of how much nearer rows are to their own cluster than to the next, -1 to 1.

    Rousseeuw 1987 (Journal of Computational and Applied Mathematics 20:53), Euclidean; 0 for a row
    that is alone in its cluster. Beyond `sample` rows, so many at random are a data set of their
    own; `items` names the rows that were looked at. Noise is left out. Raises MetricError where
    there are not from 2 to n - 1 clusters.
    """
    from sklearn.metrics import silhouette_samples

    matrix = check_matrix(vectors)
    given = np.asarray(labels)
    check_lengths(vectors=matrix, labels=given)
    clustered = np.flatnonzero(~_is_noise(given))
    rows = clustered[choose(len(clustered), sample, rng)]
    counts = np.unique(given[rows], return_counts=True)[1]
    if not 2 <= len(counts) < len(rows):
        raise MetricError(f"{len(counts)} clusters of {len(rows)} rows: expected 2 to n - 1")
    said = []
    if len(clustered) < len(given):
        said.append(f"{len(given) - len(clustered)} rows of noise are left out")
    if alone := int(np.count_nonzero(counts == 1)):
        said.append(f"{alone} of {len(counts)} clusters have a single row, which counts as 0")
    values = silhouette_samples(take(matrix, rows), given[rows])
    items = () if len(rows) == len(given) else tuple(map(str, rows.tolist()))
    return mean_score(values, items=items, warnings=said)


def stability(
    vectors: npt.ArrayLike,
    n_clusters: int,
    *,
    resamples: int = 20,
    sample: int | None = STABILITY_ROWS,
    rng: np.random.Generator,
) -> Score:
    """The mean agreement of k-means on two subsets of the rows: 1 is a structure found again.

    Ben-Hur, Elisseeff and Guyon 2002 (Pacific Symposium on Biocomputing 7): each of `resamples`
    times, two subsets of 80 % of the rows are clustered and compared on the rows of both, by the
    adjusted Rand index. Beyond `sample` rows, so many at random stand for all. Raises MetricError
    where n_clusters is not from 2 to the number of different rows of a subset.
    """
    matrix = check_matrix(vectors)
    _check_clusters(n_clusters, len(matrix), least=2)
    if resamples < 1:
        raise MetricError(f"resamples = {resamples}: expected 1 or more")
    held = take(matrix, choose(len(matrix), sample, rng))
    size = int(STABILITY_SHARE * len(held))
    agreements = []
    for _ in range(resamples):
        one, other = (choose(len(held), size, rng) for _ in range(2))
        first, second = (k_means(held[rows], n_clusters, rng=rng).labels for rows in (one, other))
        _, at, other_at = np.intersect1d(one, other, assume_unique=True, return_indices=True)
        agreements.append(ari(first[at], second[other_at]).value)
    return mean_score(agreements)


def _check_clusters(n_clusters: int, n_rows: int, least: int = 1) -> None:
    if not least <= n_clusters <= n_rows:
        raise MetricError(f"n_clusters = {n_clusters}: expected {least} to {n_rows} rows")


def _agreement(
    measure: Callable[[npt.NDArray[np.generic], npt.NDArray[np.generic]], float],
    truth: Labels,
    found: Labels,
) -> Score:
    one, other, odd = _labellings(truth, found)
    return Score(float(measure(one, other)), len(one), warnings=odd)


def _labellings(
    truth: Labels, found: Labels
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic], tuple[str, ...]]:
    """Both as numbers from 0, and what is odd about them."""
    n = check_lengths(truth=truth, found=found)
    if not n:
        raise MetricError("the agreement of no labels is undefined")
    odd = []
    numbered = []
    for name, labels in (("truth", truth), ("found", found)):
        kinds, numbers = np.unique(np.asarray(labels), return_inverse=True)
        numbered.append(numbers)
        if len(kinds) == 1:
            odd.append(f"{name} has a single label: agreement says nothing")
        elif len(kinds) == n:
            odd.append(f"{name} has a label of its own for each row: agreement says nothing")
    return numbered[0], numbered[1], tuple(odd)


def _is_noise(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    numeric = np.issubdtype(labels.dtype, np.integer)
    return labels == NOISE if numeric else np.zeros(len(labels), np.bool_)


def _without_noise(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return labels[~_is_noise(labels)]
