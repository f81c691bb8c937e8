"""The pool of Ray actors: what ends, what dies, what hangs, what is stopped."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.compute.base import Demand, Finished, Progress
from tasks.compute.ray_pool import RayPool
from tasks.errors import Interrupted, SourceError, WorkerLost
from tasks.store import quarantine
from tests.pipeline import books, config, refresh, write_jsonl
from tests.workers import Number, Squarer, Stillborn

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

MakePool = Callable[..., RayPool]


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def make_pool(stop: threading.Event) -> Iterator[MakePool]:
    made: list[RayPool] = []

    def make(worker: type[Squarer] = Squarer, stall_s: float = 60.0) -> RayPool:
        demand = Demand(workers=2, stall_s=stall_s)
        pool = RayPool(worker, demand, stop=stop, on_progress=lambda progress: None)
        made.append(pool)
        return pool

    yield make
    for pool in made:
        pool.close()


def by_value(finished: list[Finished[Number]]) -> dict[int, object]:
    return {
        one.job.value: one.result[0] if isinstance(one.result, tuple) else type(one.error)
        for one in finished
    }


def test_all_jobs_end_and_each_worker_is_built_once(make_pool: MakePool) -> None:
    finished = list(make_pool().map(deque(Number(n) for n in range(40))))
    assert by_value(finished) == {n: n * n for n in range(40)}
    workers = {one.result[1] for one in finished if isinstance(one.result, tuple)}
    assert len(workers) == 2


def test_a_job_may_be_added_while_results_are_taken(make_pool: MakePool) -> None:
    jobs = deque([Number(1)])
    values = []
    for finished in make_pool().map(jobs):
        values.append(finished.job.value)
        if finished.job.value < 5:
            jobs.append(Number(finished.job.value + 1))
    assert values == [1, 2, 3, 4, 5]


def test_a_job_that_kills_its_worker_is_lost_and_the_others_end(make_pool: MakePool) -> None:
    jobs = deque([Number(0, way="die"), *(Number(n, attempt=1) for n in range(1, 9))])
    assert by_value(list(make_pool().map(jobs))) == {
        0: WorkerLost,
        **{n: n * n for n in range(1, 9)},
    }


def test_a_worker_without_progress_is_ended(make_pool: MakePool) -> None:
    jobs = deque([Number(0, attempt=1, way="hang"), *(Number(n, attempt=1) for n in range(1, 5))])
    found = by_value(list(make_pool(stall_s=2.0).map(jobs)))
    assert found == {0: WorkerLost, **{n: n * n for n in range(1, 5)}}


def test_an_error_of_ours_comes_back_as_it_was_raised(make_pool: MakePool) -> None:
    (finished,) = make_pool().map(deque([Number(7, way="refuse")]))
    assert isinstance(finished.error, SourceError)
    assert str(finished.error) == "7 is refused"


def test_the_stop_event_ends_the_work_under_way(make_pool: MakePool, stop: threading.Event) -> None:
    pool = make_pool()
    list(pool.map(deque([Number(1)])))
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(Interrupted):
        list(pool.map(deque(Number(n, way="wait") for n in range(4))))


def test_a_worker_that_cannot_be_built_is_one_clear_error(make_pool: MakePool) -> None:
    with pytest.raises(WorkerLost, match="no weights here"):
        list(make_pool(Stillborn).map(deque([Number(1)])))


def test_a_record_that_kills_its_workers_is_found_and_goes_to_quarantine(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "text": f"text {n}", "year": 1} for n in range(2)]
    rows[1]["text"] = "a deadly text"
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    deadly = {"use": "tests.encoders:DeadlyEncoder"}
    settings = config(tmp_path / "corpus", encoder=deadly, compute={"workers": 1})
    made = refresh(settings, tmp_path / "vectors")
    assert books(made) == {"read": 2, "new": 1, "quarantined": 1}
    (entry,) = quarantine.read(str(tmp_path / "vectors"), made["table"])
    assert (entry.id, entry.reason) == ("r1", "killed_worker")
    again = refresh(settings, tmp_path / "vectors")
    assert books(again) == {"read": 2, "unchanged": 1, "quarantined": 1}
    assert again["encoder_loads"] == 0


def test_progress_adds_up() -> None:
    total = Progress(1, 2, 3, 4, 5, 0.5) + Progress(1, 1, 1, 1, 1, -0.25)
    assert total == Progress(2, 3, 4, 5, 6, 0.25)
