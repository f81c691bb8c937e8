"""A clock that is wrong, and jumps: a version is never lost by it that a right one would keep.

Lance's own clock cannot be turned here. What it decides is how old a file or a Lance version is, so
in its place the files are made older, and the grace is no time at all.
"""

import os
import random
from datetime import timedelta
from pathlib import Path

import pytest

from tasks import failpoints
from tasks.store import indexes, maintenance
from tasks.store.catalog import Catalog
from tests.clock import READERS, Clock
from tests.faults.life import Life
from tests.pipeline import config, refresh

TASKS = Path(__file__).parents[2] / "tasks"
DAYS = (-400, -10, -1, 0, 1, 10, 400)
ROUNDS = 6
KEPT = 3


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Life:
    monkeypatch.setattr(maintenance, "SPARE_FRAGMENTS", 0)
    monkeypatch.setattr(indexes, "SPARE_ROWS", 0)
    return Life(tmp_path / "vectors", tmp_path / "corpus")


def test_all_that_read_the_clock_are_known() -> None:
    asks = ("datetime.now(", "time.time(", "time.time_ns(")
    found = {path for path in TASKS.rglob("*.py") if any(ask in path.read_text() for ask in asks)}
    assert found == {Path(module.__file__ or "") for module in READERS}


def test_a_clock_that_jumps_at_every_step_costs_no_row(
    life: Life, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(0)  # noqa: S311 (repeatable, not secret)

    def jump(name: str) -> None:
        clock.days = dice.choice(DAYS)

    monkeypatch.setattr(failpoints, "reach", jump)
    monkeypatch.setattr(maintenance, "GRACE", timedelta(microseconds=1))
    for _ in range(ROUNDS):
        life.add()
        then = clock.time()
        os.utime(life.corpus / "a.jsonl", (then, then))
        life.run()
        life.upkeep(versions=KEPT, days=30)
        found = life.contents()
        assert found.items() <= life.versions.items()
        assert sorted(found)[-KEPT:] == sorted(life.versions)[-KEPT:]
        assert life.serving == len(life.versions)
    clock.days = 0
    life.run()
    assert max(life.contents()) == ROUNDS


def test_upkeep_by_a_clock_that_is_ahead_lets_no_young_version_go(life: Life, clock: Clock) -> None:
    for _ in range(5):
        life.add()
    clock.days = 400
    life.upkeep(versions=1, days=30)
    assert life.contents() == life.versions


def test_a_version_of_a_clock_that_was_behind_is_not_taken_for_an_old_one(
    life: Life, clock: Clock
) -> None:
    for clock.days in (0, -400, 0, 0, 0):
        life.add()
    life.upkeep(versions=1, days=30)
    assert life.contents() == life.versions


def test_a_version_of_a_clock_that_was_ahead_does_not_keep_the_others(
    life: Life, clock: Clock
) -> None:
    for clock.days in (-60, 400, -50, -20, 0, 0, 0):
        life.add()
    life.upkeep(versions=1, days=30)
    assert life.contents() == life.left(2, 4, 5, 6, 7)


def test_the_newest_versions_stay_where_the_clock_was_never_right(life: Life, clock: Clock) -> None:
    for clock.days in (0, 0, 0, 0, 0, 400):
        life.add()
    life.upkeep(versions=4, days=30)
    assert life.contents() == life.left(3, 4, 5, 6)


def test_a_time_means_the_newest_version_that_was_there_by_then(life: Life, clock: Clock) -> None:
    for clock.days in (0, 10, 0, 0):
        life.add()
    clock.days = 0
    known = Catalog(life.store)
    assert known.resolve("notes", clock.now().isoformat()).version == 4
    clock.days = 20
    assert known.resolve("notes", clock.now().isoformat()).version == 4


def test_files_from_the_future_are_read_again_and_are_no_change(life: Life, clock: Clock) -> None:
    life.add()
    clock.days = 10
    then = clock.time()
    clock.days = 0
    os.utime(life.corpus / "a.jsonl", (then, then))
    for _ in range(2):
        made = refresh(config(life.corpus), life.store)
        assert (made["version"], made["new_version"]) == (1, False)
    content = life.change()
    os.utime(life.corpus / "a.jsonl", (then, then))
    life.run()
    assert life.contents() == {1: life.versions[1], 2: content}
