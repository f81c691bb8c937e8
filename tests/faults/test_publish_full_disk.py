"""A store downstream whose disk is full, a little later each time: readers keep what they had."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.errors import SinkError
from tests.faults.test_full_disk import empty, fill
from tests.publishing import (
    SWITCHED,
    copied,
    placed,
    published,
    seen,
    serve,
    sink_of,
    sinks,
    wanted,
)
from tests.stores.peer import Peer

IN_FILES = ("parquet", "numpy", "lancedb", "faiss", "usearch", "scann", "sqlite-vec", "duckdb")
TOLD = r"no space left on the disk|disk is full"
PAGES = 400  # with so many left, every one of them has room


@pytest.fixture(params=sinks("lancedb", "duckdb", among=IN_FILES))
def place(request: pytest.FixtureRequest, small_disk: Path) -> Iterator[Peer]:
    yield from placed(request.param, small_disk / "place")


@pytest.mark.parametrize("mode", ["atomic", "switch"])
def test_a_publication_that_gets_a_little_further_each_time_ends_at_what_serves(
    notes_store: str, place: Peer, small_disk: Path, tmp_path: Path, mode: str
) -> None:
    store, sink = copied(notes_store, tmp_path), sink_of(place, mode=mode)
    published(store, sink)
    for version in (3, SWITCHED):
        before, said = seen(place), list[str]()
        serve(store, version)
        for pages in range(PAGES):
            fill(small_disk, pages)
            try:
                published(store, sink)
            except SinkError as error:
                said.append(str(error))
            else:
                break
            finally:
                empty(small_disk)
            assert seen(place) in (before, wanted(store))
        assert published(store, sink).how == "nothing"
        assert seen(place) == wanted(store)
        assert [one for one in said if not re.search(TOLD, one)] == []
        assert said
