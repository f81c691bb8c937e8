"""How many dimensions vectors fill locally, from distances to their nearest neighbours.

scikit-dimension has the same estimators; it searches the whole matrix in float64.
Each looks at `sample` rows at random and at their neighbours among all rows, so that its value is
that of all rows and no other for a smaller sample, only less sure. Distances are Euclidean, taken
from differences in float64: equal rows are at exactly 0.
"""

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics.blocks import QUERIES, blocks, choose, take
from tasks.metrics.neighbours import Likeness, neighbours_of
from tasks.metrics.score import Matrix, Score, check_matrix

SAMPLE = 1000  # rows: a standard error of 3 % for TwoNN
Distances = npt.NDArray[np.float64]


def two_nn(
    vectors: npt.ArrayLike,
    *,
    discard: float = 0.1,
    sample: int | None = SAMPLE,
    rng: np.random.Generator,
) -> Score:
    """The intrinsic dimension by the ratio of the distances to the two nearest neighbours.

    TwoNN of Facco, d'Errico, Rodriguez and Laio 2017 (Scientific Reports 7:12140): the slope of
    the line through zero of -log(1 - F) over log(r2 / r1), without the share `discard` of largest
    ratios. Rows with an equal one have no ratio and are left out. Raises MetricError for fewer than
    three rows, where fewer than two ratios are left, and where all are 1.
    """
    if not 0 < discard < 1:
        raise MetricError(f"discard = {discard}: expected a share between 0 and 1")
    distances, warnings = _apart(vectors, 2, sample, rng)
    ratios = np.sort(np.log(distances[:, 1] / distances[:, 0]))
    kept = ratios[: int(len(ratios) * (1 - discard))]
    if len(kept) < 2:
        raise MetricError(f"{len(ratios)} ratios of distances: TwoNN needs two after {discard}")
    if not kept[-1]:
        raise MetricError("first and second neighbours are all equally far: TwoNN is undefined")
    law = -np.log1p(-np.arange(1, len(kept) + 1) / len(ratios))
    return Score(float(kept @ law / (kept @ kept)), len(ratios), warnings=warnings)


def levina_bickel(
    vectors: npt.ArrayLike,
    *,
    k: int = 20,
    sample: int | None = SAMPLE,
    rng: np.random.Generator,
) -> Score:
    """The intrinsic dimension by maximum likelihood from the distances to k neighbours.

    Levina and Bickel 2004 (NIPS 17), m_i = (k - 1) / sum_j log(T_k / T_j) at each row, put
    together as MacKay and Ghahramani 2005 say: the harmonic mean. Rows with an equal one are left
    out. Raises MetricError where k is not from 2 to n - 1, and where all neighbours are equally
    far.
    """
    if k < 2:
        raise MetricError(f"k = {k}: Levina and Bickel need two neighbours or more")
    distances, warnings = _apart(vectors, k, sample, rng)
    inverse = np.log(distances[:, -1:] / distances[:, :-1]).sum(axis=1) / (k - 1)
    if not inverse.any():
        raise MetricError(f"all {k} neighbours are equally far: the dimension is undefined")
    return Score(float(1 / inverse.mean()), len(inverse), warnings=warnings)


def correlation_dimension(
    vectors: npt.ArrayLike,
    *,
    k1: int = 10,
    k2: int = 20,
    sample: int | None = SAMPLE,
    rng: np.random.Generator,
) -> Score:
    """The intrinsic dimension by how the share of near pairs C(r) grows with their distance r.

    Grassberger and Procaccia 1983 (Physica D 9:189): log(C(r2) / C(r1)) / log(r2 / r1), with the
    radii of scikit-dimension's CorrInt, the median distances to the k1-th and k2-th neighbour.
    `parts`: r1, r2. Raises MetricError where not 1 <= k1 < k2 < n, and where a radius is zero, both
    are equal or no pair is nearer than the first.
    """
    if not 1 <= k1 < k2:
        raise MetricError(f"k1 = {k1} and k2 = {k2}: expected 1 <= k1 < k2")
    matrix = check_matrix(vectors, at_least=3)
    rows = choose(len(matrix), sample, rng)
    distances = _distances(matrix, rows, k2)
    radii = np.median(distances[:, [k1 - 1, k2 - 1]], axis=0)
    if not 0 < radii[0] < radii[1]:
        raise MetricError(
            f"median distances to neighbours {k1} and {k2} are {radii[0]:g} and {radii[1]:g}: "
            "the second must be greater and none zero"
        )
    near = _pairs_within(rows, matrix, radii)
    if not near[0]:
        raise MetricError(f"no pair is nearer than {radii[0]:g}: the dimension is undefined")
    value = np.log(near[1] / near[0]) / np.log(radii[1] / radii[0])
    return Score(float(value), len(rows), parts={"r1": float(radii[0]), "r2": float(radii[1])})


def _apart(
    vectors: npt.ArrayLike, k: int, sample: int | None, rng: np.random.Generator
) -> tuple[Distances, tuple[str, ...]]:
    """Distances to k neighbours of the sampled rows that no other row equals, and what was odd."""
    matrix = check_matrix(vectors, at_least=3)
    distances = _distances(matrix, choose(len(matrix), sample, rng), k)
    apart = distances[:, 0] > 0
    if not apart.any():
        raise MetricError(f"all {len(apart)} rows equal another one: they have no dimension")
    if apart.all():
        return distances, ()
    said = f"{int((~apart).sum())} of {len(apart)} rows equal another one and are left out"
    return distances[apart], (said,)


def _distances(matrix: Matrix, rows: npt.NDArray[np.int64], k: int) -> Distances:
    """Ascending, shape (m, k)."""
    near = neighbours_of(rows, matrix, k, likeness=Likeness.EUCLIDEAN)
    found = np.empty(near.shape)
    for start in range(0, len(rows), QUERIES):
        part = slice(start, start + QUERIES)
        own = take(matrix, rows[part]).astype(np.float64)
        for column in range(k):
            apart = take(matrix, near[part, column]) - own
            found[part, column] = np.linalg.norm(apart, axis=1)
    return np.sort(found, axis=1)


def _pairs_within(
    rows: npt.NDArray[np.int64], matrix: Matrix, radii: Distances
) -> npt.NDArray[np.int64]:
    """The number of pairs of one of `rows` and another row nearer than each radius."""
    near = np.full(len(radii), -len(rows))  # each is near itself
    for start in range(0, len(rows), QUERIES):
        own = take(matrix, rows[start : start + QUERIES]).astype(np.float64)
        squares = np.einsum("ij,ij->i", own, own)[:, None]
        for _, block in blocks(matrix):
            wide = block.astype(np.float64)
            apart = squares + np.einsum("ij,ij->i", wide, wide) - 2 * (own @ wide.T)
            near += [np.count_nonzero(apart < radius**2) for radius in radii]
    return near
