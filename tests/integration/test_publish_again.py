"""Publishing once more, after whatever came between: nothing stays half done, or half told."""

from pathlib import Path
from typing import Any

import pytest

from schemas.config import SinkConfig
from tests.fussy import FussySink
from tests.publishing import copied, make, published, seen, sink_of, wanted
from tests.stores.peer import Peer, peer

FUSSY = "tests.fussy:FussySink"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("again"))


@pytest.fixture
def store(made: str, tmp_path: Path) -> str:
    return copied(made, tmp_path)


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
