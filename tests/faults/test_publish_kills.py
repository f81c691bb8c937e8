"""kill -9 of a process that publishes: readers see the old version or the new one, or are told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.plugins import build
from tasks.sinks.base import Mode
from tests.publishing import (
    PUBLISH_POINTS,
    copied,
    killed,
    placed,
    published,
    seen,
    serve,
    sink_of,
    sinks,
    wanted,
)
from tests.stores.peer import Peer


@pytest.fixture(params=sinks("parquet", "pgvector", "qdrant"))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    """Quick are one that is atomic by files, one by a transaction, and one that switches."""
    yield from placed(request.param, tmp_path / "place")


def test_no_kill_at_a_named_place_leaves_anything_between(
    notes_store: str, place: Peer, tmp_path: Path
) -> None:
    store, sink = copied(notes_store, tmp_path), sink_of(place)
    published(store, sink)
    rowwise = build("sinks", place.use, place.arguments()).modes[0] is Mode.ROWWISE
    for number, point in enumerate(PUBLISH_POINTS):
        before = wanted(store, number + 1)
        serve(store, number + 2)
        assert killed(store, sink, point)
        place.stop()
        place.start()
        assert rowwise or seen(place) in (before, wanted(store))
        assert published(store, sink).to_version == number + 2
        assert seen(place) == wanted(store)
