"""What evaluations found: a record, a page and a map of each, and metrics as rows of a table.

They belong to the table of the candidate, and go with it. Written without its lease: an evaluation
that is made again replaces its files, and its rows in what `scores` gives.
"""

from collections.abc import Iterator

import pyarrow as pa
from pydantic import TypeAdapter

from schemas.evaluation import EvaluationRecord
from tasks.store import files, history, layout
from tasks.store.formats import parse

NAME = "scores"
RECORD: TypeAdapter[EvaluationRecord] = TypeAdapter(EvaluationRecord)
SCORES = pa.schema(
    [
        pa.field("evaluation", pa.string()),
        pa.field("space", pa.string()),
        pa.field("version", pa.int64()),
        pa.field("fingerprint", pa.string()),
        pa.field("suite_digest", pa.string()),
        pa.field("metric", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("n", pa.int64()),
        pa.field("baseline", pa.int64()),
        pa.field("difference", pa.float64()),
        pa.field("difference_low", pa.float64()),
        pa.field("difference_high", pa.float64()),
        pa.field("verdict", pa.string()),
        pa.field("created_at", pa.timestamp("us", "UTC")),
    ]
)


def write(
    store_uri: str, record: EvaluationRecord, page: str, picture: bytes | None = None
) -> None:
    """Keeps an evaluation, its page and the picture of its map, if it has one, durably.

    The record last, which says that all is there.
    """
    table = record.candidate.table
    if picture is not None:
        place = layout.evaluation_path(store_uri, table, record.id, "png")
        files.of(place).write(place, picture)
    place = layout.evaluation_path(store_uri, table, record.id, "html")
    files.of(place).write(place, page)
    place = layout.evaluation_path(store_uri, table, record.id, "json")
    files.of(place).write(place, record.model_dump_json(indent=1))


def add_scores(store_uri: str, record: EvaluationRecord) -> None:
    """Adds the metrics to the history of their space, durably."""
    history.add(store_uri, record.candidate.table, NAME, SCORES, [*_rows(record)])


def read(store_uri: str, table: str, evaluation_id: str) -> EvaluationRecord | None:
    """An evaluation of a version of a table; None if it was not made."""
    place = layout.evaluation_path(store_uri, table, evaluation_id, "json")
    text = files.of(place).read(place)
    return None if text is None else parse(RECORD, text, f"evaluation {place}")


def page(store_uri: str, record: EvaluationRecord) -> str:
    """Where its page is."""
    return layout.evaluation_path(store_uri, record.candidate.table, record.id, "html")


def picture(store_uri: str, record: EvaluationRecord) -> str | None:
    """Where the picture of its map is; None where it has none."""
    if record.details.map is None or not record.details.map.drawable:
        return None
    return layout.evaluation_path(store_uri, record.candidate.table, record.id, "png")


def scores(store_uri: str, space: str) -> pa.Table:
    """The metrics of all evaluations of a space, as in SCORES, the oldest first.

    Of a metric that was measured again of the same version by the same suite the last one counts.
    """
    return history.read(store_uri, space, NAME, SCORES, ("version", "suite_digest", "metric"))


def _rows(record: EvaluationRecord) -> Iterator[dict[str, object]]:
    for name, metric in record.metrics.items():
        found, beside = metric.estimate, metric.compared
        difference = None if beside is None else beside.difference
        yield {
            "evaluation": record.id,
            "space": record.space,
            "version": record.candidate.version,
            "fingerprint": record.candidate.fingerprint,
            "suite_digest": record.suite_digest,
            "metric": name,
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "n": found.n,
            "baseline": None if record.baseline is None else record.baseline.version,
            "difference": None if difference is None else difference.value,
            "difference_low": None if difference is None else difference.low,
            "difference_high": None if difference is None else difference.high,
            "verdict": None if beside is None else beside.verdict,
            "created_at": record.created_at,
        }
