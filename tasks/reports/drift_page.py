"""One drift report as one HTML page that holds all it needs and runs nothing.

Texts, ids and names of columns are other people's: they are escaped by the template, and cut, so
that the page stays below 2 MB.
"""

import shlex

import pyarrow as pa

from schemas.drift import DriftRecord
from tasks.reports import drift_figures, words
from tasks.reports.advice import Advice
from tasks.reports.drift_figures import Look
from tasks.reports.environment import COMMAND, SENTENCE, environment

CAPS = {"tests": 10, "segments": 20, "examples": 5, "terms": 10, "notes": 40, "libraries": 40}
LOOKS = 120  # of the timeline
IMAGE = 8_000  # characters of a picture that are shown at most


def render(record: DriftRecord, looks: pa.Table) -> str:
    """The page, with all looks at the space as `drifts.looks` has them.

    The same arguments give the same text, below 2 MB in UTF-8. Raises ConfigError where the
    packages of the extra `evaluate` are not installed.
    """
    first = next(iter(record.tests), None)
    drawn = None
    if first is not None and first.null:
        drawn = drift_figures.null(first, "Chance's statistic, and that of these rows")
    points = _looks(record, looks)[-LOOKS:]
    timeline = None
    if len(points) > 1:
        timeline = drift_figures.timeline(
            points, record.candidate.version, "The statistic of each look, and the band of chance"
        )
    plane = None
    if record.density is not None and first is not None:
        plane = drift_figures.density(
            record.density, first.sides, "Where the rows of both sides lie"
        )
    return (
        environment()
        .get_template("drift.html")
        .render(
            record=record,
            sections=_sections(record, plane),
            advice=advice(record),
            caps=CAPS,
            null=drawn,
            timeline=timeline,
            density=plane,
            notes=[*dict.fromkeys(_notes(record))],
            SENTENCE=SENTENCE,
            COMMAND=COMMAND,
            TEXT=words.TEXT,
            IMAGE=IMAGE,
        )
    )


def _sections(record: DriftRecord, plane: str | None) -> set[str]:
    """Those that have something to show."""
    notes = bool(_notes(record))
    shown = {
        "verdict": True,
        "evidence": bool(record.tests) or notes,
        "timeline": bool(record.tests),
        "where": plane is not None,
        "segments": bool(record.segments),
        "quality": bool(record.quality),
        "provenance": True,
    }
    return {name for name, there in shown.items() if there}


def advice(record: DriftRecord) -> Advice:
    """What the page says first."""
    this = record.candidate.version
    seen = record.looked_at
    if record.verdict == "drift":
        rebase = shlex.join(["vectorline", "drift", record.space, "--rebase", str(this)])
        if record.baseline is None:
            return Advice("bad", "▼", f"Drift: {seen}", "Look at the segments below.")
        look = "Look at the segments below. " if record.segments else ""
        step = f"{look}If what came or went is meant to be so, measure from here on:"
        return Advice("bad", "▼", f"Drift: {seen}", step, rebase)
    if record.verdict == "no drift":
        return Advice("good", "=", f"No drift: {seen}", "Nothing.")
    if record.verdict == "encoder changed":
        return Advice(
            "bad",
            "▼",
            "The encoder has changed",
            "Bring back the weights, tokenizer and libraries that made the table, or encode all "
            "anew with `vectorline backfill`: vectors of both do not belong into one index.",
        )
    if record.verdict == "not comparable":
        return Advice(
            "unsure",
            "?",
            f"Cannot be compared: {seen}",
            "Compare the encoders by what they find: `vectorline evaluate` says whether one is "
            "better.",
        )
    return Advice("unsure", "?", f"Cannot tell: {seen}", "Look again when more rows have come.")


def _notes(record: DriftRecord) -> list[str]:
    return [*record.notes, *(said for one in record.tests for said in one.warnings)]


def _looks(record: DriftRecord, looks: pa.Table) -> list[Look]:
    """Those that compared with the same baseline: of each version the last one of a year's.

    Where none of a version is one of a year's looks, the last one.
    """
    baseline = record.baseline and record.baseline.version
    found: dict[int, Look] = {}
    yearly = set[int]()
    for one in looks.to_pylist():
        if one["baseline"] != baseline or one["statistic"] is None or one["null_low"] is None:
            continue
        if one["version"] in yearly and not one["watched"]:
            continue
        if one["watched"]:
            yearly.add(one["version"])
        found[one["version"]] = Look(
            one["version"],
            one["statistic"],
            one["null_low"],
            one["null_high"],
            one["verdict"] == "drift",
        )
    return [found[version] for version in sorted(found)]
