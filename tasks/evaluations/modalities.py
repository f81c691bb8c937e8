"""Classes and partners across texts, images and sounds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.classify import PLAIN, prompts, read_labels
from tasks.errors import ConfigError
from tasks.evaluations.base import Measurement, Rows, Version
from tasks.evaluations.files import read_columns
from tasks.evaluations.records import at_most, find_pairs, has_value
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
        rows = [row for row, value in enumerate(values) if has_value(value) and str(value) in names]
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
        commonest = float(np.bincount(truth).max() / len(truth))
        score = replace(score, parts={**score.parts, "commonest label": commonest})
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
        self._path, self._columns = pairs, (one, other)
        self._pairs = read_columns(pairs, [one, other])
        self.metrics = tuple(f"cross_modal_recall@{k}" for k in self._k)

    def measure(self, version: Version) -> list[Measurement]:
        """Any partner among the k nearest of the other side is a hit; an item is a record asked.

        Both ways are parts of it. Records that partners tie together are drawn together.
        """
        _, pairs, said = find_pairs(version, self._pairs, self._path)
        sides = [np.unique(pairs[:, end], return_inverse=True) for end in (0, 1)]
        (one, _), (other, _) = sides
        partners = np.column_stack([places for _, places in sides])
        items = tuple(
            f"{column} {version.record_ids[record]}"
            for column, (records, _) in zip(self._columns, sides, strict=True)
            for record in records.tolist()
        )
        groups, alone = _tied(partners, len(one), len(other))
        found = []
        for asked in self._k:
            k, few = at_most(asked, min(len(one), len(other)), "records of a side")
            score = downstream.cross_modal_recall(
                version.records[one], version.records[other], k, pairs=partners
            ).warned(*said, *few, *alone)
            name = f"cross_modal_recall@{asked}"
            found.append(Measurement(name, score, "record", items, groups=groups, texts=items))
        return found


def _tied(partners: Rows, n_one: int, n_other: int) -> tuple[Rows | None, tuple[str, ...]]:
    """A number for the records, of both sides, that partners tie together, and what to warn of."""
    n = n_one + n_other
    links = (np.ones(len(partners)), (partners[:, 0], n_one + partners[:, 1]))
    n_groups, groups = connected_components(coo_array(links, shape=(n, n)), directed=False)
    if n_groups > 1:
        return groups.astype(np.int64), ()
    return None, ("partners tie all records together: intervals take them as independent",)
