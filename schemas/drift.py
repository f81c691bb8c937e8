"""What a drift report found; kept in `runs/<table>/drift/<id>.json`."""

from typing import Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


Verdict: TypeAlias = Literal[
    "drift", "no drift", "cannot tell", "encoder changed", "not comparable"
]
"""What is to be said of what came in since the baseline."""


class Compared(_Part):
    """A version that took part."""

    version: int
    table: str
    fingerprint: str
    precision: str | None
    rows: int
    records: int
    created_at: AwareDatetime


class Effect(_Part):
    """How large a difference is, in three units.

    `auc` is that of a classifier which tells both sides apart, on rows that it was not fitted to:
    0.5 is chance. `shift_sd` is by how many standard deviations the mean has moved along its
    scores. `share` is the least share of rows without which the rest could be alike.
    """

    auc: float
    auc_low: float | None = None
    auc_high: float | None = None
    shift_sd: float
    share: float


class Found(_Part):
    """One test: what was set beside what, and what came out.

    Attributes:
        what: The rows that were looked at, in words.
        since: The version after which they came; None for all, and for rows that went.
        looks: In how many looks they came; None where they are not watched.
        p_value: Of the test alone.
        adjusted: The same as it is held against alpha: for a year of looks, or several tests.
        at_most: Whether both are bounds: no arrangement that was tried was as far apart.
        statistic: In the test's own unit.
        null: What the statistic is where nothing drifted, at 101 equally spaced quantiles.
        n_baseline: Rows that were compared.
        n_candidate: Rows that were compared.
        sides: What both are called.
        units: Rows or blocks that could change sides, of both.
        total: Of how many rows the candidate's were drawn.
        permutations: Arrangements beside the given one.
        warnings: What was odd.
    """

    what: str
    since: int | None = None
    looks: int | None = None
    p_value: float
    adjusted: float
    at_most: bool = False
    statistic: float
    null: tuple[float, ...] = ()
    n_baseline: int
    n_candidate: int
    sides: tuple[str, str] = ("baseline", "candidate")
    units: tuple[int, int]
    total: int
    permutations: int
    warnings: tuple[str, ...] = ()


class Example(_Part):
    """A row that shows what a segment is about; `image` is the address of a small picture."""

    id: str
    text: str | None = None
    image: str | None = None


SegmentKind: TypeAlias = Literal["cluster", "value", "new topic", "absent topic", "vanished topic"]
"""What makes rows a segment."""


class Segment(_Part):
    """A part of the corpus: a cluster of the baseline, a column's value, a topic of one side.

    Of rows that came a new topic is one that the baseline nearly lacks, an absent one is nearly the
    baseline's alone; of rows that went a vanished topic is one of which nearly nothing stayed.

    Shares are of each side's rows. `p_value` is of growth and of shift inside together, corrected
    over all segments; `growth_p` and `shift_p` are of either alone. `drift_share` is its part of
    the total: those of clusters and topics sum to 1, those of each column's values, too.
    """

    kind: SegmentKind
    name: str
    n_baseline: int
    n_candidate: int
    baseline_share: float
    candidate_share: float
    p_value: float
    growth_p: float
    shift_p: float | None = None
    drift_share: float
    terms: tuple[str, ...] = ()
    before: tuple[Example, ...] = ()
    now: tuple[Example, ...] = ()


class Quality(_Part):
    """What else can be said of rows: shares of 0 to 1, and medians."""

    quarantined: float | None = None
    duplicate: float | None = None
    truncated: float | None = None
    empty: float | None = None
    length: float | None = None
    norm: float | None = None


class Encoders(_Part):
    """Two encoders beside each other, on the records that both versions have."""

    records: int
    neighbour_overlap: float | None = None
    linear_cka: float | None = None


class Density(_Part):
    """Where the rows of both sides are in the plane of the baseline's two largest components.

    Counts of rows, shape (bins, bins), from `low` to `high` on both axes.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    baseline: tuple[tuple[int, ...], ...]
    candidate: tuple[tuple[int, ...], ...]


class DriftRecord(_Part):
    """One look at a version beside its baseline.

    `tests` are all that were done, the one that decided first; `watched` says that this is one of
    a year's looks. `detectable` is the smallest effect that would have been found in four cases of
    five.
    """

    format: Literal[1] = 1
    id: str
    space: str
    candidate: Compared
    baseline: Compared | None = None
    watched: bool = False
    verdict: Verdict
    reason: str
    tests: tuple[Found, ...] = ()
    effect: Effect | None = None
    detectable: Effect | None = None
    limits: dict[str, float] = {}
    segments: tuple[Segment, ...] = ()
    quality: dict[str, Quality] = {}
    encoders: Encoders | None = None
    density: Density | None = None
    notes: tuple[str, ...] = ()
    blocked: bool = False
    alpha: float
    seed: int
    seconds: float
    created_at: AwareDatetime
    command: str = ""
    libraries: dict[str, str] = {}

    @property
    def looked_at(self) -> str:
        """Which version beside which, in words."""
        this = f"version {self.candidate.version}"
        if self.baseline is None or self.baseline.version == self.candidate.version:
            return this
        return f"{this} beside version {self.baseline.version}"
