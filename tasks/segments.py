"""Where a drift sits, as a report tells it: segments with their terms and typical rows."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import numpy as np

from schemas.config import DriftConfig
from schemas.drift import Example, Segment, SegmentKind
from tasks.drift import segments as places
from tasks.drift.segments import Kind
from tasks.drift.terms import key_terms
from tasks.errors import DriftError
from tasks.evaluations.records import has_value
from tasks.sides import Side

TOLD = 30  # segments
TEXT_CHARACTERS = 600
PIXELS = 128  # of a picture's longer side
TERMS = 10
VALUES = 30  # of a column, each a segment: of hundreds no p-value outlives the correction
OTHERS = "(others)"


def segments(
    before: Side,
    now: Side,
    settings: DriftConfig,
    *,
    removed: bool = False,
    whole: Side | None = None,
) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """The most telling first, values of columns after the others; and what is odd.

    Clusters are fitted on `whole` where `before` has some rows of each of its blocks. With
    `removed`, `now` are rows that went, and `before` those that stayed. No segment where there are
    too few rows, and why. Raises ConfigError for a column that the space has not.
    """
    columns = {
        name: _commonest(_labels(before.column(name)), _labels(now.column(name)))
        for name in settings.columns
    }
    rng = np.random.default_rng(settings.seed)
    try:
        found = places.segments(
            before.vectors,
            now.vectors,
            rng,
            blocks=before.blocks_beside(now),
            columns=columns,
            alpha=settings.alpha,
            whole=None if whole is None or whole.blocks is None else (whole.vectors, whole.blocks),
        )
    except DriftError as error:
        return (), (f"segments were not looked for: {error}",)
    kinds = WENT if removed else CAME
    order = sorted(
        (one for one in found.found if one.kind in kinds),
        key=lambda one: (one.p_value > settings.alpha, one.kind is Kind.VALUE),
    )
    told = tuple(_told(one, before, now, kinds[one.kind]) for one in order[:TOLD])
    return told, found.warnings


BOTH: dict[Kind, SegmentKind] = {Kind.CLUSTER: "cluster", Kind.VALUE: "value"}
CAME: dict[Kind, SegmentKind] = {**BOTH, Kind.NEW: "new topic", Kind.VANISHED: "absent topic"}
WENT: dict[Kind, SegmentKind] = {**BOTH, Kind.NEW: "vanished topic"}
"""What segments are called beside rows that went: a topic of which all stayed tells nothing."""


def _told(found: places.Segment, before: Side, now: Side, called: SegmentKind) -> Segment:
    return Segment(
        kind=called,
        name=found.name.replace(found.kind.value, called, 1),
        n_baseline=len(found.baseline),
        n_candidate=len(found.candidate),
        baseline_share=found.share_baseline,
        candidate_share=found.share_candidate,
        p_value=found.p_value,
        growth_p=found.p_growth,
        shift_p=None if found.shift is None else found.shift.p_value,
        drift_share=found.drift,
        terms=_terms(found, before, now),
        before=_examples(before, found.typical_baseline.tolist()),
        now=_examples(now, found.typical_candidate.tolist()),
    )


def _terms(found: places.Segment, before: Side, now: Side) -> tuple[str, ...]:
    """What the candidate's rows say here and not elsewhere; the baseline's where it has none.

    Elsewhere is the same side, and the other one where that is nearly all here.
    """
    side, other, rows = now, before, found.candidate
    if not len(rows):
        side, other, rows = before, now, found.baseline
    inside = np.zeros(len(side.rows), np.bool_)
    inside[rows] = True
    here, rest = list[str](), list[str]()
    for text, own in zip(side.texts, inside.tolist(), strict=True):
        if text:
            (here if own else rest).append(text)
    if len(rest) < len(here):
        rest += [text for text in other.texts if text]
    if not here or not rest:
        return ()
    return tuple(term.word for term in key_terms(here, rest, TERMS))


def _examples(side: Side, rows: Sequence[int]) -> tuple[Example, ...]:
    return tuple(
        Example(
            id=side.record_ids[row],
            text=None if side.texts[row] is None else str(side.texts[row])[:TEXT_CHARACTERS],
            image=_thumbnail(side.source_uris[row]) if side.modalities[row] == "image" else None,
        )
        for row in rows
    )


def _commonest(before: list[str], now: list[str]) -> tuple[list[str], list[str]]:
    """The same with all but the commonest values, of either side, as one."""
    shares = Counter[str]()
    for side in (before, now):
        for value, count in Counter(side).items():
            shares[value] = max(shares[value], count)
    if len(shares) <= VALUES:
        return before, now
    held = {value for value, _ in sorted(shares.items(), key=_by_count)[:VALUES]}
    one, other = ([value if value in held else OTHERS for value in side] for side in (before, now))
    return one, other


def _by_count(counted: tuple[str, int]) -> tuple[int, str]:
    return -counted[1], counted[0]


def _labels(values: Sequence[object]) -> list[str]:
    return [str(value) if has_value(value) else "none" for value in values]


def _thumbnail(uri: str) -> str | None:
    """A small JPEG as an address that holds it; None where no file with a picture is there now."""
    data = io.BytesIO()
    try:
        from PIL import Image
    except ImportError:
        return None
    try:
        place = unquote(urlsplit(uri).path) if uri.startswith("file://") else uri
        with Image.open(place) as image:
            image.thumbnail((PIXELS, PIXELS))
            image.convert("RGB").save(data, "JPEG", quality=60)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
