"""Whether a space falls into groups, which needs no labels."""

from typing import Literal

from tasks.errors import ConfigError, MetricError
from tasks.evaluations.base import NEITHER, NO_ITEMS, Measurement, Version
from tasks.metrics import clustering
from tasks.metrics.score import Score

MOST = 20_000  # records that HDBSCAN looks at


class Clusters:
    """How well records are parted into clusters, and how surely the same ones are found again."""

    def __init__(
        self,
        *,
        n: int = 10,
        method: Literal["k-means", "hdbscan"] = "k-means",
        min_cluster_size: int = 5,
    ) -> None:
        """`n` clusters by k-means, or as many as HDBSCAN finds, of `min_cluster_size` or more."""
        if n < 2:
            raise ConfigError(f"n = {n}: expected 2 or more")
        self._n, self._by_density, self._least = n, method == "hdbscan", min_cluster_size
        self.metrics = ("clusters", "noise") if self._by_density else ("stability", "silhouette")
        self.ungated = {name: NO_ITEMS if name == "stability" else NEITHER for name in self.metrics}

    def measure(self, version: Version) -> list[Measurement]:
        """Stability and silhouette, or the number of clusters and the share of noise."""
        if not self._by_density:
            rng, records = version.rng, version.records
            try:
                stability = clustering.stability(records, self._n, rng=rng)
                found = clustering.k_means(records, self._n, rng=rng).labels
                silhouette = clustering.silhouette(records, found, rng=rng)
            except MetricError as error:
                raise MetricError(f"n = {self._n}: {error}") from error
            return [
                Measurement("stability", stability, "resample"),
                Measurement("silhouette", silhouette, "record", higher_is_better=None),
            ]
        rows = version.rng.permutation(len(version.record_ids))[:MOST]
        found = clustering.hdbscan(version.records[rows], min_cluster_size=self._least)
        n_clusters = Score(float(found.max() + 1), len(found))
        noise = Score(float((found < 0).mean()), len(found))
        return [
            Measurement(name, score, "record", higher_is_better=None)
            for name, score in zip(self.metrics, (n_clusters, noise), strict=True)
        ]
