"""a is to b as c is to what: how well differences of word vectors carry meaning.

gensim has the first of the three methods, one question at a time and without ties.

The answer to a question is the word x with the best score, and never one of its own three words
(Mikolov et al. 2013, NAACL N13-1090); equal ones go to the smaller row. Each method needs no more
of x than its cosines with a, b and c, which are taken a block of the vocabulary at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.errors import MetricError
from tasks.metrics.score import (
    ROWS,
    Matrix,
    Reals,
    Score,
    check_lengths,
    check_matrix,
    mean_score,
    unit_rows,
)

CELLS = 2 * 1024 * 1024  # scores looked at at once: what a cache holds
BLOCK_BYTES = 128 * 1024 * 1024  # of the cosines of one block
EPSILON = 0.001  # Levy & Goldberg's, against division by 0

Rows = npt.NDArray[np.int64]
Formula = Callable[[Matrix, Matrix, Matrix, Matrix], Matrix]
"""Scores (q, n), from cosines of each x with a, with b and with c (q, n) and c . (b - a) (q, 1)."""


class Analogy(NamedTuple):
    """a is to b as c is to expected."""

    a: str
    b: str
    c: str
    expected: str
    category: str = ""


def three_cos_add(
    vectors: npt.ArrayLike, vocabulary: Sequence[str], questions: Sequence[Analogy]
) -> Score:
    """The part of the questions whose answer is expected, by the best cos(x, b - a + c).

    Mikolov et al. 2013 (NAACL N13-1090), over vectors of length 1. Row i of `vectors` belongs to
    `vocabulary[i]`; words are looked up as they are written. Questions with a word that is not
    there, or whose vector is all zeros, are left out: `n` counts the others, the part "oov" is the
    ratio of those left out, and the items, 0 or 1, are named "a b c expected". A part
    "accuracy/<category>" belongs to each category.

    Memory is a block beside the vectors, which may be memory-mapped; cosines are in their dtype.
    Warns of questions that are left out, of vectors of zeros, of categories of which no question is
    left and of questions that expect one of their own words. Raises MetricError for a vocabulary
    that holds a word twice, and where no question is left.
    """
    return _accuracy(lambda a, b, c, _: b - a + c, vectors, vocabulary, questions)


def three_cos_mul(
    vectors: npt.ArrayLike, vocabulary: Sequence[str], questions: Sequence[Analogy]
) -> Score:
    """The part of the questions whose answer is expected, by cos(x, b) cos(x, c) / cos(x, a).

    Levy & Goldberg 2014 (CoNLL W14-1618), equation 4: cosines are shifted to [0, 1] and 0.001 is
    added to the divisor. For the rest see `three_cos_add`.
    """

    def formula(a: Matrix, b: Matrix, c: Matrix, _: Matrix) -> Matrix:
        scores: Matrix = (1 + b) * (1 + c) / (1 + a + 2 * EPSILON)  # twice the equation's
        return scores

    return _accuracy(formula, vectors, vocabulary, questions)


def pair_direction(
    vectors: npt.ArrayLike, vocabulary: Sequence[str], questions: Sequence[Analogy]
) -> Score:
    """The part of the questions whose answer is expected, by the best cos(x - c, b - a).

    Levy & Goldberg 2014 (CoNLL W14-1618), equation 2. A word whose vector is that of c but for
    rounding has no direction from it, and a cosine of 0. For the rest see `three_cos_add`.
    """

    def formula(a: Matrix, b: Matrix, c: Matrix, ahead: Matrix) -> Matrix:
        # Of vectors of length 1 the distance from x to c is the root of 2 - 2 cos(x, c). Where they
        # are the same, what is divided is 0 but for rounding, and stays so.
        same = c > 1 - 8 * np.finfo(c.dtype).eps
        scores: Matrix = (b - a - ahead) / np.sqrt(np.where(same, 1, 2 - 2 * c))
        return scores

    return _accuracy(formula, vectors, vocabulary, questions)


def _accuracy(
    formula: Formula,
    vectors: npt.ArrayLike,
    vocabulary: Sequence[str],
    questions: Sequence[Analogy],
) -> Score:
    held = check_matrix(vectors)
    check_lengths(vectors=held, vocabulary=vocabulary)
    row_of = {word: row for row, word in enumerate(vocabulary)}
    if len(row_of) < len(vocabulary):
        repeated = len(vocabulary) - len(row_of)
        raise MetricError(f"of {len(vocabulary)} words {repeated} are repeated: each needs one row")
    zero = [vocabulary[row] for row in _rows_of_zeros(held)]
    for word in zero:
        del row_of[word]
    known = [asked for asked in questions if all(word in row_of for word in asked[:4])]
    if not known:
        raise MetricError(
            f"of {len(questions)} questions none is in the vocabulary: is the case the same?"
        )
    rows = np.array([[row_of[word] for word in asked[:4]] for asked in known], np.int64)
    right = (_answers(formula, held, rows[:, :3]) == rows[:, 3]).astype(np.float64)
    return mean_score(
        right,
        items=[" ".join(asked[:4]) for asked in known],
        warnings=list(_oddities(questions, known, zero)),
        parts={"oov": 1 - len(known) / len(questions), **_by_category(known, right)},
    )


def _rows_of_zeros(held: Matrix) -> list[int]:
    return [
        start + int(row)
        for start in range(0, len(held), ROWS)
        for row in np.flatnonzero(~held[start : start + ROWS].any(axis=1))
    ]


def _by_category(known: Sequence[Analogy], right: Reals) -> dict[str, float]:
    categories = np.array([asked.category for asked in known])
    return {
        f"accuracy/{category}": float(right[categories == category].mean())
        for category in dict.fromkeys(categories.tolist())
    }


def _oddities(
    questions: Sequence[Analogy], known: Sequence[Analogy], zero: Sequence[str]
) -> Iterator[str]:
    if len(known) < len(questions):
        yield (
            f"left out for a word without a vector: {len(questions) - len(known):,} of "
            f"{len(questions):,} questions"
        )
    if zero:
        yield f"{len(zero)} words have vectors of zeros and count as missing, the first {zero[0]!r}"
    lost = sorted({asked.category for asked in questions} - {asked.category for asked in known})
    if lost:
        yield f"{len(lost)} categories have no question left, the first {lost[0]!r}"
    own = [asked for asked in known if asked.expected in asked[:3]]
    if own:
        yield (
            f"{len(own)} questions expect one of their own words, which is never the answer,"
            f" the first {' '.join(own[0][:4])!r}"
        )


def _answers(formula: Formula, held: Matrix, questions: Rows) -> Rows:
    """The row of each answer (q,); -1 where no word is left."""
    words, places = np.unique(questions, return_inverse=True)
    a, b, c = places.reshape(questions.shape).T  # rows of the distinct words
    asked = unit_rows(held[words])
    ahead = np.einsum("ij,ij->i", asked[c], asked[b] - asked[a])[:, None]
    best = np.full(len(questions), -np.inf, held.dtype)
    answers = np.full(len(questions), -1, np.int64)
    step = max(1, min(ROWS, BLOCK_BYTES // (held.itemsize * len(words))))
    for start in range(0, len(held), step):
        block = unit_rows(held[start : start + step])
        cosines = asked @ block.T
        zeros = ~block.any(axis=1)
        at_once = max(1, CELLS // len(block))
        for first in range(0, len(questions), at_once):
            part = slice(first, first + at_once)
            scores = formula(cosines[a[part]], cosines[b[part]], cosines[c[part]], ahead[part])
            scores[:, zeros] = -np.inf
            own = questions[part] - start
            here = (own >= 0) & (own < len(block))
            scores[np.nonzero(here)[0], own[here]] = -np.inf
            columns = scores.argmax(axis=1)
            tops = scores[np.arange(len(scores)), columns]
            better = tops > best[part]  # an equal one in an earlier block has the smaller row
            answers[part] = np.where(better, start + columns, answers[part])
            best[part] = np.where(better, tops, best[part])
    return answers
