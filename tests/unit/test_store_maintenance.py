"""Upkeep of a table: gathered fragments, versions let go, and kill -9 at each step of it."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lance
import pytest
from lance.dataset import DatasetOptimizer, Tags

from schemas.catalog import VersionEntry
from schemas.receipt import WrittenFile
from tasks import failpoints
from tasks.errors import ConfigError, StoreError
from tasks.store import checksums, files, fragments, layout, maintenance, receipts, swap
from tasks.store.catalog import Catalog
from tasks.store.files import LocalFiles
from tasks.store.fragments import data_path
from tasks.store.heal import heal
from tasks.store.table import Table
from tests.clock import Clock
from tests.tables import content, new_table, put, receipt, rows

NOW = datetime.now(UTC) + timedelta(minutes=30)  # after all that the tests make
LATER = NOW + 2 * maintenance.GRACE
STEPS = ("compaction", "move", "cleanup")


def fill(store: str | Path, n_versions: int = 6) -> tuple[Table, Catalog]:
    """A table of so many versions; number n has ids 1 to n, of which 1 changed each time."""
    table, catalog = new_table(store), Catalog(str(store))
    for n in range(1, n_versions + 1):
        catalog.add_version(table, put(table, f"r{n}", {str(n): n, "1": n}))
    return table, catalog


@pytest.fixture(autouse=True)
def gather_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "SPARE_FRAGMENTS", 0)


def data_of(table: Table) -> set[str]:
    """Its data files, those of no version too."""
    folder = f"{table.uri}/data"
    return {f"{folder}/{name}" for name in files.of(folder).names(folder)}


def bytes_of(table: Table) -> int:
    return sum(files.of(path).size_bytes(path) or 0 for path in data_of(table))


def promote(catalog: Catalog, version: int) -> None:
    serving = catalog.serving("papers")
    before = None if serving is None else serving.version
    catalog.promote("papers", version, who="me", why="a test", expected_from=before)


def contents(table: Table, catalog: Catalog) -> dict[int, dict[str, int]]:
    versions = catalog.versions("papers")
    return {entry.version: content(table, entry.lance_version) for entry in versions}


def expected(numbers: Sequence[int]) -> dict[int, dict[str, int]]:
    return {n: {str(m): m for m in range(1, n + 1)} | {"1": n} for n in numbers}


def listed(table: Table) -> dict[str, WrittenFile]:
    return checksums.known(table.store_uri, table.name)


def there(table: Table) -> dict[str, WrittenFile]:
    folders = (f"{table.uri}/data", f"{table.uri}/_deletions")
    return {
        name: checksums.look_at(f"{folder}/{name}")
        for folder in folders
        for name in files.of(folder).names(folder)
    }


def maintain(table: Table, catalog: Catalog, now: datetime, versions: int = 99) -> list[int]:
    heal(table, catalog)
    retired = maintenance.retire(table, catalog, versions=versions, days=0, now=now)
    maintenance.clean(table, catalog, now=now)
    gather(table, catalog, now)
    return retired


def gather(table: Table, catalog: Catalog, now: datetime) -> VersionEntry:
    before = maintenance.newest(table, catalog)
    assert maintenance.is_head(table, before)
    maintenance.gather(table)
    return maintenance.move(table, catalog, before, now=now)


def test_gathered_fragments_are_the_same_version_and_its_tags_go_along(store: str) -> None:
    table, catalog = fill(store)
    before = catalog.versions("papers")[-1]
    table.open().tags.create("mine", before.lance_version)
    reader = table.open(before.lance_version)
    assert len(reader.get_fragments()) == 5  # the first one's row was changed
    after = gather(table, catalog, NOW)
    assert after == catalog.versions("papers")[-1]
    assert len(table.open().get_fragments()) == 1
    assert after == before.model_copy(update={"lance_version": table.open().version})
    assert catalog.tags(after) == ["mine", "run-r6"]
    assert catalog.resolve("papers", "mine") == after
    assert contents(table, catalog) == expected(range(1, 7))
    assert heal(table, catalog) == []
    assert gather(table, catalog, NOW) == after
    assert table.open().version == after.lance_version
    maintenance.clean(table, catalog, now=NOW)
    assert reader.count_rows() == len(reader.to_table()) == 6


def test_tags_whose_answers_are_lost_are_moved_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, catalog = fill(tmp_path)
    for name in ("create", "update"):
        real = getattr(Tags, name)

        def lossy(tags: Tags, tag: str, version: int, real: Any = real) -> None:
            real(tags, tag, version)
            raise OSError("request timed out")

        monkeypatch.setattr(Tags, name, lossy)
    gather(table, catalog, NOW)
    assert catalog.tags(catalog.versions("papers")[-1]) == ["run-r6"]
    assert contents(table, catalog) == expected(range(1, 7))


def test_runs_go_on_from_gathered_fragments(tmp_path: Path) -> None:
    table, catalog = fill(tmp_path)
    maintain(table, catalog, NOW)
    entry = catalog.add_version(table, put(table, "r7", {"7": 7, "1": 7}))
    assert (entry.version, entry.rows) == (7, 7)
    assert contents(table, catalog) == expected(range(1, 8))


def test_what_nothing_holds_is_let_go_and_its_files_an_hour_later(store: str) -> None:
    table, catalog = fill(store)
    for version in (6, 1, 6, 2, 3):
        promote(catalog, version)
    four = catalog.versions("papers")[3]
    table.open().tags.create("mine", four.lance_version)
    reader = table.open(catalog.versions("papers")[4].lance_version)
    assert maintain(table, catalog, NOW, versions=1) == [1, 5]
    left = expected([2, 3, 4, 6])
    assert contents(table, catalog) == left
    assert reader.to_table().num_rows == 5
    with pytest.raises(ConfigError, match="version 5 of space 'papers' was let go"):
        catalog.resolve("papers", "5")
    assert maintain(table, catalog, LATER, versions=1) == []
    assert contents(table, catalog) == left
    names = set(table.open().tags.list())
    assert {name for name in names if not name.startswith("replaced-")} == {
        *(f"run-r{n}" for n in (2, 3, 4, 6)),
        "mine",
    }
    assert catalog.add_version(table, put(table, "r7", {"7": 7, "1": 7})).version == 7
    assert catalog.rollback("papers", who="me").to_version == 2


def test_readers_go_on_for_an_hour_however_old_their_version_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, catalog = fill(tmp_path)
    readers = [table.open(entry.lance_version) for entry in catalog.versions("papers")]
    last_hour = NOW - timedelta(hours=1)
    assert maintenance.retire(table, catalog, versions=1, days=0, now=NOW) == [1, 2, 3, 4, 5]
    gather(table, catalog, NOW)
    monkeypatch.setattr(maintenance, "GRACE", timedelta(microseconds=1))  # all files are older
    maintenance.clean(table, catalog, now=last_hour)
    assert [reader.to_table().num_rows for reader in readers] == [1, 2, 3, 4, 5, 6]
    maintenance.clean(table, catalog, now=LATER)
    for entry_version in range(2, 8):
        with pytest.raises(StoreError):
            table.open(entry_version)


def test_the_config_of_a_version_that_was_let_go_stays_in_force(tmp_path: Path) -> None:
    table, catalog = new_table(tmp_path), Catalog(str(tmp_path))
    catalog.put_config("papers", "f", {"n": 1}, run_id="r1")
    for n in (1, 2):
        catalog.add_version(table, put(table, f"r{n}", {"a": n}))
    assert maintenance.retire(table, catalog, versions=1, days=0, now=NOW) == [1]
    kept = catalog.config("papers")
    assert kept is not None
    assert kept.config == {"n": 1}


def test_young_versions_and_the_newest_of_a_table_stay(tmp_path: Path, clock: Clock) -> None:
    table, catalog = new_table(tmp_path), Catalog(str(tmp_path))
    for n, clock.days in enumerate((-9, -8, -3, -2, -1, 0), 1):
        catalog.add_version(table, put(table, f"r{n}", {str(n): n}))
    now = clock.now()
    assert maintenance.retire(table, catalog, versions=1, days=10, now=now) == []
    assert maintenance.retire(table, catalog, versions=5, days=1, now=now) == [1]
    assert maintenance.retire(table, catalog, versions=1, days=4, now=now) == [2]
    clock.days = 30
    other = new_table(tmp_path, fingerprint="0" * 64)
    catalog.add_version(other, put(other, "r8", {"8": 8}))
    now = clock.now()
    assert maintenance.retire(table, catalog, versions=1, days=1, now=now) == [3, 4, 5]


def test_receipts_whose_rows_have_gone_are_removed(tmp_path: Path) -> None:
    table, catalog = fill(tmp_path)
    late = [
        receipt(table, run_id, fragments.write(table.uri, rows(table, {"9": 9})))
        for run_id in ("kept", "gone")
    ]
    for one in late:
        receipts.publish(table.store_uri, one)
    folder = Path(layout.receipts_folder(table.store_uri, table.name))
    old, young = (folder / f".{name}.json.{uuid.uuid4().hex}" for name in ("old", "young"))
    for draft in (old, young):
        draft.write_text("{")
    os.utime(old, (0, 0))
    (written,) = late[1].fragments[0].files
    path = Path(data_path(table.uri, written.path))
    os.utime(path, (0, 0))  # Lance leaves files of no version alone for a week
    assert path.exists()
    maintenance.clean(table, catalog, now=NOW)
    assert not path.exists()
    assert receipts.list(table.store_uri, table.name) == ((late[0],), ())
    assert (old.exists(), young.exists()) == (False, True)
    assert contents(table, catalog) == expected(range(1, 7))


def test_digests_of_gathered_files_are_listed_and_those_of_files_that_went_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "GRACE", timedelta(microseconds=1))
    table, catalog = fill(tmp_path)
    lists = Path(layout.files_folder(table.store_uri, table.name))
    assert (listed(table), len(list(lists.iterdir()))) == (there(table), 6)
    maintain(table, catalog, NOW, versions=1)
    assert len(list(lists.iterdir())) == 2  # all in one, and that of the file that was made then
    maintenance.clean(table, catalog, now=LATER)
    assert len(listed(table)) == 1
    assert (listed(table), len(list(lists.iterdir()))) == (there(table), 1)
    before = [(path, path.stat().st_mtime_ns) for path in lists.iterdir()]
    maintenance.clean(table, catalog, now=LATER)
    assert [(path, path.stat().st_mtime_ns) for path in lists.iterdir()] == before


def test_old_files_go_and_freed_bytes_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "GRACE", timedelta(microseconds=1))
    table, catalog = fill(tmp_path)
    maintain(table, catalog, NOW, versions=1)
    n_files = len(data_of(table))
    freed = maintenance.clean(table, catalog, now=LATER)
    assert freed > 0
    assert n_files == 6  # that of the first version alone is gone already
    assert len(data_of(table)) == 1
    assert contents(table, catalog) == expected([6])


def test_a_version_whose_tag_was_lost_keeps_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "GRACE", timedelta(microseconds=1))
    table, catalog = fill(tmp_path)
    table.open().tags.delete("run-r3")
    maintain(table, catalog, LATER)
    assert contents(table, catalog) == expected(range(1, 7))


def test_a_tag_that_was_put_on_other_rows_goes_back(tmp_path: Path) -> None:
    table, catalog = fill(tmp_path)
    table.open().tags.update("run-r3", 2)
    (sentence,) = heal(table, catalog)
    assert "got its tag run-r3 back" in sentence
    assert contents(table, catalog) == expected(range(1, 7))
    assert heal(table, catalog) == []


def test_rows_that_would_change_are_kept_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, catalog = fill(tmp_path)
    compact = DatasetOptimizer.compact_files

    def lose_a_row(optimizer: DatasetOptimizer, target_rows_per_fragment: int) -> object:
        done = compact(optimizer, target_rows_per_fragment=target_rows_per_fragment)
        lance.dataset(table.uri).delete("id = '2'")
        return done

    monkeypatch.setattr(DatasetOptimizer, "compact_files", lose_a_row)
    with pytest.raises(StoreError, match="would have changed its rows"):
        gather(table, catalog, NOW)
    assert content(table) == expected([6])[6]
    assert contents(table, catalog) == expected(range(1, 7))


def test_rows_that_somebody_else_removed_are_told_and_left_alone(tmp_path: Path) -> None:
    table, catalog = fill(tmp_path)
    lance.dataset(table.uri).delete("id = '2'")
    with pytest.raises(StoreError, match="has other rows than version 6 of papers"):
        gather(table, catalog, NOW)
    assert content(table) == {id_: n for id_, n in expected([6])[6].items() if id_ != "2"}
    assert contents(table, catalog) == expected(range(1, 7))


def test_a_few_new_rows_do_not_copy_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "SPARE_FRAGMENTS", 16)
    table, catalog = new_table(tmp_path), Catalog(str(tmp_path))
    catalog.add_version(table, put(table, "r0", {str(n): n % 90 for n in range(5_000)}))
    before = bytes_of(table)
    for n in range(20):
        catalog.add_version(table, put(table, f"new{n}", {f"x{n}": 1}))
        maintain(table, catalog, NOW)
    after = bytes_of(table)
    assert 2 * before < after < 2.5 * before  # gathered once, at the seventeenth
    put(table, "half", {}, removed=tuple(str(n) for n in range(2_500)))
    heal(table, catalog)
    gather(table, catalog, NOW)
    assert [one.metadata.num_deletions for one in table.open().get_fragments()] == [0]


def test_a_run_after_a_kill_brings_gathered_files_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, _ = fill(tmp_path)
    known = data_of(table)
    table.open().optimize.compact_files()
    (gathered,) = data_of(table) - known
    synced: set[str] = set()

    def note(there: LocalFiles, locations: Iterable[str], *, missing_ok: bool = False) -> None:
        synced.update(locations)

    monkeypatch.setattr(LocalFiles, "sync", note)
    version = put(table, "r7", {"7": 7})
    manifests = [swap.manifest_path(table.uri, n) for n in range(1, version + 1)]
    assert {gathered, *manifests} <= synced


def test_an_older_manifest_that_a_power_cut_emptied_does_not_stop_upkeep(tmp_path: Path) -> None:
    table, catalog = fill(tmp_path)
    table.open().optimize.compact_files()  # makes two Lance versions
    Path(swap.manifest_path(table.uri, table.open().version - 1)).write_bytes(b"")
    (sentence,) = heal(table, catalog)
    assert sentence.startswith("a manifest of papers.")
    maintain(table, catalog, LATER)
    assert contents(table, catalog) == expected(range(1, 7))


def test_a_time_means_the_version_of_then_also_when_it_was_let_go(tmp_path: Path) -> None:
    table, catalog = fill(tmp_path)
    moments = {entry.version: entry.created_at for entry in catalog.versions("papers")}
    promote(catalog, 2)
    maintenance.retire(table, catalog, versions=1, days=0, now=NOW)
    assert catalog.resolve("papers", moments[2].isoformat()).version == 2
    with pytest.raises(ConfigError, match="version 4 of space 'papers' was let go"):
        catalog.resolve("papers", moments[4].isoformat())


KILLED = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from tasks.store.catalog import Catalog
from tasks.store.table import Table
from tests.unit.test_store_maintenance import maintain
maintain(Table(sys.argv[1], sys.argv[2]), Catalog(sys.argv[1]), datetime.now(UTC), versions=4)
"""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("run_between", [False, True])
def test_upkeep_killed_at_any_step_is_finished_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, run_between: bool
) -> None:
    table, catalog = fill(tmp_path)
    table.open().tags.create("mine", catalog.versions("papers")[-1].lance_version)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), table.name],
        env={**os.environ, failpoints.VARIABLE: step},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    left = list(range(3, 7))
    assert contents(table, catalog) == expected(left)
    if run_between:
        heal(table, catalog)
        left.append(catalog.add_version(table, put(table, "r7", {"7": 7, "1": 7})).version)
    monkeypatch.setattr(maintenance, "GRACE", timedelta(microseconds=1))
    for hours in (3, 6):
        maintain(table, catalog, NOW + timedelta(hours=hours))
        assert contents(table, catalog) == expected(left)
    assert catalog.resolve("papers", "mine").version == 6
    assert len(table.open().get_fragments()) == 1
    assert listed(table) == there(table)


APPENDS = """
import sys
from tasks.store.catalog import Catalog
catalog = Catalog(sys.argv[1])
for n in range(15):
    catalog.put_config(f"space{sys.argv[2]}", "f", {"n": n})
"""


def test_a_catalog_that_is_tidied_while_others_append_loses_nothing(store: str) -> None:
    catalog = Catalog(store)
    catalog.tidy(timedelta(hours=1))  # nothing is there yet
    writers = [subprocess.Popen([sys.executable, "-c", APPENDS, store, str(n)]) for n in range(2)]
    n_tidied = 0
    while any(writer.poll() is None for writer in writers):
        catalog.tidy(timedelta(hours=1))
        n_tidied += 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert n_tidied > 5
    catalog.tidy(timedelta(microseconds=1))
    log = lance.dataset(layout.log_uri(store))
    assert log.count_rows() == 2 * 15
    assert len(log.get_fragments()) == 1
    assert catalog.config("space1").config == {"n": 14}  # type: ignore[union-attr]
