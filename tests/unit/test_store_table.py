"""Columns, what a table gives to a plan and to workers, and how columns change."""

from datetime import UTC, datetime
from pathlib import Path

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.table import RESERVED
from tasks.digests import digest_text, to_array
from tasks.errors import ConfigError, StoreError
from tasks.store import checksums, fragments, layout
from tasks.store.catalog import Catalog
from tasks.store.heal import heal
from tasks.store.rows import merge_metadata, metadata_schema, row_schema
from tasks.store.table import Table, create
from tests.tables import change, content, new_table, put, rows, vector

INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32()]
FLOATS = [pa.float32(), pa.float64()]
LIMITS = {
    **{t: (-(2 ** (t.bit_width - 1)), 2 ** (t.bit_width - 1) - 1) for t in INTEGERS[:4]},
    **{t: (0, 2**t.bit_width - 1) for t in INTEGERS[4:]},
}


def one(type_: pa.DataType, name: str = "year") -> pa.Schema:
    return pa.schema([pa.field(name, type_)])


def test_a_table_has_the_columns_of_the_design_and_opens_in_lancedb(tmp_path: Path) -> None:
    metadata = pa.schema(
        [("year", pa.int32()), ("untyped", pa.null()), ("no", pa.list_(pa.null()))]
    )
    table = new_table(tmp_path, metadata=metadata)
    put(table, "one", {"a": 1, "b": 2})
    opened = lancedb.connect(str(tmp_path)).open_table(table.name)
    assert [(field.name, str(field.type)) for field in opened.schema] == [
        ("id", "string"),
        ("record_id", "string"),
        ("chunk", "int32"),
        ("span", "fixed_size_list<item: int64>[2]"),
        ("modality", "string"),
        ("vector", "fixed_size_list<item: float>[4]"),
        ("content_hash", "fixed_size_binary[16]"),
        ("chunk_hash", "fixed_size_binary[16]"),
        ("metadata_hash", "fixed_size_binary[16]"),
        ("source_uri", "string"),
        ("run_id", "string"),
        ("year", "int32"),
        ("text", "string"),
    ]
    assert opened.to_arrow().to_pylist() == table.open().to_table().to_pylist()
    assert metadata_schema(table.open().schema) == one(pa.int32())
    assert "text" not in row_schema(4, metadata, store_content=False).names
    with pytest.raises(StoreError, match="is there already"):
        table.create(opened.schema, table.settings())


@pytest.mark.parametrize("name", [*sorted(RESERVED), "_distance", "a.b"])
def test_a_metadata_column_with_a_taken_name_is_refused(name: str) -> None:
    for refuse in (
        lambda: row_schema(4, one(pa.int32(), name), store_content=True),
        lambda: merge_metadata(one(pa.int32()), one(pa.int32(), name)),
    ):
        with pytest.raises(ConfigError, match=rf"metadata column '{name}' .*use `rename`"):
            refuse()


@given(st.sampled_from(INTEGERS), st.sampled_from(INTEGERS))
def test_integers_widen_to_a_type_that_holds_all_values_of_both(
    old: pa.DataType, new: pa.DataType
) -> None:
    merged = merge_metadata(one(old), one(new))
    type_ = merged.schema.field("year").type
    low, high = LIMITS[type_]
    assert low <= min(LIMITS[old][0], LIMITS[new][0])
    assert high >= max(LIMITS[old][1], LIMITS[new][1])
    assert merged.widened == (() if type_ == old else (pa.field("year", type_),))


def test_other_changes_of_type_are_refused_naming_column_and_both_types() -> None:
    for old in (*INTEGERS, *FLOATS):
        for new in FLOATS:
            both_narrow = old == new == pa.float32()
            expected = pa.float32() if both_narrow else pa.float64()
            assert merge_metadata(one(old), one(new)).schema == one(expected)
            assert merge_metadata(one(new), one(old)).schema == one(expected)
    for old, new in (
        (pa.int32(), pa.string()),
        (pa.string(), pa.int32()),
        (pa.int64(), pa.uint64()),
        (pa.bool_(), pa.int8()),
        (pa.list_(pa.int32()), pa.list_(pa.int64())),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
    ):
        with pytest.raises(ConfigError) as caught:
            merge_metadata(one(old), one(new))
        assert f"'year' is {old} in the table and {new} in the source" in str(caught.value)


def test_layouts_of_one_type_are_one_type_and_nulls_fit_any() -> None:
    table = pa.schema([("a", pa.string()), ("b", pa.list_(pa.string())), ("c", pa.int8())])
    incoming = pa.schema(
        [
            ("a", pa.dictionary(pa.int8(), pa.large_string())),
            ("b", pa.large_list(pa.string_view())),
            ("c", pa.null()),
        ]
    )
    change_ = merge_metadata(table, incoming)
    assert (change_.schema, change_.added, change_.widened) == (table, (), ())
    assert merge_metadata(table, one(pa.date32(), "d")).schema.names == ["a", "b", "c", "d"]


def test_a_dataset_is_made_once_by_whoever_says_the_same_of_it(store: str) -> None:
    uri = f"{store}/made.lance"
    schema = pa.schema([("a", pa.string())], {b"key": b"value"})
    for _ in range(2):
        create(uri, schema)
    assert lance.dataset(uri).version == 1
    with pytest.raises(StoreError, match=r"^creating .*made\.lance failed"):
        create(uri, schema.with_metadata({b"key": b"other"}))


