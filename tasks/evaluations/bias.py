"""Associations that a space has taken over, and groups that searches show too seldom."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from tasks.errors import ConfigError
from tasks.evaluations.base import NEITHER, Measurement, Rows, Version
from tasks.evaluations.files import read_queries
from tasks.evaluations.records import at_most, find_records, find_values
from tasks.metrics import bias
from tasks.metrics.neighbours import nearest
from tasks.metrics.score import Matrix

Sets = dict[str, list[str]]


class Association:
    """WEAT of words, SEAT of sentences: whether one set is nearer to one attribute than another."""

    metrics = ("association",)
    ungated: ClassVar[Mapping[str, str]] = {"association": NEITHER}

    def __init__(
        self, *, targets: Sets, attributes: Sets, of: Literal["texts", "records"] = "texts"
    ) -> None:
        """Two sets of targets and two of attributes, by name: texts, or ids of records (words)."""
        for name, sets in (("targets", targets), ("attributes", attributes)):
            if len(sets) != 2 or not all(sets.values()):
                raise ConfigError(f"{name} = {sets}: expected two sets by name, none of them empty")
        self._sets: Mapping[str, list[str]] = {**targets, **attributes}
        if len(self._sets) != 4:
            raise ConfigError("targets and attributes: four different names are expected")
        self._of = of

    def measure(self, version: Version) -> list[Measurement]:
        """The effect size; above 0 the first targets are nearer to the first attributes."""
        found = [self._vectors(version, name) for name in self._sets]
        x, y, a, b = (vectors for vectors, _ in found)
        said = [one for _, unknown in found for one in unknown]
        score = bias.weat(x, y, a, b, rng=version.rng).warned(*said)
        return [Measurement("association", score, "word", higher_is_better=None)]

    def _vectors(self, version: Version, name: str) -> tuple[Matrix, tuple[str, ...]]:
        """Of the words of a set that the version has, and what to warn of."""
        words = self._sets[name]
        if self._of == "texts":
            return version.embed(words), ()
        rows = find_records(version, words)
        if (rows < 0).all():
            raise ConfigError(f"the version has none of {name}: {', '.join(words[:5])}")
        lost = [words[place] for place in np.flatnonzero(rows < 0).tolist()]
        said = f"the version lacks {len(lost):,} of {len(words):,} words of {name}: "
        return version.records[rows[rows >= 0]], (said + ", ".join(lost),) * bool(lost)


class Skew:
    """How far the records that searches show are from the shares that groups have of all."""

    metrics = ("skew",)

    def __init__(self, *, queries: str, column: str, k: int = 10) -> None:
        """`queries` is a file, `column` says whose a record is; others do not count."""
        if k < 1:
            raise ConfigError(f"k = {k}: expected 1 or more")
        self._texts = [*read_queries(queries).values()]
        self._column, self._k = column, k

    def measure(self, version: Version) -> list[Measurement]:
        """The mean of MaxSkew@k, lower is better; an item is a query."""
        values, there, said = find_values(version, self._column)
        groups = np.array([str(values[row]) for row in there.tolist()])
        k, few = at_most(self._k, len(there), "records with a value")
        found = _nearest_of(there, version.embed(self._texts), version.records, k)
        score = bias.retrieval_skew(found, groups).warned(*said, *few)
        items, texts = tuple(map(str, range(len(self._texts)))), tuple(self._texts)
        return [
            Measurement(
                "skew", score, "query", items, texts=texts, largest=50.0, higher_is_better=False
            )
        ]


def _nearest_of(there: Rows, queries: Matrix, records: Matrix, k: int) -> Rows:
    """The k nearest of some records, as places in `there`, shape (queries, k)."""
    place = np.full(len(records), -1, np.int64)
    place[there] = np.arange(len(there))
    n = k
    while True:
        found = place[nearest(queries, records, n).rows]
        if n == len(records) or ((found >= 0).sum(axis=1) >= k).all():
            return np.array([row[row >= 0][:k] for row in found], np.int64)
        n = min(4 * n, len(records))
