"""Where a drift sits, as a report tells it: segments with their terms and typical rows."""

import base64
import io
from collections.abc import Sequence

import numpy as np

from schemas.config import DriftConfig
from schemas.drift import Example, Segment
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


def segments(
    before: Side, now: Side, settings: DriftConfig, *, removed: bool = False
) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """The most telling first, values of columns after the others; and what is odd.

    None where there are too few rows.

    Raises ConfigError for a column that the space has not.
    """
    columns = {
        name: (_labels(before.column(name)), _labels(now.column(name))) for name in settings.columns
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
        )
    except DriftError as error:
        return (), (f"segments were not looked for: {error}",)
    order = sorted(
        found.found, key=lambda one: (one.p_value > settings.alpha, one.kind is Kind.VALUE)
    )
    return tuple(_told(one, before, now, removed=removed) for one in order[:TOLD]), found.warnings


TURNED = {Kind.NEW: Kind.VANISHED, Kind.VANISHED: Kind.NEW}


def _told(found: places.Segment, before: Side, now: Side, *, removed: bool) -> Segment:
    kind = TURNED.get(found.kind, found.kind) if removed else found.kind
    return Segment(
        kind=kind.value,
        name=found.name.replace(found.kind.value, kind.value, 1),
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
    """What the candidate's rows say here and not elsewhere; the baseline's where it has none."""
    side, rows = (now, found.candidate) if len(found.candidate) else (before, found.baseline)
    inside = np.zeros(len(side.rows), np.bool_)
    inside[rows] = True
    parts: tuple[list[str], list[str]] = [], []
    for text, own in zip(side.texts, inside.tolist(), strict=True):
        if text:
            parts[0 if own else 1].append(text)
    if not all(parts):
        return ()
    return tuple(term.word for term in key_terms(*parts, TERMS))


def _examples(side: Side, rows: Sequence[int]) -> tuple[Example, ...]:
    return tuple(
        Example(
            id=side.record_ids[row],
            text=None if side.texts[row] is None else str(side.texts[row])[:TEXT_CHARACTERS],
            image=_thumbnail(side.source_uris[row]) if side.modalities[row] == "image" else None,
        )
        for row in rows
    )


def _labels(values: Sequence[object]) -> list[str]:
    return [str(value) if has_value(value) else "none" for value in values]


def _thumbnail(uri: str) -> str | None:
    """A small JPEG as an address that holds it; None where no picture can be read there now."""
    data = io.BytesIO()
    try:
        from PIL import Image

        with Image.open(uri.removeprefix("file://")) as image:
            image.thumbnail((PIXELS, PIXELS))
            image.convert("RGB").save(data, "JPEG", quality=60)
    except (ImportError, OSError, ValueError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
