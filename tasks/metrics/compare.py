"""How two encoders differ on the same items: row i of one belongs to row i of the other.

Dimensions may differ, but not the number of rows. The first half compares neighbours, of `sample`
rows at random among all rows: the value is that of all rows, only less sure, and `items` names the
rows that were looked at. The second half compares the vectors themselves, all of them.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.linalg

from tasks.errors import MetricError
from tasks.metrics import _hubs
from tasks.metrics._hubs import k_occurrence, skew_of
from tasks.metrics.blocks import Rows, blocks, choose, take
from tasks.metrics.moments import centre, cross_scatter
from tasks.metrics.neighbours import Likeness, neighbours_of
from tasks.metrics.score import Matrix, Reals, Score, check_pair, mean_score, unit_rows

SAMPLE = 1000  # rows whose neighbours are looked up
ROUNDING = 1e-12  # relative to the terms that cancel in a debiased HSIC


class Moved(NamedTuple):
    """The rows that moved most, most first, and how far, shape (n,) each."""

    rows: Rows
    distances: Reals


def neighbour_overlap(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    *,
    k: int = 10,
    likeness: Likeness | str = Likeness.COSINE,
    sample: int | None = SAMPLE,
    rng: np.random.Generator,
) -> Score:
    """The mean share of the k nearest neighbours that both have in common.

    |A & B| / k for the sets A and B of a row's neighbours (Hellrich and Hahn 2016, COLING;
    Wendlandt, Kummerfeld and Mihalcea 2018, arXiv:1804.09692). `parts`: what chance gives, k / (n -
    1). Ties go to the smaller row. Raises MetricError where k is not from 1 to n - 1.
    """
    first, second = check_pair(one, other, at_least=2)
    rows = choose(len(first), sample, rng)
    near = [neighbours_of(rows, matrix, k, likeness=likeness) for matrix in (first, second)]
    shared = _ranks_of_shared(*near) <= k
    parts = {"chance": k / (len(first) - 1)}
    return mean_score(shared.sum(axis=1) / k, items=_names(rows, len(first)), parts=parts)


def rank_biased_overlap(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    *,
    p: float = 0.9,
    depth: int = 50,
    likeness: Likeness | str = Likeness.COSINE,
    sample: int | None = SAMPLE,
    rng: np.random.Generator,
) -> Score:
    """The mean rank-biased overlap of the lists of neighbours, near ones weighing most.

    Webber, Moffat and Zobel 2010 (ACM TOIS 28:4), RBO_EXT, extrapolated from `depth` neighbours:
    p^k X_k / k + (1 - p) / p sum_d p^d X_d / d, with X_d the size of the overlap of the first d.
    Ties go to the smaller row. Raises MetricError where p is not between 0 and 1, or depth not from
    1 to n - 1.
    """
    if not 0 < p < 1:
        raise MetricError(f"p = {p}: expected a share between 0 and 1")
    first, second = check_pair(one, other, at_least=2)
    rows = choose(len(first), sample, rng)
    near = [neighbours_of(rows, matrix, depth, likeness=likeness) for matrix in (first, second)]
    ranks = _ranks_of_shared(*near)
    depths = np.arange(1, depth + 1)
    agreement = np.empty(near[0].shape)
    for d in depths:
        agreement[:, d - 1] = (ranks <= d).sum(axis=1) / d
    per_item = agreement[:, -1] * p**depth + (1 - p) / p * (agreement @ p**depths)
    return mean_score(per_item, items=_names(rows, len(first)))


def second_order_cosine(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    *,
    k: int = 10,
    sample: int | None = SAMPLE,
    rng: np.random.Generator,
) -> Score:
    """The mean agreement of both on how alike a row is to its neighbours.

    Hamilton, Leskovec and Jurafsky 2016 (arXiv:1606.02821): the cosine of two vectors, those
    of the cosines of a row with its k nearest neighbours in either space. Rows of zeros, or with a
    cosine of zero to all of these, are left out. Ties go to the smaller row. Raises MetricError
    where k is not from 1 to n - 1, and where no row is left.
    """
    first, second = check_pair(one, other, at_least=2)
    rows = choose(len(first), sample, rng)
    near = [neighbours_of(rows, matrix, k) for matrix in (first, second)]
    per_item, defined = np.zeros(len(rows)), np.zeros(len(rows), np.bool_)
    for i, row in enumerate(rows):
        union = np.union1d(near[0][i], near[1][i])
        cosines = [_cosines(matrix, row, union) for matrix in (first, second)]
        lengths = np.linalg.norm(cosines[0]) * np.linalg.norm(cosines[1])
        if lengths:
            per_item[i], defined[i] = cosines[0] @ cosines[1] / lengths, True
    left_out = int(np.count_nonzero(~defined))
    if left_out == len(rows):
        raise MetricError("no row is alike any of its neighbours: second-order cosine is undefined")
    said = f"{left_out} rows that are alike none of their neighbours are left out"
    return mean_score(
        per_item[defined],
        items=_names(rows[defined], len(first)),
        warnings=(said,) if left_out else (),
    )


def hubness_change(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    *,
    k: int = 10,
    likeness: Likeness | str = Likeness.COSINE,
    sample: int | None = _hubs.SAMPLE,
    rng: np.random.Generator,
) -> Score:
    """The hubness of the other less that of the one, on the same rows; above 0 is more hubs.

    Both as `geometry.hubness`. `parts`: one and other, and the same of anti-hubs.
    """
    first, second = check_pair(one, other, at_least=2)
    rows = choose(len(first), sample, rng)
    parts: dict[str, float] = {}
    warnings: list[str] = []
    for name, matrix in (("one", first), ("other", second)):
        taken = take(matrix, rows)
        counts = k_occurrence(taken, k=k, likeness=likeness, sample=None, rng=rng).counts
        skew = skew_of(counts)
        parts |= {name: skew.value, f"{name}_anti_hubs": float((counts == 0).mean())}
        warnings += [f"{name}: {said}" for said in skew.warnings]
    return Score(parts["other"] - parts["one"], len(rows), warnings=tuple(warnings), parts=parts)


def linear_cka(one: npt.ArrayLike, other: npt.ArrayLike) -> Score:
    """How alike the similarities within both are: 1 where one is the other turned and scaled.

    Linear CKA of Kornblith, Norouzi, Lee and Hinton 2019 (arXiv:1905.00414, section 3):
    |Y^T X|^2 / (|X^T X| |Y^T Y|), centred. It is biased towards 1 with few rows: a warning says so.
    Raises MetricError for fewer than two rows, and where one has equal rows alone.
    """
    first, second = check_pair(one, other, at_least=2)
    spread = _norm(first, "first") * _norm(second, "second")
    dim = max(first.shape[1], second.shape[1])
    said = f"{len(first)} rows of {dim} dimensions: CKA is biased towards 1, debiased CKA is not"
    value = float(np.linalg.norm(cross_scatter(first, second)) ** 2 / spread)
    return Score(value, len(first), warnings=(said,) if len(first) <= dim else ())


def debiased_cka(one: npt.ArrayLike, other: npt.ArrayLike) -> Score:
    """Linear CKA whose mean is 0 for what is unrelated, however few the rows; it may be negative.

    With the unbiased HSIC of Song, Smola, Gretton, Bedo and Borgwardt 2012 (JMLR 13:1393),
    as Nguyen, Raghu and Kornblith 2021 use it (arXiv:2010.15327), from sums over dimensions,
    not over pairs of rows. Raises MetricError for fewer than four rows, and where a matrix's own
    HSIC is not above 0, as for equal rows.
    """
    first, second = check_pair(one, other, at_least=4)
    lengths = [_squared_lengths(matrix) for matrix in (first, second)]
    own = []
    for name, matrix, length in zip(("first", "second"), (first, second), lengths, strict=True):
        own.append(_hsic(matrix, matrix, length, length))
        if own[-1] <= 0:
            raise MetricError(
                f"the similarities within the {name} matrix do not differ beyond chance: debiased "
                "CKA needs rows that differ, or more of them"
            )
    return Score(_hsic(first, second, *lengths) / np.sqrt(own[0] * own[1]), len(first))


def procrustes(one: npt.ArrayLike, other: npt.ArrayLike) -> Score:
    """What is left between both after the best turn: 0 for a turned copy, at most 2.

    min |X R - Y|^2 over orthogonal R (Schoenemann 1966, Psychometrika 31:1), X and Y centred and at
    Frobenius norm 1 as in Ding, Denain and Steinhardt 2021 (arXiv:2108.01661): 2 - 2
    |X^T Y|_*. The one of fewer dimensions is filled up with zeros. `per_item` is n |x R - y|^2 of
    each row, the mean of which it is. Raises MetricError for fewer than two rows, and where one
    has equal rows alone.
    """
    first, second = check_pair(one, other, at_least=2)
    return mean_score(_residuals(first, second))


def moved(one: npt.ArrayLike, other: npt.ArrayLike, n: int) -> Moved:
    """The n rows that moved most from the one to the other, after the best turn of `procrustes`.

    Distances are roots of its `per_item`: 1 is the root mean square distance of a row from the mean
    of all. Ties go to the smaller row. Raises MetricError as
    `procrustes`, and where n is not from 1 to the number of rows.
    """
    first, second = check_pair(one, other, at_least=2)
    if not 1 <= n <= len(first):
        raise MetricError(f"n = {n}: expected 1 to {len(first)}, the number of rows")
    residuals = _residuals(first, second)
    rows = np.argsort(-residuals, kind="stable")[:n]
    return Moved(rows, np.sqrt(residuals[rows]))


def _ranks_of_shared(one: Rows, other: Rows) -> Rows:
    """For each neighbour of the one, the depth from which both have it; beyond all if never."""
    k = one.shape[1]
    ranks = np.full(one.shape, k + 1)
    for place in range(k):
        row, column = np.nonzero(one == other[:, place, None])
        ranks[row, column] = np.maximum(column, place) + 1
    return ranks


def _names(rows: Rows, n_rows: int) -> tuple[str, ...]:
    return () if len(rows) == n_rows else tuple(map(str, rows.tolist()))


def _cosines(matrix: Matrix, row: np.int64, others: Rows) -> Reals:
    units = unit_rows(take(matrix, np.append(others, row)).astype(np.float64))
    cosines: Reals = units[:-1] @ units[-1]
    return cosines


def _norm(matrix: Matrix, name: str) -> float:
    """The Frobenius norm of the scatter, which is not zero."""
    norm = float(np.linalg.norm(cross_scatter(matrix, matrix)))
    if not norm:
        raise MetricError(f"all rows of the {name} matrix are equal: nothing can be compared")
    return norm


def _squared_lengths(matrix: Matrix) -> Reals:
    """The squared distance of each row from the mean of all."""
    mean, _ = centre(matrix)
    lengths = np.empty(len(matrix))
    for where, block in blocks(matrix):
        lengths[where] = ((block - mean) ** 2).sum(axis=1)
    return lengths


def _hsic(one: Matrix, other: Matrix, lengths: Reals, other_lengths: Reals) -> float:
    """The unbiased HSIC of the linear kernels, times n (n - 3); 0 where rounding hides it."""
    n = len(one)
    shared = float(np.linalg.norm(cross_scatter(one, other)) ** 2)
    expected = float(lengths.sum() * other_lengths.sum()) / ((n - 1) * (n - 2))
    value = shared - n / (n - 2) * float(lengths @ other_lengths) + expected
    return value if abs(value) > ROUNDING * (shared + expected) else 0.0


def _residuals(first: Matrix, second: Matrix) -> Reals:
    """What is left of each row, n |x R - y|^2, both centred and at norm 1, R the best turn."""
    (mean, size), (other_mean, other_size) = centre(first), centre(second)
    if not (size and other_size):
        name = "second" if size else "first"
        raise MetricError(f"all rows of the {name} matrix are equal: nothing can be compared")
    left, _, right = scipy.linalg.svd(cross_scatter(first, second), full_matrices=False)
    residuals = np.empty(len(first))
    for (where, x), (_, y) in zip(blocks(first), blocks(second), strict=True):
        one, another = (x - mean) / np.sqrt(size), (y - other_mean) / np.sqrt(other_size)
        apart = (one**2).sum(axis=1) + (another**2).sum(axis=1)
        apart -= 2 * np.einsum("ij,ij->i", one @ left, another @ right.T)
        residuals[where] = len(first) * np.maximum(apart, 0)
    return residuals
