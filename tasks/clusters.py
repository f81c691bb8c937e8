"""Clusters: into which groups the records of a version fall, and what is typical of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tasks.errors import ConfigError
from tasks.evaluated import evaluated
from tasks.metrics import clustering
from tasks.space import Space

TYPICAL = 5  # records that stand for a cluster
DENSE = 20_000  # records that HDBSCAN takes: its time grows with their square


class Method(StrEnum):
    """How records are put together."""

    K_MEANS = "k-means"
    HDBSCAN = "hdbscan"


@dataclass(frozen=True, slots=True)
class Typical:
    """A record that is near the middle of its cluster."""

    id: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A group of records; `ids` are all of them, `typical` those nearest its middle."""

    name: str
    ids: list[str]
    typical: list[Typical]


def clusters(space: Space, method: Method, n: int, seed: int = 0) -> list[Cluster]:
    """The clusters of all records, the largest first, named c1, c2 and so on.

    By k-means there are `n` (fewer where vectors are equal), by HDBSCAN as many as there are with
    five records or more; records that it calls noise are in none. Raises ConfigError for too many.
    """
    with evaluated(space, seed) as version:
        n_records = len(version.record_ids)
        if method is Method.HDBSCAN and n_records > DENSE:
            raise ConfigError(
                f"hdbscan takes {DENSE:,} records at most, and version {space.version} has "
                f"{n_records:,}: use --method k-means"
            )
        if method is Method.K_MEANS and not 2 <= n <= n_records:
            raise ConfigError(f"-n {n}: expected 2 to {n_records:,}, the number of records")
        labels = (
            clustering.hdbscan(version.records)
            if method is Method.HDBSCAN
            else clustering.k_means(version.records, n, rng=version.rng).labels
        )
        near = clustering.typical_rows(version.records, labels, TYPICAL)
        groups = {
            label: np.flatnonzero(labels == label) for label in np.unique(labels) if label >= 0
        }
        order = sorted(groups, key=lambda label: (-len(groups[label]), int(label)))
        ids = version.record_ids
        return [
            Cluster(
                f"c{place}",
                [ids[row] for row in groups[label].tolist()],
                _described([ids[row] for row in near[int(label)].tolist()], version.texts),
            )
            for place, label in enumerate(order, 1)
        ]


def _described(
    ids: Sequence[str], texts: Callable[[Sequence[str]], list[str | None]]
) -> list[Typical]:
    return [Typical(id_, text) for id_, text in zip(ids, texts(ids), strict=True)]
