"""Publishing versions into real stores, in any order and with kills: readers see what serves."""

import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.config import IndexConfig, Retention, SinkConfig
from tasks import failpoints
from tasks.downstream import downstream, search_downstream, verify_downstream
from tasks.errors import ConfigError, LosesTooMuch, SinkError
from tasks.maintain import maintain
from tasks.plugins import build
from tasks.publish import told_failure
from tasks.search import Query, Term, search
from tasks.shapes import shape_of
from tasks.shortening import compression_of
from tasks.sinks.base import Mode
from tasks.space import open_space
from tasks.store.catalog import Catalog
from tests.pipeline import PROGRAM, write_config, write_jsonl
from tests.publishing import (
    LAST,
    PUBLISH_POINTS,
    SPACE,
    SWITCHED,
    copied,
    last_for,
    make,
    placed,
    published,
    seen,
    serve,
    sink_of,
    sinks,
    wanted,
)
from tests.stores.peer import Peer, peer

SINKS = sinks("parquet", "pgvector", "qdrant")
"""Files, a transaction, and a server that switches; and the others."""


class Killed(BaseException):
    """Stands for a kill: no code of ours catches it."""


@pytest.fixture
def store(notes_store: str, tmp_path: Path) -> str:
    return copied(notes_store, tmp_path)


@pytest.fixture(params=SINKS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    yield from placed(request.param, tmp_path / "place")


def modes(place: Peer) -> tuple[Mode, ...]:
    return build("sinks", place.use, place.arguments()).modes


def upkeep(store: str, *sinks: str) -> None:
    """Gathers fragments and lets go of all versions that nothing holds."""
    for table in Catalog(store).tables():
        maintain.fn(store, table, Retention(versions=1, days=0), IndexConfig(), 0.0, sinks)


def test_each_version_is_what_readers_see_and_only_changes_are_pushed(
    place: Peer, store: str
) -> None:
    sink = sink_of(place)
    told = []
    last = last_for(place)
    for version in range(1, last + 1):
        serve(store, version)
        record = published(store, sink)
        assert seen(place) == wanted(store)
        assert record.proof is not None
        assert record.proof.verified
        told.append((record.how, record.upserted, record.deleted))
    in_turns = modes(place)[0] is Mode.SWITCH
    assert (
        told
        == [
            ("all rows", 40, 0),
            ("changes", 10, 0),
            ("changes", 16, 0) if in_turns else ("changes", 6, 0),
            ("changes", 12, 0) if in_turns else ("changes", 6, 0),
            ("changes", 6, 8) if in_turns else ("changes", 0, 8),
            ("all rows", 42, 0),
            ("changes", 5, 0),
        ][:last]
    )
    assert published(store, sink).how == "nothing"
    if last == LAST:
        serve(store, SWITCHED - 1)  # a rollback to what the other collection has
    back = published(store, sink)
    assert (back.how, back.upserted, back.deleted) == ("nothing", 0, 0)
    assert seen(place) == wanted(store)


def test_two_collections_take_turns_in_mode_switch(place: Peer, store: str) -> None:
    if Mode.SWITCH not in modes(place):
        pytest.skip("cannot switch")
    sink = sink_of(place, mode="switch")
    told = []
    for version in (1, 2, 3, 2):
        serve(store, version)
        record = published(store, sink)
        told.append((record.collection[-2:], record.how, record.upserted, record.deleted))
        assert seen(place) == wanted(store)
    assert told == [
        ("_a", "all rows", 40, 0),
        ("_b", "changes", 10, 0),
        ("_a", "changes", 16, 0),
        ("_b", "nothing", 0, 0),
    ]


STEPS = st.lists(
    st.one_of(
        st.integers(1, LAST),
        st.just("upkeep"),
        st.tuples(st.sampled_from(PUBLISH_POINTS), st.integers(1, LAST)),
    ),
    min_size=3,
    max_size=7,
)


@settings(
    max_examples=3,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS, switch=st.booleans())
def test_any_order_of_versions_and_kills_ends_at_what_serves(
    notes_store: str,
    request: pytest.FixtureRequest,
    use: str,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[Any],
    switch: bool,
) -> None:
    folder = tmp_path_factory.mktemp("steps")
    store, place = copied(notes_store, folder), peer(use, folder / "place")
    try:
        mode = "switch" if switch and Mode.SWITCH in modes(place) else None
        sink = sink_of(place, mode=mode)
        for step in within(steps, last_for(place)):
            walk(store, sink, step)
            if step != "upkeep":
                published(store, sink)
            if place_serves(store):
                assert seen(place) == wanted(store) or step == "upkeep"
    finally:
        place.close()


def within(steps: list[Any], last: int) -> list[Any]:
    """The same steps among versions up to a last one."""
    return [
        one
        if one == "upkeep"
        else min(one, last)
        if isinstance(one, int)
        else (one[0], min(one[1], last))
        for one in steps
    ]


def place_serves(store: str) -> bool:
    return bool(Catalog(store).published(SPACE))


def walk(store: str, sink: Any, step: Any) -> None:
    """One step; of a version that retention took, none."""
    if step == "upkeep":
        upkeep(store, sink.label)
        return
    point, version = step if isinstance(step, tuple) else (None, step)
    if version not in {one.version for one in Catalog(store).versions(SPACE)}:
        return
    serve(store, version)
    if point is None:
        return

    def reach(name: str) -> None:
        if name == point:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "reach", reach)
        try:
            published(store, sink)
        except Killed:
            return


