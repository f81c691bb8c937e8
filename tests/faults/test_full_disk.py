"""A disk that gets full at each named place, and a little later each time."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from tasks import cut, estimate, failpoints
from tasks.drop import drop, droppable
from tasks.errors import StoreError
from tasks.space import open_space
from tasks.store import indexes, maintenance, swap, tags
from tasks.store.catalog import Catalog
from tasks.store.indexes import vector_index
from tests.faults.life import Life
from tests.faults.matrix import RUN_POINTS, UPKEEP_POINTS
from tests.pipeline import PROGRAM, write_config
from tests.tables import new_table, put

FULL = "no space left on the disk while .*; no committed row is lost: free some space and run"
PAGE_BYTES = 4096  # a file of that file system takes whole ones
JOB_RECORDS = 8
VERSIONS = 5
SERVED = (3, 4, 5)  # what upkeep leaves: those that served last


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A space of some versions, for each test to copy."""
    folder = tmp_path_factory.mktemp("made")
    life = Life(folder / "vectors", folder / "corpus")
    for _ in range(VERSIONS):
        life.add()
    return life


@pytest.fixture
def life(made: Life, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    """Its store is on a small disk, its corpus is not."""
    monkeypatch.setattr(cut, "MAX_RECORDS", JOB_RECORDS)
    monkeypatch.setattr(cut, "MIN_RECORDS", JOB_RECORDS)
    monkeypatch.setattr(estimate, "FREE_BYTES", 0)  # else a run would not even begin
    monkeypatch.setattr(indexes, "SPARE_ROWS", 0)
    monkeypatch.setattr(maintenance, "SPARE_FRAGMENTS", 0)
    monkeypatch.setattr(swap, "FIRST_PAUSE_S", 0.001)
    store = small_disk / "vectors"
    shutil.copytree(made.store, store)
    life = Life(store, made.corpus)
    life.versions = dict(made.versions)
    yield life
    empty(small_disk)


def fill(disk: Path, pages_left: int = 0) -> None:
    """Leaves so many pages of a disk."""
    empty(disk)
    found = os.statvfs(disk)
    with (disk / "ballast").open("wb") as file:
        free_bytes = found.f_bavail * found.f_frsize
        os.posix_fallocate(file.fileno(), 0, free_bytes - pages_left * PAGE_BYTES)


def empty(disk: Path) -> None:
    (disk / "ballast").unlink(missing_ok=True)


@contextmanager
def full_at(disk: Path, point: str) -> Iterator[None]:
    """Fills the disk at a place where another test would end the process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "reach", lambda name: fill(disk) if name == point else None)
        yield


@pytest.mark.parametrize("point", RUN_POINTS)
def test_a_run_ends_in_one_error_and_the_next_one_makes_its_version(
    life: Life, small_disk: Path, point: str
) -> None:
    content = life.change()
    with full_at(small_disk, point), pytest.raises(StoreError, match=FULL):
        life.run()
    wanted = {**life.versions, VERSIONS + 1: content}
    assert life.contents() in (life.versions, wanted)
    empty(small_disk)
    life.run()
    assert life.contents() == wanted
    assert life.serving == VERSIONS + 1


@pytest.mark.parametrize("point", UPKEEP_POINTS)
def test_upkeep_ends_in_one_error_and_the_next_one_does_it(
    life: Life, small_disk: Path, point: str
) -> None:
    with full_at(small_disk, point), pytest.raises(StoreError, match=FULL):
        life.upkeep()
    found = life.contents()
    assert found.items() <= life.versions.items()
    assert found.keys() >= set(SERVED)
    empty(small_disk)
    life.upkeep()
    assert life.contents() == life.left(*SERVED)
    newest = open_space("notes", life.store).dataset
    assert len(newest.get_fragments()) == 1
    assert vector_index(newest) is not None


def test_a_run_that_gets_a_little_further_each_time_makes_its_version(
    life: Life, small_disk: Path
) -> None:
    content = life.change()
    wanted, said = {**life.versions, VERSIONS + 1: content}, list[str]()
    for pages in range(100):
        fill(small_disk, pages)
        try:
            life.run()
        except StoreError as error:
            said.append(str(error))
        else:
            break
        assert life.contents() in (life.versions, wanted)
    assert life.contents() == wanted
    assert [one for one in said if not re.match(FULL, one)] == []
    assert len(said) > 5, said


def test_upkeep_of_a_full_disk_first_removes_what_nobody_needs(
    life: Life, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life.upkeep()
    life.add()
    monkeypatch.setattr(maintenance, "GRACE", timedelta(microseconds=1))
    before = set(Path(life.store).glob("notes.*/data/*"))
    fill(small_disk)
    with suppress(StoreError):
        life.upkeep()
    assert before - set(Path(life.store).glob("notes.*/data/*"))
    assert life.contents().items() >= life.left(4, 5, 6).items()


@pytest.mark.parametrize("pages", range(4))
def test_a_drop_does_nothing_or_all_of_it(life: Life, small_disk: Path, pages: int) -> None:
    names, said = droppable(life.store, "notes", None), list[str]()
    fill(small_disk, pages)
    try:
        drop(life.store, "notes", names, "me", 0.0)
    except StoreError as error:
        said.append(str(error))
        assert life.contents() == life.versions
        empty(small_disk)
        drop(life.store, "notes", names, "me", 0.0)
    assert [one for one in said if not re.match(FULL, one)] == []
    assert len(said) == (pages < 3)
    assert Catalog(life.store).versions("notes") == []
    assert [path.name for path in Path(life.store).rglob("notes.*")] == [f"{names[0]}.lock"]


def test_the_command_says_it_in_its_last_line(tmp_path: Path, life: Life, small_disk: Path) -> None:
    life.change()
    fill(small_disk)
    done = subprocess.run(
        [PROGRAM, "run", write_config(tmp_path, life.corpus), "--store", life.store],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.match(f"vectorline: {FULL}", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr
    assert life.contents() == life.versions


def test_a_tag_that_has_no_room_is_an_error_and_the_last_one_stays(small_disk: Path) -> None:
    table = new_table(small_disk)
    first = put(table, "a", {"x": 1})
    second = put(table, "b", {"x": 2})
    tags.put(table, "here", first)
    for name in ("here", "there"):
        fill(small_disk, 0)
        with pytest.raises(StoreError, match=FULL):
            tags.put(table, name, second)
        empty(small_disk)
        assert "there" not in table.tags()
        assert table.tags()["here"] == first
    tags.put(table, "here", second)
    assert table.tags()["here"] == second
