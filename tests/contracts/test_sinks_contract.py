"""What every sink does, in a real store wherever one can be had."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tasks.plugins import build, check_arguments, names
from tasks.sinks.base import FULL, HASH, ID, VECTOR, Element, Metric, Mode, Shape, Sink
from tests.stores.peer import Peer, Shared, peer

DIM = 16
COLUMNS = pa.schema(
    [
        ("flag", pa.bool_()),
        ("year", pa.int64()),
        ("big", pa.uint64()),
        ("small", pa.int8()),
        ("score", pa.float64()),
        ("half", pa.float32()),
        ("title", pa.string()),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", "UTC")),
        ("local", pa.timestamp("ms")),
        ("hour", pa.time64("us")),
        ("tags", pa.list_(pa.string())),
        ("counts", pa.list_(pa.int64())),
        ("nothing", pa.null()),
    ]
)
PLAIN: dict[str, Any] = {
    "flag": True,
    "year": 1999,
    "big": 7,
    "small": -3,
    "score": 0.25,
    "half": 0.5,
    "title": "A title",
    "day": date(2024, 2, 29),
    "at": datetime(2024, 2, 29, 12, 30, 1, 250, UTC),
    "local": datetime(1969, 7, 20, 20, 17),
    "hour": time(23, 59, 59, 1),
    "tags": ["a", "b"],
    "counts": [1, 2],
    "nothing": None,
}
ODD: list[dict[str, Any]] = [
    dict.fromkeys(PLAIN),
    PLAIN | {"title": "", "tags": [], "counts": [], "flag": False, "year": 0, "score": -0.0},
    PLAIN | {"year": -(2**63), "big": 2**64 - 1, "small": 127, "score": math.inf},
    PLAIN | {"year": 2**63 - 1, "score": -math.inf, "half": math.nan, "tags": ["", "x,y", "[1]"]},
    PLAIN | {"score": math.nan, "title": "snow ☃ 𝄞 '\"\\\n\t<b>", "tags": ["☃", 'quo"te', "null"]},
    PLAIN | {"score": 5e-324, "title": "null", "counts": [2**62, None, -1], "tags": [None, "x"]},
    PLAIN | {"score": 0.1 + 0.2, "title": "NaN", "day": date(1, 1, 1), "hour": time(0)},
    PLAIN | {"title": "x" * 20_000, "at": datetime(1950, 1, 1, tzinfo=UTC)},
]
IDS = ["plain", "it's", 'quo"te', "snow ☃ 𝄞", "a/b\\c\n", "", " ", "%_*", "x" * 1000, "1", "null"]
IDS += ["not vectorline's: abc", "not vectorline's: "]


def shape(
    element: Element = Element.FLOAT32,
    *,
    metric: Metric = Metric.COSINE,
    columns: pa.Schema = COLUMNS,
    full_dim: int = 0,
    dim: int = DIM,
) -> Shape:
    return Shape(dim, element, metric, columns, full_dim)


SMALL = shape(columns=pa.schema([("title", pa.string()), ("year", pa.int64())]))


def vectors(n: int, of: Shape, seed: int) -> pa.Array:
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(n, of.dim)).astype(np.float32)
    field = of.row_schema.field(VECTOR).type
    flat: npt.NDArray[Any] = made
    if of.element is Element.FLOAT16:
        flat = made.astype(np.float16)
    elif of.element is Element.INT8:
        flat = np.clip(np.round(40 * made), -127, 127).astype(np.int8)
    elif of.element is Element.BINARY:
        flat = np.packbits(made > 0, axis=1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), field.list_size)


def rows(
    ids: list[str], of: Shape, seed: int = 0, metadata: list[dict[str, Any]] | None = None
) -> pa.Table:
    given = metadata or [PLAIN] * len(ids)
    rng = np.random.default_rng([seed, 1])
    columns: dict[str, Any] = {ID: ids, HASH: [rng.bytes(16) for _ in ids]}
    columns[VECTOR] = vectors(len(ids), of, seed)
    for field in of.columns:
        columns[field.name] = pa.array([one[field.name] for one in given], field.type)
    if of.full_dim:
        full = rng.normal(size=(len(ids), of.full_dim)).astype(np.float32)
        columns[FULL] = pa.FixedSizeListArray.from_arrays(pa.array(full.ravel()), of.full_dim)
    return pa.table(columns, schema=of.row_schema)


def many(n: int, of: Shape = SMALL, seed: int = 0, first: int = 0) -> pa.Table:
    ids = [f"r{number:05d}" for number in range(first, first + n)]
    return rows(ids, of, seed, [{"title": f"t {id_}", "year": int(id_[1:])} for id_ in ids])


def plain(table: pa.Table) -> dict[str, dict[str, Any]]:
    """By id; vectors as bytes, NaN as a word, so that they can be compared."""
    return {
        one[ID]: {name: _plain(value) for name, value in one.items()} for one in table.to_pylist()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value.hex()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


@pytest.fixture(params=[pytest.param(use, marks=pytest.mark.stores) for use in names("sinks")])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    made = peer(request.param, tmp_path / "store")
    yield made
    made.close()


def opened(store: Peer) -> Sink:
    made = build("sinks", store.use, store.arguments())
    made.connect()
    return made


@pytest.fixture
def sink(store: Peer) -> Iterator[Sink]:
    made = opened(store)
    yield made
    made.close()


def put(sink: Sink, name: str, of: Shape, *batches: pa.Table, stamp: str = "s") -> None:
    if name not in sink.collections():
        sink.create(name, of)
    with sink.writing(name, of, stamp) as writer:
        for batch in batches:
            writer.upsert(batch)
    sink.finish(name, of)


def everything(sink: Sink, name: str, of: Shape) -> pa.Table:
    ids = [one.id for part in sink.held(name) for one in part]
    found = sink.fetch(name, of, ids)
    assert found.schema.equals(of.row_schema)
    assert sink.count(name) == len(ids) == len(set(ids)) == len(found)
    return found


def test_arguments_are_those_of_a_config(store: Peer) -> None:
    assert check_arguments("sinks", store.use, store.arguments()) == []


def test_rows_are_read_back_as_they_were_put(sink: Sink) -> None:
    given = rows([f"o{n}" for n in range(len(ODD))], shape(), metadata=ODD)
    put(sink, "c", shape(), given)
    assert plain(everything(sink, "c", shape())) == plain(given)
    assert {one.id: one.hash for part in sink.held("c") for one in part} == dict(
        zip(given[ID].to_pylist(), given[HASH].to_pylist(), strict=True)
    )


def test_ids_may_be_anything(sink: Sink) -> None:
    given = rows(IDS, shape())
    put(sink, "c", shape(), given)
    assert plain(everything(sink, "c", shape())) == plain(given)
    with sink.writing("c", shape(), "s") as writer:
        writer.delete(IDS[1:])
    assert [one.id for part in sink.held("c") for one in part] == IDS[:1]


@pytest.mark.parametrize("element", Element)
def test_components_are_kept_as_they_are(sink: Sink, element: Element) -> None:
    of = shape(element, columns=SMALL.columns)
    if element not in sink.limits.elements:
        pytest.skip(f"takes no {element}")
    given = many(50, of)
    put(sink, "c", of, given)
    assert plain(everything(sink, "c", of)) == plain(given)


def test_an_original_is_kept_beside(sink: Sink) -> None:
    of = shape(columns=SMALL.columns, full_dim=24)
    given = many(50, of)
    put(sink, "c", of, given)
    assert plain(everything(sink, "c", of)) == plain(given)


def test_a_row_is_replaced_whole(sink: Sink) -> None:
    of = shape()
    put(sink, "c", of, rows(["a", "b"], of))
    new = rows(["b", "c"], of, 1, [dict.fromkeys(PLAIN)] * 2)
    put(sink, "c", of, new, new)
    kept = plain(rows(["a", "b"], of))
    assert plain(everything(sink, "c", of)) == {"a": kept["a"]} | plain(new)


def test_what_is_deleted_is_gone_and_what_is_not_there_may_be_deleted(sink: Sink) -> None:
    put(sink, "c", SMALL, many(300))
    with sink.writing("c", SMALL, "t") as writer:
        writer.delete([f"r{number:05d}" for number in range(100, 400)])
        writer.delete(["r00100", "nobody"])
        writer.delete([])
        writer.upsert(many(0))
        writer.upsert(many(50, seed=1, first=120))
    sink.finish("c", SMALL)
    wanted = pa.concat_tables([many(300).slice(0, 100), many(50, seed=1, first=120)])
    assert plain(everything(sink, "c", SMALL)) == plain(wanted)


def test_collections_have_stamps_and_are_apart(sink: Sink, store: Peer) -> None:
    assert sink.collections() == {}
    sink.create("one", SMALL)
    assert sink.collections() == {"one": ""}
    put(sink, "one", SMALL, many(3), stamp='{"a": "☃"}')
    put(sink, "two", SMALL, many(5, seed=1), stamp="two")
    assert sink.collections() == {"one": '{"a": "☃"}', "two": "two"}
    sink.stamp("two", "again")
    sink.close()
    other = opened(store)
    assert other.collections() == {"one": '{"a": "☃"}', "two": "again"}
    assert [other.count(name) for name in ("one", "two")] == [3, 5]
    other.create("two", shape())  # of another shape, and empty
    assert (other.count("two"), other.collections()["two"]) == (0, "")
    other.drop("two")
    other.drop("two")
    assert [*other.collections()] == ["one"]
    assert plain(everything(other, "one", SMALL)) == plain(many(3))
    other.close()


def test_readers_see_what_their_name_points_at(sink: Sink, store: Peer) -> None:
    assert sink.serving() is None
    assert store.visible() == {}
    for number, name in enumerate(("one", "two")):
        put(sink, name, SMALL, many(4, seed=number))
    for number, name in ((0, "one"), (1, "two"), (1, "two"), (0, "one")):
        sink.serve(name)
        assert sink.serving() == name
        seen, wanted = store.visible(), many(4, seed=number)
        assert [*sorted(seen)] == wanted[ID].to_pylist()
        for one in wanted.to_pylist():
            np.testing.assert_array_equal(seen[one[ID]]["vector"], np.float32(one[VECTOR]))
            assert (seen[one[ID]]["title"], seen[one[ID]]["year"]) == (one["title"], one["year"])
    sink.drop("two")
    assert sink.serving() == "one"
    assert len(store.visible()) == 4


def test_nobody_sees_an_atomic_write_before_its_end(sink: Sink, store: Peer) -> None:
    if Mode.ATOMIC not in sink.modes:
        pytest.skip("readers may see it")
    put(sink, "c", SMALL, many(40), stamp="old")
    sink.serve("c")
    seen: list[int] = []

    def write_half() -> None:
        with sink.writing("c", SMALL, "new") as writer:
            writer.upsert(many(40, seed=1))
            writer.delete(["r00003"])
            seen.append(len(store.visible()))
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert seen == [40]
    assert sink.collections() == {"c": "old"}
    assert plain(everything(sink, "c", SMALL)) == plain(many(40))
    sink.close()
    other = opened(store)
    assert other.collections() == {"c": "old"}
    with other.writing("c", SMALL, "new") as writer:
        writer.delete(["r00003"])
    assert other.collections() == {"c": "new"}
    assert "r00003" not in store.visible()
    other.close()


@pytest.mark.parametrize("metric", Metric)
def test_the_nearest_are_found(sink: Sink, metric: Metric) -> None:
    if metric not in sink.limits.metrics:
        pytest.skip(f"does not search by {metric}")
    of = shape(columns=SMALL.columns, metric=metric)
    given = many(400, of)
    put(sink, "c", of, given)
    held = np.array(given[VECTOR].to_pylist(), np.float64)
    queries = np.random.default_rng(5).normal(size=(5, DIM)).astype(np.float32)
    exact = scores_of(queries.astype(np.float64), held, metric)
    hits = 0
    for query, found in enumerate(sink.search("c", of, queries, 10)):
        assert len(found) == len({one.id for one in found}) == 10
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        for one in found:
            assert one.score == pytest.approx(exact[query, int(one.id[1:])], abs=2e-3, rel=2e-3)
        best = {f"r{row:05d}" for row in np.argsort(-exact[query])[:10].tolist()}
        hits += len(best & {one.id for one in found})
    assert hits >= 40


def scores_of(queries: npt.NDArray[Any], held: npt.NDArray[Any], metric: Metric) -> Any:
    if metric is Metric.DOT:
        return queries @ held.T
    if metric is Metric.EUCLIDEAN:
        return -np.linalg.norm(queries[:, None] - held, axis=2)
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    return queries @ (held / np.linalg.norm(held, axis=1, keepdims=True)).T


def test_the_original_decides_where_it_is_kept(sink: Sink) -> None:
    of = shape(columns=SMALL.columns, full_dim=2 * DIM)
    given = many(200, of)
    full = np.array(given[FULL].to_pylist(), np.float32)
    short = pa.FixedSizeListArray.from_arrays(pa.array(full[:, :DIM].ravel()), DIM)
    given = given.set_column(2, given.schema.field(VECTOR), short)
    put(sink, "c", of, given)
    for row, found in enumerate(sink.search("c", of, full[:4, :DIM], 3, full[:4])):
        assert found[0].id == f"r{row:05d}"
        assert found[0].score == pytest.approx(1, abs=1e-3)
        by_full = scores_of(
            full[row : row + 1].astype(np.float64), full.astype(np.float64), of.metric
        )
        for one in found:
            assert one.score == pytest.approx(by_full[0, int(one.id[1:])], abs=2e-3)


def test_fewer_rows_than_asked_for_and_none(sink: Sink) -> None:
    sink.create("c", SMALL)
    query = np.ones((1, DIM), np.float32)
    assert sink.search("c", SMALL, query, 3) == [[]]
    assert sink.fetch("c", SMALL, ["x"]).schema.equals(SMALL.row_schema)
    assert (sink.count("c"), [*sink.held("c")]) in [(0, []), (0, [[]])]
    put(sink, "c", SMALL, many(2))
    assert len(sink.search("c", SMALL, query, 3)[0]) == 2
    assert len(sink.fetch("c", SMALL, [])) == 0


def test_rows_of_others_are_listed_as_they_can_be_removed(store: Peer, sink: Sink) -> None:
    if not isinstance(store, Shared):
        pytest.skip("nobody else writes there")
    given = many(30)
    put(sink, "c", SMALL, given)
    sink.serve("c")
    store.intrude(DIM)
    ours = {*given[ID].to_pylist()}
    ids = [one.id for part in sink.held("c") for one in part]
    foreign = [one for one in ids if one not in ours]
    assert foreign
    assert sink.count("c") == len(ids) == len({*ids}) == len(given) + len(foreign)
    assert plain(sink.fetch("c", SMALL, ids)) == plain(given)
    found = sink.search("c", SMALL, np.ones((1, DIM), np.float32), len(foreign))
    assert {near.id for near in found[0]} == {*foreign}
    with sink.writing("c", SMALL, "s") as writer:
        writer.delete(foreign)
    sink.finish("c", SMALL)
    assert plain(everything(sink, "c", SMALL)) == plain(given)
