"""What an evaluation is: metrics of one version, each with the items that it stands on.

An evaluation's constructor takes plain keyword arguments, exactly the keys that a user may write
beside `use:` in a suite, and reads its files. It looks at one version at a time: two versions are
compared by the items that both have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.metrics.score import Matrix, Reals, Score

Rows: TypeAlias = npt.NDArray[np.int64]
NEITHER = "neither way is better"
NO_ITEMS = "it has no items that another version would have, too"


@dataclass(frozen=True)
class Table:
    """How many records of each label (row) are in each column, shape (labels, labels).

    `columns` says what these are, which have the names of labels, too.
    """

    labels: tuple[str, ...]
    counts: Rows
    columns: str = "the label that each was taken for"


@dataclass(frozen=True)
class Measurement:
    """A metric of a version.

    Attributes:
        name: What it is called in a suite, such as `ndcg@10`.
        score: Its value; `per_item` where that is a mean.
        of: What an item is: `query`, `pair`, `record`.
        items: The names of the items, so that they are found again in another version.
        statistic: The metric over some of the items, by their places, which may repeat; None where
            it is the mean of `score.per_item`, or where there is nothing to resample.
        groups: Items that depend on each other have one number, shape (n,); None where none do.
        largest: The largest difference that an item can have between two versions.
        confusion: Labels beside what was found instead, if that is what the metric looks at.
        texts: What the items say, where they are no records.
        higher_is_better: None where neither is.
    """

    name: str
    score: Score
    of: str
    items: tuple[str, ...] = ()
    statistic: Callable[[Rows], float] | None = None
    groups: Rows | None = None
    largest: float = 1.0
    confusion: Table | None = None
    texts: tuple[str, ...] = ()
    higher_is_better: bool | None = True

    @property
    def resampled(self) -> Callable[[Rows], float] | None:
        """The metric over some items; None where there are none."""
        if self.statistic is not None:
            return self.statistic
        values = self.score.per_item
        return None if values is None else lambda rows: float(values[rows].mean())

    def values(self) -> Reals | None:
        """The items' own values, where the metric is their mean."""
        return None if self.statistic is not None else self.score.per_item


class Version(Protocol):
    """A version as an evaluation sees it: rows by record and chunk, records by id, ascending."""

    @property
    def record_ids(self) -> Sequence[str]:
        """Of each record."""

    @property
    def rows(self) -> Matrix:
        """Vectors of all rows, shape (rows, dim); mapped from a file."""

    @property
    def owners(self) -> Rows:
        """The number of its record for each row, shape (rows,), ascending."""

    @property
    def records(self) -> Matrix:
        """Vectors, shape (records, dim): of a record in chunks the mean of their directions."""

    @property
    def rng(self) -> np.random.Generator:
        """A new generator at each call, always with the seed of the evaluation."""

    def column(self, name: str) -> list[object]:
        """A metadata column, a value for each record; ConfigError if there is none."""

    def texts(self, record_ids: Sequence[str]) -> list[str | None]:
        """The texts of records, None where the store has none."""

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Vectors of queries, shape (n, dim), with the prompt of queries; encoded once only."""

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Vectors of texts as records have them, shape (n, dim), without the prompt of queries.

        Those that the version has are not encoded again, others once only.
        """

    def near(self, queries: Matrix, k: int) -> list[list[str]] | None:
        """Records that a search finds by the version's own index; None where it has none."""


class Evaluation(Protocol):
    """Measures one version.

    `ungated: Mapping[str, str]` may name those of its metrics of which no gate can ask, and why, so
    that a gate which does is refused before any work.
    """

    metrics: tuple[str, ...]
    """The names of all that it may measure, the one that says most first."""

    def measure(self, version: Version) -> list[Measurement]:
        """The metrics, in the order of `metrics`.

        One that is undefined on this version may be left out, so that the others stand: a warning
        of another says so. Raises ConfigError where the version has not what it needs, MetricError
        where what is undefined leaves nothing to say.
        """
