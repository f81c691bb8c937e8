"""Parquet files in folders that say a part of the rows, beside DuckDB and Arrow as readers."""

from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from tasks.errors import ConfigError, RowsRefused, SinkError
from tasks.plugins import build
from tasks.sinks.base import ID, VECTOR, Element, Metric, Shape, Sink
from tasks.sinks.parquet import NULL

COLUMNS = {
    "venue": pa.string(),
    "year": pa.int64(),
    "day": pa.date32(),
    "open": pa.bool_(),
    "score": pa.float64(),
    "tags": pa.list_(pa.string()),
}
SHAPE = Shape(4, Element.FLOAT32, Metric.COSINE, pa.schema(list(COLUMNS.items())))
VENUES = ["ICML", "a/b = c%", "ünï 東", "", None, "..", "true"]

pytestmark = pytest.mark.stores


def rows(ids: list[str], seed: int = 0, **fixed: object) -> pa.Table:
    chance = np.random.default_rng(seed)
    made = []
    for id_ in ids:
        values = {
            "venue": VENUES[chance.integers(len(VENUES))],
            "year": [None, 2025, -3, 2**62][chance.integers(4)],
            "day": [None, date(2026, 2, 28)][chance.integers(2)],
            "open": [None, True, False][chance.integers(3)],
            "score": chance.random(),
            "tags": ["x"],
        }
        vector = chance.normal(size=4).astype(np.float32).tolist()
        made.append({ID: id_, "_hash": chance.bytes(16), VECTOR: vector} | values | fixed)
    return pa.Table.from_pylist(made, SHAPE.row_schema)


def plain(table: pa.Table) -> dict[str, Any]:
    return {one[ID]: one for one in table.to_pylist()}


def opened(path: Path, *keys: str, part_rows: int = 1_000) -> Sink:
    arguments = {"path": str(path), "partition_by": list(keys), "part_rows": part_rows}
    sink = build("sinks", "parquet", arguments)
    sink.connect()
    return sink


def put(sink: Sink, table: pa.Table, gone: list[str] | None = None) -> None:
    with sink.writing("c", SHAPE, "s") as writer:
        writer.upsert(table)
        writer.delete(gone or [])


def held(sink: Sink) -> dict[str, Any]:
    ids = [one.id for part in sink.held("c") for one in part]
    return plain(sink.fetch("c", SHAPE, ids))


def made(path: Path, *keys: str) -> Sink:
    sink = opened(path, *keys)
    sink.create("c", SHAPE)
    sink.serve("c")
    return sink


@pytest.mark.parametrize("keys", [["venue"], ["year", "open"], ["day"], ["open", "venue", "year"]])
def test_rows_of_folders_come_back_as_they_were_through_every_change(
    keys: list[str], tmp_path: Path
) -> None:
    sink = made(tmp_path, *keys)
    model: dict[str, Any] = {}
    for block in range(4):
        table = rows([f"i{number}" for number in range(40 * block, 40 * block + 90)], block)
        gone = [f"i{number}" for number in range(40 * block, 40 * block + 20)]
        put(sink, table, gone)
        model = {id_: one for id_, one in (model | plain(table)).items() if id_ not in gone}
        assert held(sink) == model
        named = {tuple(one[key] for key in keys) for one in model.values()}
        files = [*(tmp_path / "current").rglob("*.parquet")]
        assert len(files) == len({file.parent for file in files}) == len(named)


def test_other_readers_find_the_columns_in_the_names_of_folders(tmp_path: Path) -> None:
    sink = made(tmp_path, "year", "venue")
    table = rows([f"i{number}" for number in range(60)])
    put(sink, table)
    wanted = {one[ID]: (one["year"], one["venue"]) for one in table.to_pylist()}
    here = (tmp_path / "current").resolve()
    scheme = ds.partitioning(
        pa.schema([SHAPE.columns.field(key) for key in ("year", "venue")]), flavor="hive"
    )
    by_arrow = ds.dataset(here, format="parquet", partitioning=scheme).to_table().to_pylist()
    assert {one[ID]: (one["year"], one["venue"]) for one in by_arrow} == wanted
    assert {one[ID]: one[VECTOR] for one in by_arrow} == {
        one[ID]: one[VECTOR] for one in table.to_pylist()
    }
    asked = """SELECT id, year, venue FROM read_parquet(
        ?, hive_partitioning=true, hive_types={'year': BIGINT, 'venue': VARCHAR})"""
    by_duckdb = duckdb.execute(asked, [f"{here}/**/*.parquet"]).fetchall()
    assert {id_: (year, venue) for id_, year, venue in by_duckdb} == wanted


def test_folders_are_those_with_which_a_collection_was_made(tmp_path: Path) -> None:
    put(made(tmp_path, "venue"), rows(["a", "b"], venue="x"))
    changed = opened(tmp_path, "year")
    put(changed, rows(["c"], venue="y"), ["a"])
    names = {file.parent.name for file in (tmp_path / "current").rglob("*.parquet")}
    assert names == {"venue=x", "venue=y"}
    assert sorted(held(changed)) == ["b", "c"]


@pytest.mark.parametrize(
    ("key", "words"), [("yaer", "there are: venue, year"), ("score", "double"), ("tags", "list")]
)
def test_a_column_that_cannot_name_folders_is_refused(key: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words) as told:
        opened(tmp_path, key).create("c", SHAPE)
    assert repr(key) in str(told.value)


@pytest.mark.parametrize(("value", "words"), [("é" * 90, "255 bytes"), (NULL, "no value at all")])
def test_a_value_that_cannot_name_a_folder_is_refused_before_anything_is_written(
    value: str, words: str, tmp_path: Path
) -> None:
    sink = made(tmp_path, "venue")
    with sink.writing("c", SHAPE, "s") as writer:
        with pytest.raises(RowsRefused, match=words):
            writer.upsert(pa.concat_tables([rows(["a"], venue="x"), rows(["b"], venue=value)]))
        writer.upsert(rows(["a"], venue="x"))
    assert [*held(sink)] == ["a"]


def test_a_column_with_too_many_values_is_named(tmp_path: Path) -> None:
    sink = made(tmp_path, "venue")
    many = pa.concat_tables([rows([f"i{n}"], venue=f"v{n}") for n in range(1_001)])
    with (
        pytest.raises(SinkError, match="1,001 folders for 1,001 rows"),
        sink.writing("c", SHAPE, "s") as writer,
    ):
        writer.upsert(many)
    assert held(sink) == {}
