"""Where drift sits: clusters of the baseline, topics that come or go, and values of a column.

Part of the baseline is set aside to fit clusters on, and is not counted: rows that clusters were
fitted on lie nearer their centres than new rows of the same kind, which would look like drift.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.drift.basis import checked_rows
from tasks.drift.clusters import Numbers, centres_of, nearest_centre
from tasks.drift.counted import Counted, counted_of
from tasks.drift.default import default_test
from tasks.drift.monitor import check_alpha, in_stages
from tasks.drift.topics import neighbours_of, topics_of
from tasks.drift.value import Blocks, DriftValue
from tasks.errors import DriftError
from tasks.metrics.score import Labels
from tasks.metrics.significance import holm

ASIDE = 0.3  # of the baseline's units
EACH = 100  # rows set aside for a cluster
MOST = 32  # clusters
LARGEST = 500  # rows of a side that are looked at inside
INSIDE = 50  # units of a side from which a shift inside is looked for
PERMUTATIONS = 9_999  # of those, where fewer leave doubt
DOUBT = 0.05  # p-value of a shift above which it adds nothing to the drift
TYPICAL = 5
FAMILIES = 3  # new topics, vanished ones, clusters: each has a third of alpha


class Kind(StrEnum):
    """What makes rows a segment."""

    CLUSTER = "cluster"
    NEW = "new topic"
    VANISHED = "vanished topic"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Segment:
    """Some rows of both sides, and how they differ. Rows are numbered as they were given.

    Attributes:
        name: Such as "cluster 3", "new topic 1" or "language=de".
        kind: What makes it a segment.
        baseline: The baseline's rows in it.
        candidate: The candidate's rows in it.
        share_baseline: Of the baseline's rows that were counted.
        share_candidate: Of the candidate's.
        drift: Its part of the total drift, of which all clusters and topics, and all values of a
            column, sum to 1: with the shares p and q, (|p - q (1 - e)| + q e) / 2 divided by the
            sum of that. It is the total variation within the segment if a part e of the candidate's
            rows is of another kind than the baseline's; e = max(0, 2 AUC - 1) where the p-value of
            `shift` is 0.05 or less, else 0.
        p_growth: How likely such a difference of shares is where nothing drifts.
        shift: What the test finds on its rows; None where there are fewer than 50 units a side.
        p_value: Of growth and shift together, corrected for all segments that were looked at.
        typical_baseline: Five different rows of the baseline, nearest the middle first.
        typical_candidate: The same of the candidate: the middle is that of its rows in the segment.
    """

    name: str
    kind: Kind
    baseline: Numbers = field(repr=False)
    candidate: Numbers = field(repr=False)
    share_baseline: float
    share_candidate: float
    drift: float
    p_growth: float
    shift: DriftValue | None = field(repr=False)
    p_value: float
    typical_baseline: Numbers
    typical_candidate: Numbers

    @property
    def growth(self) -> float:
        """How many more of 1 the candidate has here: negative where it shrank."""
        return self.share_candidate - self.share_baseline


@dataclass(frozen=True, slots=True)
class Segments:
    """All segments: those that are significant first, then by their part of the drift.

    Attributes:
        found: They.
        n_baseline: The number of the baseline's rows that were counted.
        n_candidate: The number of the candidate's.
        n_aside: The number of the baseline's rows that clusters were fitted on.
        warnings: What was odd about the input and what was made of it, one sentence each.
    """

    found: tuple[Segment, ...]
    n_baseline: int
    n_candidate: int
    n_aside: int
    warnings: tuple[str, ...] = ()


def segments(
    baseline: npt.ArrayLike,
    candidate: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    blocks: Blocks | None = None,
    columns: Mapping[str, tuple[Labels, Labels]] | None = None,
    alpha: float = 0.05,
    whole: tuple[npt.ArrayLike, Labels] | None = None,
) -> Segments:
    """Where the rows (n, dim) and (m, dim) differ: the first segment is the one to look at.

    The chance that any cluster or topic has a p-value of alpha or less where nothing drifts is at
    most alpha; so it is for each of the `columns`, which give a label for each row of both sides.
    Clusters are the same whatever the candidate is. Around a topic's rows there is nearly nothing
    of the other side; its middle is one more centre, and a row belongs to the nearest of all. Above
    10,000 rows a side a sample stands for all; topics are looked for among no more of a side than
    three times those of the other. With `blocks`, whole blocks are set aside, and permuted. Where
    the baseline has some rows of each of its blocks, `whole` has all of them, shape (k, dim), and
    their labels: clusters are fitted on these, and are the same whichever rows were taken. Raises
    DriftError as a DriftTest, for too few rows, and for labels of another length.
    """
    check_alpha(alpha)
    fitting, counting = rng.spawn(2)
    every, warnings = counted_of(baseline, candidate, blocks, counting)
    topics = _topics(every.alike(), alpha)
    aside = every.some_units(ASIDE, fitting)
    fitted = every.rows[aside]
    if whole is not None and blocks is not None:
        of_blocks = np.isin(whole[1], np.asarray(blocks[0])[every.numbers[aside]])
        fitted = checked_rows(whole[0])[of_blocks]
    n_clusters = int(np.clip(len(fitted) // EACH, 2, MOST))
    centres = centres_of(fitted, n_clusters, fitting)
    counted = every.of(~aside)
    of = nearest_centre(counted.rows, np.stack([*centres, *(topic.middle for topic in topics)]))
    names = [f"cluster {number}" for number in range(1, len(centres) + 1)]
    names += [topic.name for topic in topics]
    made = _partition(counted, np.array(names)[of], topics)
    for column, given in (columns or {}).items():
        values = _values(column, given, counted)
        if len(np.unique(values)) > 1:
            made += _partition(counted, values, None)
        else:
            warnings.append(f"{values[0]} in all rows: a column of one value makes no segments")
    ordered = sorted(made, key=lambda one: (one.p_value > alpha, -one.drift, one.name))
    n_candidate = int(counted.sides.sum())
    n_baseline = len(counted.sides) - n_candidate
    return Segments(tuple(ordered), n_baseline, n_candidate, len(fitted), tuple(warnings))


class _Found(NamedTuple):
    """A topic: its name and kind, the mean of its rows, and its p-value, corrected."""

    name: str
    kind: Kind
    middle: npt.NDArray[np.floating]
    p_value: float


def _topics(counted: Counted, alpha: float) -> list[_Found]:
    """Those that are significant, new ones first, the largest of a kind first."""
    graph = neighbours_of(counted.rows, counted.units)
    found = []
    for kind, sides in ((Kind.NEW, counted.sides), (Kind.VANISHED, ~counted.sides)):
        for number, topic in enumerate(topics_of(graph, counted.units, sides, counted.rng), 1):
            if FAMILIES * topic.p_value <= alpha:
                middle = counted.rows[topic.rows].mean(axis=0)
                found.append(_Found(f"{kind} {number}", kind, middle, FAMILIES * topic.p_value))
    return found


def _values(column: str, given: tuple[Labels, Labels], counted: Counted) -> npt.NDArray[np.str_]:
    """Of each counted row `column=value`; raises DriftError for labels of another length."""
    for labels, n in zip(given, counted.n_given, strict=True):
        if len(labels) != n:
            raise DriftError(f"column {column} has {len(labels)} labels for {n} rows")
    every = np.concatenate([np.asarray(labels).astype(np.str_) for labels in given])
    rows = counted.numbers + np.where(counted.sides, counted.n_given[0], 0)
    return np.char.add(f"{column}=", every[rows])


def _partition(
    counted: Counted, names: npt.NDArray[np.str_], topics: Sequence[_Found] | None
) -> list[Segment]:
    """A segment for each name, of clusters and topics or (None) of a column's values.

    Growths and shifts of all but topics are corrected together.
    """
    there, of = np.unique(names, return_inverse=True)
    growths = counted.growth(of, len(there))
    shifts = [_shift(counted, of == number) for number in range(len(there))]
    known = {topic.name: topic for topic in topics or ()}
    tested = {}
    for name, growth, shift in zip(there.tolist(), growths.tolist(), shifts, strict=True):
        if name not in known:
            tested[f"growth {name}"] = growth
            if shift is not None:
                tested[f"shift {name}"] = shift.p_value
    corrected, families = holm(tested), 1 if topics is None else FAMILIES
    parts = [_part(counted, of == number, shift) for number, shift in enumerate(shifts)]
    whole = sum(part.size for part in parts) or 1.0
    made = []
    for name, part, growth, shift in zip(there.tolist(), parts, growths, shifts, strict=True):
        own = min(corrected.get(f"{what} {name}", 1.0) for what in ("growth", "shift"))
        kind, p_value = Kind.VALUE if topics is None else Kind.CLUSTER, min(1.0, families * own)
        if name in known:
            kind, p_value = known[name].kind, known[name].p_value
        middle = counted.rows[part.candidate if len(part.candidate) else part.baseline].mean(axis=0)
        typical = [_typical(counted, rows, middle) for rows in (part.baseline, part.candidate)]
        made.append(
            Segment(
                name,
                kind,
                counted.numbers[part.baseline],
                counted.numbers[part.candidate],
                *part.shares,
                part.size / whole,
                float(growth),
                shift,
                p_value,
                *typical,
            )
        )
    return made


class _Part(NamedTuple):
    """Rows of a segment, by side; its share of both; how much of the drift is in it."""

    baseline: Numbers
    candidate: Numbers
    shares: tuple[float, float]
    size: float


def _part(counted: Counted, inside: npt.NDArray[np.bool_], shift: DriftValue | None) -> _Part:
    """The total variation within the segment, as Segment.drift says."""
    baseline, candidate = (
        np.flatnonzero(inside & (counted.sides == side)) for side in (False, True)
    )
    p = len(baseline) / np.count_nonzero(~counted.sides)
    q = len(candidate) / np.count_nonzero(counted.sides)
    found = shift is not None and shift.p_value <= DOUBT
    other = max(0.0, 2 * shift.effect - 1) if found and shift is not None else 0.0
    return _Part(baseline, candidate, (p, q), (abs(p - q * (1 - other)) + q * other) / 2)


def _shift(counted: Counted, inside: npt.NDArray[np.bool_]) -> DriftValue | None:
    """What the default test finds among these rows, of enough units."""
    sides = [inside & ~counted.sides, inside & counted.sides]
    if min(len(np.unique(counted.units[rows])) for rows in sides) < INSIDE:
        return None
    one, other = (counted.rows[rows] for rows in sides)
    blocks = counted.units[sides[0]], counted.units[sides[1]]
    return in_stages(
        lambda permutations: default_test(permutations=permutations, rows=LARGEST)(
            one, other, counted.rng, blocks=blocks
        ),
        PERMUTATIONS,
    )


def _typical(counted: Counted, rows: Numbers, middle: npt.NDArray[np.floating]) -> Numbers:
    """Of these rows five different ones, the nearest first, as they were given."""
    held = counted.rows[rows]
    order = np.argsort(np.linalg.norm(held - middle, axis=1), kind="stable")
    new = np.ones(len(order), np.bool_)  # equal rows are equally near, and so come in a row
    new[1:] = (held[order[1:]] != held[order[:-1]]).any(axis=1)
    return counted.numbers[rows[order[new][:TYPICAL]]]
