"""What an evaluation found; kept in `runs/<table>/evaluations/<id>.json`."""

from typing import Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict

from schemas.suite import MapMethod


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


Verdict: TypeAlias = Literal["better", "not worse", "worse", "cannot tell"]
"""What is to be said of a candidate beside its baseline."""


class Estimate(_Part):
    """A number with its interval, and on how many items it stands.

    `low` and `high` are None where there are no items to resample.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int
    method: str | None = None
    warnings: tuple[str, ...] = ()


class Compared(_Part):
    """The difference from the baseline over what both have; above 0 is better.

    `margin` is the drop that counts as no loss, None where the verdict does not ask the metric.
    """

    baseline: float
    candidate: float
    difference: Estimate
    margin: float | None = None
    verdict: Verdict | None = None
    reason: str = ""


class Metric(_Part):
    """A metric of a version, what else came with it, and how it stands to the baseline's.

    `of` is what an item is; `higher_is_better` is None where neither is.
    """

    estimate: Estimate
    of: str
    higher_is_better: bool | None = True
    parts: dict[str, float] = {}
    compared: Compared | None = None


class Judged(_Part):
    """A version that an evaluation looked at, and what it costs."""

    version: int
    table: str
    fingerprint: str
    encoder: str
    precision: str
    rows: int
    records: int
    dim: int
    size_bytes: int
    encode_seconds: float | None = None
    encoded: int | None = None


class Gate(_Part):
    """Whether the version may serve, and the metrics that keep it from that."""

    passed: bool
    failed: tuple[str, ...] = ()


class ItemChange(_Part):
    """An item of a metric that did much better or worse than in the baseline."""

    metric: str
    item: str
    text: str | None
    baseline: float
    candidate: float


class Neighbour(_Part):
    """A record that is near another one."""

    id: str
    score: float
    text: str | None


class Neighbourhood(_Part):
    """What is nearest to a record in the candidate, and in the baseline."""

    id: str
    text: str | None
    candidate: tuple[Neighbour, ...]
    baseline: tuple[Neighbour, ...] = ()


class Confusion(_Part):
    """How many records of each label (row) are in each of `columns`, which it describes."""

    name: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    columns: str = ""


class Point(_Part):
    """Where a record is in a map; `colour` is the place of its value in the map's `colours`.

    None where it has another value, or none.
    """

    id: str
    x: float
    y: float
    colour: int | None = None


class Map(_Part):
    """Some records in the plane, near each other where their vectors are.

    Axes have no unit. Those of the baseline are the same: of one encoder both are placed by one
    projection, of two the candidate's map is turned onto the baseline's. `notes` say what is odd
    about it, and why there are no points where there are none.
    """

    method: MapMethod
    column: str | None = None
    colours: tuple[str, ...] = ()
    candidate: tuple[Point, ...] = ()
    baseline: tuple[Point, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def drawable(self) -> bool:
        """Whether there is anything to be seen."""
        return bool(self.candidate or self.baseline)


class Details(_Part):
    """What the page shows beside the metrics."""

    winners: tuple[ItemChange, ...] = ()
    losers: tuple[ItemChange, ...] = ()
    neighbourhoods: tuple[Neighbourhood, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    spectrum: tuple[float, ...] = ()
    baseline_spectrum: tuple[float, ...] = ()
    map: Map | None = None


class EvaluationRecord(_Part):
    """One evaluation of a version, alone or beside a baseline.

    `serving` is the version that served then, if one did.
    """

    format: Literal[1] = 1
    id: str
    space: str
    suite: str
    suite_digest: str
    candidate: Judged
    baseline: Judged | None = None
    metrics: dict[str, Metric]
    verdict: Verdict | None = None
    reason: str = ""
    gate: Gate | None = None
    serving: int | None = None
    neighbour_overlap: float | None = None
    common_records: int | None = None
    details: Details = Details()
    alpha: float
    seed: int
    seconds: float
    created_at: AwareDatetime
    command: str = ""
    libraries: dict[str, str] = {}
