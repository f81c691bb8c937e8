"""Stores that answer late or never: what was sent is there once, and nobody waits for ever."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.config import SinkConfig
from tasks.errors import Interrupted, SinkUnavailable
from tasks.plugins import build
from tasks.progress import Report, listener
from tasks.publish import PublishOptions, publish
from tasks.pushing import Patience, Pushed, Pusher
from tasks.run import Stop
from tasks.sinks.base import ID
from tests.pipeline import config, refresh, write_jsonl
from tests.publishing import SPACE, notes, published, seen, sink_of, wanted
from tests.sink_rows import DIM, OF, fill, rows
from tests.stores.milvus import Served
from tests.stores.peer import peer
from tests.wire.slow import Slow

pytestmark = [pytest.mark.stores, pytest.mark.slow]

USES = ("qdrant", "chroma", "milvus", "elasticsearch", "pinecone", "weaviate")
DELAY_S = 0.1
LOST_S = 1.5
STAGES = ("compare", "publish to", "index", "verify")


@pytest.fixture(params=USES)
def slow(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Slow]:
    place = tmp_path / "place"
    made = Slow(Served(place) if request.param == "milvus" else peer(request.param, place))
    yield made
    made.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.pushing.PAUSE_S", 0.2)


def version(folder: Path, number: int) -> str:
    store, corpus = str(folder / "vectors"), folder / "corpus"
    write_jsonl(corpus / "a.jsonl", notes(0, 20 + number))
    refresh(config(corpus, encoder={"use": "hashing", "dim": DIM}), store, promote="yes")
    return store


def publishing(store: str, sink: SinkConfig, stop: Stop) -> None:
    publish.fn(store, SPACE, sink, PublishOptions(), stop)


@pytest.mark.usefixtures("hasty")
def test_rows_whose_answer_is_lost_are_sent_again_and_are_there_once(slow: Any) -> None:
    sink = build("sinks", slow.use, slow.arguments() | {"timeout_s": 1})
    sink.connect()
    sink.create("c", OF)
    fill(sink, "c", rows(40, title="old"), "s")

    def batches() -> Iterator[pa.Table]:
        for start in range(0, 40, 5):
            if start == 20:
                slow.lose()
                threading.Timer(LOST_S, slow.heal).start()
            yield rows(40).slice(start, 5)

    pushed = Pushed()
    with sink.writing("c", OF, "t") as writer:
        gone = [f"r{n:04d}" for n in range(30, 40)]
        Pusher(writer, sink.limits, Patience(), lambda done: None).push(batches(), gone, pushed)
    assert slow.lost > 0
    assert (pushed.upserted, pushed.deleted, pushed.refused) == (40, 10, [])
    assert sink.count("c") == 30
    found = sink.fetch("c", OF, rows(40)[ID].to_pylist()).sort_by(ID)
    assert found.equals(rows(40).slice(0, 30).combine_chunks())
    sink.close()


@pytest.mark.usefixtures("hasty")
def test_a_publication_goes_through_whichever_answers_are_late_or_lost(
    slow: Any, tmp_path: Path
) -> None:
    slow.delay_s = DELAY_S
    sink = sink_of(slow, timeout_s=1)
    published(version(tmp_path, 0), sink)
    slow.delay_s = 0
    for number, stage in enumerate(STAGES, 1):
        store, due = version(tmp_path, number), threading.Event()

        def lose(report: Report, stage: str = stage, due: threading.Event = due) -> None:
            if report.stage.startswith(stage) and not due.is_set():
                due.set()
                slow.lose()
                threading.Timer(LOST_S, slow.heal).start()

        lost, token = slow.lost, listener.set(lose)
        record = published(store, sink)
        listener.reset(token)
        assert due.is_set()
        assert slow.lost > lost, stage
        assert record.how in ("all rows", "changes", "by comparison")
        assert seen(slow) == wanted(store)


@pytest.mark.usefixtures("hasty")
def test_a_store_that_stops_to_answer_is_given_up_with_words_and_mended_later(
    slow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.pushing.ATTEMPTS", 2)
    sink, said = sink_of(slow, timeout_s=1), list[str]()
    published(version(tmp_path, 0), sink)
    store = version(tmp_path, 1)

    def lose(report: Report) -> None:
        said.append(report.stage)
        if report.stage == "compare":
            slow.lose()

    token = listener.set(lose)
    with pytest.raises(SinkUnavailable, match="does it run there") as given_up:
        published(store, sink)
    listener.reset(token)
    assert "127.0.0.1" in str(given_up.value)
    assert any(one.startswith(f"{slow.use} does not answer or asks to wait: ask") for one in said)
    slow.heal()
    published(store, sink)
    assert seen(slow) == wanted(store)


def test_a_stop_is_heard_while_no_answer_comes(slow: Any, tmp_path: Path) -> None:
    sink, stop = sink_of(slow, timeout_s=1), Stop()
    published(version(tmp_path, 0), sink)
    store = version(tmp_path, 1)

    def end(report: Report) -> None:
        if report.stage == "compare":
            slow.lose()
            threading.Timer(0.3, stop.set).start()

    token = listener.set(end)
    with pytest.raises(Interrupted, match="the next one goes on from here"):
        publishing(store, sink, stop)
    listener.reset(token)
    slow.heal()
    published(store, sink)
    assert seen(slow) == wanted(store)
