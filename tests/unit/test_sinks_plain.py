"""Rows as JSON has them: whatever goes there comes back as it was."""

import json
import math
import struct
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.sinks.base import FULL, HASH, ID, VECTOR, Element, Metric, Shape
from tasks.sinks.plain import (
    MOST,
    Holds,
    Lists,
    column_of,
    hexes_of,
    plain_rows,
    plain_values,
    table_of,
    uuids_of,
    vectors_of,
)

FLAT = [
    pa.null(),
    pa.bool_(),
    *(getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64)),
    pa.float32(),
    pa.float64(),
    pa.string(),
    pa.date32(),
    *(pa.time32(unit) for unit in ("s", "ms")),
    *(pa.time64(unit) for unit in ("us", "ns")),
    *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC")),
    pa.timestamp("us", "Europe/Berlin"),
    pa.timestamp("s", "+05:30"),
]
TYPES = [*FLAT, *(pa.list_(one) for one in FLAT)]
PLAINEST = Holds()
WAYS = [
    Holds(lists, most, infinite, negative_zero)
    for lists in Lists
    for most in (2**53, MOST, 2**64 - 1)
    for infinite in (False, True)
    for negative_zero in (False, True)
]


def columns(data_type: pa.DataType) -> st.SearchStrategy[pa.Array]:
    if pa.types.is_list(data_type):
        inner = st.lists(_stored(data_type.value_type), max_size=4)
        element = data_type.value_type
        return st.lists(st.none() | inner, max_size=6).map(
            lambda rows: _lists(rows, element, data_type)
        )
    return st.lists(_stored(data_type), max_size=6).map(lambda rows: _column(rows, data_type))


def _stored(data_type: pa.DataType) -> st.SearchStrategy[Any]:
    """Values as Arrow stores them: times are counts."""
    if pa.types.is_null(data_type):
        return st.none()
    if pa.types.is_boolean(data_type):
        return st.none() | st.booleans()
    if pa.types.is_string(data_type):
        return st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    if pa.types.is_floating(data_type):
        return st.none() | st.floats(width=data_type.bit_width)
    if pa.types.is_time(data_type):
        unit = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[data_type.unit]
        return st.none() | st.integers(0, 86_400 * unit - 1)
    bits = data_type.bit_width
    unsigned = pa.types.is_unsigned_integer(data_type)
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.none() | st.integers(low, high)


def _column(rows: list[Any], data_type: pa.DataType) -> pa.Array:
    if not pa.types.is_temporal(data_type):
        return pa.array(rows, data_type)
    counts = pa.int32() if data_type.bit_width == 32 else pa.int64()
    return pa.array(rows, counts).view(data_type)


def _lists(rows: list[Any], element: pa.DataType, data_type: pa.DataType) -> pa.Array:
    inner = _column([one for row in rows for one in row or ()], element)
    ends = np.cumsum([0, *(len(row or ()) for row in rows)])
    mask = pa.array([row is None for row in rows], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), inner, type=data_type, mask=mask)


def bits(column: pa.Array) -> list[Any]:
    """Values that equal only what is the same: a sign of zero is kept, all NaN are one."""
    if pa.types.is_list(column.type):
        inner, made = bits(column.flatten()), []
        for length, there in zip(
            column.value_lengths().to_pylist(), column.is_valid().to_pylist(), strict=True
        ):
            made.append(inner[: length or 0] if there else None)
            inner = inner[length or 0 :]
        return made
    if pa.types.is_temporal(column.type):
        return bits(column.view(pa.int32() if column.type.bit_width == 32 else pa.int64()))
    if pa.types.is_floating(column.type):
        return [_bits(one) for one in column.to_pylist()]
    held: list[Any] = column.to_pylist()
    return held


def _bits(number: float | None) -> Any:
    return "nan" if number is None or math.isnan(number) else struct.pack("d", number)


