"""Sinks of files: many calls in one block, indexes of all kinds, readers in flight, kills."""

import dataclasses
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import ConfigError, SinkError, SinkUnavailable
from tasks.plugins import build
from tasks.sinks import changes, folder, scann
from tasks.sinks.base import ID, VECTOR, Element, Metric, Shape, Sink
from tests.publishing import SINK_POINTS
from tests.stores.peer import Peer, peer

DIM = 16
SHAPE = Shape(DIM, Element.FLOAT32, Metric.COSINE, pa.schema([("year", pa.int64())]))
FOLDERS = ("parquet", "numpy", "faiss", "usearch", "scann")

pytestmark = pytest.mark.stores


def rows(ids: list[str], seed: int, unit: bool = True) -> pa.Table:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(len(ids), DIM)).astype(np.float32)
    if unit:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = {
        ID: ids,
        "_hash": [rng.bytes(16) for _ in ids],
        VECTOR: pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM),
        "year": list(range(len(ids))),
    }
    return pa.table(columns, schema=SHAPE.row_schema)


def plain(table: pa.Table) -> dict[str, Any]:
    return {one[ID]: one for one in table.to_pylist()}


def held(sink: Sink) -> dict[str, Any]:
    ids = [one.id for part in sink.held("c") for one in part]
    return plain(sink.fetch("c", SHAPE, ids))


def opened(use: str, path: Path, **arguments: object) -> Sink:
    sink = build("sinks", use, {"path": str(path), "part_rows": 25} | arguments)
    sink.connect()
    return sink


@pytest.mark.parametrize("part_rows", [7, 40, 1_000])
@pytest.mark.parametrize("use", FOLDERS)
def test_the_last_call_for_an_id_is_in_force_in_parts_of_any_size(
    use: str, part_rows: int, tmp_path: Path
) -> None:
    sink = opened(use, tmp_path, part_rows=part_rows)
    check_the_last_call_is_in_force(sink)
    parts = folder.Folder(str(tmp_path), "current", use).open("c").parts
    small = [part.rows for part in parts if 2 * part.rows < part_rows]
    assert len(small) <= 1
    assert max(part.rows for part in parts) <= part_rows


@pytest.mark.parametrize("spill_bytes", [1, 20_000, 2**30])
def test_the_last_call_for_an_id_is_in_force_also_when_rows_wait_on_the_disk(
    spill_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "SPILL_BYTES", spill_bytes)
    sink = build("sinks", "lancedb", {"uri": str(tmp_path), "table": "t"})
    sink.connect()
    check_the_last_call_is_in_force(sink)


def check_the_last_call_is_in_force(sink: Sink) -> None:
    chance = np.random.default_rng(0)
    model: dict[str, Any] = {}
    sink.create("c", SHAPE)
    for block in range(3):
        with sink.writing("c", SHAPE, str(block)) as writer:
            for call in range(8):
                ids = [f"i{number}" for number in chance.permutation(300)[:60]]
                table = rows(ids, 10 * block + call)
                writer.upsert(table)
                model |= plain(table)
                gone = [f"i{number}" for number in chance.permutation(300)[:20]]
                writer.delete(gone)
                model = {id_: one for id_, one in model.items() if id_ not in gone}
        assert held(sink) == model


@pytest.mark.parametrize(
    "index", ["ivf", "hnsw", "pq", "IVF8,SQ8", "IDMap2,Flat", "PCA4,IVF8,Flat"]
)
@pytest.mark.parametrize("unit", [True, False])
def test_rows_are_exact_beside_an_index_of_any_kind(index: str, unit: bool, tmp_path: Path) -> None:
    sink = opened("faiss", tmp_path, index=index)
    model: dict[str, Any] = {}
    sink.create("c", SHAPE)
    for block, n in enumerate((20, 11_000, 50)):  # from flat to trained, then a change
        table = rows([f"i{block * 10 + number}" for number in range(n)], block, unit)
        with sink.writing("c", SHAPE, "s") as writer:
            writer.upsert(table)
            writer.delete(["i3", "i30"])
        model |= plain(table)
        model = {id_: one for id_, one in model.items() if id_ not in ("i3", "i30")}
        assert held(sink) == model
        queries = np.array([model["i25"][VECTOR]] if n > 20 else [model["i5"][VECTOR]], np.float32)
        assert len(sink.search("c", SHAPE, queries, 5)[0]) == 5
    with sink.writing("c", SHAPE, "s") as writer:
        writer.delete([*model][5:])
    assert [*held(sink)] == sorted([*model][:5], key=[*held(sink)].index)


