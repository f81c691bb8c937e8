"""Pushing: nothing is lost, nothing twice, and a store that asks for time gets it."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from tasks.errors import Interrupted, RowsRefused, SinkUnavailable
from tasks.patient import PatientSink
from tasks.pushing import ATTEMPTS, LONGEST_ASKED_S, Patience, Pushed, Pusher
from tasks.sinks.base import Limits
from tasks.sinks.plain import FOREIGN


@dataclass
class Store:
    """Takes rows, but for ids that begin with `bad`; fails the first `failures` calls."""

    failures: int = 0
    retry_after_s: float | None = None
    held: list[str] = field(default_factory=list)
    calls: int = 0
    flying: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def upsert(self, rows: pa.Table) -> None:
        with self.lock:
            self.calls += 1
            self.flying += 1
            self.most = max(self.most, self.flying)
            failing = self.calls <= self.failures
        try:
            if failing:
                error = SinkUnavailable("the store is busy")
                error.retry_after_s = self.retry_after_s
                raise error
            ids = rows["id"].to_pylist()
            if any(one.startswith("bad") for one in ids):
                raise RowsRefused("a bad row")
            with self.lock:
                self.held += ids
        finally:
            with self.lock:
                self.flying -= 1

    def delete(self, ids: Sequence[str]) -> None:
        with self.lock:
            self.held = [one for one in self.held if one not in ids]


def batches(*ids: Sequence[str]) -> list[pa.Table]:
    return [pa.table({"id": [*some]}) for some in ids]


def pusher(store: Store, slept: list[float], **limits: Any) -> Pusher:
    return Pusher(store, Limits(**limits), Patience(sleep=slept.append), lambda done: None)


def test_rows_that_are_refused_are_found_alone_and_the_others_are_there() -> None:
    store, pushed = Store(), Pushed()
    rows = [f"r{n}" for n in range(50)]
    rows[7], rows[31] = "bad 7", "bad 31"
    pusher(store, []).push(batches(rows, ["bad", "r50"]), [], pushed)
    assert sorted(store.held) == sorted({*rows, "r50"} - {"bad 7", "bad 31"})
    assert [(one.id, one.reason) for one in pushed.refused] == [
        ("bad 7", "a bad row"),
        ("bad 31", "a bad row"),
        ("bad", "a bad row"),
    ]
    assert (pushed.upserted, pushed.deleted) == (49, 0)


def test_a_store_that_asks_for_time_gets_it() -> None:
    store, slept = Store(failures=3, retry_after_s=30.0), list[float]()
    pusher(store, slept).push(batches(["a"]), [], Pushed())
    assert store.held == ["a"]
    assert slept == [30.0] * 3


def test_pauses_grow_where_it_does_not_say_how_long() -> None:
    store, slept = Store(failures=ATTEMPTS - 1), list[float]()
    pusher(store, slept).push(batches(["a"]), [], Pushed())
    longest = [min(2**n, 60) for n in range(ATTEMPTS - 1)]
    assert all(most / 2 <= one <= most for one, most in zip(slept, longest, strict=True))
    assert store.calls == ATTEMPTS


def test_a_store_that_stays_away_is_an_error() -> None:
    store, slept = Store(failures=99), list[float]()
    with pytest.raises(SinkUnavailable, match="the store is busy"):
        pusher(store, slept).push(batches(["a"]), [], Pushed())
    assert store.calls == ATTEMPTS


def test_a_store_that_asks_for_an_hour_is_not_waited_for() -> None:
    store, slept = Store(failures=99, retry_after_s=3600.0), list[float]()
    with pytest.raises(SinkUnavailable, match="the store is busy") as caught:
        pusher(store, slept).push(batches(["a"]), [], Pushed())
    assert caught.value.__notes__ == [
        "it asks to be left alone for 3,600 s: try again then",
    ]
    assert (store.calls, slept) == (1, [])


def test_a_pause_ends_when_the_user_asks_to_stop() -> None:
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Interrupted("enough")

    def sleep(seconds: float) -> None:
        threading.Timer(0.01, stop.set).start()
        stop.wait(seconds)

    store = Store(failures=99, retry_after_s=LONGEST_ASKED_S)
    with pytest.raises(Interrupted):
        Patience(check, sleep).again(lambda: store.upsert(pa.table({"id": ["a"]})))
    assert store.calls == 1


def test_a_stop_is_heard_before_a_call_that_would_be_answered() -> None:
    def stop() -> None:
        raise Interrupted("enough")

    store = Store()
    with pytest.raises(Interrupted):
        Patience(stop).again(lambda: store.upsert(pa.table({"id": ["a"]})))
    assert store.calls == 0


def test_a_stop_is_heard_between_the_parts_of_a_listing() -> None:
    read: list[int] = []

    class Listing:
        modes, limits = (), Limits()

        def held(self, name: str) -> Iterator[list[str]]:
            for number in range(1000):
                read.append(number)
                yield [f"{name} {number}"]

    def check() -> None:
        if len(read) > 5:
            raise Interrupted("enough")

    sink: Any = Listing()
    with pytest.raises(Interrupted):
        list(PatientSink(sink, Patience(check)).held("c"))
    assert read == [*range(6)]


def test_who_waits_is_told_for_what() -> None:
    store, told = Store(failures=2, retry_after_s=30.0), list[str]()
    patience = Patience(sleep=lambda seconds: None, tell=told.append)
    patience.again(lambda: store.upsert(pa.table({"id": ["a"]})))
    assert told == ["asked again in 30 s, 2 of 8", "asked again in 30 s, 3 of 8"]


def test_no_more_calls_are_made_at_once_than_the_store_takes() -> None:
    store, pushed = Store(), Pushed()
    many = batches(*([f"r{n}"] for n in range(60)))
    pusher(store, [], concurrency=4).push(many, [], pushed)
    assert sorted(store.held) == sorted(f"r{n}" for n in range(60))
    assert store.most <= 4
    assert pushed.upserted == 60


def test_ids_go_in_batches_after_all_rows_are_there() -> None:
    store, pushed = Store(held=["x", "y", "z"]), Pushed()
    pusher(store, [], batch_rows=2).push(batches(["a"]), ["x", "y", "z"], pushed)
    assert store.held == ["a"]
    assert (pushed.upserted, pushed.deleted) == (1, 3)


def test_rows_of_others_go_before_ours_are_put_under_their_keys() -> None:
    key = f"{FOREIGN}a"

    class Keyed(Store):
        def delete(self, ids: Sequence[str]) -> None:
            super().delete([one.removeprefix(FOREIGN) for one in ids])

    store, pushed = Keyed(held=["a", "x"]), Pushed()
    pusher(store, []).push(batches(["a", "b"]), ["x", key], pushed)
    assert sorted(store.held) == ["a", "b"]
    assert (pushed.upserted, pushed.deleted) == (2, 2)


def test_batches_are_read_as_they_are_needed_and_a_stop_ends_it() -> None:
    read: list[int] = []

    def endless() -> Iterator[pa.Table]:
        for number in range(1000):
            read.append(number)
            yield pa.table({"id": [f"r{number}"]})

    def check() -> None:
        if len(read) > 5:
            raise Interrupted("enough")

    store = Store()
    stopped = Pusher(store, Limits(), Patience(check), lambda done: None)
    with pytest.raises(Interrupted):
        stopped.push(endless(), [], Pushed())
    assert len(read) == 6
    assert len(store.held) <= 6
