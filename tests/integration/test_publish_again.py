"""Publishing once more, after whatever came between: nothing stays half done, or half told."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from schemas.config import SinkConfig
from tasks import failpoints
from tasks.downstream import downstream, verify_downstream
from tasks.errors import ConfigError, Interrupted, LosesTooMuch, SinkError, SinkUnavailable
from tasks.marking import mark
from tasks.outgoing import Outgoing
from tasks.plugins import build
from tasks.progress import Report, listener
from tasks.publish import PublishOptions, publish
from tasks.run import Stop
from tasks.shapes import shape_of
from tasks.shortening import compression_of
from tasks.sinks.base import Limits
from tasks.space import open_space
from tasks.store import publications
from tasks.store.catalog import Catalog
from tasks.store.layout import publication_path
from tests.fussy import FussySink
from tests.pipeline import config, refresh, write_jsonl
from tests.publishing import (
    SPACE,
    Rows,
    copied,
    killed,
    make,
    notes,
    published,
    seen,
    serve,
    sink_of,
    wanted,
)
from tests.stores.peer import Peer, peer

FUSSY = "tests.fussy:FussySink"


@pytest.fixture
def store(notes_store: str, tmp_path: Path) -> str:
    return copied(notes_store, tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Peer:
    return peer("parquet", tmp_path / "place")


def fussy(place: Peer, *, max_refused: float = 0.0, **more: Any) -> SinkConfig:
    return sink_of(place, use=FUSSY, max_refused=max_refused, **more)


def test_a_store_that_is_away_for_a_moment_is_asked_again(
    place: Peer, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.pushing.PAUSE_S", 0.01)
    away = {"stamp": 1, "finish": 2, "count": 1, "serve": 3}
    assert published(store, fussy(place, away=away)).to_version == 1
    assert seen(place) == wanted(store)
    calls = FussySink(**place.arguments()).calls()
    assert {method: n for method, n in calls.items() if n <= away[method]} == {}


class Killed(BaseException):
    """Stands for a kill: no code of ours catches it."""


def test_an_index_that_was_not_built_is_built_the_next_time(
    place: Peer, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reach(name: str) -> None:
        if name == "publish-written":
            raise Killed

    held = FussySink(**place.arguments())
    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "reach", reach)
        with pytest.raises(Killed):
            published(store, fussy(place))
    assert "finish" not in held.calls()
    monkeypatch.setattr("tasks.pushing.ATTEMPTS", 1)
    with pytest.raises(SinkUnavailable, match="finish is away"):
        published(store, fussy(place, away={"finish": 1}))
    for n in (2, 2):
        assert published(store, fussy(place)).how == "nothing"
        assert held.calls()["finish"] == n


def test_rows_that_a_store_refuses_are_refused_once_and_leave_nothing_behind(
    place: Peer, store: str
) -> None:
    sink = fussy(place, refuses="law", max_refused=0.2)
    serve(store, 3)
    assert published(store, sink).n_refused == 0
    serve(store, 4)  # six of its rows are of law, and were there before with another text
    record = published(store, sink)
    assert [one.id for one in record.refused] == [f"n{number}" for number in range(20, 26)]
    left = {id_: row for id_, row in wanted(store).items() if "law" not in row["text"]}
    assert seen(place) == left
    again = published(store, sink)
    assert (again.how, again.upserted, again.refused) == ("nothing", 0, record.refused)
    assert published(store, sink).how == "nothing"
    serve(store, 3)
    published(store, sink)
    assert seen(place) == wanted(store)


def test_rows_that_a_store_refuses_make_no_change_dearer_where_two_collections_take_turns(
    place: Peer, store: str
) -> None:
    sink = fussy(place, refuses="sea 7 ", max_refused=0.2, mode="switch")
    told = []
    for version in (1, 2, 3):
        serve(store, version)
        record = published(store, sink)
        told.append((record.how, record.n_refused))
    assert told == [("all rows", 1), ("changes", 1), ("changes", 1)]


@pytest.mark.parametrize("between", [None, 6, "cut off"])
def test_marks_that_change_in_place_are_pushed(
    place: Peer, store: str, between: int | str | None
) -> None:
    sink = sink_of(place, sample=0)
    serve(store, 7)

    def marked(first: int, word: str) -> dict[str, Any]:
        space = open_space(SPACE, store)
        mark(space, {f"n{number}": word for number in range(first, 20)}, "topic", 0.0)
        table = open_space(SPACE, store).to_arrow(["id", "topic"])
        return dict(zip(table["id"].to_pylist(), table["topic"].to_pylist(), strict=True))

    def topics() -> dict[str, Any]:
        return {id_: row["topic"] for id_, row in place.visible().items()}

    first = marked(8, "sea")
    assert published(store, sink).upserted == 47
    assert topics() == first
    second = marked(10, "law")
    if between == 6:  # which has no topics, and so is in another collection
        serve(store, 6)
        published(store, sink)
        assert all("topic" not in row for row in place.visible().values())
        serve(store, 7)
    if between == "cut off":
        made = build("sinks", place.use, place.arguments())
        made.connect()
        name = made.serving()
        assert name is not None
        stamp = publications.stamp_of(made.collections()[name], "a test")
        cut = stamp.model_copy(update={"holds": None, "moving": stamp.holds})
        made.stamp(name, cut.model_dump_json())
    record = published(store, sink)
    assert (record.how, record.upserted) == ("by comparison", 12)
    assert topics() == second
    assert published(store, sink).how == "nothing"


def test_marks_of_a_later_version_are_pushed_with_its_changes(
    place: Peer, store: str, tmp_path: Path
) -> None:
    sink = sink_of(place, sample=0)
    settings = config(tmp_path / "corpus", encoder={"use": "hashing", "dim": 48})

    def version(rows: Rows, first: int, topic: str) -> None:
        write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
        refresh(settings, store, promote="yes")
        marks = {f"n{number}": topic for number in range(first, first + 10)}
        mark(open_space(SPACE, store), marks, "topic", 0.0)

    version(notes(0, 40), 0, "sea")
    published(store, sink)
    version([*notes(0, 39), *notes(200, 2)], 5, "law")
    record = published(store, sink)
    rows = open_space(SPACE, store).to_arrow(["id", "topic", "text"]).to_pylist()
    shown = {id_: (row["topic"], row["text"]) for id_, row in place.visible().items()}
    assert shown == {row["id"]: (row["topic"], row["text"]) for row in rows}
    assert (record.how, record.upserted, record.deleted) == ("changes", 2 + 15, 1)


def test_what_readers_lose_is_counted_against_what_they_read(place: Peer, store: str) -> None:
    sink = sink_of(place, max_removed=0.1, mode="switch")
    published(store, sink)
    serve(store, 2)
    published(store, sink)
    serve(store, 1)  # the other collection has it, but readers would lose a fifth of their rows
    with pytest.raises(SinkError, match="would take 10 of 50 rows out of sink 'parquet'"):
        published(store, sink)
    assert seen(place) == wanted(store, 2)
    assert published(store, sink, allow_removals=True).how == "nothing"
    assert seen(place) == wanted(store, 1)


def test_other_rows_in_the_place_of_as_many_are_removals(
    place: Peer, store: str, tmp_path: Path
) -> None:
    serve(store, 5)
    published(store, sink_of(place))
    write_jsonl(tmp_path / "corpus" / "a.jsonl", notes(500, 42))
    refresh(
        config(
            tmp_path / "corpus", encoder={"use": "hashing", "dim": 24}, limits={"max_removed": 1.0}
        ),
        store,
        backfill=True,
        promote="yes",
    )
    with pytest.raises(SinkError, match="would take 42 of 42 rows out of sink 'parquet'"):
        published(store, sink_of(place, max_removed=0.5))
    assert published(store, sink_of(place)).upserted == 42


def test_chunks_of_another_size_are_no_removals(place: Peer, store: str, tmp_path: Path) -> None:
    said = " ".join(f"word{number}" for number in range(60))
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [{"id": f"r{n}", "text": said} for n in range(4)])
    for tokens in (10, 60):
        made = config(
            tmp_path / "corpus", chunk={"tokens": tokens}, encoder={"use": "hashing", "dim": 24}
        )
        made["source"].pop("metadata")
        refresh(made, store, backfill=True, promote="yes")
        sink = sink_of(place, max_removed=1.0 if tokens == 10 else 0.0)
        published(store, sink)
    assert len(seen_ids(place)) == 4


def seen_ids(place: Peer) -> list[str]:
    return sorted(place.visible())


def test_a_version_that_is_gone_is_counted_by_what_the_sink_lists(place: Peer, store: str) -> None:
    serve(store, 5)
    published(store, sink_of(place, mode="switch"))
    made = build("sinks", place.use, place.arguments())
    made.connect()
    name = made.serving()
    assert name is not None
    stamp = publications.stamp_of(made.collections()[name], "a test")
    lost = stamp.model_copy(update={"holds": None, "moving": stamp.holds, "key": "other"})
    made.stamp(name, lost.model_dump_json())
    serve(store, 1)  # which lacks ten of the 42, and has eight others
    harsh = sink_of(place, mode="switch", max_removed=0.1)
    with pytest.raises(SinkError, match="would take 10 of 42 rows out of sink 'parquet'"):
        published(store, harsh)


@pytest.mark.parametrize("mode", ["atomic", "switch"])
@pytest.mark.parametrize("damage", ["cut", "gone", "other bytes", "one bit"])
def test_files_that_cannot_be_read_are_made_anew_by_a_repair(
    place: Peer, store: str, tmp_path: Path, damage: str, mode: str
) -> None:
    serve(store, 1)
    published(store, sink_of(place, mode=mode))
    serve(store, 2)
    published(store, sink_of(place, mode=mode))
    first = next(iter(sorted((place_of(place) / "current").glob("*.parquet"))))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    left = {"cut": bytes(10), "other bytes": b"x" * len(content), "one bit": bytes(content)}
    first.unlink()  # it may be a link to a file of the version before
    if damage in left:
        first.write_bytes(left[damage])
    with downstream(store, SPACE, sink_of(place, mode=mode)) as there:
        version, rows = verify_downstream(there)
    assert (version.ok, rows.ok) == (True, False)
    assert first.name in rows.detail
    assert rows.detail.endswith("publish with --repair")
    if damage in ("cut", "gone"):
        with pytest.raises(SinkError, match="publish with --repair"):
            published(store, sink_of(place, mode=mode))
    published(store, sink_of(place, mode=mode), repair=True)
    assert seen(place) == wanted(store)
    serve(store, 3)
    published(store, sink_of(place, mode=mode))
    assert seen(place) == wanted(store)


def changed(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 4] ^= 1
    file.unlink()  # it may be a link to a file of the version before
    file.write_bytes(content)


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("change", [changed, Path.unlink])
@pytest.mark.parametrize("cut_off", [False, True])
def test_a_collection_that_nobody_reads_is_made_anew_where_it_cannot_be_read(
    place: Peer, store: str, change: Callable[[Path], None], repair: bool, cut_off: bool
) -> None:
    sink = sink_of(place, mode="switch", sample=40)
    published(store, sink)
    if cut_off:
        serve(store, 2)
        assert killed(store, sink, "publish-begun")
    other = next((place_of(place) / "collections").glob("*_b"))
    change(next(other.resolve().glob("*.parquet")))
    serve(store, 2)
    try:
        published(store, sink, repair=repair)
    except SinkError as error:  # of what is not read before it is changed, or read back
        assert not repair
        published(store, sink, repair="publish with --repair" in str(error))
    assert seen(place) == wanted(store)
    with downstream(store, SPACE, sink) as there:
        assert {one.ok for one in verify_downstream(there)} == {True}


@pytest.mark.parametrize("mode", ["atomic", "switch"])
def test_a_repair_mends_files_in_which_a_difference_was_found_before(
    place: Peer, store: str, mode: str
) -> None:
    sink = sink_of(place, mode=mode, sample=40, max_removed=0.0)
    published(store, sink)
    changed(next((place_of(place) / "current").resolve().glob("*.parquet")))
    with pytest.raises(SinkError, match="does not hold what was pushed"):
        published(store, sink)
    published(store, sink, repair=True)
    assert seen(place) == wanted(store)
    assert published(store, sink).how == "nothing"


@pytest.mark.parametrize("mode", ["atomic", "switch"])
def test_a_difference_that_was_found_is_mended_by_the_next_publication(
    store: str, tmp_path: Path, mode: str
) -> None:
    place = peer("duckdb", tmp_path / "place")
    sink = sink_of(place, mode=mode, sample=40)
    collection = published(store, sink).collection
    with duckdb.connect(place.arguments()["path"]) as theirs:
        tables = theirs.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        (name,) = (one for (one,) in tables if one.endswith(collection))
        theirs.execute(f"UPDATE \"{name}\" SET year = 1 WHERE id = 'n9'")  # noqa: S608
    with pytest.raises(SinkError, match="1 of 40 that were read back differ: 'n9'"):
        published(store, sink)
    published(store, sink)
    assert seen(place) == wanted(store)
    with downstream(store, SPACE, sink) as there:
        assert {one.ok for one in verify_downstream(there)} == {True}


def test_a_repair_looks_at_both_collections_that_take_turns(place: Peer, store: str) -> None:
    sink = sink_of(place, mode="switch", sample=0)
    published(store, sink)
    other = next((place_of(place) / "collections").glob("*_b"))
    changed(next(other.resolve().glob("*.parquet")))
    published(store, sink, repair=True)
    for version in (2, 3):
        serve(store, version)
        published(store, sink)
        assert seen(place) == wanted(store)


@pytest.mark.parametrize("point", ["publish-begun:2", "publish-pushed:2", "publish-written:2"])
def test_a_kill_while_the_second_collection_is_filled_leaves_what_readers_have(
    place: Peer, store: str, point: str
) -> None:
    sink = sink_of(place, mode="switch")
    assert killed(store, sink, point)
    assert seen(place) == wanted(store)
    assert published(store, sink).how == "nothing"
    serve(store, 2)
    record = published(store, sink)
    assert (record.how, record.upserted) == ("changes", 10)
    assert seen(place) == wanted(store)


def place_of(place: Peer) -> Path:
    return Path(place.arguments()["path"])


@pytest.mark.parametrize("stamp", ["{", '{"format": 9}'])
def test_a_stamp_that_cannot_be_read_stops_a_publication_and_is_named(
    place: Peer, store: str, stamp: str
) -> None:
    serve(store, 1)
    published(store, sink_of(place))
    made = build("sinks", place.use, place.arguments())
    made.connect()
    name = made.serving()
    assert name is not None
    made.stamp(name, stamp)
    for repair in (False, True):
        with pytest.raises(SinkError, match=f"collection '{name}' in sink 'parquet'.*drop it"):
            published(store, sink_of(place), repair=repair)
    made.drop(name)
    published(store, sink_of(place))
    assert seen(place) == wanted(store)


@pytest.mark.parametrize("mode", ["atomic", "switch"])
def test_what_was_taken_over_needs_no_repair_the_next_time(
    place: Peer, store: str, tmp_path: Path, mode: str
) -> None:
    sink = sink_of(place, mode=mode)
    for version in (1, 2, 6):
        serve(store, version)
        published(store, sink)
    other = make(tmp_path / "other")
    published(other, sink, repair=True)
    serve(other, 2)
    assert published(other, sink).to_version == 2
    assert seen(place) == wanted(other)


def test_a_collection_that_took_turns_goes_when_the_mode_changes(place: Peer, store: str) -> None:
    for version in (1, 2):
        serve(store, version)
        published(store, sink_of(place, mode="switch"))
    serve(store, 6)
    published(store, sink_of(place))
    made = build("sinks", place.use, place.arguments())
    versions = [publications.stamp_of(text, "a test").holds for text in made.collections().values()]
    assert sorted(one.version for one in versions if one is not None) == [2, 6]


def test_a_second_collection_that_was_not_filled_is_filled_by_the_next_publication(
    place: Peer, store: str
) -> None:
    sink, stop = sink_of(place, mode="switch"), Stop()

    def heard(report: Report) -> None:
        if report.stage.startswith("prepare"):
            stop.set()

    token = listener.set(heard)
    try:
        with pytest.raises(Interrupted) as caught:
            publish.fn(store, SPACE, sink, PublishOptions(), stop)
    finally:
        listener.reset(token)
    assert [note.split(".")[0] for note in caught.value.__notes__] == ["Readers have version 1"]
    assert seen(place) == wanted(store)
    there = build("sinks", place.use, place.arguments())
    assert published(store, sink).how == "nothing"
    stamps = [publications.stamp_of(text, "a test") for text in there.collections().values()]
    assert [(one.holds and one.holds.version, one.moving) for one in stamps] == [(1, None)] * 2
    serve(store, 2)
    assert published(store, sink).upserted == 10
    assert seen(place) == wanted(store)


def test_a_rollback_to_the_encoder_before_fills_no_second_collection(
    place: Peer, store: str
) -> None:
    sink = sink_of(place, mode="switch")
    for version in (5, 6):
        serve(store, version)
        published(store, sink)
    serve(store, 5)
    record = published(store, sink)
    assert (record.how, record.upserted) == ("nothing", 0)
    assert seen(place) == wanted(store)
    left = build("sinks", place.use, place.arguments()).collections()
    assert len(left) == 2  # that of this encoder, and one of the other
    assert record.collection in left


def test_what_was_put_back_from_an_old_copy_is_brought_up_to_date(
    place: Peer, store: str, tmp_path: Path
) -> None:
    sink, folder = sink_of(place), Path(place.arguments()["path"])
    published(store, sink)
    shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    for version in (2, 4, 6, 5):
        serve(store, version)
        published(store, sink)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder, symlinks=True)
    record = published(store, sink)
    assert (record.how, record.upserted, record.deleted) == ("changes", 16, 8)
    assert seen(place) == wanted(store)


def test_a_collection_that_somebody_removed_is_made_again(place: Peer, store: str) -> None:
    sink, folder = sink_of(place, max_removed=0.0), Path(place.arguments()["path"])
    name = published(store, sink).collection
    shutil.rmtree((folder / "collections" / name).resolve())
    (folder / "collections" / name).unlink()  # readers' link leads nowhere now
    record = published(store, sink)
    assert (record.how, record.upserted) == ("all rows", 40)
    assert seen(place) == wanted(store)


def test_a_store_that_is_gone_is_no_mistake_in_a_config(place: Peer, store: str) -> None:
    sink = sink_of(place)
    with pytest.raises(ConfigError, match="has nothing yet"), downstream(store, SPACE, sink):
        pass
    published(store, sink)
    shutil.rmtree(place_of(place))
    with pytest.raises(SinkError) as told, downstream(store, SPACE, sink):
        pass
    assert str(told.value) == (
        "sink 'parquet' had version 1, and nothing is there now: was it removed, or is it "
        "elsewhere? `vectorline publish notes` fills it"
    )


def publish_often(store: str, sink: SinkConfig) -> None:
    for _ in range(40):  # each sees half of the rows: one chance in 10^12 to miss one of them
        published(store, sink)


def test_other_rows_are_read_back_each_time(place: Peer, store: str) -> None:
    sink = sink_of(place, sample=20)
    published(store, sink)
    made = build("sinks", place.use, place.arguments())
    made.connect()
    name = made.serving()
    assert name is not None
    shape = shape_of(open_space(SPACE, store), sink, compression_of(open_space(SPACE, store), None))
    for wrong in ("n3", "n14", "n25", "n36"):
        row = made.fetch(name, shape, [wrong])
        year = row.schema.get_field_index("year")
        changed = row.set_column(year, row.schema.field(year), [[1]])
        with made.writing(name, shape, made.collections()[name]) as writer:
            writer.upsert(changed)
        with pytest.raises(SinkError, match=f"of 20 that were read back differ: '{wrong}'"):
            publish_often(store, sink)
        published(store, sink, repair=True)
    assert seen(place) == wanted(store)


def test_what_compression_costs_is_measured_again_when_many_rows_came(
    place: Peer, store: str
) -> None:
    serve(store, 4)
    compress = {"to": "float16"}
    first = published(store, sink_of(place, compress=compress)).recall
    assert first is not None
    assert (first.n, first.since) == (50, 0)
    serve(store, 3)  # in which six rows are others
    then = published(store, sink_of(place, compress=compress)).recall
    assert then == first.model_copy(update={"since": 6})
    serve(store, 4)
    again = published(store, sink_of(place, compress=compress)).recall
    assert again == first


def test_a_config_that_allows_less_to_be_lost_is_heard_at_once(place: Peer, store: str) -> None:
    lossy = {"to": "binary", "original": False}
    found = published(store, sink_of(place, compress=lossy | {"max_recall_loss": 1.0})).recall
    assert found is not None
    assert found.value < 0.99
    with pytest.raises(LosesTooMuch, match=r"max_recall_loss is 0\.01: nothing was pushed"):
        published(store, sink_of(place, compress=lossy | {"max_recall_loss": 0.01}))


@pytest.mark.parametrize("mode", ["atomic", "switch"])
@pytest.mark.parametrize("before", [(1, 3), ()])
def test_a_publication_that_came_while_another_one_compared_is_left_as_it_is(
    place: Peer, store: str, tmp_path: Path, before: tuple[int, ...], mode: str
) -> None:
    sink = sink_of(place, mode=mode, sample=0)
    for version in before:
        serve(store, version)
        published(store, sink)
    other = copied(store, tmp_path / "machine")
    serve(store, 2)
    serve(other, 4)
    came: list[str] = []

    def heard(report: Report) -> None:
        if report.stage == "publish to parquet" and not came:
            came.append(other)
            published(other, sink)

    token = listener.set(heard)
    try:
        with pytest.raises(SinkError, match="somebody else published into collection"):
            published(store, sink)
    finally:
        listener.reset(token)
    assert seen(place) == wanted(other)
    published(store, sink)
    assert seen(place) == wanted(store)


@pytest.mark.parametrize("mode", ["atomic", "switch"])
def test_two_publications_at_once_from_two_machines_leave_no_mixture(
    place: Peer, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    sink = sink_of(place, mode=mode, sample=0)
    for version in (1, 3):
        serve(store, version)
        published(store, sink)
    other = copied(store, tmp_path / "machine")
    serve(store, 2)
    serve(other, 4)

    def reach(name: str) -> None:
        if name == "publish-begun":
            with monkeypatch.context() as patch:
                patch.setattr(failpoints, "reach", lambda name: None)
                published(other, sink)

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "reach", reach)
        with pytest.raises(SinkError, match="somebody else published into collection"):
            published(store, sink)
    assert mode == "switch" or seen(place) == wanted(other)
    published(other, sink)
    assert seen(place) == wanted(other)
    published(store, sink)
    assert seen(place) == wanted(store)


def test_what_another_compress_made_is_neither_asked_nor_verified(place: Peer, store: str) -> None:
    plain, short = sink_of(place), sink_of(place, compress={"to": "int8"})
    published(store, plain)
    said = "made with another `compress` than the config's: `vectorline publish notes` brings it"
    for _ in range(2):
        with pytest.raises(ConfigError, match=said), downstream(store, SPACE, short):
            pass
    published(store, short)
    with pytest.raises(ConfigError, match=said), downstream(store, SPACE, plain):
        pass
    with downstream(store, SPACE, short) as there:
        assert [one.ok for one in verify_downstream(there)] == [True] * 4
    with downstream(store, SPACE, sink_of(place, compress={"to": "int8"}, columns=[])) as there:
        (wrong,) = [one for one in verify_downstream(there) if not one.ok]
        assert wrong.detail.endswith(
            ", with other columns than the config's: `vectorline publish notes` brings it there"
        )


def test_a_publication_that_changes_nothing_writes_nothing(place: Peer, store: str) -> None:
    sink = sink_of(place)
    first = published(store, sink)
    before = Catalog(store).published(SPACE)
    for _ in range(3):
        assert published(store, sink).how == "nothing"
    assert Catalog(store).published(SPACE) == before
    kept = Path(publication_path(store, first.table, first.id)).parent
    assert [one.stem for one in kept.iterdir()] == [first.id]


def test_an_empty_version_is_held_and_verified(place: Peer, store: str, tmp_path: Path) -> None:
    settings = config(tmp_path / "corpus", limits={"max_removed": 1.0})
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [])
    refresh(settings, store, promote="yes")
    sink = sink_of(place)
    serve(store, 1)
    published(store, sink)
    serve(store, Catalog(store).versions(SPACE)[-1].version)
    assert published(store, sink).deleted == 40
    assert seen(place) == {}
    with downstream(store, SPACE, sink) as there:
        assert [one.ok for one in verify_downstream(there)] == [True] * 4


@pytest.mark.parametrize(
    ("batch_rows", "batch_bytes"), [(1, 2**20), (7, 2**20), (1000, 2**20), (1000, 1500), (1000, 1)]
)
def test_rows_go_in_their_order_in_batches_that_a_sink_takes(
    place: Peer, store: str, batch_rows: int, batch_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.outgoing.FIRST_ROWS", 5)
    space, sink = open_space(SPACE, store), sink_of(place)
    compression = compression_of(space, None)
    outgoing = Outgoing(space, shape_of(space, sink, compression), compression)
    places = np.arange(3, 40, 2)
    batches = [*outgoing.batches(places, Limits(batch_rows, batch_bytes))]
    assert pa.concat_tables(batches).equals(outgoing.rows(places))
    assert max(map(len, batches)) <= batch_rows
    assert all(one.nbytes <= batch_bytes or len(one) == 1 for one in batches)