def test_added_and_widened_columns_keep_rows_and_their_addresses(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    put(table, "one", {"a": 1, "b": 2})
    put(table, "two", {"b": 3, "c": 4})
    before = table.base(3)
    incoming = pa.schema(
        [("year", pa.float64()), ("tags", pa.list_(pa.string())), ("it's", pa.bool_())]
    )
    change_ = merge_metadata(table.open().schema, incoming)
    version = table.evolve(change_)
    after = table.base(version)
    assert after.addresses.tolist() == before.addresses.tolist()
    assert table.open(version).to_table(["id", "year", "tags", "it's"]).to_pylist() == [
        {"id": id_, "year": year, "tags": None, "it's": None}
        for id_, year in (("a", 1.0), ("b", 3.0), ("c", 4.0))
    ]
    assert set(metadata_schema(table.open().schema)) == set(change_.schema)
    assert table.settings().space == "papers"
    places = [*Path(table.uri, "data").iterdir(), *Path(table.uri, "_deletions").iterdir()]
    written = {path.name: checksums.look_at(str(path)) for path in places}
    assert checksums.known(table.store_uri, table.name) == written
    # Of a process that was killed before it came to that: the next one does it.
    for path in Path(layout.files_folder(table.store_uri, table.name)).iterdir():
        path.unlink()
    heal(table, Catalog(table.store_uri))
    assert len(written) == 5
    listed = checksums.known(table.store_uri, table.name)
    assert checksums.locations(table.open()).keys() <= listed.keys()
    put(table, "three", {"a": 5})
    assert content(table) == {"a": 5, "b": 3, "c": 4}
    again = merge_metadata(table.open().schema, incoming)
    assert (again.added, again.widened) == ((), ())


def test_columns_that_a_killed_widening_left_are_no_metadata_and_go(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    put(table, "one", {"a": 1})
    table.open().add_columns(pa.schema([("_wide_year", pa.float64())]))
    assert metadata_schema(table.open().schema) == one(pa.int32())
    table.evolve(merge_metadata(table.open().schema, one(pa.int64())))
    assert "_wide_year" not in table.open().schema.names
    assert content(table) == {"a": 1}


def test_the_base_names_every_row_and_vectors_come_in_the_order_asked(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    put(table, "one", {f"r{n}": n for n in range(20)})
    version = put(table, "two", {"s": 7, "r3": 30, "r4": 40}, removed=("r0", "r11"))
    put(table, "three", {"r5": 50})
    values = content(table, version)
    base = table.base(version)
    ids = table.open(version).to_table(["id"])["id"].to_pylist()
    assert ids == list(values)
    assert base.record_ids.tolist() == to_array(map(digest_text, values)).tolist()
    expected = to_array(digest_text(f"text {value}") for value in values.values())
    assert base.contents.tolist() == expected.tolist()
    expected = to_array(digest_text(f"year {value}") for value in values.values())
    assert base.metadata.tolist() == expected.tolist()
    assert [base.uris[code] for code in base.uri_codes] == [f"{id_[0]}.csv" for id_ in values]
    assert base.chunks.tolist() == [0] * len(values)

    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(ids)), 2))
    found = table.vectors_at(version, base.addresses[order])
    assert found.column_names == ["chunk_hash", "vector"]
    assert found["vector"].to_pylist() == [vector(values[ids[i]]) for i in order]
    assert found["chunk_hash"].to_pylist() == [digest_text(f"text {values[ids[i]]}") for i in order]
    assert table.vectors_at(version, base.addresses[:0]) == found.slice(0, 0)
    with pytest.raises(StoreError, match="are not there in version"):
        table.vectors_at(version, np.array([0], np.uint64))
    with pytest.raises(StoreError, match="has no fragment 9"):
        table.vectors_at(version, np.array([9 << 32], np.uint64))


def test_an_empty_table_is_an_empty_base(tmp_path: Path) -> None:
    base = new_table(tmp_path).base(1)
    assert (base.record_ids.shape, base.addresses.shape, base.uris) == ((0, 2), (0,), [])


def test_vectors_are_read_from_files_that_no_version_names(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    written = change(table, "one", {"a": 1, "b": 2, "c": 1, "d": 3}).fragments
    wanted = to_array([digest_text("text 1"), digest_text("text 3"), digest_text("text 9")])
    (path,) = fragments.vector_paths(table.uri, written)
    assert fragments.contents(path, wanted[:, 0]).tolist() == wanted[[0, 0, 1]].tolist()
    found = fragments.read_vectors(path, wanted)
    assert found["vector"].to_pylist() == [vector(1), vector(1), vector(3)]
    assert found.column_names == ["chunk_hash", "vector"]
    assert table.open().count_rows() == 0
    assert fragments.write(table.uri, rows(table, {})) == []
    Path(path).unlink()
    with pytest.raises(StoreError, match="reading"):
        fragments.contents(path, wanted[:, 0])
    with pytest.raises(StoreError, match="reading"):
        fragments.read_vectors(path, wanted)


def test_vectors_of_all_versions_are_found_in_their_files(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    first = put(table, "one", {"a": 1, "b": 2})
    widened = merge_metadata(table.open().schema, one(pa.int64()))
    assert widened.widened
    table.evolve(widened)  # writes files that have no vectors
    second = put(table, "two", {"c": 3}, removed=("a",))
    files = fragments.vector_files(table, [first, second])
    wanted = to_array(digest_text(f"text {value}") for value in (1, 2, 3))
    assert [fragments.contents(path, wanted[:, 0]).tolist() for path in files] == [
        wanted[:2].tolist(),
        wanted[2:].tolist(),
    ]


def test_rows_that_do_not_fit_the_table_are_a_store_error(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    wrong = pa.table({"id": ["a"], "made_at": [datetime.now(UTC)]})
    with pytest.raises(StoreError, match="writing rows to"):
        fragments.write(table.uri, wrong)
    with pytest.raises(StoreError, match=r"opening the head of table 'no\.table'"):
        Table(str(tmp_path), "no.table").open()
