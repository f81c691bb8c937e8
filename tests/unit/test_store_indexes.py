"""Indexes: made, kept up to date, measured, and never believed where they were not."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from schemas.config import IndexConfig
from schemas.index import VectorIndex
from tasks.errors import ConfigError
from tasks.space import Space, open_space
from tasks.store import indexes, maintenance
from tasks.store.catalog import Catalog
from tasks.store.files import LocalFiles
from tasks.store.heal import heal
from tasks.store.rows import Matrix, merge_metadata
from tasks.store.table import Table
from tests import tables
from tests.tables import content, new_table, put

NOW = datetime.now(UTC) + timedelta(minutes=30)  # after all that the tests make
WANTED = IndexConfig(columns=("year",), rows=20)
NONE: dict[str, object] = {
    "kind": None,
    "recall": None,
    "nprobes": None,
    "refine": None,
    "columns": [],
}
FIRST = {"kind": "IVF_SQ", "recall": 1.0, "nprobes": 20, "refine": 3, "columns": ["year"]}

Rows = npt.NDArray[np.float64]
Use = Callable[[Rows], None]


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upkeep does at once what it puts off where little is to be gained."""
    monkeypatch.setattr(maintenance, "SPARE_FRAGMENTS", 0)
    monkeypatch.setattr(indexes, "SPARE_ROWS", 0)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Lets row i of a matrix be the vector of value i."""

    def use(matrix: Rows) -> None:
        monkeypatch.setattr(tables, "DIM", matrix.shape[1])
        monkeypatch.setattr(
            tables, "vector", lambda value: matrix[value].astype(np.float32).tolist()
        )

    return use


def commit(table: Table, values: dict[str, int], removed: tuple[str, ...] = ()) -> int:
    """A run and its version; gives the version's number."""
    catalog = Catalog(table.store_uri)
    version = put(table, f"r{table.open().version}", values, removed)
    return catalog.add_version(table, version).version


def maintain(table: Table, wanted: IndexConfig = WANTED) -> indexes.Tuned:
    catalog = Catalog(table.store_uri)
    assert heal(table, catalog) == []
    before = maintenance.newest(table, catalog)
    assert maintenance.is_head(table, before)
    indexes.update(table, wanted)
    maintenance.gather(table)
    tuned = indexes.tune(table, wanted)
    maintenance.move(table, catalog, before, now=NOW)
    return tuned


def described(table: Table) -> dict[str, object]:
    return indexes.describe(table.open())


def numbered(first: int, last: int) -> dict[str, int]:
    return {f"r{n:04}": n for n in range(first, last)}


def uncovered(table: Table) -> dict[str, int]:
    """Rows outside of each index."""
    dataset = table.open()
    there = dataset.describe_indices()
    return {index.name: dataset.count_rows() - index.num_rows_indexed for index in there}


def test_a_table_gets_the_indexes_that_are_wanted_and_loses_them_again(store: str) -> None:
    table = new_table(store)
    commit(table, numbered(0, 19))
    assert maintain(table) == indexes.Tuned()
    assert described(table) == {**NONE, "columns": ["year"]}  # too few rows for another one
    commit(table, numbered(19, 60))
    assert maintain(table) == indexes.Tuned()
    assert described(table) == FIRST
    table.open().create_scalar_index("text", "BITMAP", name="mine")
    assert maintain(table, IndexConfig()) == indexes.Tuned()
    assert described(table) == NONE
    assert uncovered(table) == {"mine": 0}
    assert content(table) == numbered(0, 60)


