"""One evaluation as one HTML page that holds all it needs and runs nothing.

What others wrote (texts, ids, names of metrics) is escaped by the template, and cut: the page stays
below 2 MB whatever the evaluation has found. All of it is in the evaluation's JSON.
"""

import base64
from collections.abc import Sequence

import pyarrow as pa
from pyarrow import compute

from schemas.evaluation import EvaluationRecord
from tasks.reports import words
from tasks.reports.advice import advice
from tasks.reports.charts import forest_chart, history_charts, spectrum_chart
from tasks.reports.environment import COMMAND, SENTENCE, environment
from tasks.reports.figures import Point

CAPS = {
    "metrics": 100,
    "main": 6,
    "parts": 6,
    "warnings": 40,
    "changes": 20,  # winners, and as many losers
    "histories": 24,
    "versions": 60,  # of each history
    "confusions": 6,
    "labels": 20,
    "neighbourhoods": 15,
    "neighbours": 8,
    "libraries": 40,
    "failed": 10,
}


def render(record: EvaluationRecord, history: pa.Table, picture: bytes | None = None) -> str:
    """The page of an evaluation, with the scores of all versions as `evaluations.scores` has them.

    `picture` is its map as a PNG. The same arguments give the same text, below 2 MB in UTF-8.
    Raises ConfigError where the packages of the extra `evaluate` are not installed.
    """
    template = environment().get_template("page.html")
    names = list(record.metrics)[: CAPS["histories"]]
    same_suite = history.filter(compute.equal(history["suite_digest"], record.suite_digest))
    points = _points(record, same_suite, names)
    charts, left_out = history_charts(points, record.candidate.version, CAPS["versions"])
    return template.render(
        record=record,
        advice=advice(record),
        asked=[
            (name, one.compared)
            for name, one in record.metrics.items()
            if one.compared and one.compared.margin is not None
        ],
        caps=CAPS,
        notes=_notes(record),
        forest=forest_chart(record),
        spectrum=spectrum_chart(record),
        histories=charts,
        old_versions=left_out,
        picture=None if picture is None else base64.b64encode(picture).decode(),
        other_scores=history.num_rows - same_suite.num_rows,
        SENTENCE=SENTENCE,
        COMMAND=COMMAND,
        TEXT=words.TEXT,
    )


def _notes(record: EvaluationRecord) -> dict[str, int]:
    """What is to be said of some metrics, each once, with its number."""
    notes: dict[str, int] = {}
    for metric in list(record.metrics.values())[: CAPS["metrics"]]:
        compared = metric.compared
        said = metric.estimate.warnings + (compared.difference.warnings if compared else ())
        for warning in said:
            notes.setdefault(warning, len(notes) + 1)
    return notes


def _points(
    record: EvaluationRecord, history: pa.Table, names: Sequence[str]
) -> dict[str, list[Point]]:
    """Of each metric its versions in order, this evaluation's own instead of an earlier one."""
    chosen = history.filter(
        compute.is_in(history["metric"], value_set=pa.array(names, pa.string()))
    )
    found: dict[str, dict[int, Point]] = {name: {} for name in names}
    columns = ("metric", "version", "value", "low", "high", "fingerprint")
    for name, *point in zip(*(chosen[one].to_pylist() for one in columns), strict=True):
        found[name][point[0]] = Point(*point)
    this = record.candidate
    for name in names:
        one = record.metrics[name].estimate
        found[name][this.version] = Point(
            this.version, one.value, one.low, one.high, this.fingerprint
        )
    return {name: [of[version] for version in sorted(of)] for name, of in found.items()}
