"""Classes and partners across texts, images and sounds."""

from pathlib import Path

import numpy as np

from tasks.classify import PLAIN, prompts, read_labels
from tasks.errors import ConfigError
from tasks.evaluations.base import Measurement, Version
from tasks.evaluations.files import read_columns
from tasks.evaluations.records import at_most, find_pairs
from tasks.metrics import downstream
from tasks.metrics.score import unit_rows


class ZeroShot:
    """How often the description nearest to a record is that of its label."""

    metrics = ("accuracy",)

    def __init__(self, *, labels: str, column: str, template: list[str] | None = None) -> None:
        """`labels` is a file as `vectorline classify` reads it, `column` has the right ones."""
        self._labels, self._column = read_labels(Path(labels)), column
        self._prompts = prompts(self._labels, template or PLAIN)

    def measure(self, version: Version) -> list[Measurement]:
        """Over the records whose label is described; an item is a record."""
        names = {label: number for number, label in enumerate(self._labels)}
        values = version.column(self._column)
        rows = [row for row, value in enumerate(values) if value in names]
        if not rows:
            raise ConfigError(
                f"no record has one of the labels in column {self._column!r}: "
                f"{', '.join([*names][:5])}"
            )
        made = unit_rows(version.embed([one for own in self._prompts for one in own]))
        ends = np.cumsum([len(own) for own in self._prompts])[:-1]
        classes = np.array([part.mean(axis=0) for part in np.split(made, ends)])
        truth = np.array([names[str(values[row])] for row in rows])
        score = downstream.zero_shot(version.records[rows], classes, truth)
        lost = len(values) - len(rows)
        said = (f"{lost:,} records have no label that is described",) * bool(lost)
        items = tuple(version.record_ids[row] for row in rows)
        return [Measurement("accuracy", score.warned(*said), "record", items)]


class CrossModal:
    """How often partners, such as an image and its caption, find each other."""

    def __init__(
        self, *, pairs: str, one: str = "one", other: str = "other", k: int | list[int] = 1
    ) -> None:
        """`pairs` is a CSV or TSV with a header; `one` and `other` are columns of record ids."""
        self._k = [k] if isinstance(k, int) else list(k)
        if not self._k or min(self._k) < 1:
            raise ConfigError(f"k = {k}: expected 1 or more")
        self._path, self._pairs = pairs, read_columns(pairs, [one, other])
        self.metrics = tuple(f"cross_modal_recall@{k}" for k in self._k)

    def measure(self, version: Version) -> list[Measurement]:
        """The mean of both ways, which are parts of it; an item is a pair."""
        known, records, said = find_pairs(version, self._pairs, self._path)
        one, other = (version.records[records[:, end]] for end in (0, 1))
        items = tuple(" / ".join(self._pairs[pair]) for pair in known.tolist())
        found = []
        for asked in self._k:
            k, few = at_most(asked, len(one), "pairs")
            score = downstream.cross_modal_recall(one, other, k).warned(*said, *few)
            name = f"cross_modal_recall@{asked}"
            found.append(Measurement(name, score, "pair", items, texts=items))
        return found