def test_a_searcher_of_scann_takes_changes_until_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scann, "HASHED_FROM", 300)
    monkeypatch.setattr(scann, "TREE_FROM", 600)
    sink = opened("scann", tmp_path, leaves_to_search=30)
    sink.create("c", SHAPE)
    model: dict[str, Any] = {}
    kinds = []
    calls = [(200, 0), (9, 9), (200, 0), (9, 20), (250, 250), (300, 0), (9, 9), (50, 0), (0, 900)]
    for block, (n_new, n_gone) in enumerate(calls):
        table = rows([*[*model][:5], *(f"i{block}-{number}" for number in range(n_new))], block)
        gone = [*model][5 : 5 + n_gone]
        with sink.writing("c", SHAPE, "s") as writer:
            writer.upsert(table)
            writer.delete(gone)
        model = {id_: one for id_, one in (model | plain(table)).items() if id_ not in gone}
        assert held(sink) == model
        queries = np.array([one[VECTOR] for one in model.values()], np.float32)
        assert [one.id for (one,) in sink.search("c", SHAPE, queries, 1)] == [*model]
        manifest = folder.Folder(str(tmp_path), "current", "scann").open("c").manifest
        kinds.append(f"{len(model)} {manifest.settings['kind']}")
    assert kinds == [  # the last number is how many rows more may change until it is made anew
        "200 brute_force 100",
        "200 brute_force 86",
        "400 hashed 200",
        "389 hashed 175",
        "389 hashed 194",
        "689 tree 34",
        "689 tree 20",
        "739 tree 37",
        "5 brute_force 2",
    ]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("index", ["flat", "SQ8", "HNSW16,SQ8", "hnsw"])
def test_halves_are_exact_beside_an_index_that_is_coarser(index: str, tmp_path: Path) -> None:
    shape = dataclasses.replace(SHAPE, element=Element.FLOAT16)
    table = rows([f"i{number}" for number in range(400)], 0)
    flat = table[VECTOR].combine_chunks().flatten().to_numpy().astype(np.float16)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat), shape.dim)
    table = table.set_column(table.schema.get_field_index(VECTOR), VECTOR, vectors)
    sink = opened("faiss", tmp_path, index=index)
    sink.create("c", shape)
    with sink.writing("c", shape, "s") as writer:
        writer.upsert(table)
    found = sink.fetch("c", shape, table[ID].to_pylist())
    assert found.sort_by(ID)[VECTOR].to_pylist() == table.sort_by(ID)[VECTOR].to_pylist()


@pytest.mark.parametrize("index", ["Flat,RFlat", "IVF4,SQ8,RFlat", "NSG16,Flat"])
def test_an_index_that_takes_no_rows_out_or_in_is_refused(index: str, tmp_path: Path) -> None:
    sink = opened("faiss", tmp_path, index=index)
    with pytest.raises(ConfigError, match=f"index = '{index}': faiss takes rows neither"):
        sink.create("c", SHAPE)


def test_a_factory_string_that_faiss_does_not_know_is_named(tmp_path: Path) -> None:
    sink = opened("faiss", tmp_path, index="IVF8,Nonsense")
    with pytest.raises(Exception, match="IVF8,Nonsense"):
        sink.create("c", SHAPE)


