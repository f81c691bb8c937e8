"""kill -9 of a process that publishes: readers see the old version or the new one, or are told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.plugins import build, names
from tasks.sinks.base import Mode
from tests.publishing import (
    PUBLISH_POINTS,
    copied,
    killed,
    make,
    published,
    seen,
    serve,
    sink_of,
    wanted,
)
from tests.stores.peer import Peer, peer

QUICK = ("parquet", "pgvector", "qdrant")
"""One whose writes are atomic by files, by a transaction, and one that switches."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("publish"))


@pytest.fixture(
    params=[
        pytest.param(use, marks=[pytest.mark.stores, *([] if use in QUICK else [pytest.mark.slow])])
        for use in names("sinks")
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    found = peer(request.param, tmp_path / "place")
    yield found
    found.close()


def test_no_kill_at_a_named_place_leaves_anything_between(
    made: str, place: Peer, tmp_path: Path
) -> None:
    store, sink = copied(made, tmp_path), sink_of(place)
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
