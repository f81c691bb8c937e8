"""The shape of a space, which needs no labels."""

from collections.abc import Callable
from functools import cache, partial
from typing import TypeAlias

from tasks.errors import MetricError
from tasks.evaluations.base import NEITHER, Measurement, Version
from tasks.evaluations.records import at_most
from tasks.metrics import geometry
from tasks.metrics.score import Score

Measure: TypeAlias = Callable[..., Score]
HUB_NEIGHBOURS = 10
NEIGHBOURS = 20  # by which a dimension is told
OF_MOMENTS: dict[str, Measure] = {
    "iso_score": geometry.iso_score,
    "participation_ratio": geometry.participation_ratio,
    "rank_me": geometry.rank_me,
    "alpha_req": geometry.alpha_req,
}
OF_ALL: dict[str, Measure] = {
    "anisotropy": geometry.anisotropy,
    "norm": geometry.norms,
    "duplicates": geometry.duplicates,
}
SAMPLED: dict[str, Measure] = {
    "uniformity": geometry.uniformity,
    "two_nn": geometry.two_nn,
}
NEAR: dict[str, tuple[Measure, int]] = {
    "levina_bickel": (geometry.levina_bickel, NEIGHBOURS),
    "correlation_dimension": (geometry.correlation_dimension, NEIGHBOURS),
    "hubness": (geometry.hubness, HUB_NEIGHBOURS),
    "anti_hubs": (geometry.anti_hubs, HUB_NEIGHBOURS),
}


class Geometry:
    """How records fill the space; none of these is good or bad in itself."""

    metrics = (*OF_MOMENTS, *OF_ALL, *SAMPLED, *NEAR)
    ungated = dict.fromkeys(metrics, NEITHER)

    def measure(self, version: Version) -> list[Measurement]:
        """Of all records, or of samples where a metric says so.

        Those that are undefined on these vectors are left out, which the first of the others says.
        Raises MetricError where all are.
        """
        scores: dict[str, Score] = {}
        undefined: list[str] = []
        for name, measure in _measures(version).items():
            try:
                scores[name] = measure()
            except MetricError as error:
                undefined.append(f"{name} is undefined and left out: {error}")
        if not scores:
            raise MetricError(undefined[0])
        first = next(iter(scores))
        scores[first] = scores[first].warned(*undefined)
        return [
            Measurement(name, score, "record", higher_is_better=None)
            for name, score in scores.items()
        ]


def _measures(version: Version) -> dict[str, Callable[[], Score]]:
    """All metrics, in order, each to be taken by itself."""
    moments = cache(lambda: geometry.moments(version.records))
    measures: dict[str, Callable[[], Score]] = {
        name: partial(_of_moments, measure, moments) for name, measure in OF_MOMENTS.items()
    }
    measures |= {name: partial(measure, version.records) for name, measure in OF_ALL.items()}
    for name, measure in SAMPLED.items():
        measures[name] = partial(measure, version.records, rng=version.rng)
    for name, (measure, k) in NEAR.items():
        measures[name] = partial(_near, measure, k, version)
    return measures


def _of_moments(measure: Measure, moments: Callable[[], geometry.Moments]) -> Score:
    return measure(moments())


def _near(measure: Measure, wanted: int, version: Version) -> Score:
    """A metric of k neighbours, or of as many as there are."""
    if len(version.record_ids) < 2:
        raise MetricError("neighbours need two records")
    k, few = at_most(wanted, len(version.record_ids) - 1, "other records")
    radii = {"k1": k // 2, "k2": k} if measure is geometry.correlation_dimension else {"k": k}
    return measure(version.records, rng=version.rng, **radii).warned(*few)