@given(st.data())
@pytest.mark.parametrize("data_type", TYPES, ids=str)
def test_a_column_comes_back_as_it_was(data_type: pa.DataType, data: st.DataObject) -> None:
    column = data.draw(columns(data_type))
    holds = data.draw(st.sampled_from(WAYS))
    values = plain_values(column, holds)
    assert len(values) == len(column)
    for value in values:
        check_held(value, holds)
    through_json = json.loads(json.dumps(values, allow_nan=holds.infinite))
    back = column_of(through_json, data_type)
    assert back.type == data_type
    back.validate(full=True)
    assert back.is_valid().equals(column.is_valid())
    assert bits(back) == bits(column)


def check_held(value: Any, holds: Holds) -> None:
    assert type(value) in (bool, int, float, str, list, type(None))
    if isinstance(value, list):
        kinds = {type(one) for one in value}
        assert holds.lists is not Lists.NONE
        assert holds.lists is not Lists.TEXTS or kinds == {str}
        assert holds.lists is not Lists.ALIKE or (len(kinds) == 1 and type(None) not in kinds)
        for one in value:
            check_held(one, holds)
    elif isinstance(value, float):
        assert holds.infinite or math.isfinite(value)
        assert holds.negative_zero or math.copysign(1, value) == 1 or value != 0
    elif isinstance(value, int):
        assert -holds.most - 1 <= value <= holds.most


def test_what_each_type_looks_like() -> None:
    def of(values: list[Any], data_type: pa.DataType, holds: Holds = PLAINEST) -> list[Any]:
        return plain_values(pa.array(values, data_type), holds)

    assert of([True, None], pa.bool_()) == [True, None]
    assert of([2**64 - 1, 5], pa.uint64()) == ["18446744073709551615", 5]
    assert of([2**64 - 1], pa.uint64(), Holds(most=2**64 - 1)) == [2**64 - 1]
    assert of([-(2**63), 2**63 - 1], pa.int64()) == [-(2**63), 2**63 - 1]
    assert of([2**53, 2**53 + 1, -(2**53) - 1], pa.int64(), Holds(most=2**53)) == [
        2**53,
        "9007199254740993",
        "-9007199254740993",
    ]
    assert of([0.5, math.nan, math.inf, -math.inf], pa.float64()) == [0.5, "nan", "inf", "-inf"]
    unsigned = Holds(negative_zero=False)
    assert of([0.0, -0.0], pa.float32(), unsigned) == [0.0, "-0.0"]
    assert of([date(2024, 2, 29)], pa.date32()) == ["2024-02-29"]
    assert of([time(23, 59, 1)], pa.time32("s")) == ["23:59:01"]
    assert of([time(23, 59, 1, 5)], pa.time64("us")) == ["23:59:01.000005"]
    moment = datetime(2024, 2, 29, 12, 0, 0, 250, UTC)
    assert of([moment], pa.timestamp("us", "Europe/Berlin")) == ["2024-02-29T12:00:00.000250Z"]
    assert of([datetime(2024, 2, 29)], pa.timestamp("s")) == ["2024-02-29T00:00:00"]
    assert of([["ü"], [], None], pa.list_(pa.string())) == ['["ü"]', "[]", None]
    alike = Holds(Lists.ALIKE)
    assert of([["a"], [], ["a", None], [None]], pa.list_(pa.string()), alike) == [
        ["a"],
        "[]",
        '["a", null]',
        "[null]",
    ]
    assert of(
        [[1.5], [1.5, math.nan]], pa.list_(pa.float64()), Holds(Lists.ALIKE, infinite=True)
    ) == [[1.5], '[1.5, "nan"]']
    assert of([["a"], ["b", None]], pa.list_(pa.string()), Holds(Lists.TEXTS))[0] == ["a"]
    assert of([[1]], pa.list_(pa.int8()), Holds(Lists.TEXTS)) == ["[1]"]
    assert of([[date(1, 1, 1)]], pa.list_(pa.date32()), Holds(Lists.TEXTS)) == [["0001-01-01"]]


