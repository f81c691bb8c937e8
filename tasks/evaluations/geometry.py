"""The shape of a space, which needs no labels."""

from collections.abc import Callable
from typing import TypeAlias

from tasks.evaluations.base import Measurement, Version
from tasks.metrics import geometry
from tasks.metrics.score import Score

Measure: TypeAlias = Callable[..., Score]
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
    "levina_bickel": geometry.levina_bickel,
    "correlation_dimension": geometry.correlation_dimension,
    "hubness": geometry.hubness,
    "anti_hubs": geometry.anti_hubs,
}


class Geometry:
    """How records fill the space; none of these is good or bad in itself."""

    metrics = (*OF_MOMENTS, *OF_ALL, *SAMPLED)

    def measure(self, version: Version) -> list[Measurement]:
        """Of all records, or of samples where a metric says so."""
        moments = geometry.moments(version.records)
        scores = {name: measure(moments) for name, measure in OF_MOMENTS.items()}
        scores |= {name: measure(version.records) for name, measure in OF_ALL.items()}
        for name, measure in SAMPLED.items():
            scores[name] = measure(version.records, rng=version.rng)
        return [
            Measurement(name, score, "record", higher_is_better=None)
            for name, score in scores.items()
        ]
