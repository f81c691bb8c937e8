"""What a metadata column says of records: how much of it can be read from their vectors."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from tasks.errors import ConfigError, MetricError
from tasks.evaluations.base import NO_ITEMS, Measurement, Rows, Table, Version
from tasks.evaluations.records import groups_of, labelled
from tasks.metrics import clustering, downstream
from tasks.metrics.score import Matrix, Score

LABELLED = 20_000  # records that are looked at, at most
CLUSTERED = 5_000  # of them in clusters
CLUSTERS = "clusters by k-means, named one to one after the labels that fit them best"
Names: TypeAlias = npt.NDArray[np.str_]
AGREEMENTS: dict[str, Callable[..., Score]] = {
    "v_measure": clustering.v_measure,  # which is NMI, too
    "ami": clustering.ami,
    "ari": clustering.ari,
}


class Labels:
    """How well probes tell the labels of a column, and how well clusters find them again."""

    metrics = (
        "accuracy",
        "knn_accuracy",
        "few_shot_accuracy",
        *AGREEMENTS,
        "hdbscan_ami",
        "silhouette",
    )
    ungated: ClassVar[Mapping[str, str]] = {"few_shot_accuracy": NO_ITEMS}

    def __init__(
        self,
        *,
        column: str,
        group: str | None = None,
        k: int = 5,
        shots: int = 5,
        folds: int = 5,
    ) -> None:
        """`k` neighbours vote, `shots` records of each label teach, `folds` hold out.

        Records with the same value in the column `group` (a document, an author) are held out and
        resampled together, since they depend on each other.
        Records without a value do not count. Of more than 20,000 a sample is taken, of which 5,000
        are put into clusters.
        """
        for name, value, least in (("k", k, 1), ("shots", shots, 1), ("folds", folds, 2)):
            if value < least:
                raise ConfigError(f"{name} = {value}: expected {least} or more")
        self._column, self._group = column, group
        self._k, self._shots, self._folds = k, shots, folds

    def measure(self, version: Version) -> list[Measurement]:
        """Probes on held-out records, clusters without them.

        An item is a record, of few shots a repeat, which has no name. Where clusters are undefined,
        as on equal vectors, their metrics are left out, with a warning.
        """
        records, said = labelled(version, self._column, LABELLED)
        names = np.array([str(value) for value in records.values])
        vectors = version.records[records.rows]
        rng, folds = version.rng, self._folds
        groups = groups_of(version, self._group, records.rows)
        linear = downstream.logistic_probe(vectors, names, rng=rng, groups=groups, folds=folds)
        voted = downstream.knn_probe(vectors, names, rng=rng, k=self._k, groups=groups, folds=folds)
        taught = downstream.few_shot_probe(vectors, names, rng=rng, shots=self._shots)
        ids = [version.record_ids[row] for row in records.rows.tolist()]
        commonest = float(np.unique(names, return_counts=True)[1].max() / len(names))
        linear, voted, taught = (
            replace(one, parts={**one.parts, "commonest label": commonest})
            for one in (linear, voted, taught)
        )
        clusters: list[Measurement] = []
        try:
            clusters += _clustered(vectors[:CLUSTERED], names[:CLUSTERED], ids, version, said)
        except MetricError as error:
            said += (f"clusters are undefined, and their metrics left out: {error}",)
        found = [
            Measurement("accuracy", linear.warned(*said), "record", _items(linear, ids)),
            Measurement("knn_accuracy", voted.warned(*said), "record", _items(voted, ids)),
            Measurement("few_shot_accuracy", taught.warned(*said), "repeat"),
            *clusters,
        ]
        if groups is None:
            return found
        of = dict(zip(ids, groups.tolist(), strict=True))
        return [
            replace(one, groups=np.array([of[id_] for id_ in one.items])) if one.items else one
            for one in found
        ]


def _items(score: Score, ids: list[str]) -> tuple[str, ...]:
    """The records that a score looked at: all of them where it does not say."""
    return tuple(ids[int(row)] for row in score.items) or tuple(ids)


def _clustered(
    vectors: Matrix, names: Names, ids: list[str], version: Version, said: tuple[str, ...]
) -> list[Measurement]:
    """As many clusters as labels, and those that HDBSCAN finds, beside the labels."""
    labels, truth = np.unique(names, return_inverse=True)
    if len(labels) < 2:
        raise MetricError(f"all records have the label {labels[0]!r}: two are needed")
    found = clustering.k_means(vectors, len(labels), rng=version.rng).labels
    items = tuple(ids[: len(names)])
    by_density = clustering.hdbscan(vectors)
    measured = [
        Measurement(
            name,
            agreement(truth, found).warned(*said),
            "record",
            items,
            statistic=partial(_over, agreement, truth, found),
            confusion=_confusion(truth, found, labels) if name == "v_measure" else None,
        )
        for name, agreement in AGREEMENTS.items()
    ]
    density = clustering.ami(truth, by_density)
    silhouette = clustering.silhouette(vectors, names, rng=version.rng)
    return [
        *measured,
        Measurement(
            "hdbscan_ami",
            density.warned(*said),
            "record",
            items,
            statistic=partial(_over, clustering.ami, truth, by_density),
        ),
        Measurement(
            "silhouette",
            silhouette.warned(*said),
            "record",
            _items(silhouette, ids[: len(names)]),
            largest=2.0,
        ),
    ]


def _over(agreement: Callable[..., Score], truth: Rows, found: Rows, rows: Rows) -> float:
    try:
        return float(agreement(truth[rows], found[rows]))
    except MetricError:
        return float("nan")


def _confusion(truth: Rows, found: Rows, labels: Names) -> Table:
    """Labels beside clusters, each called as the label that it fits best, one to one."""
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, (truth, found), 1)
    _, clusters = linear_sum_assignment(counts, maximize=True)
    return Table(tuple(labels.tolist()), counts[:, clusters], CLUSTERS)
