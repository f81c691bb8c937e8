"""Reading: pinned versions, and the nearest rows against a slow obvious search."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from schemas.config import IndexConfig
from tasks.errors import ConfigError
from tasks.space import Space, open_space
from tasks.store import indexes, maintenance
from tasks.store.catalog import Catalog
from tasks.store.commit import commit
from tasks.store.fragments import write
from tasks.store.table import Table
from tests.tables import change, new_table, put, rows, vector

ODD = ['it\'s "odd"', "a b", "Ünï", "$%"]


def serve(store: Path, values: dict[str, int]) -> Space:
    table, catalog = new_table(store), Catalog(str(store))
    entry = catalog.add_version(table, put(table, "one", values))
    catalog.promote("papers", entry.version, who="me", why="", expected_from=None)
    return open_space("papers", str(store))


def cosines(query: list[float], values: dict[str, int]) -> list[tuple[float, str]]:
    """(cosine, id), best first, ties by id; in float64."""
    q = np.array(query, np.float64)
    found = []
    for id_, value in values.items():
        v = np.array(vector(value), np.float64)
        found.append((float(q @ v / np.linalg.norm(q) / np.linalg.norm(v)), id_))
    return sorted(found, key=lambda pair: (-pair[0], pair[1]))


def test_a_version_stays_what_it_is_while_others_are_committed(tmp_path: Path) -> None:
    space = serve(tmp_path, {"a": 1, "b": 2})
    put(Table(str(tmp_path), space.entry.table), "two", {"b": 5, "c": 3}, removed=("a",))
    assert (space.version, space.rows) == (1, 2)
    ids, vectors = space.vectors()
    assert ids == ["a", "b"]
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [vector(1), vector(2)]
    assert space.to_arrow(["id", "year"]).to_pylist() == [
        {"id": "a", "year": 1},
        {"id": "b", "year": 2},
    ]
    assert space.to_pandas(["id"])["id"].tolist() == ["a", "b"]
    row = space.row("b")
    assert row is not None
    assert (row["text"], row["vector"]) == ("text 2", vector(2))
    assert space.row("c") is None
    assert space.row("' OR 1=1 --") is None


def test_the_nearest_are_those_of_an_exhaustive_search_ties_by_id(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.permutation(200).tolist()
    values = {f"r{n:03}": int(v) for n, v in zip(numbers, rng.integers(0, 12, 200), strict=True)}
    space = serve(tmp_path, values)
    for query in (vector(0), vector(20), [0.3, 0.2, 0.1, 0.0]):
        for k in (1, 7, 40, 500):
            hits = space.nearest(np.array(query, np.float32), k)
            expected = cosines(query, values)[:k]
            assert [hit.id for hit in hits] == [id_ for _, id_ in expected]
            assert [hit.score for hit in hits] == pytest.approx([s for s, _ in expected], abs=1e-6)
    hit = space.nearest(np.array(vector(3), np.float32), 1)[0]
    value = values[hit.id]
    assert (hit.record_id, hit.chunk, hit.columns) == (
        hit.id,
        0,
        {"year": value, "text": f"text {value}"},
    )


def test_a_filter_comes_before_the_search(tmp_path: Path) -> None:
    values = {f"r{n}": n for n in range(60)}
    space = serve(tmp_path, values)
    query = np.array(vector(0), np.float32)
    hits = space.nearest(query, 3, where="year >= 40 AND id != 'r41'", columns=["year"])
    assert [(hit.id, dict(hit.columns)) for hit in hits] == [
        ("r40", {"year": 40}),
        ("r42", {"year": 42}),
        ("r43", {"year": 43}),
    ]
    assert space.nearest(query, 3, where="year > 1000") == []
    for where, columns in (
        ("nonsense >", ["year"]),
        ("missing = 1", ["year"]),
        (None, ["missing"]),
    ):
        with pytest.raises(ConfigError, match="cannot be searched"):
            space.nearest(query, 3, where=where, columns=columns)


@pytest.mark.parametrize("indexed", [False, True])
def test_a_record_is_one_hit_by_its_best_chunk_unless_chunks_are_asked_for(
    tmp_path: Path, indexed: bool
) -> None:
    table, catalog = new_table(tmp_path), Catalog(str(tmp_path))
    values = {
        f"{record}#{n}": angle for n in range(30) for record, angle in (("a", n), ("b", 40 + n))
    }
    made = change(table, "one", {"gone": 1})
    chunked = rows(table, values).to_pylist()
    for row in chunked:
        row["record_id"], _, number = row["id"].partition("#")
        row["chunk"] = int(number)
    written = write(table.uri, pa.Table.from_pylist(chunked, table.open().schema))
    version = commit(
        table,
        type(made)("one", made.base_version, written, made.removed, 0, len(values), len(values), 1),
    )
    entry = catalog.add_version(table, version)
    if indexed:
        indexes.tune(table, IndexConfig(rows=1))
        maintenance.move(table, catalog, entry, now=datetime.now(UTC))
    space = open_space("papers", str(tmp_path), "latest")
    assert (indexes.vector_index(space.dataset) is not None) is indexed
    query = np.array(vector(0), np.float32)
    assert [(h.id, h.record_id, h.chunk) for h in space.nearest(query, 5)] == [
        ("a#0", "a", 0),
        ("b#0", "b", 0),
    ]
    assert [hit.id for hit in space.nearest(query, 3, chunks=True)] == ["a#0", "a#1", "a#2"]
    assert space.rows_of("b")["id"].to_pylist() == [f"b#{n}" for n in range(30)]


def test_a_query_without_direction_or_of_another_length_is_refused(tmp_path: Path) -> None:
    space = serve(tmp_path, {"a": 1})
    for query, message in (
        ([0.0] * 4, "zero or not finite"),
        ([np.nan] * 4, "zero or not finite"),
        ([1.0] * 3, "have 4 components"),
    ):
        with pytest.raises(ConfigError, match=message):
            space.nearest(np.array(query, np.float32), 1)


def test_columns_with_odd_names_can_be_stored_and_read(tmp_path: Path) -> None:
    metadata = pa.schema([("year", pa.int32()), *((name, pa.string()) for name in ODD)])
    table, catalog = new_table(tmp_path, metadata=metadata), Catalog(str(tmp_path))
    catalog.add_version(table, put(table, "one", {"a": 1}))
    space = open_space("papers", str(tmp_path), "latest")
    hit = space.nearest(np.array(vector(1), np.float32), 1)[0]
    assert hit.columns == {"year": 1, **dict.fromkeys(ODD), "text": "text 1"}


def test_the_store_is_found_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(tmp_path, {"a": 1})
    monkeypatch.setenv("VECTORLINE_STORE", str(tmp_path))
    assert open_space("papers", version=1).version == 1
    monkeypatch.delenv("VECTORLINE_STORE")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="vectors' has no space 'papers'; it has: none"):
        open_space("papers")
