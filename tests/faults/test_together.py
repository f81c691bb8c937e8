"""Runs, upkeep and readers at the same time, each in a process or a thread of its own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tasks.store.catalog import Catalog
from tests.faults.matrix import Trial, Zygote, zygote

ROUNDS = 8


@pytest.fixture
def zygotes(tmp_path: Path) -> Iterator[list[Zygote]]:
    log = tmp_path / "errors.log"
    with log.open("w") as errors, zygote(errors) as one, zygote(errors) as other:
        yield [one, other]
    assert log.read_text() == ""


@pytest.fixture
def trial(tmp_path: Path, zygotes: list[Zygote]) -> Trial:
    made = Trial(tmp_path, str(tmp_path / "vectors"), zygotes[0], seed=3)
    made.change()
    made.do(made.a_run())
    made.finish()
    return made


def test_readers_and_upkeep_go_on_beside_runs(trial: Trial, zygotes: list[Zygote]) -> None:
    stop = Event()

    def read() -> int:
        n_read = 0
        while not stop.is_set():
            serving = Catalog(trial.store).serving("notes")
            assert serving is not None
            found = trial.content(serving.version)
            making = trial.model  # looked at first: it is a version by the time it changes
            assert found in (making, trial.versions.get(serving.version))
            n_read += 1
        return n_read

    def maintain() -> int:
        n_done = 0
        while not stop.is_set():
            zygotes[1].start(trial.an_upkeep(grace_s=3600))
            assert zygotes[1].wait() == 0
            n_done += 1
        return n_done

    with ThreadPoolExecutor(2) as others:
        working = [others.submit(read), others.submit(maintain)]
        try:
            for _ in range(ROUNDS):
                trial.change()
                trial.do(trial.a_run())
                trial.finish()
        finally:
            stop.set()
        n_read, n_maintained = (one.result() for one in working)
    assert n_read >= ROUNDS
    assert n_maintained >= ROUNDS // 2


def test_two_runs_started_together_make_one_version(trial: Trial, zygotes: list[Zygote]) -> None:
    for _ in range(ROUNDS):
        trial.change()
        for one in zygotes:
            one.start(trial.a_run())
        assert [one.wait() for one in zygotes] == [0, 0]
        trial.finish()
        assert trial.repeated() == 0
