"""What drift reports found: a record and a page of each, and a row of each look.

They belong to the table of the candidate, and go with it.
"""

import pyarrow as pa
from pydantic import TypeAdapter

from schemas.drift import DriftRecord
from tasks.store import files, history, layout
from tasks.store.formats import parse

NAME = "drift"
RECORD: TypeAdapter[DriftRecord] = TypeAdapter(DriftRecord)
LOOKS = pa.schema(
    [
        pa.field("report", pa.string()),
        pa.field("space", pa.string()),
        pa.field("version", pa.int64()),
        pa.field("fingerprint", pa.string()),
        pa.field("baseline", pa.int64()),
        pa.field("watched", pa.bool_()),
        pa.field("verdict", pa.string()),
        pa.field("p_value", pa.float64()),
        pa.field("adjusted", pa.float64()),
        pa.field("statistic", pa.float64()),
        pa.field("null_low", pa.float64()),
        pa.field("null_high", pa.float64()),
        pa.field("auc", pa.float64()),
        pa.field("shift_sd", pa.float64()),
        pa.field("share", pa.float64()),
        pa.field("n_baseline", pa.int64()),
        pa.field("n_candidate", pa.int64()),
        pa.field("created_at", pa.timestamp("us", "UTC")),
    ]
)

SAME = ("version", "baseline", "watched")  # what a look that is made again has in common


def write(store_uri: str, record: DriftRecord, page: str) -> None:
    """Keeps a report durably: its page, its row in the space's history, then the record.

    The record says that all is there: without it the look is made again.
    """
    table = record.candidate.table
    place = layout.drift_path(store_uri, table, record.id, "html")
    files.of(place).write(place, page)
    history.add(store_uri, table, NAME, LOOKS, [_row(record)])
    place = layout.drift_path(store_uri, table, record.id, "json")
    files.of(place).write(place, record.model_dump_json(indent=1))


def read(store_uri: str, table: str, report_id: str) -> DriftRecord | None:
    """A report of a version of a table; None if it was not made."""
    place = layout.drift_path(store_uri, table, report_id, "json")
    text = files.of(place).read(place)
    return None if text is None else parse(RECORD, text, f"drift report {place}")


def page(store_uri: str, record: DriftRecord) -> str:
    """Where its page is."""
    return layout.drift_path(store_uri, record.candidate.table, record.id, "html")


def looks(store_uri: str, space: str, new: DriftRecord | None = None) -> pa.Table:
    """All looks at a space, as in LOOKS, the oldest first; `new` is one that is not kept yet.

    Of a version that was looked at again beside the same baseline the last look counts.
    """
    kept = history.read(store_uri, space, NAME, LOOKS, SAME)
    if new is None:
        return kept
    return pa.concat_tables([kept, pa.Table.from_pylist([_row(new)], LOOKS)])


def verdicts(store_uri: str, space: str) -> pa.Table:
    """All looks at a space as `looks` has them, one for each verdict that was ever said of it."""
    return history.read(store_uri, space, NAME, LOOKS, (*SAME, "verdict"))


def _row(record: DriftRecord) -> dict[str, object]:
    first = next(iter(record.tests), None)
    return {
        "report": record.id,
        "space": record.space,
        "version": record.candidate.version,
        "fingerprint": record.candidate.fingerprint,
        "baseline": record.baseline and record.baseline.version,
        "watched": record.watched,
        "verdict": record.verdict,
        "p_value": first and first.p_value,
        "adjusted": first and first.adjusted,
        "statistic": first and first.statistic,
        "null_low": first.null[NULL_LOW] if first and first.null else None,
        "null_high": first.null[NULL_HIGH] if first and first.null else None,
        "auc": record.effect and record.effect.auc,
        "shift_sd": record.effect and record.effect.shift_sd,
        "share": record.effect and record.effect.share,
        "n_baseline": first and first.n_baseline,
        "n_candidate": first and first.n_candidate,
        "created_at": record.created_at,
    }


NULL_LOW, NULL_HIGH = 5, -6  # the quantiles of 5 % and 95 %
