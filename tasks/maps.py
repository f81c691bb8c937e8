"""The map of an evaluation: a sample of the candidate's records, and of the baseline's.

Records are chosen by the digests of their ids, so that versions show the same ones as far as they
have them, and placed by the projection that is kept for their table: what moved in the picture has
moved. Two encoders have a projection each, and the candidate's map is turned onto the baseline's.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from schemas.evaluation import Map, Point
from schemas.suite import MapConfig
from tasks.digests import digest_text
from tasks.errors import ConfigError, MetricError
from tasks.evaluated import EvaluatedVersion, evaluated
from tasks.metrics.score import Matrix, unit_rows
from tasks.projections import Plane, Projection, fit, turned
from tasks.space import Space
from tasks.store import projections

COLOURS = 10
DIGITS = 4  # of a position: more cannot be seen


@dataclass(frozen=True)
class Side:
    """The records of a version that are shown: position i and value i belong to id i."""

    ids: Sequence[str]
    positions: Plane
    values: Sequence[str | None]


def map_of(wanted: MapConfig, candidate: Space, baseline: Space | None, seed: int) -> Map:
    """The map that a suite asks for; makes and keeps the projections that there are not yet.

    `seed` is of those. Raises ConfigError where the candidate lacks the column of the colours.
    """
    work = _Work(wanted, seed)
    shown = work.side(candidate, strict=True)
    beside = None if baseline is None else work.side(baseline, strict=False)
    if shown and beside and baseline and baseline.entry.table != candidate.entry.table:
        shown = work.onto(shown, beside)
    colours = _commonest(value for side in (shown, beside) if side for value in side.values)
    return Map(
        method=wanted.method,
        column=wanted.colour,
        colours=colours,
        candidate=_points(shown, colours),
        baseline=_points(beside, colours),
        notes=tuple(work.notes),
    )


def sample_of(ids: Iterable[str], n: int) -> list[str]:
    """As many of the ids, ascending: of more ids the same ones, but for those that come between."""
    return sorted(heapq.nsmallest(n, ids, key=lambda id_: (digest_text(id_), id_)))


@dataclass
class _Work:
    """One map in the making; `projections` are by table, so that both sides have the same."""

    wanted: MapConfig
    seed: int
    notes: list[str] = field(default_factory=list)
    projections: dict[str, Projection] = field(default_factory=dict)

    def side(self, space: Space, *, strict: bool) -> Side | None:
        """None, with a note, where there is nothing to make a projection of.

        Raises ConfigError where it is `strict` and the column of the colours is not there.
        """
        with evaluated(space, self.seed) as version:
            ids = sample_of(version.record_ids, self.wanted.sample)
        with evaluated(space, self.seed, ids) as version:
            values = self._values(version, strict=strict)
            vectors = unit_rows(version.records)
            try:
                projection = self._projection(version, vectors)
            except MetricError as error:
                self.notes.append(f"version {space.version} has no map: {error}")
                return None
            return Side(version.record_ids, projection.place(vectors), values)

    def onto(self, side: Side, other: Side) -> Side:
        """Turned by the records that both have; as it is, with a note, where that cannot be."""
        places = {id_: place for place, id_ in enumerate(other.ids)}
        pairs = [(row, places[id_]) for row, id_ in enumerate(side.ids) if id_ in places]
        own, others = np.array(pairs, np.int64).reshape(-1, 2).T
        try:
            positions = turned(side.positions, side.positions[own], other.positions[others])
        except MetricError as error:
            self.notes.append(f"the candidate's map is not turned onto the baseline's: {error}")
            return side
        return replace(side, positions=positions)

    def _values(self, version: EvaluatedVersion, *, strict: bool) -> list[str | None]:
        if self.wanted.colour is None:
            return [None] * len(version.record_ids)
        try:
            values = version.column(self.wanted.colour)
        except ConfigError as error:
            if strict:
                raise
            self.notes.append(f"version {version.space.version} has no colours: {error}")
            return [None] * len(version.record_ids)
        return [None if value is None else str(value) for value in values]

    def _projection(self, version: EvaluatedVersion, vectors: Matrix) -> Projection:
        space, method = version.space, self.wanted.method
        table = space.entry.table
        if table not in self.projections:
            found, said = projections.keep(
                space.store_uri,
                table,
                method,
                space.settings.dim,
                lambda: fit(method, vectors, rng=version.rng),
            )
            self.projections[table] = found
            self.notes.extend([said] if said else [])
        return self.projections[table]


def _commonest(values: Iterable[str | None]) -> tuple[str, ...]:
    counts = Counter(value for value in values if value is not None)
    return tuple(sorted(counts, key=lambda value: (-counts[value], value))[:COLOURS])


def _points(side: Side | None, colours: Sequence[str]) -> tuple[Point, ...]:
    if side is None:
        return ()
    places = {value: place for place, value in enumerate(colours)}
    return tuple(
        Point(id=id_, x=_short(x), y=_short(y), colour=None if value is None else places.get(value))
        for id_, (x, y), value in zip(side.ids, side.positions.tolist(), side.values, strict=True)
    )


def _short(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
