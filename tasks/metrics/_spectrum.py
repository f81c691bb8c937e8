"""How many directions vectors use: metrics of the spectrum of their covariance.

Each takes vectors (n, dim), read once in blocks, or their `Moments`, so that one pass serves all.
"""

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.stats

from tasks.errors import MetricError
from tasks.metrics.moments import Moments, moments
from tasks.metrics.score import Reals, Score

RANK_ME_EPSILON = 1e-7  # of the paper


def spectrum(vectors: npt.ArrayLike | Moments) -> Reals:
    """The eigenvalues of the covariance (divisor n - 1), descending, shape (dim,).

    Those within the rounding of float64 of zero are zero. Raises MetricError for fewer than two
    rows, and where all rows are equal.
    """
    return _spectrum(_taken(vectors))


def participation_ratio(vectors: npt.ArrayLike | Moments) -> Score:
    """The number of principal components that share the variance, from 1 to dim.

    (sum l)^2 / sum l^2 over the eigenvalues l of the covariance: Gao et al. 2017, "A theory of
    multineuronal dimensionality, dynamics and measurement" (bioRxiv 214262). Raises MetricError as
    `spectrum`.
    """
    held = _taken(vectors)
    return Score(_participation(_spectrum(held)), held.n, warnings=_too_few(held))


def iso_score(vectors: npt.ArrayLike | Moments) -> Score:
    """How evenly the variance fills the dimensions: 0 for one direction, 1 for all alike.

    IsoScore of Rudman, Gillman, Rayne and Eickhoff 2022 (arXiv:2108.07344, algorithm 1), which
    comes to (participation ratio - 1) / (dim - 1). Raises MetricError as `spectrum`, and for fewer
    than two dimensions.
    """
    held = _taken(vectors)
    dim = len(held.mean)
    if dim < 2:
        raise MetricError("IsoScore is of two dimensions or more: vectors have one")
    value = (_participation(_spectrum(held)) - 1) / (dim - 1)
    return Score(min(max(value, 0.0), 1.0), held.n, warnings=_too_few(held))


def rank_me(vectors: npt.ArrayLike | Moments) -> Score:
    """The effective rank of the vectors as they are, not centred, from 1 to min(n, dim).

    RankMe of Garrido, Balestriero, Najman and LeCun 2023 (arXiv:2210.02885): exp of the
    entropy of p = s / sum s + 1e-7 over the singular values s. Raises MetricError for fewer than
    two rows, and where all components are zero.
    """
    held = _taken(vectors)
    squares = _eigenvalues(held.scatter + held.n * np.outer(held.mean, held.mean))
    if not squares[0]:
        raise MetricError("all vectors are zero: they have no spectrum")
    singular = np.sqrt(squares[: min(held.n, len(squares))])
    p = singular / singular.sum() + RANK_ME_EPSILON
    return Score(float(np.exp(-(p * np.log(p)).sum())), held.n)


def alpha_req(
    vectors: npt.ArrayLike | Moments, *, first: int = 1, last: int | None = None
) -> Score:
    """How fast the spectrum falls: the exponent a of l_i ~ i^-a over the eigenvalues l.

    alpha-ReQ of Agrawal, Mondal, Ghosh and Richards 2022 (NeurIPS 35): minus the slope of a
    least-squares line through log l_i and log i, ranks `first` to `last`, from 1; None is all that
    are not zero. `parts`: r2 of the line, ranks. Raises MetricError as `spectrum`, and where fewer
    than three eigenvalues are left.
    """
    held = _taken(vectors)
    values = _spectrum(held)
    there = int(np.count_nonzero(values))
    end = there if last is None else min(last, there)
    if first < 1 or end - first < 2:
        raise MetricError(
            f"ranks {first} to {end} of {there} eigenvalues that are not zero: alpha-ReQ fits a "
            "line to three or more"
        )
    ranks = np.arange(first, end + 1)
    line = scipy.stats.linregress(np.log(ranks), np.log(values[first - 1 : end]))
    parts = {"r2": float(line.rvalue**2), "ranks": float(len(ranks))}
    return Score(-float(line.slope), held.n, warnings=_too_few(held), parts=parts)


def _taken(vectors: npt.ArrayLike | Moments) -> Moments:
    return vectors if isinstance(vectors, Moments) else moments(vectors)


def _spectrum(held: Moments) -> Reals:
    values = _eigenvalues(held.scatter / (held.n - 1))
    if not values[0]:
        raise MetricError(f"all {held.n} rows are equal: their covariance has no spectrum")
    return values


def _eigenvalues(symmetric: npt.NDArray[np.float64]) -> Reals:
    """Descending; zero where rounding hides them."""
    values: Reals = scipy.linalg.eigvalsh(symmetric)[::-1]
    return np.where(values > len(values) * np.finfo(np.float64).eps * values[0], values, 0.0)


def _participation(values: Reals) -> float:
    shares = values / values.sum()
    return float(1 / (shares**2).sum())


def _too_few(held: Moments) -> tuple[str, ...]:
    dim = len(held.mean)
    if held.n > dim:
        return ()
    return (f"{held.n} rows span at most {held.n - 1} of {dim} dimensions: the spectrum is cut",)
