"""What numbers of a metadata column can be read from vectors."""

import numpy as np

from tasks.errors import ConfigError
from tasks.evaluations.base import Measurement, Version
from tasks.evaluations.records import groups_of, labelled
from tasks.metrics import downstream

MOST = 20_000  # records that are looked at


class Numbers:
    """How well a ridge regression tells a column of numbers from vectors, held out."""

    metrics = ("r2",)

    def __init__(self, *, column: str, group: str | None = None, folds: int = 5) -> None:
        """Records without a value do not count; of more than 20,000 a sample is taken.

        Those with the same value in the column `group` are held out and resampled together.
        """
        if folds < 2:
            raise ConfigError(f"folds = {folds}: expected 2 or more")
        self._column, self._group, self._folds = column, group, folds

    def measure(self, version: Version) -> list[Measurement]:
        """R2; an item is a record."""
        records, said = labelled(version, self._column, MOST)
        try:
            targets = np.array([float(str(value)) for value in records.values])
        except ValueError as error:
            raise ConfigError(f"column {self._column!r} holds no number: {error}") from error
        groups = groups_of(version, self._group, records.rows)
        score = downstream.ridge_probe(
            version.records[records.rows],
            targets,
            rng=version.rng,
            groups=groups,
            folds=self._folds,
        ).warned(*said)
        items = tuple(version.record_ids[row] for row in records.rows.tolist())
        largest = 1.0 if score.per_item is None else float(np.ptp(score.per_item)) + 1.0
        return [Measurement("r2", score, "record", items, groups=groups, largest=largest)]