@pytest.mark.parametrize("use", FOLDERS)
def test_who_reads_a_version_may_end_in_peace_and_no_more_than_two_are_there(
    use: str, tmp_path: Path
) -> None:
    sink = opened(use, tmp_path)
    sink.create("c", SHAPE)
    sink.serve("c")
    seen = []
    for block in range(4):
        with sink.writing("c", SHAPE, "s") as writer:
            writer.upsert(rows(["a", "b"], block))
        seen.append((tmp_path / "current").resolve())
        assert [path.exists() for path in seen[-2:]] == [True] * len(seen[-2:])
        assert len([*(tmp_path / "collections").iterdir()]) == 3  # two, and a link


@pytest.mark.parametrize("use", FOLDERS)
def test_a_block_without_a_call_changes_the_stamp_alone(use: str, tmp_path: Path) -> None:
    sink = opened(use, tmp_path)
    sink.create("c", SHAPE)
    table = rows([f"i{number}" for number in range(60)], 0)
    with sink.writing("c", SHAPE, "old") as writer:
        writer.upsert(table)
    with sink.writing("c", SHAPE, "new"):
        pass
    assert (held(sink), sink.collections()) == (plain(table), {"c": "new"})


def test_files_without_a_change_are_those_of_the_version_before(tmp_path: Path) -> None:
    sink = opened("parquet", tmp_path)
    sink.create("c", SHAPE)
    sink.serve("c")
    with sink.writing("c", SHAPE, "s") as writer:
        writer.upsert(rows([f"i{number}" for number in range(100)], 0))
    before = {one.name: one.stat().st_ino for one in (tmp_path / "current").glob("*.parquet")}
    with sink.writing("c", SHAPE, "s") as writer:
        writer.upsert(rows(["i7"], 1))
    after = {one.name: one.stat().st_ino for one in (tmp_path / "current").glob("*.parquet")}
    assert (len(before), len(before.items() & after.items()), len(after)) == (4, 3, 5)
    for block in range(2, 5):  # their first versions are gone by then
        with sink.writing("c", SHAPE, "s") as writer:
            writer.upsert(rows(["i7"], block))
    wanted = plain(rows([f"i{number}" for number in range(100)], 0)) | plain(rows(["i7"], 4))
    assert held(sink) == wanted
    assert sizes(tmp_path) == [1, 24, 25, 25, 25]  # what came, what it came from, and the others
    with sink.writing("c", SHAPE, "s") as writer:
        writer.delete([f"i{number}" for number in range(100) if number % 25 < 15])
    assert sizes(tmp_path) == [15, 25]  # four with ten rows are put together
    with sink.writing("c", SHAPE, "s") as writer:
        writer.delete([f"i{number}" for number in range(100)])
    assert sizes(tmp_path) == []


def sizes(path: Path) -> list[int]:
    files = (path / "current").glob("*.parquet")
    return sorted(pq.ParquetFile(one).metadata.num_rows for one in files)


@pytest.mark.parametrize("use", FOLDERS)
def test_two_writers_do_not_write_at_once(
    use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "LOCK_WAIT_S", 0.1)
    one, other = opened(use, tmp_path), opened(use, tmp_path)
    one.create("c", SHAPE)
    with one.writing("c", SHAPE, "one") as writer:
        writer.upsert(rows(["a"], 0))
        with pytest.raises(SinkUnavailable, match=str(os.getpid())), other.writing("c", SHAPE, "x"):
            pass
    assert other.collections() == {"c": "one"}


@pytest.mark.parametrize("damage", ["all", "rows"])
def test_files_that_somebody_removed_are_named_at_once(damage: str, tmp_path: Path) -> None:
    sink = opened("parquet", tmp_path)
    sink.create("c", SHAPE)
    with sink.writing("c", SHAPE, "s") as writer:
        writer.upsert(rows(["a"], 0))
    here = (tmp_path / "collections" / "c").resolve()
    for one in here.glob("*" if damage == "all" else "*.parquet"):
        one.unlink()
    words = {"all": "is gone or damaged: remove", "rows": "publish with --repair"}
    with pytest.raises(SinkError, match=words[damage]) as told:
        sink.count("c")
    assert not isinstance(told.value, SinkUnavailable)
    assert str(here) in str(told.value)