@pytest.fixture(params=SINKS)
def use(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_was_cut_off_is_compared_row_by_row(place: Peer, store: str) -> None:
    if Mode.SWITCH not in modes(place):
        pytest.skip("cannot switch")
    sink = sink_of(place, mode="switch")
    for version in (1, 2):
        serve(store, version)
        published(store, sink)
    walk(store, sink, ("publish-begun", 3))  # the first collection is on its way from 1 to 3
    assert seen(place) == wanted(store, 2)
    record = published(store, sink)
    assert (record.how, record.upserted, record.deleted) == ("by comparison", 16, 0)
    assert seen(place) == wanted(store)


def test_what_somebody_else_changed_is_repaired(place: Peer, store: str) -> None:
    sink = sink_of(place)
    published(store, sink)
    made = build("sinks", place.use, place.arguments())
    made.connect()
    name = made.serving()
    assert name is not None
    space = open_space(SPACE, store)
    shape = shape_of(space, sink, compression_of(space, None))
    rows = made.fetch(name, shape, ["n1", "n2"])
    year = rows.schema.get_field_index("year")
    changed = rows.set_column(year, rows.schema.field(year), [[1, 2]])
    with made.writing(name, shape, made.collections()[name]) as writer:
        writer.upsert(changed)
        writer.delete(["n3"])
    made.finish(name, shape)
    made.close()
    assert seen(place) != wanted(store)
    record = published(store, sink, repair=True)
    assert (record.how, record.upserted, record.deleted) == ("repair", 3, 0)
    assert seen(place) == wanted(store)


def test_another_space_and_too_many_removals_are_refused(
    place: Peer, store: str, tmp_path: Path
) -> None:
    sink = sink_of(place, max_removed=0.1)
    serve(store, 4)
    published(store, sink)
    serve(store, 5)
    with pytest.raises(SinkError, match="would take 8 of 50 rows out of sink"):
        published(store, sink)
    assert seen(place) == wanted(store, 4)
    assert published(store, sink, allow_removals=True).deleted in (0, 8)
    assert seen(place) == wanted(store, 5)
    other = make(tmp_path / "other")
    with pytest.raises(ConfigError, match="holds a version of space 'notes' that this store"):
        published(other, sink)
    assert published(other, sink, repair=True, allow_removals=True).to_version == 1
    assert seen(place) == wanted(other, 1)


def test_a_store_that_is_down_is_told_and_the_next_publication_goes_on(
    place: Peer, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.pushing.ATTEMPTS", 1)
    sink = sink_of(place)
    published(store, sink)
    place.stop()
    serve(store, 2)
    with contextlib.suppress(SinkError):  # a store in this process is never down
        published(store, sink)
    place.start()
    assert published(store, sink).to_version == 2
    assert seen(place) == wanted(store)


def test_what_it_has_is_searched_and_verified(place: Peer, store: str) -> None:
    sink = sink_of(place)
    published(store, sink)
    space = open_space(SPACE, store)
    with downstream(store, SPACE, sink) as there:
        checks = verify_downstream(there)
        assert [(one.name.split()[-1], one.ok) for one in checks] == [
            ("version", True),
            ("ids", True),
            ("rows", True),
            ("recall", True),
        ]
        for asked in (
            Query([Term("text", "sea 7")], k=5),
            Query([Term("id", "n3")], k=3),
            Query([Term("text", "sea 7")], k=12, where="year = 2001", modality="text"),
            Query([Term("id", "n3"), Term("text", "sea 7")], k=12, where="year = 2000"),
        ):
            ours, theirs = search(space, asked), search_downstream(there, asked)
            assert [one.score for one in theirs] == pytest.approx(
                [one.score for one in ours], abs=1e-3
            )
            if asked.where is not None:  # else rows of equal scores stand for each other
                assert {one.columns["year"] for one in theirs} == {int(asked.where[-4:])}
            assert theirs[0].columns == ours[0].columns
        serve(store, 2)
        late = verify_downstream(there)[0]
        assert not late.ok
        assert "and version 2 serves: `vectorline publish notes` brings it there" in late.detail


def test_what_is_shorter_is_measured_first_and_refused_where_it_loses_too_much(
    place: Peer, store: str
) -> None:
    harsh = sink_of(place, compress={"dim": 4, "max_recall_loss": 0.01})
    with pytest.raises(LosesTooMuch, match=r"a loss of .* max_recall_loss is 0\.01: nothing was"):
        published(store, harsh)
    assert seen_ids(place) == []
    sink = sink_of(place, compress={"dim": 16, "cut": "pca", "original": True})
    record = published(store, sink)
    assert record.recall is not None
    assert record.recall.value >= 0.95
    assert record.recall.n == 40
    assert seen_ids(place) == sorted(wanted(store))
    with downstream(store, SPACE, sink) as there:
        assert there.outgoing.shape.dim == 16
        assert [one.ok for one in verify_downstream(there)] == [True] * 4
    serve(store, 2)
    again = published(store, sink)
    assert again.recall is not None
    assert again.recall.value >= 0.95
    assert seen_ids(place) == sorted(wanted(store))


def seen_ids(place: Peer) -> list[str]:
    return sorted(place.visible())


def test_all_rows_are_read_back_where_that_is_asked_for(tmp_path: Path, store: str) -> None:
    place = peer("parquet", tmp_path / "place")
    sink = sink_of(place, sample=1)
    published(store, sink)
    with downstream(store, SPACE, sink) as there:
        few, all_of_them = (
            next(one for one in verify_downstream(there, all_rows=wanted) if "rows" in one.name)
            for wanted in (False, True)
        )
    assert (few.detail, all_of_them.detail) == tuple(
        f"vector and metadata of {n} rows read back" for n in (1, 40)
    )


def test_the_program_publishes_and_says_plainly_what_failed(store: str, tmp_path: Path) -> None:
    good = {"use": "parquet", "path": str(tmp_path / "out")}
    down = {"use": "qdrant", "url": "http://127.0.0.1:9", "collection": "notes"}

    def call(*sinks: dict[str, str]) -> subprocess.CompletedProcess[str]:
        path = write_config(tmp_path, tmp_path, publish=[*sinks])
        words = [str(PROGRAM), "publish", SPACE, "--store", store, "--json", "--config", str(path)]
        return subprocess.run(words, capture_output=True, text=True)

    done = call(good)
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)
    keys = ("sink", "from_version", "to_version", "upserted", "deleted", "count", "verified")
    assert [told[key] for key in keys] == ["parquet", None, 1, 40, 0, 40, True]
    failed = call(down, good)
    one, other = json.loads(failed.stdout)
    assert (failed.returncode, one["sink"], one["verified"]) == (1, "qdrant", False)
    assert (one["error"]["kind"], one["to_version"]) == ("SinkUnavailable", None)
    assert "Qdrant at http://127.0.0.1:9, opening: " in one["error"]["message"]
    assert (other["sink"], other["to_version"], other["error"]) == ("parquet", 1, None)
    assert "sink 'qdrant': Qdrant at http://127.0.0.1:9, opening: " in failed.stderr
    assert "Traceback" not in failed.stderr
    assert call({**good, "mode": "rowwise"}).returncode == 2


def test_who_stops_a_publication_is_told_what_became_of_each_sink(
    store: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        quiet = {"use": "chroma", "url": url, "collection": "notes", "timeout_s": 2}
        files = [{"use": "parquet", "name": n, "path": str(tmp_path / n)} for n in ("a", "b")]
        path = write_config(tmp_path, tmp_path, publish=[files[0], quiet, files[1]])
        words = [str(PROGRAM), "publish", SPACE, "--store", store, "--json", "--config", str(path)]
        running = subprocess.Popen(words, stdout=-1, stderr=-1, text=True)
        assert running.stderr is not None
        while "open chroma" not in running.stderr.readline():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    told = [(one["sink"], one["to_version"], one["error"]) for one in json.loads(out)]
    assert told[0] == ("a", 1, None)
    assert [(name, error["kind"], error["exit_code"]) for name, _, error in told[1:]] == [
        ("chroma", "Interrupted", 130),
        ("b", "Interrupted", 130),
    ]
    assert running.returncode == 130


def test_a_run_whose_sink_fails_tells_its_version_all_the_same(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    write_jsonl(corpus / "a.jsonl", [{"id": "a", "text": "a b", "year": 1}])
    down = {"use": "qdrant", "url": "http://127.0.0.1:9", "collection": "notes"}
    path = write_config(tmp_path, corpus, publish=down)
    words = [str(PROGRAM), "run", str(path), "--store", str(tmp_path / "vectors"), "--json"]
    done = subprocess.run(words, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert (done.returncode, told["version"], told["promoted"]) == (1, 1, True)
    assert [one["error"]["kind"] for one in told["published"]] == ["SinkUnavailable"]
    assert "sink 'qdrant': Qdrant at http://127.0.0.1:9, opening: " in done.stderr


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("it is away", "it is away. Readers have version 1. go on"),
        (
            "it is away, did you mean b?",
            "it is away, did you mean b? Readers have version 1. go on",
        ),
    ],
)
def test_what_was_noted_of_an_error_is_told_in_sentences(said: str, told: str) -> None:
    error = SinkError(said)
    error.add_note("Readers have version 1.")
    error.add_note("go on")
    sink = SinkConfig.model_validate({"use": "parquet", "path": "out"})
    known = {"kind": "SinkError", "message": told, "exit_code": 1}
    assert told_failure(sink, error)["error"] == known
