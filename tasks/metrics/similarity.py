"""How alike the vectors of pairs are, and how well that agrees with the grades that people gave."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from tasks.errors import MetricError
from tasks.metrics._classification import average_precision, best_accuracy, best_f1
from tasks.metrics._likeness import compared, similarities
from tasks.metrics.neighbours import Likeness
from tasks.metrics.score import Reals, Score, check_lengths

NEARLY_CONSTANT = float(np.finfo(np.float64).eps ** 0.75)  # relative; where scipy warns of rounding

__all__ = [
    "average_precision",
    "best_accuracy",
    "best_f1",
    "compared",
    "pearson",
    "similarities",
    "spearman",
    "word_pairs",
]


def spearman(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    gold: npt.ArrayLike,
    *,
    likeness: Likeness | str = Likeness.COSINE,
) -> Score:
    """Spearman's correlation of likeness and gold (n,); ties have their mean rank.

    Spearman 1904; the main measure of STS (Cer et al. 2017, arXiv:1708.00055). Warns of vectors of
    zeros under cosine. Raises MetricError for fewer than 3 pairs, and where gold or likeness are
    all equal (or differ by no more than rounding), which leaves it undefined.
    """
    return _correlation(stats.spearmanr, one, other, gold, likeness)


def pearson(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    gold: npt.ArrayLike,
    *,
    likeness: Likeness | str = Likeness.COSINE,
) -> Score:
    """Pearson's correlation of likeness and gold (n,). Warns and raises as `spearman`."""
    return _correlation(stats.pearsonr, one, other, gold, likeness)


def word_pairs(
    vectors: npt.ArrayLike,
    vocabulary: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    gold: npt.ArrayLike,
    *,
    likeness: Likeness | str = Likeness.COSINE,
) -> Score:
    """Spearman's correlation of likeness and gold over pairs of words.

    As for WordSim-353 (Finkelstein et al. 2002, TOIS). Row i of `vectors` belongs to
    `vocabulary[i]`; words are looked up as they are written. Pairs with a word that is not there
    are left out: `n` counts the others, and the part "oov" is the ratio of those left out. The part
    "pearson" is the other correlation. As gensim's `evaluate_word_pairs` without case folding and
    with `dummy4unknown=False`. Warns and raises as `spearman`, and raises MetricError for a
    vocabulary that holds a word twice.
    """
    matrix = np.asarray(vectors)
    check_lengths(vectors=matrix, vocabulary=vocabulary)
    graded = _check_gold(gold)
    check_lengths(pairs=pairs, gold=graded)
    row_of = {word: row for row, word in enumerate(vocabulary)}
    if len(row_of) < len(vocabulary):
        repeated = len(vocabulary) - len(row_of)
        raise MetricError(f"of {len(vocabulary)} words {repeated} are repeated: each needs one row")
    known = [place for place, pair in enumerate(pairs) if all(word in row_of for word in pair)]
    if not known:
        raise MetricError(f"of {len(pairs)} pairs none is in the vocabulary: is the case the same?")
    rows = np.array([[row_of[word] for word in pairs[place]] for place in known])
    one, other, graded = matrix[rows[:, 0]], matrix[rows[:, 1]], graded[known]
    score = spearman(one, other, graded, likeness=likeness)
    parts = {
        "oov": 1 - len(known) / len(pairs),
        "pearson": pearson(one, other, graded, likeness=likeness).value,
    }
    return Score(score.value, score.n, warnings=score.warnings, parts=parts)


def _correlation(
    correlate: Callable[[Reals, Reals], Any],
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    gold: npt.ArrayLike,
    likeness: Likeness | str,
) -> Score:
    graded = _check_gold(gold)
    alike, odd = compared(one, other, likeness, gold=graded)
    if len(graded) < 3:
        raise MetricError(f"a correlation of {len(graded)} pairs says nothing: 3 are needed")
    graded, alike = _spread("gold", graded), _spread(likeness, alike)
    return Score(float(correlate(graded, alike).statistic), len(graded), warnings=odd)


def _spread(name: str, values: Reals) -> Reals:
    """The same times a power of 2, which keeps squares within float64; raises if all are equal."""
    scaled: Reals = np.ldexp(values, -int(np.frexp(np.abs(values).max())[1]))
    deviation = np.linalg.norm(scaled - scaled.mean())
    if deviation <= NEARLY_CONSTANT * abs(scaled.mean()):
        raise MetricError(f"{name} is {values[0]} for all {len(values)} pairs: no correlation")
    return scaled


def _check_gold(gold: npt.ArrayLike) -> Reals:
    graded = np.asarray(gold, np.float64)
    if graded.ndim != 1 or not np.isfinite(graded).all():
        raise MetricError(f"gold of shape {graded.shape}: expected (n,), all finite")
    return graded
