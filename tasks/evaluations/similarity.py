"""Pairs of texts or records: how alike they are, or whether they belong together."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from tasks.errors import MetricError
from tasks.evaluations.base import Measurement, Rows, Version
from tasks.evaluations.files import read_numbers
from tasks.evaluations.records import find_pairs
from tasks.metrics import similarity
from tasks.metrics.neighbours import Likeness
from tasks.metrics.score import Matrix, Reals, Score

Of: TypeAlias = Literal["texts", "records"]
Measure: TypeAlias = Callable[..., Score]
"""Of one (n, dim), other (n, dim), what is known of each pair (n,), and the likeness."""


class _Pairs:
    """Pairs of a file, with what is known of each; metrics are those of `measures`."""

    measures: ClassVar[dict[str, tuple[Measure, Likeness]]]

    def __init__(self, pairs: str, columns: list[str], of: Of) -> None:
        self._path, self._of = pairs, of
        self._pairs, self._known = read_numbers(pairs, columns)
        self.metrics = tuple(self.measures)

    def measure(self, version: Version) -> list[Measurement]:
        """All metrics; an item is a pair."""
        one, other, rows, said = self._vectors(version)
        known = self._known[rows]
        found = []
        for name, (measure, likeness) in self.measures.items():
            score = measure(one, other, known, likeness=likeness).warned(*said)
            if self._of == "records":
                oov = 1 - len(rows) / len(self._pairs)
                score = replace(score, parts={**score.parts, "oov": oov})
            alike = similarity.similarities(one, other, likeness)
            found.append(
                Measurement(
                    name,
                    score,
                    "pair",
                    tuple(str(row + 1) for row in rows.tolist()),
                    statistic=_over(measure, alike, known),
                    texts=tuple(" / ".join(self._pairs[row]) for row in rows.tolist()),
                )
            )
        return found

    def _vectors(self, version: Version) -> tuple[Matrix, Matrix, Rows, tuple[str, ...]]:
        """Of both ends of those pairs that the version has, which these are, and warnings."""
        if self._of == "records":
            rows, records, said = find_pairs(version, self._pairs, self._path)
            return version.records[records[:, 0]], version.records[records[:, 1]], rows, said
        n = len(self._pairs)
        ends = version.embed([pair[end] for end in (0, 1) for pair in self._pairs])
        return ends[:n], ends[n:], np.arange(n), ()


class Similarity(_Pairs):
    """How well likeness agrees with grades that people gave (STS), by rank or by value."""

    measures: ClassVar[dict[str, tuple[Measure, Likeness]]] = {
        "spearman": (similarity.spearman, Likeness.COSINE),
        "pearson": (similarity.pearson, Likeness.COSINE),
        "spearman_dot": (similarity.spearman, Likeness.DOT),
        "spearman_euclidean": (similarity.spearman, Likeness.EUCLIDEAN),
    }

    def __init__(
        self,
        *,
        pairs: str,
        one: str = "sentence1",
        other: str = "sentence2",
        gold: str = "score",
        of: Of = "texts",
    ) -> None:
        """`pairs` is a CSV or TSV with a header; `one`, `other` and `gold` are columns of it.

        `of` says whether the pairs are texts, which are encoded, or ids of records: words, in a
        space of words.
        """
        super().__init__(pairs, [one, other, gold], of)


class PairClassification(_Pairs):
    """How well likeness tells pairs that belong together from others."""

    measures: ClassVar[dict[str, tuple[Measure, Likeness]]] = {
        "average_precision": (similarity.average_precision, Likeness.COSINE),
        "best_f1": (similarity.best_f1, Likeness.COSINE),
        "best_accuracy": (similarity.best_accuracy, Likeness.COSINE),
    }

    def __init__(
        self,
        *,
        pairs: str,
        one: str = "sentence1",
        other: str = "sentence2",
        label: str = "label",
        of: Of = "texts",
    ) -> None:
        """As in `Similarity`; the column `label` is 1 for pairs that belong together, else 0."""
        super().__init__(pairs, [one, other, label], of)


def _over(measure: Measure, alike: Reals, known: Reals) -> Callable[[Rows], float]:
    """The metric over some pairs, whose likeness is known; NaN where it is undefined on them.

    Numbers are vectors of one component, whose dot product with 1 they are.
    """

    def over(rows: Rows) -> float:
        try:
            ones = np.ones((len(rows), 1))
            return float(measure(alike[rows, None], ones, known[rows], likeness=Likeness.DOT))
        except MetricError:
            return float("nan")

    return over