def test_times_out_of_the_common_years_are_counts() -> None:
    column = pa.array([2**31 - 1, -719_163, -719_162, 2_932_897], pa.int32()).view(pa.date32())
    values = plain_values(column, Holds())
    assert values == ["2147483647", "-719163", "0001-01-01", "2932897"]
    assert column_of(values, pa.date32()).equals(column)


@given(st.lists(st.datetimes(), min_size=2, max_size=5))
def test_text_sorts_as_time_does(moments: list[datetime]) -> None:
    for zone in (None, "Europe/Berlin"):
        given, in_order = (
            plain_values(
                pa.array(some, pa.timestamp("us")).view(pa.timestamp("us", zone)), PLAINEST
            )
            for some in (moments, sorted(moments))
        )
        assert sorted(given, key=str) == in_order


def test_numbers_that_a_store_gave_back_as_others_are_of_their_type_again() -> None:
    assert column_of([5.0, None], pa.int32()).to_pylist() == [5, None]
    assert column_of([5, None], pa.float32()).equals(pa.array([5.0, None], pa.float32()))
    assert column_of([0.1], pa.float32()).equals(pa.array([np.float32(0.1)], pa.float32()))


SHAPE = Shape(
    8,
    Element.BINARY,
    Metric.COSINE,
    pa.schema([("title", pa.string()), ("nothing", pa.null()), ("tags", pa.list_(pa.string()))]),
    3,
)


def rows() -> pa.Table:
    columns = {
        ID: ["a", "b"],
        HASH: [b"0123456789abcdef", bytes(16)],
        VECTOR: [[255], [1]],
        "title": ["", None],
        "nothing": [None, None],
        "tags": [None, []],
        FULL: [[1.0, 0.1, -0.0], [math.inf, 2.0, 3.0]],
    }
    return pa.table(columns, schema=SHAPE.row_schema)


@pytest.mark.parametrize("nulls", [True, False])
def test_a_table_comes_back_as_it_was(nulls: bool) -> None:
    given = rows()
    metadata = plain_rows(given, SHAPE.columns, Holds(), nulls=nulls)
    if nulls:
        assert metadata == [
            {"title": "", "nothing": None, "tags": None},
            {"title": None, "nothing": None, "tags": "[]"},
        ]
    else:
        assert metadata == [{"title": ""}, {"tags": "[]"}]
    back = table_of(
        SHAPE,
        given[ID].to_pylist(),
        hexes_of(given),
        vectors_of(given).tolist(),
        metadata,
        vectors_of(given, FULL),
    )
    assert back.schema.equals(SHAPE.row_schema)
    assert back.equals(given)


def test_a_table_without_rows_and_one_without_columns() -> None:
    empty = table_of(SHAPE, [], [], [], [])
    assert empty.equals(SHAPE.row_schema.empty_table())
    assert plain_rows(empty, SHAPE.columns, Holds()) == []
    assert vectors_of(empty, FULL).shape == (0, 3)
    assert plain_rows(rows(), pa.schema([]), Holds()) == [{}, {}]


def test_vectors_of_slices_and_of_several_chunks() -> None:
    whole = pa.concat_tables([rows(), rows(), rows()]).slice(1, 4)
    assert vectors_of(whole).tolist() == [[1], [255], [1], [255]]
    assert vectors_of(rows().slice(1), FULL).tolist() == [[math.inf, 2.0, 3.0]]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True))
@example(["", " ", "a", "A", "é", "e\N{COMBINING ACUTE ACCENT}", "'", "\0", "x" * 1000])
def test_each_id_has_a_uuid_of_its_own(ids: list[str]) -> None:
    assert len({*uuids_of(ids)}) == len(ids)
    assert uuids_of(ids) == [uuids_of([one])[0] for one in ids]


def test_the_uuid_of_an_id_never_changes() -> None:
    assert uuids_of(["a"]) == ["63e324a8-07ac-5700-b9e0-339a37beed16"]