def test_upkeep_that_finds_nothing_to_do_leaves_the_table_as_it_is(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    commit(table, numbered(0, 60))
    maintain(table)
    before = table.open().version
    maintain(table)
    assert table.open().version == before


def test_dimensions_that_are_multiples_of_eight_take_a_smaller_index(
    tmp_path: Path, use: Use
) -> None:
    use(np.random.default_rng(0).standard_normal((60, 16)))
    table = new_table(tmp_path)
    commit(table, numbered(0, 60))
    maintain(table)
    assert described(table) == {**FIRST, "kind": "IVF_RQ"}


def test_an_empty_table_gets_no_index(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    commit(table, {"a": 1})
    commit(table, {}, removed=("a",))
    maintain(table)
    assert described(table) == NONE


def test_a_column_that_cannot_be_indexed_is_named_with_those_that_can() -> None:
    schema = pa.schema(
        [("id", pa.string()), ("year", pa.int64()), ("tags", pa.list_(pa.string())), ("b", "bool")]
    )
    for column in ("venue", "tags", "id"):
        with pytest.raises(ConfigError) as caught:
            indexes.check_columns(schema, IndexConfig(columns=("year", column)))
        assert str(caught.value) == (
            f"index.columns = '{column}': no metadata column of this name that can have an index; "
            "there are: year (int64), b (bool). A column without any value yet is not there, "
            "and one of lists cannot have an index"
        )
    indexes.check_columns(schema, IndexConfig(columns=("b", "year")))


def test_new_rows_are_taken_in_and_parts_are_merged_when_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "SPARE_SEGMENTS", 2)
    table = new_table(tmp_path)
    commit(table, numbered(0, 50))
    maintain(table)
    parts = []
    for n in range(50, 56):
        commit(table, {f"r{n:04}": n, "r0001": n}, removed=(f"r{n - 40:04}",))
        assert uncovered(table) == {indexes.VECTORS: 2, "vectorline-year": 2}
        maintain(table)
        assert uncovered(table) == {indexes.VECTORS: 0, "vectorline-year": 0}
        assert described(table) == FIRST
        there = table.open().describe_indices()
        parts.append({index.name: len(index.segments) for index in there}[indexes.VECTORS])
    assert parts == [2, 3, 1, 2, 3, 1]
    assert len(table.open().get_fragments()) == 1


def test_a_few_new_rows_stay_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "SPARE_ROWS", 5)
    table = new_table(tmp_path)
    commit(table, numbered(0, 50))
    maintain(table)
    commit(table, numbered(50, 55))
    maintain(table)
    assert uncovered(table) == {indexes.VECTORS: 5, "vectorline-year": 5}
    commit(table, numbered(55, 56))
    maintain(table)
    assert uncovered(table) == {indexes.VECTORS: 0, "vectorline-year": 0}


def test_recall_is_the_share_of_the_nearest_that_are_found(tmp_path: Path, use: Use) -> None:
    vectors = np.random.default_rng(0).standard_normal((400, 8))
    use(vectors)
    table = new_table(tmp_path)
    commit(table, numbered(0, 400))
    table.open().create_index("vector", "IVF_RQ", name=indexes.VECTORS, metric="cosine", num_bits=1)
    dataset = table.open()
    poor = VectorIndex(segments=("?",), rows=400, nprobes=1, refine=1, recall=0)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    shares = []
    for n in np.random.default_rng(0).choice(400, 200, replace=False).tolist():
        asked = indexes.query(vectors[n].astype(np.float32), 10, poor)
        found = dataset.to_table(["id"], nearest=asked)["id"].to_pylist()
        nearest = sorted(range(400), key=lambda m: -float(units[n] @ units[m]))[:10]
        shares.append(len({f"r{m:04}" for m in nearest} & set(found)) / 10)
    assert 0.3 < np.mean(shares) < 0.9
    assert indexes.recall(dataset, poor) == pytest.approx(np.mean(shares), abs=1e-9)


def test_rows_at_the_same_distance_stand_for_each_other(tmp_path: Path, use: Use) -> None:
    use(np.tile(np.eye(8)[:3], (20, 1)))
    table = new_table(tmp_path)
    commit(table, numbered(0, 60))
    maintain(table)
    assert described(table)["recall"] == 1.0


