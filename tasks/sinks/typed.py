"""Values that a field of one type cannot hold, kept beside it: NaN, infinities, integers too large.

For stores whose fields have one type each and hold no text among numbers. Such a value's field is
empty then, and one more field of text has it, so that the others can be filtered as they are.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from tasks.sinks.plain import MOST, Plain

REST = "_rest"


def set_apart(
    rows: Sequence[dict[str, Plain]],
    columns: pa.Schema,
    *,
    most: int = MOST,
    lists: bool = False,
    always: Collection[str] = (),
) -> None:
    """Moves what `plain_rows` could only say as text to where text may be, in place.

    Args:
        rows: As `plain_rows` gives them.
        columns: Those that they have.
        most: As that of the `Holds` they were made with.
        lists: Whether fields of lists have one type too, and take no JSON.
        always: Columns that have no field of their own.
    """
    texts = [field.name for field in columns if _may_be_text(field.type, most, lists)]
    list_names = [field.name for field in columns if lists and _is_list(field.type)]
    for row in rows:
        said = {name: row[name] for name in texts if isinstance(row.get(name), str)}
        said |= {
            name: row[name] for name in list_names if _holds_digits(row.get(name), columns, name)
        }
        said |= {name: row[name] for name in always if row.get(name) is not None}
        if said:
            row |= dict.fromkeys(said)
            row[REST] = json.dumps(said)


def put_back(rows: Sequence[dict[str, Any]]) -> None:
    """The opposite, in place; `REST` stays."""
    for row in rows:
        if row.get(REST):
            row |= json.loads(row[REST])


def _may_be_text(data_type: pa.DataType, most: int, lists: bool) -> bool:
    if pat.is_floating(data_type):
        return True
    if _is_list(data_type):
        return lists
    if not pat.is_integer(data_type):
        return False
    return pat.is_uint64(data_type) or (most < MOST and data_type.bit_width == 64)


def _holds_digits(value: Plain, columns: pa.Schema, name: str) -> bool:
    """Whether all of a list of numbers are said as text."""
    inner = columns.field(name).type.value_type
    is_number = pat.is_integer(inner) or pat.is_floating(inner)
    return is_number and isinstance(value, list) and any(isinstance(one, str) for one in value)


def _is_list(data_type: pa.DataType) -> bool:
    return bool(pat.is_list(data_type) or pat.is_large_list(data_type))