@pytest.mark.parametrize("use", FOLDERS)
def test_a_bit_that_changed_in_any_file_is_told_when_rows_are_listed(
    use: str, tmp_path: Path
) -> None:
    sink = opened(use, tmp_path)
    sink.create("c", SHAPE)
    table = rows([f"i{number}" for number in range(60)], 0)
    with sink.writing("c", SHAPE, "a stamp") as writer:
        writer.upsert(table)
    here = (tmp_path / "collections" / "c").resolve()
    manifest = here / folder.MANIFEST
    for path in sorted(one for one in here.rglob("*") if one.is_file() and one != manifest):
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[len(whole) // 2] ^= 1
        path.write_bytes(changed)
        with pytest.raises(SinkError) as told:
            held(sink)
        name = path.relative_to(here).as_posix()
        assert str(told.value) == f"{here}: not as written: {name}: publish with --repair"
        path.write_bytes(whole)
    assert held(sink) == plain(table)
    manifest.write_text(manifest.read_text().replace("a stamp", "a stomp"))
    with pytest.raises(SinkError, match=r"is gone or damaged: remove .*, and publish again$"):
        sink.collections()


@pytest.mark.parametrize("use", FOLDERS)
def test_a_change_gives_no_damaged_row_a_good_checksum(use: str, tmp_path: Path) -> None:
    sink = opened(use, tmp_path)
    sink.create("c", SHAPE)
    old, new = rows([f"i{number}" for number in range(60)], 0), rows(["i3", "i30", "i55"], 1)
    with sink.writing("c", SHAPE, "old") as writer:
        writer.upsert(old)
    here = (tmp_path / "collections" / "c").resolve()
    for path in sorted(one for one in here.rglob("*") if one.is_file()):
        if path.name == folder.MANIFEST:
            continue
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[len(whole) // 2] ^= 1
        path.write_bytes(changed)
        with pytest.raises(SinkError) as told, sink.writing("c", SHAPE, "new") as writer:
            writer.upsert(new)
        name = path.relative_to(here).as_posix()
        assert str(told.value) == f"{here}: not as written: {name}: publish with --repair"
        assert sink.collections() == {"c": "old"}
        path.write_bytes(whole)
    path.write_bytes(changed)
    sink.drop("c")  # as --repair does, once all rows are in another collection
    sink.create("c", SHAPE)
    with sink.writing("c", SHAPE, "new") as writer:
        writer.upsert(old)
        writer.upsert(new)
    assert (held(sink), sink.collections()) == (plain(old) | plain(new), {"c": "new"})


def test_an_index_is_not_made_anew_by_damaged_rows_that_stay_where_they_are(tmp_path: Path) -> None:
    sink = opened("faiss", tmp_path, index="hnsw")
    sink.create("c", SHAPE)
    with sink.writing("c", SHAPE, "old") as writer:
        writer.upsert(rows([f"i{number}" for number in range(50)], 0))
    here = (tmp_path / "collections" / "c").resolve()
    _, path = sorted((here / "rows").iterdir())
    path.write_bytes(with_other_labels(path.read_bytes()))
    with pytest.raises(SinkError) as told, sink.writing("c", SHAPE, "new") as writer:
        writer.delete(["i3"])
    name = path.relative_to(here).as_posix()
    assert str(told.value) == f"{here}: not as written: {name}: publish with --repair"
    assert sink.collections() == {"c": "old"}


def with_other_labels(whole: bytes) -> bytes:
    """A file of which one byte is another, so that all can be read, and labels differ."""
    labels = pq.read_table(pa.BufferReader(whole), columns=["_label"])
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with suppress(OSError, pa.ArrowException):
            found = pq.read_table(pa.BufferReader(changed))
            if found.num_rows == 25 and not found.select(["_label"]).equals(labels):
                return changed
    raise AssertionError("no byte is of a label alone")


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "current").mkdir()
    sink = opened("parquet", tmp_path)
    sink.create("c", SHAPE)
    with pytest.raises(SinkError, match=r"not ours: remove it, or give readers another `link`$"):
        sink.serve("c")
    assert sink.serving() is None
    with pytest.raises(SinkError, match="use: parquet"):
        opened("numpy", tmp_path).collections()


def test_a_folder_that_cannot_be_made_is_not_said_to_be_gone() -> None:
    with pytest.raises(SinkError) as told:
        opened("parquet", Path("/proc/x/y"))
    assert str(told.value) == (
        "/proc/x/y: /proc/x cannot be made: this file system takes no folders there; "
        "name another `path`"
    )


@pytest.mark.parametrize("point", SINK_POINTS)
@pytest.mark.parametrize("use", [*FOLDERS, "lancedb"])
def test_a_kill_leaves_the_old_version_or_the_new_one(use: str, point: str, tmp_path: Path) -> None:
    place = peer(use, tmp_path / "p")
    sink = build("sinks", use, place.arguments())
    sink.connect()
    sink.create("c", SHAPE)
    old, new = rows([f"i{number}" for number in range(50)], 0), rows(["i1", "i2"], 1)
    with sink.writing("c", SHAPE, "old") as writer:
        writer.upsert(old)
    sink.serve("c")
    code = f"""
from functools import partial
from pathlib import Path
from tests.integration.test_sinks_in_folders import SHAPE, build, peer, rows
sink = build("sinks", {use!r}, peer({use!r}, Path({str(tmp_path / "p")!r})).arguments())
sink.connect()
with sink.writing("c", SHAPE, "new") as writer:
    writer.upsert(rows(["i1", "i2"], 1))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "VECTORLINE_FAIL_POINT": point},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -9, ended.stderr
    wanted = plain(old) | (plain(new) if point == "sink-after-switch" else {})
    stamp = "new" if point == "sink-after-switch" else "old"
    seen = {id_: one["vector"].tolist() for id_, one in place.visible().items()}
    assert seen == {id_: one[VECTOR] for id_, one in wanted.items()}
    assert (held(sink), sink.collections()) == (wanted, {"c": stamp})
    with sink.writing("c", SHAPE, "newer") as writer:
        writer.delete(["i1"])
    wanted.pop("i1")
    assert (held(sink), sink.collections()) == (wanted, {"c": "newer"})


@contextmanager
def files_up_to(size_bytes: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("use", [*FOLDERS, "lancedb", "sqlite-vec", "duckdb"])
def test_no_file_that_was_cut_off_at_a_limit_is_served(use: str, tmp_path: Path) -> None:
    place, whole = (peer(use, tmp_path / name) for name in ("place", "whole"))
    old, new = (rows([f"i{number}" for number in range(n)], n) for n in (50, 3_000))
    sink = filled(use, place, old)
    filled(use, whole, new).close()
    largest = max(one.stat().st_size for one in (tmp_path / "whole").rglob("*") if one.is_file())
    is_known = use in ("parquet", "numpy", "faiss", "scann")  # others are not as large each time
    for size_bytes in (10_000, 100_000, *([largest - 1] if is_known else [])):
        with (
            pytest.raises(SinkError) as told,
            files_up_to(size_bytes),
            sink.writing("c", SHAPE, "new") as writer,
        ):
            writer.upsert(new)
        assert not isinstance(told.value, SinkUnavailable)
        sink.close()  # DuckDB lets nobody else look
        assert {*place.visible()} == {*plain(old)}
        sink.connect()
        assert (held(sink), sink.collections()) == (plain(old), {"c": "old"})
    with sink.writing("c", SHAPE, "new") as writer:
        writer.upsert(new)
    assert (held(sink), sink.collections()) == (plain(new), {"c": "new"})


def filled(use: str, place: Peer, table: pa.Table) -> Sink:
    sink = build("sinks", use, place.arguments())
    sink.connect()
    sink.create("c", SHAPE)
    with sink.writing("c", SHAPE, "old") as writer:
        writer.upsert(table)
    sink.serve("c")
    return sink


@pytest.mark.parametrize("use", FOLDERS)
def test_what_a_killed_process_left_of_any_collection_goes_with_the_next_version(
    use: str, tmp_path: Path
) -> None:
    sink = opened(use, tmp_path)
    for name in ("c", "d"):
        sink.create(name, SHAPE)
    sink.serve("c")
    (tmp_path / "collections" / "d").unlink()  # as `drop` does first
    (tmp_path / ".current.new").symlink_to("collections/d")  # as `serve` does
    (tmp_path / "collections" / "readme.txt").touch()
    with sink.writing("c", SHAPE, "s") as writer:
        writer.upsert(rows(["a"], 0))
    there = {one.name.partition(".")[0] for one in (tmp_path / "collections").iterdir()}
    assert there == {"c", "readme"}
    sink.serve("c")
    names = {one.name for one in tmp_path.iterdir()}
    assert names == {".lock", "collections", "current"}


def test_rows_that_wait_on_the_disk_for_lancedb_have_no_name_that_a_kill_could_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(aside))
    monkeypatch.setattr(changes, "SPILL_BYTES", 1)
    sink = build("sinks", "lancedb", {"uri": str(tmp_path / "l"), "table": "t"})
    sink.connect()
    sink.create("c", SHAPE)
    with sink.writing("c", SHAPE, "s") as writer:
        writer.upsert(rows(["a", "b"], 0))
        assert [*aside.iterdir()] == []
    assert [*held(sink)] == ["a", "b"]


@pytest.mark.parametrize("has_folder", [True, False])
def test_a_full_temporary_folder_is_told_by_its_own_name(
    has_folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_found() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(changes, "SPILL_BYTES", 1)
    monkeypatch.setattr(tempfile, "tempdir", "/aside")
    monkeypatch.setattr(changes, "TemporaryFile", partial(Path("/dev/full").open, "w+b"))
    if not has_folder:
        monkeypatch.setattr(changes, "gettempdir", none_found)
    sink = build("sinks", "lancedb", {"uri": str(tmp_path / "l"), "table": "t"})
    sink.connect()
    sink.create("c", SHAPE)
    told = (
        "rows cannot be put aside in /aside (No space left on device): free some space there, or "
        "let TMPDIR name another folder, and publish again; readers have what they had"
        if has_folder
        else "rows cannot be put aside in a temporary folder (No usable temporary directory found"
    )
    with (
        pytest.raises(SinkError, match=f"^{re.escape(told)}"),
        sink.writing("c", SHAPE, "s") as writer,
    ):
        writer.upsert(rows(["a", "b"], 0))
    assert [*held(sink)] == []


@pytest.mark.parametrize("content", [None, b"", b'{"ver'], ids=["removed", "empty", "torn"])
def test_a_tag_of_lancedb_that_was_lost_costs_nothing_that_is_served(
    content: bytes | None, tmp_path: Path
) -> None:
    sink = build("sinks", "lancedb", peer("lancedb", tmp_path).arguments())
    sink.connect()
    sink.create("c", SHAPE)
    with sink.writing("c", SHAPE, "old") as writer:
        writer.upsert(rows(["a", "b"], 0))
    sink.serve("c")
    for file in (tmp_path / "papers.lance" / "_refs" / "tags").iterdir():
        file.unlink() if content is None else file.write_bytes(content)
    assert (sink.collections(), sink.serving()) == ({"c": "old"}, "c")
    with sink.writing("c", SHAPE, "new") as writer:
        writer.delete(["a"])
    sink.create("d", SHAPE)
    assert (sink.collections(), [*held(sink)]) == ({"c": "new", "d": ""}, ["b"])