def test_an_index_that_misses_too_much_is_trained_anew_then_searched_harder(
    tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(0).standard_normal((1500, 8))
    use(vectors)
    monkeypatch.setattr(indexes, "EFFORTS", ((1, 1), (1, 9)))
    table = new_table(tmp_path)
    commit(table, numbered(0, 1500))
    assert maintain(table, IndexConfig(rows=20, recall=0.5)) == indexes.Tuned()
    easy = described(table)
    assert (easy["nprobes"], easy["refine"]) == (1, 1)
    assert 0.5 < float(str(easy["recall"])) < 1
    space, asked = newest(tmp_path), vectors[:10].astype(np.float32)
    by_index, by_scan = (
        [space.nearest(one, 700, exact=exact) for one in asked] for exact in (False, True)
    )
    assert by_index != by_scan
    assert maintain(table, IndexConfig(rows=20, recall=1.0)) == indexes.Tuned(retrained=True)
    assert described(table) == {**FIRST, "kind": "IVF_RQ", "nprobes": 1, "refine": 9, "columns": []}
    before = table.open().version
    assert maintain(table, IndexConfig(rows=20, recall=0.5)) == indexes.Tuned()
    assert table.open().version == before


def test_vectors_unlike_those_that_an_index_was_trained_on_make_it_train_anew(
    tmp_path: Path, use: Use
) -> None:
    rng = np.random.default_rng(0)
    alike = np.eye(4)[0] + 0.01 * rng.standard_normal((900, 4))
    use(np.vstack([alike, rng.standard_normal((800, 4))]))
    table = new_table(tmp_path)
    commit(table, numbered(0, 900))
    maintain(table)
    first = indexes.vector_index(table.open())
    commit(table, numbered(900, 1700))
    indexes.update(table, WANTED)
    assert first is not None
    assert indexes.recall(table.open(), first) < 0.95
    assert maintain(table) == indexes.Tuned(retrained=True)
    assert float(str(described(table)["recall"])) >= 0.95


def test_an_index_that_cannot_find_enough_is_dropped_and_not_tried_again_in_vain(
    tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(np.random.default_rng(0).standard_normal((3000, 8)))
    monkeypatch.setattr(indexes, "EFFORTS", ((1, 1),))
    table = new_table(tmp_path)
    commit(table, numbered(0, 1200))
    high = IndexConfig(rows=20, recall=1.0)
    (note,) = maintain(table, high).notes
    assert note.startswith(f"table {table.name}: its vector index found ")
    assert note.endswith(
        "% of the nearest rows at best, and index.recall is 1.0: there is none, "
        "and searches look at each row"
    )
    assert described(table) == NONE
    before = table.open().version
    assert maintain(table, high) == indexes.Tuned()
    assert table.open().version == before
    commit(table, numbered(1200, 2400))
    assert len(maintain(table, high).notes) == 1  # twice as many rows: worth a try
    assert maintain(table, IndexConfig(rows=20, recall=0.5)) == indexes.Tuned()
    assert described(table)["kind"] == "IVF_RQ"


def test_an_index_that_a_table_has_outgrown_is_trained_anew(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    commit(table, numbered(0, 40))
    maintain(table)
    commit(table, numbered(40, 79))
    assert maintain(table) == indexes.Tuned()
    commit(table, numbered(79, 80))
    assert maintain(table) == indexes.Tuned(retrained=True)
    kept = indexes.vector_index(table.open())
    assert kept is not None
    assert (kept.rows, described(table)) == (80, FIRST)


def test_an_index_that_was_not_measured_is_not_used(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    commit(table, numbered(0, 40))
    maintain(table)
    assert indexes.vector_index(table.open()) is not None
    table.open().create_index(
        "vector", "IVF_SQ", name=indexes.VECTORS, metric="cosine", replace=True
    )
    assert indexes.vector_index(table.open()) is None
    assert described(table) == {**NONE, "columns": ["year"]}
    maintain(table)
    assert described(table) == FIRST


def test_each_version_keeps_the_index_that_it_had(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    number = commit(table, numbered(0, 40))
    maintain(table)
    first = indexes.vector_index(table.open())
    commit(table, numbered(40, 50))
    assert indexes.vector_index(table.open()) == first  # new rows are found beside it
    later = commit(table, {}, removed=("r0001",))
    maintain(table, IndexConfig())
    kept = open_space("papers", str(tmp_path), number).dataset
    assert first is not None
    assert indexes.vector_index(kept) == first
    assert indexes.recall(kept, first) == 1.0
    assert indexes.vector_index(open_space("papers", str(tmp_path), later).dataset) is None


def test_a_column_that_widens_gets_another_index(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    commit(table, numbered(0, 40))
    maintain(table)
    change = merge_metadata(table.open().schema, pa.schema([("year", pa.float64())]))
    table.evolve(change)
    commit(table, numbered(30, 50))
    assert described(table) == {**FIRST, "columns": []}
    maintain(table)
    assert described(table) == FIRST
    assert table.open().count_rows("year < 10.5") == 11


def test_files_of_an_index_are_brought_to_the_disk_and_go_when_nothing_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "GRACE", timedelta(microseconds=1))
    synced: set[str] = set()

    def note(there: LocalFiles, locations: Iterable[str], *, missing_ok: bool = False) -> None:
        synced.update(locations)

    monkeypatch.setattr(LocalFiles, "sync", note)
    table = new_table(tmp_path)
    commit(table, numbered(0, 40))
    maintain(table)
    commit(table, numbered(40, 90))  # it is trained anew
    maintain(table)
    folder = Path(table.uri) / "_indices"
    there = {path.relative_to(folder).parts[0] for path in folder.iterdir()}
    used = {part.uuid for one in table.open().describe_indices() for part in one.segments}
    assert used < there
    files = [path for part in used for path in (folder / part).iterdir()]
    transactions = Path(table.uri).glob("_transactions/*")
    parts = (folder / part for part in used)
    assert {str(path) for path in (folder, *parts, *files, *transactions)} <= synced
    catalog = Catalog(str(tmp_path))
    later = NOW + timedelta(hours=2)
    maintenance.retire(table, catalog, versions=1, days=0, now=NOW)
    maintenance.clean(table, catalog, now=later)
    assert {path.name for path in folder.iterdir()} == used
    assert content(table) == numbered(0, 90)


def newest(store: Path) -> Space:
    return open_space("papers", str(store), "latest")


def nearest(query: Matrix, vectors: Rows, values: dict[str, int], k: int) -> list[str]:
    """Ids, best first, ties by id: by the very vectors that are stored, in float64."""
    stored = {id_: vectors[value].astype(np.float32) for id_, value in values.items()}
    matrix = np.stack([*stored.values()]).astype(np.float64)
    cosines = matrix @ query / np.linalg.norm(matrix, axis=1)
    of = dict(zip(stored, cosines.tolist(), strict=True))
    return sorted(of, key=lambda id_: (-of[id_], id_))[:k]


@pytest.mark.parametrize("dim", [4, 16])
def test_by_an_index_or_not_the_same_is_found_whatever_became_of_the_rows(
    tmp_path: Path, use: Use, dim: int
) -> None:
    rng = np.random.default_rng(dim)
    vectors = rng.standard_normal((700, dim))
    vectors[500:] = vectors[:200]  # ties
    use(vectors)
    table, model = new_table(tmp_path), numbered(0, 200)
    commit(table, model)
    n_indexed = 0
    for step in range(8):
        if step % 3 == 0:
            maintain(table)
        ids = rng.permutation(sorted(model)).tolist()
        changed = {
            id_: int(value) for id_, value in zip(ids, rng.integers(0, 700, 30), strict=False)
        }
        added = {f"new{step}.{n}": int(value) for n, value in enumerate(rng.integers(0, 700, 30))}
        removed = tuple(ids[30:45])
        commit(table, {**changed, **added}, removed)
        model = {**{id_: model[id_] for id_ in ids[45:]}, **changed, **added}
        space = newest(tmp_path)
        n_indexed += indexes.vector_index(space.dataset) is not None
        for query in (*rng.standard_normal((4, dim)), vectors[int(rng.integers(200))]):
            asked = query.astype(np.float32)
            for first in (-1, int(rng.integers(600))):
                where = None if first < 0 else f"year >= {first} AND year != 7"
                fit = {i: v for i, v in model.items() if first < 0 or (v >= first and v != 7)}
                expected = nearest(asked, vectors, fit, 10)
                for exact in (False, True):
                    hits = space.nearest(asked, 10, where=where, exact=exact)
                    assert [hit.id for hit in hits] == expected
                    assert [hit.columns["year"] for hit in hits] == [model[i] for i in expected]
        assert len(space.nearest(asked, 10_000)) == len(model)
        assert space.nearest(asked, 10_000, where="year < 0") == []
    assert n_indexed == 8


def test_rows_of_a_filter_and_many_rows_are_found_in_whichever_partition_they_are(
    tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "EFFORTS", ((1, 3),))
    vectors = np.random.default_rng(0).standard_normal((40_000, 32))
    use(vectors)
    table, model = new_table(tmp_path), {str(n): n for n in range(40_000)}
    commit(table, model)
    maintain(table, IndexConfig(columns=("year",), rows=20, recall=0.1))
    space = newest(tmp_path)
    few = {id_: value for id_, value in model.items() if value >= 38_000}
    for n, asked in enumerate(vectors[:120].astype(np.float32)):
        k = 100 if n % 10 == 0 else 20
        hits = space.nearest(asked, k, where="year >= 38000", columns=[])
        assert [hit.id for hit in hits] == nearest(asked, vectors, few, k)
    assert len(space.nearest(asked, 30_000)) == 30_000
